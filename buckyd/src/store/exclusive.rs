//! Keeps a second daemon away from the same files: from the same folder, from one above it and from one below
//! it.
//!
//! The locks are on the folders themselves, so that no link, bind mount or other `--state-dir` avoids them.
//! There is an exclusive lock on the folder that is served, and a shared lock on each folder above it, also
//! as other mounts show them. Two daemons in different folders share the locks above. A daemon that wants to
//! serve a folder above finds it locked. `.bucky/lock` is checked too: daemons before 0.2 lock nothing else.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::error::StoreError;
use super::identity::FolderId;
use super::mount_table::Mounts;
use super::unplaced::mount_of;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// The name of the state folder below the prefix.
pub(super) const DEFAULT_NAME: &str = ".bucky";
/// The lock file in it. The one below the prefix is locked even if the state folder is elsewhere.
pub(super) const LOCK: &str = "lock";

/// Proof that no other daemon serves a folder, or one above or below it, for as long as this lives.
pub(super) struct Exclusive {
    locks: Vec<File>,
}

impl Exclusive {
    /// Locks the open folder `root`, which is at `path`.
    ///
    /// # Errors
    /// [`StoreError::Served`] if another daemon serves it, or one above or below it.
    pub(super) fn take(root: &File, path: &Path) -> Result<Self, StoreError> {
        let mut exclusive = Self::take_mounted(root, path)?;
        lock_above(root, path, &mut exclusive.locks)?;
        Ok(exclusive)
    }

    /// Locks the open folder `root`, which is mounted in one that this daemon has locked.
    ///
    /// # Errors
    /// [`StoreError::Served`].
    pub(super) fn take_mounted(root: &File, path: &Path) -> Result<Self, StoreError> {
        let own = rustix::fs::openat(root, ".", OFlags::RDONLY | FOLDER, Mode::empty())
            .map_err(|errno| StoreError::io("open the prefix", path, errno))?;
        let own = File::from(own);
        if !lock(&own, FlockOperation::NonBlockingLockExclusive) {
            // Daemons that serve a folder below this one share this lock.
            let is_below = lock(&own, FlockOperation::NonBlockingLockShared);
            let whose = if is_below { "a folder below it" } else { "it" };
            return Err(StoreError::Served { path: path.into(), whose: whose.into() });
        }
        let mut locks = vec![own];
        lock_above_by_other_mounts(root, path, &mut locks)?;
        Ok(Self { locks })
    }
}

/// Takes shared locks on all folders above `root`. A folder that cannot be read is skipped.
fn lock_above(root: &File, path: &Path, locks: &mut Vec<File>) -> Result<(), StoreError> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut above = real.ancestors().skip(1);
    let mut folder: Option<OwnedFd> = None;
    loop {
        let at = folder.as_ref().map_or(root.as_fd(), AsFd::as_fd);
        let Ok(parent) = rustix::fs::openat(at, "..", OFlags::PATH | FOLDER, Mode::empty()) else {
            return Ok(());
        };
        // The root is its own parent.
        if same(&parent, at) {
            return Ok(());
        }
        let shown = above.next().map_or_else(|| PathBuf::from("/"), Path::to_owned);
        let readable = rustix::fs::openat(at, "..", OFlags::RDONLY | FOLDER, Mode::empty());
        let lock_file = Path::new(DEFAULT_NAME).join(LOCK);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let lock_file = rustix::fs::openat(&parent, &lock_file, flags, Mode::empty());
        for file in readable.into_iter().chain(lock_file).map(File::from) {
            if !lock(&file, FlockOperation::NonBlockingLockShared) {
                let whose = format!("{}, which is above it,", shown.display());
                return Err(StoreError::Served { path: path.into(), whose });
            }
            locks.push(file);
        }
        folder = Some(parent);
    }
}

/// Takes shared locks on the folders above `root` in its file system, as other mounts show them. A daemon
/// that serves one of these has the files of `root` too.
fn lock_above_by_other_mounts(
    root: &File,
    path: &Path,
    locks: &mut Vec<File>,
) -> Result<(), StoreError> {
    let mounts = Mounts::read();
    let Some(position) = mounts.position_of(root) else { return Ok(()) };
    for (mount, above) in mounts.above_elsewhere(&position) {
        let Ok(folder) = rustix::fs::open(&above, OFlags::RDONLY | FOLDER, Mode::empty()) else {
            continue;
        };
        // Another file system may be mounted over it.
        if mount_of(&folder) != Some(mount) {
            continue;
        }
        let folder = File::from(folder);
        if !lock(&folder, FlockOperation::NonBlockingLockShared) {
            let whose = format!("{}, which is above it by another mount,", above.display());
            return Err(StoreError::Served { path: path.into(), whose });
        }
        locks.push(folder);
    }
    Ok(())
}

fn same(one: impl AsFd, other: impl AsFd) -> bool {
    matches!((FolderId::of(one), FolderId::of(other)), (Ok(one), Ok(other)) if one == other)
}

/// Whether another daemon serves the open folder.
pub(crate) fn is_served(folder: impl AsFd) -> bool {
    let locked = rustix::fs::flock(&folder, FlockOperation::NonBlockingLockShared);
    if locked.is_ok() {
        let _ = rustix::fs::flock(&folder, FlockOperation::Unlock);
    }
    locked == Err(Errno::WOULDBLOCK)
}

/// `false` if another process holds the lock. A file system that does not support such locks is skipped.
fn lock(file: &File, operation: FlockOperation) -> bool {
    match rustix::fs::flock(file, operation) {
        Err(Errno::WOULDBLOCK) => false,
        Ok(()) => true,
        Err(errno) => {
            tracing::debug!(error = %errno, "a folder cannot be locked");
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tree::Tree;

    fn take(path: &Path) -> Result<Exclusive, StoreError> {
        Exclusive::take(Tree::open(path)?.root(), path)
    }

    fn refusal(path: &Path) -> String {
        take(path).err().expect("a second daemon").to_string()
    }

    #[test]
    fn a_folder_is_served_once_and_so_is_all_above_and_below_it() {
        let parent = tempfile::tempdir().unwrap();
        let served = parent.path().join("served");
        let below = served.join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        std::fs::create_dir(parent.path().join("beside")).unwrap();
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&served, &link).unwrap();
        let first = take(&served).unwrap();
        assert!(refusal(&served).contains("another buckyd already serves it"));
        assert!(refusal(&link).contains("another buckyd already serves it"));
        assert!(refusal(&below).contains(&format!("serves {}, which is above", served.display())));
        assert!(refusal(parent.path()).contains("already serves a folder below it"));
        let beside = take(&parent.path().join("beside")).unwrap();
        drop((first, beside));
        drop(take(&below).unwrap());
        drop(take(parent.path()).unwrap());
    }

    #[test]
    fn a_daemon_that_locks_only_its_lock_file_is_noticed_above() {
        let above = tempfile::tempdir().unwrap();
        let below = above.path().join("a");
        std::fs::create_dir(&below).unwrap();
        std::fs::create_dir(above.path().join(".bucky")).unwrap();
        let older = File::create(above.path().join(".bucky/lock")).unwrap();
        assert!(lock(&older, FlockOperation::NonBlockingLockExclusive));
        assert!(refusal(&below).contains("which is above it"));
        drop(older);
        take(&below).unwrap();
    }
}
