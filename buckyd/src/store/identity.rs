//! The identity of the folder at a path, by device and inode.
//!
//! If a disk is mounted on a folder, or a link is changed, the path leads to another folder, while a
//! descriptor stays with the old one. Files written through the descriptor would then not be visible. So the
//! two are compared before anything is written or deleted.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::Stat;
use rustix::io::Errno;

/// One folder of one file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FolderId {
    device: u64,
    inode: u64,
}

impl FolderId {
    /// The identity of the open folder.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn of(folder: impl AsFd) -> Result<Self, Errno> {
        rustix::fs::fstat(folder).map(|stat| Self::from_stat(&stat))
    }

    /// The identity of the folder at `path` now.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn at(path: &Path) -> Result<Self, Errno> {
        rustix::fs::stat(path).map(|stat| Self::from_stat(&stat))
    }

    /// The number of its file system.
    pub(crate) fn device(self) -> u64 {
        self.device
    }

    fn from_stat(stat: &Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}
