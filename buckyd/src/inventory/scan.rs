//! Walking the tree for the names of metrics, in the byte order of the names, without a stat.
//!
//! The entries of a folder are sorted as their names will be: a folder counts as its name with a dot behind. Names
//! then come out sorted and go straight into the set; what is held is one folder's entries for each level.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use bucky_whisper::{MetricName, Series};
use rustix::fs::{Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::list::{List, ListBuilder};

const EXTENSION: &[u8] = b".wsp";
const TAGGED_PREFIX: &str = "_tagged.";

/// What a walk has found.
pub(super) struct Scan {
    /// The metrics.
    pub(super) list: List,
    /// How many of them are tagged files whose series is only a hash.
    pub(super) unplaceable: u64,
    /// How many `.wsp` files have a name that no metric has.
    pub(super) unusable: u64,
    /// How many folders could not be read.
    pub(super) unreadable_folders: u64,
    /// The first of them, and why.
    pub(super) first_unreadable: Option<(PathBuf, io::Error)>,
}

/// Why there is no list at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScanError {
    /// The prefix itself cannot be read.
    #[error("cannot read the prefix {path}")]
    Prefix {
        /// The prefix.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The names did not come sorted.
    #[error("the inventory could not be built")]
    Build(#[source] fst::Error),
}

/// What a walk tells of as it goes.
pub(super) trait Visitor {
    /// A `.wsp` file whose path below the prefix no name stands for.
    fn unusable(&mut self, path: &Path);
}

/// Counts only.
pub(super) struct Ignore;

impl Visitor for Ignore {
    fn unusable(&mut self, _: &Path) {}
}

/// An entry that matters: a folder, or a Whisper file by its stem.
struct Entry {
    name: Box<[u8]>,
    is_folder: bool,
}

impl Entry {
    fn key(&self) -> impl Iterator<Item = u8> + '_ {
        self.name.iter().copied().chain(self.is_folder.then_some(b'.'))
    }
}

/// A folder on the way: its entries that are still to come, last first, and its name's length in the path.
struct Level {
    entries: Vec<Entry>,
    name_len: usize,
}

/// Walks the folder `prefix`.
pub(super) fn scan(prefix: &Path, visitor: &mut impl Visitor) -> Result<Scan, ScanError> {
    let failed = |errno: Errno| ScanError::Prefix { path: prefix.into(), source: errno.into() };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(prefix, flags, Mode::empty()).map(File::from).map_err(failed)?;
    let mut walk = Walk {
        builder: ListBuilder::new(),
        unplaceable: 0,
        unusable: 0,
        unreadable_folders: 0,
        first_unreadable: None,
    };
    let root_entries = read_folder(root.as_fd(), None).map_err(failed)?;
    let mut name = String::new();
    let mut levels = vec![Level { entries: root_entries, name_len: 0 }];
    while let Some(level) = levels.last_mut() {
        name.truncate(level.name_len);
        let Some(entry) = level.entries.pop() else {
            levels.pop();
            continue;
        };
        if !entry.is_folder {
            walk.file(&name, &entry.name, visitor)?;
            continue;
        }
        let path = path_of(&name, &entry.name);
        let Some(component) = component(&entry.name) else {
            walk.odd_folder(&root, &path, visitor);
            continue;
        };
        name.push_str(component);
        name.push('.');
        match read_folder(root.as_fd(), Some(&path)) {
            Ok(entries) => levels.push(Level { entries, name_len: name.len() }),
            // Removed since its parent was read.
            Err(Errno::NOENT) => {}
            Err(errno) => walk.unreadable(path, errno),
        }
    }
    Ok(Scan {
        list: walk.builder.finish().map_err(ScanError::Build)?,
        unplaceable: walk.unplaceable,
        unusable: walk.unusable,
        unreadable_folders: walk.unreadable_folders,
        first_unreadable: walk.first_unreadable,
    })
}

struct Walk {
    builder: ListBuilder,
    unplaceable: u64,
    unusable: u64,
    unreadable_folders: u64,
    first_unreadable: Option<(PathBuf, io::Error)>,
}

impl Walk {
    fn file(
        &mut self,
        folder: &str,
        stem: &[u8],
        visitor: &mut impl Visitor,
    ) -> Result<(), ScanError> {
        let path = || {
            let mut file = stem.to_vec();
            file.extend_from_slice(EXTENSION);
            path_of(folder, &file)
        };
        let Some(component) = component(stem) else {
            self.unusable += 1;
            visitor.unusable(&path());
            return Ok(());
        };
        let mut name = String::with_capacity(folder.len() + component.len());
        name.push_str(folder);
        name.push_str(component);
        // Only by its length it can still be none. Who walks the list relies on it.
        if !MetricName::is_one(&name) {
            self.unusable += 1;
            visitor.unusable(&path());
            return Ok(());
        }
        if name.starts_with(TAGGED_PREFIX) && Series::of(&name) == Series::Unplaceable {
            self.unplaceable += 1;
        }
        self.builder.push(&name).map_err(ScanError::Build)
    }

    fn unreadable(&mut self, path: PathBuf, errno: Errno) {
        tracing::warn!(folder = %path.display(), error = %errno, "a folder cannot be read; its metrics are not in the list");
        self.unreadable_folders += 1;
        if self.first_unreadable.is_none() {
            self.first_unreadable = Some((path, errno.into()));
        }
    }

    /// A folder whose name no component has: whatever `.wsp` files lie below it are unusable.
    fn odd_folder(&mut self, root: &File, path: &Path, visitor: &mut impl Visitor) {
        let mut folders = vec![path.to_owned()];
        while let Some(path) = folders.pop() {
            let entries = match read_folder(root.as_fd(), Some(&path)) {
                Ok(entries) => entries,
                Err(Errno::NOENT) => continue,
                Err(errno) => {
                    self.unreadable(path, errno);
                    continue;
                }
            };
            for entry in entries.into_iter().rev() {
                use std::os::unix::ffi::OsStrExt;
                let name = Path::new(std::ffi::OsStr::from_bytes(&entry.name));
                if entry.is_folder {
                    folders.push(path.join(name));
                } else {
                    self.unusable += 1;
                    let mut file = path.join(name).into_os_string();
                    file.push(".wsp");
                    visitor.unusable(Path::new(&file));
                }
            }
        }
    }
}

/// The entries of a folder that matter, last first in the order of the names they give.
fn read_folder(root: impl AsFd, relative: Option<&Path>) -> Result<Vec<Entry>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let path = relative.unwrap_or_else(|| Path::new("."));
    let folder: OwnedFd = rustix::fs::openat(&root, path, flags, Mode::empty())?;
    let mut entries = Vec::new();
    let mut dir = Dir::read_from(&folder)?;
    while let Some(entry) = dir.read() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name.starts_with(b".") {
            continue;
        }
        let kind = match entry.file_type() {
            // A file system that does not tell: this one entry has to be looked at.
            FileType::Unknown => kind_of(&folder, entry.file_name()),
            kind => kind,
        };
        match kind {
            FileType::Directory => entries.push(Entry { name: name.into(), is_folder: true }),
            FileType::RegularFile => {
                if let Some(stem) = name.strip_suffix(EXTENSION) {
                    entries.push(Entry { name: stem.into(), is_folder: false });
                }
            }
            _ => {}
        }
    }
    entries.sort_unstable_by(|left, right| right.key().cmp(left.key()));
    Ok(entries)
}

