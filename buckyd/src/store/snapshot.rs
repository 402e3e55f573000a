//! Reading whole files, and their status.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::SystemTime;

use bucky_api::archive::FileMeta;
use bucky_whisper::{Digest, MetricName};
use rustix::fs::{OFlags, Stat};

use super::error::StoreError;
use super::folder_cache::FolderCache;
use super::stamp::Stamp;
use super::volume::Volume;
use super::{LockBudget, Store};
use crate::memory::Share;

/// The largest buffer that is kept for the next file.
const SPARE_LIMIT_BYTES: usize = 512 * 1024;

/// A file as it was at one moment, under its lock.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The whole content.
    pub(crate) content: Vec<u8>,
    /// Held while the content is in memory.
    pub(crate) share: Share,
    /// Mode and mtime.
    pub(crate) meta: FileMeta,
    /// Whether the file has holes.
    pub(crate) is_sparse: bool,
    /// The stamp that the file keeps unless a process writes to it. `None` if the file is too young for that.
    pub(crate) settled: Option<Stamp>,
}

impl Snapshot {
    /// The digest of the content.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.content)
    }
}

/// Reads many files, one after the other. The folder of the last one stays open, and its buffer is reused.
pub(crate) struct VolumeReader<'s> {
    store: Volume<'s>,
    locks: LockBudget,
    folders: FolderCache,
    spare: Vec<u8>,
}

impl<'s> VolumeReader<'s> {
    /// A reader that has read nothing yet.
    pub(crate) fn new(store: impl Into<Volume<'s>>) -> Self {
        let store = store.into();
        let (locks, folders, spare) = (store.lock_budget(), FolderCache::default(), Vec::new());
        Self { store, locks, folders, spare }
    }

    /// Whether the reader belongs to this volume.
    pub(super) fn is_of(&self, store: &Store) -> bool {
        std::ptr::eq(&*self.store, store)
    }

    /// The whole file of `metric`, read under a shared lock that is released before this returns.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn read(&mut self, metric: &MetricName) -> Result<Snapshot, StoreError> {
        let path = metric.relative_path();
        let (file, stat) = self.folders.open_file(&self.store.tree, &path)?;
        self.read_open(&file, &stat, &path)
    }

    /// The whole content of an open file, whose status is `stat`.
    pub(super) fn read_open(
        &mut self,
        file: &File,
        stat: &Stat,
        path: &Path,
    ) -> Result<Snapshot, StoreError> {
        // Before the lock, because others that wait for the lock must not wait for memory too.
        let bytes = self.store.within_limit(stat, path)?;
        let share = self.store.options.memory.sending.share_blocking(bytes);
        let share = share.map_err(|source| StoreError::NoMemory { path: path.into(), source })?;
        self.store.lock_shared(file, path, &self.locks)?;
        self.store.snapshot(file, path, share, std::mem::take(&mut self.spare))
    }

    /// Takes back a buffer for the next file.
    pub(crate) fn give_back(&mut self, snapshot: Snapshot) {
        if snapshot.content.capacity() <= SPARE_LIMIT_BYTES {
            self.spare = snapshot.content;
        }
    }
}

/// The status of a metric's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStat {
    /// Its length.
    pub(crate) bytes: u64,
    /// Permission bits, including setuid and the like.
    pub(crate) mode: u32,
    /// Last written, in Unix seconds.
    pub(crate) mtime: i64,
}

/// Whether the file of `stat` takes less space than its length.
pub(super) fn is_sparse(stat: &Stat) -> bool {
    stat.st_blocks.saturating_mul(512) < stat.st_size
}

