//! Caches the last folder that was used. Metrics come in the order of their names, and most are in the same
//! folder as the one before. So one look-up from the prefix serves many files.
//!
//! While a folder is open it can be moved, replaced by a link or mounted over, and a task can wait for a lock
//! or a network. Its files would then get another name, or be outside the prefix. So the folder is looked up
//! again after a moment. Slow work then looks up each folder, and it has few files.

use std::cell::RefCell;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bucky_whisper::past_leases;
use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::error::StoreError;
use super::tree::{Tree, open_unnoted, regular};

/// For how long an open folder counts as the one at its path.
const TRUSTED: Duration = Duration::from_millis(50);

/// The last folder of one task.
#[derive(Debug, Default)]
pub(crate) struct FolderCache(RefCell<Option<CachedFolder>>);

#[derive(Debug)]
struct CachedFolder {
    path: PathBuf,
    folder: Arc<OwnedFd>,
    /// Whether it was created when it was looked up.
    is_new: bool,
    looked_up: Instant,
}

impl FolderCache {
    /// Opens the folder `relative`, unless it is the last one.
    fn folder(&self, tree: &Tree, relative: &Path) -> Result<Arc<OwnedFd>, Errno> {
        Ok(self.folder_by(relative, || Ok((tree.folder(relative)?, false)))?.0)
    }

