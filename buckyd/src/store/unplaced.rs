//! New files that are not in their place yet.
//!
//! A new file has no name (`O_TMPFILE`) until it is durable, and is then linked into its folder. So its inode
//! is near those beside it, the files of one batch do not contend for one temporary folder, and the file
//! system frees what a crash leaves. The file must stay open in the meantime. If descriptors are scarce, or
//! if the kernel, the file system or the folder does not allow it, a file gets a name in the state folder's
//! `tmp` instead, and is renamed.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, FsWord, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::tree::Tree;

/// Longer files are not kept open for writing. ext4 and XFS reserve space behind a file that is, which makes
/// its sync take half as long again.
const WRITABLE_MOST_BYTES: usize = 32 * 1024;
/// The file systems whose handling of files without names was tested, by their numbers in `statfs(2)`.
const PROVEN: [FsWord; 3] = [EXT4, XFS, TMPFS];
const EXT4: FsWord = 0xef53;
const XFS: FsWord = 0x5846_5342;
const TMPFS: FsWord = 0x0102_1994;
/// Only for this daemon, until the file has its owner and mode.
const MODE: Mode = Mode::from_raw_mode(0o600);

/// A new file that is written, and not in its place yet.
#[derive(Debug)]
pub(super) enum Unplaced {
    /// It has this name in the state folder's `tmp`.
    Named(PathBuf),
    /// It has no name, and disappears when it is closed.
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
    /// By its descriptor. Before Linux 6.10 only privileged processes may do so.
    Descriptor,
    /// By its path in `/proc`.
    Proc,
}

/// Creates files without names, if that is possible here.
#[derive(Debug)]
pub(super) struct UnnamedFiles {
    /// `None` if all files must have names.
    linking: Option<Linking>,
    /// Whether a link has failed since then, in a way that the trial did not show.
    has_failed: AtomicBool,
    /// One for each file that may be open.
    permits: Arc<Semaphore>,
    /// The mount of the state folder. A file from another mount cannot be moved there later.
    mount: Option<u64>,
}

impl UnnamedFiles {
    /// Finds out with a trial file in `folder`, which is linked as `name` for a moment. At most `most` files
    /// are open at once.
    pub(super) fn with_trial(tree: &Tree, folder: impl AsFd, name: &Path, most: usize) -> Self {
        let linking = if is_proven(tree.root()) { trial(tree, &folder, name) } else { None };
        let (permits, mount) = (Arc::new(Semaphore::new(most)), mount_of(folder));
        Self { linking, has_failed: AtomicBool::new(false), permits, mount }
    }

    /// A new file in `folder`. `None` if it must have a name.
    pub(super) fn make(&self, folder: impl AsFd) -> Option<Unnamed> {
        let linking = self.linking.filter(|_| !self.has_failed.load(Ordering::Relaxed))?;
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        let file = make(folder).ok()?;
        let is_here = self.mount.is_some() && mount_of(&file) == self.mount;
        is_here.then_some(Unnamed { file, linking, _permit: permit })
    }

    /// A link has failed although its folder exists. Later files get names, unless a rename would fail in the
    /// same way.
    pub(super) fn link_failed(&self, errno: Errno) {
        let is_disks = matches!(errno, Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::ROFS);
        if !is_disks && !self.has_failed.swap(true, Ordering::Relaxed) {
            tracing::warn!(error = %errno, "cannot link a new file; from now on new files get a temporary name and \
                                            are renamed");
        }
    }
}

/// Whether power failures and syncs were tested with files without names on the file system of `root`. Others
/// are not safe or not fast: btrfs before Linux 6.17 does not record the content of such a file after its
/// `fsync`, and ZFS waits for its disks at each link. ext4 with `fast_commit`, which is not the default, may
/// not be mountable after a power failure while any file without a name is open.
fn is_proven(root: &File) -> bool {
    let Ok(stat) = rustix::fs::fstatfs(root) else { return false };
    PROVEN.contains(&stat.f_type) && !(stat.f_type == EXT4 && commits_fast())
}

/// Whether any mounted ext4 uses `fast_commit`.
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
            // As for later files: the owner of a file may decide who may link it.
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

/// The number of the mount through which a file or folder was opened. `None` before Linux 5.8.
pub(super) fn mount_of(file: impl AsFd) -> Option<u64> {
    let found = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
}

impl Unnamed {
    /// The open file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The file is written, with this length. If it cannot be reopened, it stays open as it is.
    pub(super) fn written(&mut self, bytes: usize) {
        if bytes > WRITABLE_MOST_BYTES
            && let Ok(file) = File::open(shown(&self.file))
        {
            self.file = file;
        }
    }

    /// Links it as `name` in `folder` unless that name exists. `false` if it exists.
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

/// The path in `/proc` of an open file.
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

    fn with_trial(prefix: &Path, most: usize) -> UnnamedFiles {
        let tree = Tree::open(prefix).unwrap();
        UnnamedFiles::with_trial(&tree, tree.root(), Path::new("0"), most)
    }

    #[test]
    fn a_file_has_no_name_until_it_is_put_in_place_and_replaces_nothing() {
        let prefix = tempfile::tempdir().unwrap();
        let folder = File::open(prefix.path()).unwrap();
        let mut files = with_trial(prefix.path(), 1);
        assert!(files.linking.is_some(), "the file system of these tests allows it");
        for linking in [Linking::Descriptor, Linking::Proc] {
            files.linking = Some(linking);
            let unnamed = files.make(&folder).unwrap();
            unnamed.file().write_all(b"content").unwrap();
            assert_eq!(fs::read_dir(prefix.path()).unwrap().count(), 0);
            fs::write(prefix.path().join("taken"), b"older").unwrap();
            // For an unprivileged process, linking by descriptor needs a newer kernel.
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
    fn no_more_are_open_than_there_are_permits() {
        let prefix = tempfile::tempdir().unwrap();
        let folder = File::open(prefix.path()).unwrap();
        let files = with_trial(prefix.path(), 2);
        let open = [files.make(&folder).unwrap(), files.make(&folder).unwrap()];
        assert!(files.make(&folder).is_none());
        drop(open);
        assert!(files.make(&folder).is_some());
        assert!(with_trial(prefix.path(), 0).make(&folder).is_none());
    }

    #[test]
    fn a_long_file_is_not_open_for_writing_while_it_waits() {
        let prefix = tempfile::tempdir().unwrap();
        let folder = File::open(prefix.path()).unwrap();
        let files = with_trial(prefix.path(), 1);
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
        let mut files = with_trial(prefix.path(), 2);
        assert!(files.make(&folder).is_some());
        files.mount = files.mount.map(|mount| mount + 1);
        assert!(files.make(&folder).is_none());
        let files = with_trial(prefix.path(), 2);
        files.link_failed(Errno::NOSPC);
        assert!(files.make(&folder).is_some(), "with a name there were no room either");
        files.link_failed(Errno::PERM);
        assert!(files.make(&folder).is_none());
    }
}
