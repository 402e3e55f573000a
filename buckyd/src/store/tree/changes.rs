//! Changes of the tree: creating and removing folders, putting files in place, and making that durable.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::{FOLDER_MODE, Tree};
use crate::store::error::StoreError;

impl Tree {
    /// Opens the folder `relative`, and creates it and those above it if they do not exist. `true` if it did
    /// not exist.
    ///
    /// # Errors
    /// [`StoreError`]. [`StoreError::Missing`] if an empty folder was removed while the one below it was
    /// created.
    pub(crate) fn make_folder(&self, relative: &Path) -> Result<(OwnedFd, bool), StoreError> {
        let mut above = relative.ancestors();
        let mut missing = Vec::new();
        let mut folder = loop {
            let path = above.next().unwrap_or(Path::new(""));
            match self.folder(path) {
                Ok(folder) => break folder,
                Err(Errno::NOENT) if !path.as_os_str().is_empty() => missing.push(path),
                Err(errno) => return Err(StoreError::open(path, errno)),
            }
        };
        let is_new = !missing.is_empty();
        for path in missing.into_iter().rev() {
            folder = self.make_folder_in(&folder, path).inspect_err(|_| {
                // Those above it that were already created, and are empty.
                self.prune_folders(path);
            })?;
        }
        Ok((folder, is_new))
    }

    /// Creates the folder `path`, whose parent is open, and opens it.
    fn make_folder_in(&self, parent: &OwnedFd, path: &Path) -> Result<OwnedFd, StoreError> {
        let name = Path::new(path.file_name().unwrap_or_default());
        match rustix::fs::mkdirat(parent, name, FOLDER_MODE) {
            Ok(()) => {
                if let Some((uid, gid)) = self.owner {
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    rustix::fs::chownat(parent, name, Some(uid), Some(gid), flags)
                        .map_err(|errno| StoreError::io("set the owner of", path, errno))?;
                }
            }
            Err(Errno::EXIST) => {}
            Err(Errno::NOENT) => return Err(StoreError::open(path, Errno::NOENT)),
            Err(errno) => return Err(StoreError::io("create the folder", path, errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(parent, name, flags, Mode::empty())
            .map_err(|errno| StoreError::open(path, errno))
    }

    /// Gives a file that the daemon created to the prefix's owner, if the daemon runs as root.
    pub(crate) fn give_to_owner(&self, file: &File, path: &Path) -> Result<(), StoreError> {
        let Some((uid, gid)) = self.owner else { return Ok(()) };
        rustix::fs::fchown(file, Some(uid), Some(gid))
            .map_err(|errno| StoreError::io("set the owner of", path, errno))
    }

    /// Moves `from_name` in `from` to `to_name` in `to` unless that name exists. `false` if it exists.
    pub(crate) fn put_in_place(
        from: impl AsFd,
        from_name: &Path,
        to: impl AsFd,
        to_name: &Path,
    ) -> Result<bool, Errno> {
        let (from, to) = (from.as_fd(), to.as_fd());
        match rustix::fs::renameat_with(from, from_name, to, to_name, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            // For file systems (NFS) and old kernels without it: a hard link never replaces anything either.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                match rustix::fs::linkat(from, from_name, to, to_name, AtFlags::empty()) {
                    Ok(()) => {
                        // The file is in place, whether or not this succeeds. The next start removes a name
                        // that is left.
                        let _ = rustix::fs::unlinkat(from, from_name, AtFlags::empty());
                        Ok(true)
                    }
                    Err(Errno::EXIST) => Ok(false),
                    Err(errno) => Err(errno),
                }
            }
            Err(errno) => Err(errno),
        }
    }

    /// Removes the empty folders of `relative`'s file, from the innermost out, never the prefix itself.
    ///
    /// A folder that cannot be removed stays, without a message: usually it is not empty. One that is already
    /// gone is skipped: a daemon that was killed between two of them has left the outer ones.
    pub(crate) fn prune_folders(&self, relative: &Path) {
        for path in relative.ancestors().skip(1).take_while(|path| *path != self.at) {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return };
            let removed = self.folder(parent).and_then(|parent| {
                rustix::fs::unlinkat(&parent, Path::new(name), AtFlags::REMOVEDIR)
            });
            if !matches!(removed, Ok(()) | Err(Errno::NOENT)) {
                return;
            }
        }
    }

    /// Whether `file` is on another file system, mounted below the prefix. [`Self::sync_all`] does not cover
    /// that one.
    pub(crate) fn is_elsewhere(&self, file: &File) -> Result<bool, Errno> {
        Ok(rustix::fs::fstat(file)?.st_dev != rustix::fs::fstat(&self.root)?.st_dev)
    }

    /// Makes everything on the prefix's file system durable.
    pub(crate) fn sync_all(&self) -> Result<(), Errno> {
        rustix::fs::syncfs(&self.root)
    }

    /// Makes the entries of the folder of `relative`, which was just put there, and of all folders above it
    /// durable.
    ///
    /// # Errors
    /// [`StoreError::Deleted`] if a folder has gone: another process has deleted the file and its empty
    /// folder.
    pub(crate) fn sync_folders_of(&self, relative: &Path) -> Result<(), StoreError> {
        let folders = relative.ancestors().skip(1);
        for folder in folders.take_while(|folder| folder.starts_with(&self.at)) {
            self.folder(folder).and_then(rustix::fs::fsync).map_err(|errno| match errno {
                Errno::NOENT => StoreError::Deleted { path: relative.into() },
                errno => StoreError::io("sync the folder", folder, errno),
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_made_leaves_none_of_those_above_it() {
        let prefix = tempfile::tempdir().unwrap();
        let tree = Tree::open(prefix.path()).unwrap();
        let too_long = Path::new("a/b").join("c".repeat(300)).join("d");
        assert!(tree.make_folder(&too_long).is_err());
        assert!(!prefix.path().join("a").exists());
        let (_, is_new) = tree.make_folder(Path::new("a/b")).unwrap();
        assert!(is_new && prefix.path().join("a/b").is_dir());
        let (_, is_new) = tree.make_folder(Path::new("a/b")).unwrap();
        assert!(!is_new);
    }
}