fn kind_of(folder: &OwnedFd, name: &std::ffi::CStr) -> FileType {
    rustix::fs::statat(folder, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode))
}

/// `name` as a component of a metric's name, if it can be one: the rules of [`MetricName::parse`].
fn component(name: &[u8]) -> Option<&str> {
    let plain =
        !name.is_empty() && !name.iter().any(|byte| *byte == b'.' || byte.is_ascii_control());
    if plain { std::str::from_utf8(name).ok() } else { None }
}

/// The path of `entry` in the folder whose metrics begin with `folder_name` (empty, or ending in a dot).
fn path_of(folder_name: &str, entry: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut path = folder_name.replace('.', "/").into_bytes();
    path.extend_from_slice(entry);
    PathBuf::from(std::ffi::OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::list::Span;
    use std::fs;
    use std::ops::ControlFlow;

    #[derive(Default)]
    struct Collect(Vec<PathBuf>);

    impl Visitor for Collect {
        fn unusable(&mut self, path: &Path) {
            self.0.push(path.to_owned());
        }
    }

    fn store(files: &[&str]) -> tempfile::TempDir {
        let prefix = tempfile::tempdir().unwrap();
        for file in files {
            let path = prefix.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        prefix
    }

    fn names(scan: &Scan) -> Vec<String> {
        let mut names = Vec::new();
        let _ = scan.list.walk(Span::default(), |name| {
            names.push(name.to_owned());
            ControlFlow::<()>::Continue(())
        });
        names
    }

    #[test]
    fn only_regular_wsp_files_count_and_come_in_the_byte_order_of_their_names() {
        let prefix = store(&[
            "a.wsp",
            "a/b.wsp",
            "a-b.wsp",
            "a/b/c.wsp",
            "a0/x.wsp",
            "UP.WSP",
            "x.wsp.bak",
            "n",
            ".dot.wsp",
            ".bucky/tombstones/t.wsp",
            "é/ü.wsp",
        ]);
        std::os::unix::fs::symlink("a.wsp", prefix.path().join("link.wsp")).unwrap();
        std::os::unix::fs::symlink("a", prefix.path().join("linkdir")).unwrap();
        fs::create_dir(prefix.path().join("d.wsp")).unwrap();
        let scan = scan(prefix.path(), &mut Ignore).unwrap();
        assert_eq!(names(&scan), ["a", "a-b", "a.b", "a.b.c", "a0.x", "é.ü"]);
        assert_eq!((scan.unusable, scan.unreadable_folders), (0, 0));
    }

    #[test]
    fn d31_files_whose_name_would_mean_another_file_are_unusable_and_not_listed() {
        use std::os::unix::ffi::OsStrExt;
        let prefix = store(&["x.y/z.wsp", "x/y/z.wsp", "p.q.wsp", "new\nline.wsp", "ok.wsp"]);
        fs::write(prefix.path().join(std::ffi::OsStr::from_bytes(b"\xff.wsp")), b"").unwrap();
        let mut collect = Collect::default();
        let scan = scan(prefix.path(), &mut collect).unwrap();
        assert_eq!(names(&scan), ["ok", "x.y.z"]);
        assert_eq!(scan.unusable, 4);
        assert_eq!(collect.0.len(), 4);
        assert!(collect.0.contains(&PathBuf::from("x.y/z.wsp")));
        assert!(collect.0.contains(&PathBuf::from("p.q.wsp")));
    }

    #[test]
    fn tagged_files_named_by_a_hash_are_counted_as_unplaceable() {
        let hash = "0".repeat(64);
        let prefix = store(&[
            &format!("_tagged/000/000/{hash}.wsp"),
            "_tagged/1a2/b3c/disk_DOT_used;a=b.wsp",
        ]);
        let scan = scan(prefix.path(), &mut Ignore).unwrap();
        assert_eq!(scan.list.len(), 2);
        assert_eq!(scan.unplaceable, 1);
    }

    #[test]
    fn d22_a_prefix_that_is_a_link_or_begins_with_a_dot_is_scanned() {
        let prefix = store(&[".store/a.wsp"]);
        let dotted = prefix.path().join(".store");
        let link = prefix.path().join("link");
        std::os::unix::fs::symlink(&dotted, &link).unwrap();
        assert_eq!(names(&scan(&dotted, &mut Ignore).unwrap()), ["a"]);
        assert_eq!(names(&scan(&link, &mut Ignore).unwrap()), ["a"]);
    }

    #[test]
    fn a_prefix_that_cannot_be_read_is_an_error_and_not_an_empty_list() {
        let Err(error) = scan(Path::new("/nowhere/at/all"), &mut Ignore) else { panic!("scanned") };
        assert!(error.to_string().contains("/nowhere/at/all"));
    }
}
