//! New files that have no place yet.
//!
//! A new file has no name (`O_TMPFILE`) until it is durable, and is linked into its folder then. So its inode lies near
//! those beside it, the files of one batch wait for no folder that all of them are made in, and what a crash leaves of it
//! is freed by the file system. It has to stay open meanwhile: where descriptors are short, and where the kernel, the
//! file system or the folder does not allow it, a file gets a name in the state folder's `tmp` instead, and is renamed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::tree::Tree;

/// Longer files are not kept open for writing: ext4 and XFS set room aside behind one that is, which makes its sync half as
/// long again.
const WRITABLE_MOST_BYTES: usize = 32 * 1024;
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
    _place: OwnedSemaphorePermit,
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
    linking: Option<Linking>,
    /// One for each that may be open.
    places: Arc<Semaphore>,
    /// The number of the file system that is synced.
    device: u64,
}

impl UnnamedFiles {
    /// Finds out by a file in `folder`, which gets the name `name` for a moment. No more than `most` are open at once.
    ///
    /// # Errors
    /// What the system says where the trial's name cannot be removed again.
    pub(super) fn tried(
        tree: &Tree,
        folder: impl AsFd,
        name: &Path,
        most: usize,
    ) -> io::Result<Self> {
        let mut linking = None;
        for candidate in [Linking::Descriptor, Linking::Proc] {
            let made = make(&folder).and_then(|file| {
                // As those to come: whose file it is may decide who may link it.
                let given = tree.give_to_owner(&file, name);
                given.map_err(|_| Errno::PERM)?;
                candidate.link(&file, &folder, name)
            });
            match made {
                Ok(true) => {
                    rustix::fs::unlinkat(&folder, name, AtFlags::empty())?;
                    linking = Some(candidate);
                    break;
                }
                Ok(false) => {}
                Err(errno) => tracing::debug!(?candidate, %errno, "no file without a name"),
            }
        }
        let device = rustix::fs::fstat(tree.root())?.st_dev;
        Ok(Self { linking, places: Arc::new(Semaphore::new(most)), device })
    }

    /// A new file in `folder`; none where it has to have a name.
    pub(super) fn make(&self, folder: impl AsFd) -> Option<Unnamed> {
        let linking = self.linking?;
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let file = make(folder).ok()?;
        // What is mounted below the prefix is not synced with it: the rename tells of that.
        let is_here = rustix::fs::fstat(&file).is_ok_and(|stat| stat.st_dev == self.device);
        is_here.then_some(Unnamed { file, linking, _place: place })
    }
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
        UnnamedFiles::tried(&tree, tree.root(), Path::new("0"), most).unwrap()
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
    fn a_file_on_another_file_system_has_a_name() {
        let prefix = tempfile::tempdir().unwrap();
        let mut files = tried(prefix.path(), 2);
        files.device += 1;
        assert!(files.make(File::open(prefix.path()).unwrap()).is_none());
    }
}