impl Store {
    /// The whole file of `metric`, read under a shared lock that is released before this returns. Its share
    /// has memory for a second, slightly longer copy. Both are taken at once, because a request that waited
    /// for the second with the first in hand could block others that do the same.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn read_to_copy(&self, metric: &MetricName) -> Result<Snapshot, StoreError> {
        let path = metric.relative_path();
        let (file, stat) = FolderCache::default().open_file(&self.tree, &path)?;
        let bytes = self.within_limit(&stat, &path)?;
        // Before the lock, because others that wait for the lock must not wait for memory too.
        let takes = bytes.saturating_mul(2).saturating_add(bytes / 1024 + 4096);
        let share = self.options.memory.sending.share_blocking(takes);
        let share = share.map_err(|source| StoreError::NoMemory { path: path.clone(), source })?;
        self.lock_shared(&file, &path, &self.lock_budget())?;
        self.snapshot(&file, &path, share, Vec::new())
    }

    /// Length, mode and mtime of `metric`'s file. Takes no lock.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn stat(&self, metric: &MetricName) -> Result<FileStat, StoreError> {
        let path = metric.relative_path();
        let fd: OwnedFd = self
            .tree
            .open_at(&path, OFlags::PATH, rustix::fs::Mode::empty())
            .map_err(|errno| StoreError::open(&path, errno))?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| StoreError::io("stat", &path, errno))?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
            return Err(StoreError::NotAFile { path, what: "something else" });
        }
        Ok(FileStat {
            bytes: u64::try_from(stat.st_size).unwrap_or(0),
            mode: stat.st_mode & 0o7777,
            mtime: stat.st_mtime,
        })
    }

    /// The content of an open, locked file, read into `buffer`.
    pub(super) fn snapshot(
        &self,
        file: &File,
        path: &Path,
        share: Share,
        mut buffer: Vec<u8>,
    ) -> Result<Snapshot, StoreError> {
        let now = SystemTime::now();
        let stat = rustix::fs::fstat(file).map_err(|errno| StoreError::io("stat", path, errno))?;
        let bytes = self.within_limit(&stat, path)?;
        self.read_into(&mut buffer, file, bytes, path)?;
        let stamp = Stamp::of(&stat);
        Ok(Snapshot {
            meta: FileMeta {
                mode: stat.st_mode & 0o7777,
                mtime: u64::try_from(stat.st_mtime).unwrap_or(0),
            },
            is_sparse: is_sparse(&stat),
            settled: (self.timed_device == Some(stat.st_dev) && stamp.is_settled(now))
                .then_some(stamp),
            content: buffer,
            share,
        })
    }

    /// Records the digest of a file that was read, because the client may soon ask to delete it.
    pub(crate) fn remember(&self, snapshot: &Snapshot, digest: Digest) {
        if let Some(stamp) = snapshot.settled {
            self.remembered.note(stamp, digest);
        }
    }

    /// The digest of an open, locked file, which is not held in memory.
    pub(super) fn digest(&self, file: &File, path: &Path) -> Result<Digest, StoreError> {
        let stat = rustix::fs::fstat(file).map_err(|errno| StoreError::io("read", path, errno))?;
        let bytes = u64::try_from(stat.st_size).unwrap_or(0);
        let digest = Digest::read(file.take(bytes.saturating_add(1)), bytes);
        Ok(digest.map_err(|source| StoreError::io("read", path, source))?.0)
    }

    /// The length of an open file, which must be within the limit.
    pub(super) fn len_bytes(&self, file: &File, path: &Path) -> Result<u64, StoreError> {
        let stat = rustix::fs::fstat(file).map_err(|errno| StoreError::io("read", path, errno))?;
        self.within_limit(&stat, path)
    }

    /// The length of the file of `stat`, which must be within the limit.
    fn within_limit(&self, stat: &Stat, path: &Path) -> Result<u64, StoreError> {
        let (bytes, limit) = (u64::try_from(stat.st_size).unwrap_or(0), self.file_limit_bytes());
        if bytes > limit {
            return Err(StoreError::TooLarge { path: path.into(), bytes, limit });
        }
        Ok(bytes)
    }

    /// All bytes of an open file, from its start. Refused if it is longer than the limit. The caller holds
    /// its share.
    pub(super) fn content(&self, mut file: &File, path: &Path) -> Result<Vec<u8>, StoreError> {
        let bytes = self.len_bytes(file, path)?;
        std::io::Seek::rewind(&mut file).map_err(|source| StoreError::io("read", path, source))?;
        let mut content = Vec::new();
        self.read_into(&mut content, file, bytes, path)?;
        Ok(content)
    }

    /// Reads the rest of a file, about `len` bytes, into `buffer`, replacing its content.
    fn read_into(
        &self,
        buffer: &mut Vec<u8>,
        file: &File,
        bytes: u64,
        path: &Path,
    ) -> Result<(), StoreError> {
        let limit = self.file_limit_bytes();
        buffer.clear();
        buffer.reserve_exact(usize::try_from(bytes).unwrap_or(0).saturating_add(1));
        file.take(limit.saturating_add(1))
            .read_to_end(buffer)
            .map_err(|source| StoreError::io("read", path, source))?;
        let bytes = buffer.len() as u64;
        if bytes > limit {
            return Err(StoreError::TooLarge { path: path.into(), bytes, limit });
        }
        Ok(())
    }
}
