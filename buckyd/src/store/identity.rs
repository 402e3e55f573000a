//! Which folder a path leads to, told by device and inode.
//!
//! A disk that is mounted on a folder, or a link that is exchanged, gives a path another folder while a descriptor stays
//! with the old one. What is written by the descriptor then lies where nobody sees it, so the two are compared before
//! anything is written or deleted.

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
    /// The folder that is open.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn of(folder: impl AsFd) -> Result<Self, Errno> {
        rustix::fs::fstat(folder).map(|stat| Self::from_stat(&stat))
    }

    /// The folder that `path` leads to now.
    ///
    /// # Errors
    /// What the system says.
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
