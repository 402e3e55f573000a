//! New files that have no place yet.
//!
//! A new file has no name (`O_TMPFILE`) until it is durable, and is linked into its folder then. So its inode lies near
//! those beside it, the files of one batch wait for no folder that all of them are made in, and what a crash leaves of it
//! is freed by the file system. It has to stay open meanwhile: where descriptors are short, and where the kernel, the
//! file system or the folder does not allow it, a file gets a name in the state folder's `tmp` instead, and is renamed.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, FsWord, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::tree::Tree;

/// Longer files are not kept open for writing: ext4 and XFS set room aside behind one that is, which makes its sync half as
/// long again.
const WRITABLE_MOST_BYTES: usize = 32 * 1024;
/// The file systems of which it is known what they make of files without names, as `statfs(2)` numbers them.
const PROVEN: [FsWord; 3] = [EXT4, XFS, TMPFS];
const EXT4: FsWord = 0xef53;
const XFS: FsWord = 0x5846_5342;
const TMPFS: FsWord = 0x0102_1994;
/// Only for us until it has its owner and mode.
const MODE: Mode = Mode::from_raw_mode(0o600);

/// A new file that is written, and has no place yet.
#[derive(Debug)]
pub(super) enum Unplaced {
    /// It has this name in the state folder's `tmp`.
    Named(PathBuf),
    /// It has none, and is gone when it is closed.
    Unnamed(Unnamed),
}

/// A file without a name.
#[derive(Debug)]
pub(super) struct Unnamed {
    file: File,
    linking: Linking,
    _permit: OwnedSemaphorePermit,
}

/// How a file gets its first name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Linking {
    /// By its descriptor: before Linux 6.10 for privileged processes only.
    Descriptor,
    /// By what `/proc` shows of that.
    Proc,
}

/// Makes files without names, as far as that is possible here.
#[derive(Debug)]
pub(super) struct UnnamedFiles {
    /// None where all have names.
    linking: Option<Linking>,
    /// Where a link has failed since, in another way than the trial's would have.
    has_failed: AtomicBool,
    /// One for each that may be open.
    permits: Arc<Semaphore>,
    /// The mount that the state folder lies on: what comes from another one cannot go there when it leaves.
    mount: Option<u64>,
}

impl UnnamedFiles {
    /// Finds out by a file in `folder`, which gets the name `name` for a moment. No more than `most` are open at once.
    pub(super) fn tried(tree: &Tree, folder: impl AsFd, name: &Path, most: usize) -> Self {
        let linking = if is_proven(tree.root()) { trial(tree, &folder, name) } else { None };
        let (permits, mount) = (Arc::new(Semaphore::new(most)), mount_of(folder));
        Self { linking, has_failed: AtomicBool::new(false), permits, mount }
    }

    /// A new file in `folder`; none where it has to have a name.
    pub(super) fn make(&self, folder: impl AsFd) -> Option<Unnamed> {
        let linking = self.linking.filter(|_| !self.has_failed.load(Ordering::Relaxed))?;
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        let file = make(folder).ok()?;
        let is_here = self.mount.is_some() && mount_of(&file) == self.mount;
        is_here.then_some(Unnamed { file, linking, _permit: permit })
    }

    /// A link has failed although its folder is there: those to come have names, unless a rename would fail so, too.
    pub(super) fn link_failed(&self, errno: Errno) {
        let is_disks = matches!(errno, Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::ROFS);
        if !is_disks && !self.has_failed.swap(true, Ordering::Relaxed) {
            tracing::warn!(error = %errno, "cannot link a new file; from now on new files get a temporary name and \
                                            are renamed");
        }
    }
}

/// Whether power cuts and syncs were tried with files without names on the file system of `root`. Of others, btrfs before Linux
/// 6.17 does not note the content of one whose `fsync` has ended, and ZFS waits for its disks at each link. ext4 with
/// `fast_commit`, which is not its default, may not be mountable after a power cut while any file without a name is open.
fn is_proven(root: &File) -> bool {
    let Ok(stat) = rustix::fs::fstatfs(root) else { return false };
    PROVEN.contains(&stat.f_type) && !(stat.f_type == EXT4 && commits_fast())
}

/// Whether any ext4 does.
fn commits_fast() -> bool {
    let Ok(file_systems) = std::fs::read_dir("/proc/fs/ext4") else { return false };
    file_systems.filter_map(Result::ok).any(|entry| {
        let options = std::fs::read_to_string(entry.path().join("options"));
        options.is_ok_and(|options| options.lines().any(|option| option == "fast_commit"))
    })
}

/// The way in which a file without a name gets one in `folder`.
fn trial(tree: &Tree, folder: impl AsFd, name: &Path) -> Option<Linking> {
    for linking in [Linking::Descriptor, Linking::Proc] {
        let linked = make(&folder).and_then(|file| {
            // As those to come: whose file it is may decide who may link it.
            tree.give_to_owner(&file, name).map_err(|_| Errno::PERM)?;
            linking.link(&file, &folder, name)
        });
        match linked {
            Ok(true) => {
                if let Err(errno) = rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
                    tracing::warn!(file = %name.display(), error = %errno, "cannot remove a temporary file");
                    return None;
                }
                return Some(linking);
            }
            Ok(false) => {}
            Err(errno) => {
                tracing::debug!(?linking, %errno, "the file system has no unnamed temporary files")
            }
        }
    }
    None
}

