//! Reading whole files, and looking at them.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use bucky_api::archive::FileMeta;
use bucky_whisper::{Digest, MetricName};
use rustix::fs::OFlags;

use super::error::StoreError;
use super::{LockBudget, Store};
use crate::memory::Share;

/// A file as it was at one moment, under its lock.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The whole content.
    pub(crate) content: Vec<u8>,
    /// For as long as the content is in memory.
    pub(crate) share: Share,
    /// Mode and mtime.
    pub(crate) meta: FileMeta,
    /// The digest of the content.
    pub(crate) digest: Digest,
}

/// What `fstat` says of a metric's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStat {
    /// Its length.
    pub(crate) bytes: u64,
    /// Permission bits, setuid and the like included.
    pub(crate) mode: u32,
    /// Last written, in Unix seconds.
    pub(crate) mtime: i64,
}

impl Store {
    /// The whole file of `metric`, read under a shared lock that is released before this returns; with room for a
    /// second copy of it, of somewhat more than its length. That is taken at once: whoever waited for it with the first
    /// in hand might wait for somebody who does the same.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn read_to_copy(&self, metric: &MetricName) -> Result<Snapshot, StoreError> {
        self.read_with(metric, &self.lock_budget(), |bytes| {
            bytes.saturating_mul(2).saturating_add(bytes / 1024 + 4096)
        })
    }

    /// The same for one of many, and without a second copy.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn read_within(
        &self,
        metric: &MetricName,
        budget: &LockBudget,
    ) -> Result<Snapshot, StoreError> {
        self.read_with(metric, budget, |bytes| bytes)
    }

    fn read_with(
        &self,
        metric: &MetricName,
        budget: &LockBudget,
        takes: impl Fn(u64) -> u64,
    ) -> Result<Snapshot, StoreError> {
        let path = metric.relative_path();
        let file = self.tree.open_file(&path, OFlags::RDONLY)?;
        // Before the lock: nobody who waits for it is to wait for memory too.
        let bytes = takes(self.len_bytes(&file, &path)?);
        let share = self.options.memory.sending.share_blocking(bytes);
        let share = share.map_err(|source| StoreError::NoMemory { path: path.clone(), source })?;
        self.lock_shared(&file, &path, budget)?;
        self.snapshot(&file, &path, share)
    }

    /// Length, mode and mtime of `metric`'s file; takes no lock.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn stat(&self, metric: &MetricName) -> Result<FileStat, StoreError> {
        let path = metric.relative_path();
        let fd: OwnedFd = self
            .tree
            .open_at(&path, OFlags::PATH, rustix::fs::Mode::empty())
            .map_err(|errno| StoreError::open(&path, errno))?;
        let stat =
            rustix::fs::fstat(&fd).map_err(|errno| StoreError::io("look at", &path, errno))?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
            return Err(StoreError::NotAFile { path, what: "something else" });
        }
        Ok(FileStat {
            bytes: u64::try_from(stat.st_size).unwrap_or(0),
            mode: stat.st_mode & 0o7777,
            mtime: stat.st_mtime,
        })
    }

    /// The content of an open, locked file.
    pub(super) fn snapshot(
        &self,
        file: &File,
        path: &Path,
        share: Share,
    ) -> Result<Snapshot, StoreError> {
        let failed = |source| StoreError::io("read", path, source);
        let meta = file.metadata().map_err(failed)?;
        let content = self.content(file, path)?;
        use std::os::unix::fs::MetadataExt;
        Ok(Snapshot {
            meta: FileMeta {
                mode: meta.mode() & 0o7777,
                mtime: u64::try_from(meta.mtime()).unwrap_or(0),
            },
            digest: Digest::of(&content),
            content,
            share,
        })
    }

    /// The digest of an open, locked file, which is not held.
    pub(super) fn digest(&self, file: &File, path: &Path) -> Result<Digest, StoreError> {
        let bytes = self.len_bytes(file, path)?;
        let digest = Digest::read(file.take(bytes.saturating_add(1)));
        Ok(digest.map_err(|source| StoreError::io("read", path, source))?.0)
    }

    /// The length of an open file, which has to be within the limit.
    pub(super) fn len_bytes(&self, file: &File, path: &Path) -> Result<u64, StoreError> {
        let metadata = file.metadata().map_err(|source| StoreError::io("read", path, source))?;
        let (bytes, limit) = (metadata.len(), self.options.file_limit_bytes);
        if bytes > limit {
            return Err(StoreError::TooLarge { path: path.into(), bytes, limit });
        }
        Ok(bytes)
    }

    /// All bytes of an open file, from its start; refused where it is longer than the limit. The caller has its share.
    pub(super) fn content(&self, mut file: &File, path: &Path) -> Result<Vec<u8>, StoreError> {
        let failed = |source| StoreError::io("read", path, source);
        let limit = self.options.file_limit_bytes;
        let bytes = self.len_bytes(file, path)?;
        let too_large = |bytes| StoreError::TooLarge { path: path.into(), bytes, limit };
        let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0).saturating_add(1));
        std::io::Seek::rewind(&mut file).map_err(failed)?;
        file.take(limit + 1).read_to_end(&mut content).map_err(failed)?;
        if content.len() as u64 > limit {
            return Err(too_large(content.len() as u64));
        }
        Ok(content)
    }
}