    /// Opens the folder `relative`, and creates it if it does not exist. `true` if it did not exist when it
    /// was looked up.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn make_folder(
        &self,
        tree: &Tree,
        relative: &Path,
    ) -> Result<(Arc<OwnedFd>, bool), StoreError> {
        self.folder_by(relative, || tree.make_folder(relative))
    }

    fn folder_by<E>(
        &self,
        relative: &Path,
        open: impl FnOnce() -> Result<(OwnedFd, bool), E>,
    ) -> Result<(Arc<OwnedFd>, bool), E> {
        if let Some(last) = &*self.0.borrow()
            && last.path == relative
            && last.looked_up.elapsed() < TRUSTED
        {
            return Ok((Arc::clone(&last.folder), last.is_new));
        }
        let looked_up = Instant::now();
        let (folder, is_new) = open()?;
        let folder = Arc::new(folder);
        let last = CachedFolder {
            path: relative.to_owned(),
            folder: Arc::clone(&folder),
            is_new,
            looked_up,
        };
        *self.0.borrow_mut() = Some(last);
        Ok((folder, is_new))
    }

    /// Makes the next use look the folder up again: the last one was empty and was removed.
    pub(super) fn forget(&self) {
        *self.0.borrow_mut() = None;
    }

    /// Calls `act` with the folder of the file `relative` and the file's name in it. If that is not found,
    /// and the folder was removed since it was opened, `act` is called again with the folder that has the
    /// path now.
    pub(super) fn beside<T>(
        &self,
        tree: &Tree,
        relative: &Path,
        act: impl Fn(&OwnedFd, &Path) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let (Some(parent), Some(name)) = (relative.parent(), relative.file_name()) else {
            return Err(Errno::XDEV);
        };
        let folder = self.folder(tree, parent)?;
        match act(&folder, Path::new(name)) {
            Err(Errno::NOENT) if is_removed(&folder)? => {
                self.forget();
                act(&*self.folder(tree, parent)?, Path::new(name))
            }
            done => done,
        }
    }

    /// Opens a file for reading as [`Tree::open_file`] does, with [`open_unnoted`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn open_file(
        &self,
        tree: &Tree,
        relative: &Path,
    ) -> Result<(File, Stat), StoreError> {
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = self.beside(tree, relative, |folder, name| {
            let open = |how| rustix::fs::openat(folder, name, flags | how, Mode::empty());
            past_leases(|| open_unnoted(open))
        });
        regular(opened.map_err(|errno| StoreError::open(relative, errno))?, relative)
    }

    /// The status of what is at `relative`, if anything is. No link is followed.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn stat_at(&self, tree: &Tree, relative: &Path) -> Result<Option<Stat>, Errno> {
        let looked = self.beside(tree, relative, |folder, name| {
            rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        });
        match looked {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

/// Whether an open folder was removed.
pub(super) fn is_removed(folder: &OwnedFd) -> Result<bool, Errno> {
    Ok(rustix::fs::fstat(folder)?.st_nlink == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn opened(folders: &FolderCache, tree: &Tree, path: &str) -> Result<u64, StoreError> {
        let (file, _) = folders.open_file(tree, Path::new(path))?;
        Ok(file.metadata().unwrap().len())
    }

    #[test]
    fn a_folder_that_was_removed_and_created_again_is_looked_up_again() {
        let prefix = tempfile::tempdir().unwrap();
        let (tree, folders) = (Tree::open(prefix.path()).unwrap(), FolderCache::default());
        let folder = prefix.path().join("a/b");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("x.wsp"), b"1").unwrap();
        assert_eq!(opened(&folders, &tree, "a/b/x.wsp").unwrap(), 1);
        fs::remove_dir_all(&folder).unwrap();
        assert!(matches!(opened(&folders, &tree, "a/b/x.wsp"), Err(StoreError::Missing { .. })));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("x.wsp"), b"22").unwrap();
        assert_eq!(opened(&folders, &tree, "a/b/x.wsp").unwrap(), 2);
        assert!(folders.stat_at(&tree, Path::new("a/b/y.wsp")).unwrap().is_none());
        assert!(folders.stat_at(&tree, Path::new("nowhere/y.wsp")).unwrap().is_none());
    }

    #[test]
    fn a_folder_that_was_moved_and_replaced_is_not_used_for_long() {
        let prefix = tempfile::tempdir().unwrap();
        let (tree, folders) = (Tree::open(prefix.path()).unwrap(), FolderCache::default());
        let (folder, moved) = (prefix.path().join("a/b"), prefix.path().join("moved"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("x.wsp"), b"1").unwrap();
        assert_eq!(opened(&folders, &tree, "a/b/x.wsp").unwrap(), 1);
        fs::rename(&folder, &moved).unwrap();
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("x.wsp"), b"22").unwrap();
        std::thread::sleep(TRUSTED);
        assert_eq!(opened(&folders, &tree, "a/b/x.wsp").unwrap(), 2);
        fs::remove_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(&moved, &folder).unwrap();
        std::thread::sleep(TRUSTED);
        assert!(folders.stat_at(&tree, Path::new("a/b/x.wsp")).is_err(), "through a link");
    }

    #[test]
    fn a_reading_is_not_noted_in_the_inode() {
        let prefix = tempfile::tempdir().unwrap();
        let (tree, folders) = (Tree::open(prefix.path()).unwrap(), FolderCache::default());
        let path = prefix.path().join("x.wsp");
        fs::write(&path, b"1").unwrap();
        // Older than the last write: any ordinary read would update it, at least once a day.
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(1_000_000);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_times(fs::FileTimes::new().set_accessed(long_ago)).unwrap();
        let accessed = || fs::metadata(&path).unwrap().accessed().unwrap();
        let before = accessed();
        let (mut file, _) = folders.open_file(&tree, Path::new("x.wsp")).unwrap();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut content).unwrap();
        assert_eq!((content.as_slice(), accessed()), (b"1".as_slice(), before));
    }

    #[test]
    fn no_link_is_followed() {
        let prefix = tempfile::tempdir().unwrap();
        let (tree, folders) = (Tree::open(prefix.path()).unwrap(), FolderCache::default());
        fs::create_dir(prefix.path().join("a")).unwrap();
        fs::write(prefix.path().join("a/x.wsp"), b"1").unwrap();
        std::os::unix::fs::symlink("a", prefix.path().join("linked")).unwrap();
        std::os::unix::fs::symlink("x.wsp", prefix.path().join("a/y.wsp")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", prefix.path().join("z.wsp")).unwrap();
        for path in ["linked/x.wsp", "a/y.wsp", "z.wsp"] {
            let error = opened(&folders, &tree, path).unwrap_err();
            assert!(matches!(error, StoreError::BadPath { .. }), "{path}: {error}");
        }
        assert_eq!(opened(&folders, &tree, "a/x.wsp").unwrap(), 1);
    }
}