/// The number of the mount that an open file or folder was reached by; none before Linux 5.8.
pub(super) fn mount_of(file: impl AsFd) -> Option<u64> {
    let found = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
}

impl Unnamed {
    /// The open file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// It is written, and so long. Where it cannot be opened anew it stays as it is.
    pub(super) fn written(&mut self, bytes: usize) {
        if bytes > WRITABLE_MOST_BYTES
            && let Ok(file) = File::open(shown(&self.file))
        {
            self.file = file;
        }
    }

    /// Gives it the name `name` in `folder` if nothing has that. False where something has.
    pub(super) fn put_in_place(&self, folder: impl AsFd, name: &Path) -> Result<bool, Errno> {
        self.linking.link(&self.file, folder, name)
    }
}

impl Linking {
    fn link(self, file: &File, folder: impl AsFd, name: &Path) -> Result<bool, Errno> {
        let linked = match self {
            Self::Descriptor => rustix::fs::linkat(file, "", folder, name, AtFlags::EMPTY_PATH),
            Self::Proc => {
                rustix::fs::linkat(CWD, shown(file), folder, name, AtFlags::SYMLINK_FOLLOW)
            }
        };
        match linked {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

/// Where `/proc` shows an open file.
fn shown(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn make(folder: impl AsFd) -> Result<File, Errno> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::openat(folder, ".", flags, MODE).map(File::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn tried(prefix: &Path, most: usize) -> UnnamedFiles {
        let tree = Tree::open(prefix).unwrap();
        UnnamedFiles::tried(&tree, tree.root(), Path::new("0"), most)
    }

    #[test]
    fn a_file_has_no_name_until_it_is_put_in_place_and_replaces_nothing() {
        let prefix = tempfile::tempdir().unwrap();
        let folder = File::open(prefix.path()).unwrap();
        let mut files = tried(prefix.path(), 1);
        assert!(files.linking.is_some(), "the file system of these tests allows it");
        for linking in [Linking::Descriptor, Linking::Proc] {
            files.linking = Some(linking);
            let unnamed = files.make(&folder).unwrap();
            unnamed.file().write_all(b"content").unwrap();
            assert_eq!(fs::read_dir(prefix.path()).unwrap().count(), 0);
            fs::write(prefix.path().join("taken"), b"older").unwrap();
            // Without privileges the first is for newer kernels.
            match unnamed.put_in_place(&folder, Path::new("taken")) {
                Ok(put) => assert!(!put),
                Err(errno) => {
                    assert_eq!((linking, errno), (Linking::Descriptor, Errno::NOENT));
                    fs::remove_file(prefix.path().join("taken")).unwrap();
                    continue;
                }
            }
            assert!(unnamed.put_in_place(&folder, Path::new("name")).unwrap());
            drop(unnamed);
            assert_eq!(fs::read(prefix.path().join("taken")).unwrap(), b"older");
            assert_eq!(fs::read(prefix.path().join("name")).unwrap(), b"content");
            for name in ["taken", "name"] {
                fs::remove_file(prefix.path().join(name)).unwrap();
            }
        }
    }

    #[test]
    fn no_more_are_open_than_there_are_places() {
        let prefix = tempfile::tempdir().unwrap();
        let folder = File::open(prefix.path()).unwrap();
        let files = tried(prefix.path(), 2);
        let open = [files.make(&folder).unwrap(), files.make(&folder).unwrap()];
        assert!(files.make(&folder).is_none());
        drop(open);
        assert!(files.make(&folder).is_some());
        assert!(tried(prefix.path(), 0).make(&folder).is_none());
    }

    #[test]
    fn a_long_file_is_not_open_for_writing_while_it_waits() {
        let prefix = tempfile::tempdir().unwrap();
        let folder = File::open(prefix.path()).unwrap();
        let files = tried(prefix.path(), 1);
        for (bytes, is_writable) in [(WRITABLE_MOST_BYTES, true), (WRITABLE_MOST_BYTES + 1, false)]
        {
            let mut unnamed = files.make(&folder).unwrap();
            unnamed.file().write_all(&vec![1; bytes]).unwrap();
            unnamed.written(bytes);
            let flags = rustix::fs::fcntl_getfl(unnamed.file()).unwrap();
            assert_eq!(flags.contains(OFlags::RDWR), is_writable, "{bytes}");
            assert_eq!(unnamed.file().metadata().unwrap().len(), bytes as u64);
        }
    }

    #[test]
    fn a_file_behind_another_mount_or_after_a_link_that_failed_has_a_name() {
        let prefix = tempfile::tempdir().unwrap();
        let folder = File::open(prefix.path()).unwrap();
        let mut files = tried(prefix.path(), 2);
        assert!(files.make(&folder).is_some());
        files.mount = files.mount.map(|mount| mount + 1);
        assert!(files.make(&folder).is_none());
        let files = tried(prefix.path(), 2);
        files.link_failed(Errno::NOSPC);
        assert!(files.make(&folder).is_some(), "with a name there were no room either");
        files.link_failed(Errno::PERM);
        assert!(files.make(&folder).is_none());
    }
}
