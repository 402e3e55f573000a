//! Removing a metric: conditionally, as a tombstone, or at once for the Go tool's DELETE.

use bucky_api::{DeleteLine, DeleteMetric, DeleteOutcome, chain};
use bucky_whisper::{Header, HeaderError, MetricName, cut_from, is_compressed, late_points_of};
use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::error::StoreError;
use super::folder_cache::FolderCache;
use super::rest::{CheckTime, Rest};
use super::rules::OnCut;
use super::stamp::Stamp;
use super::tombstone::{BatchId, BatchWriter};
use super::{LockBudget, Store};

/// The result for one file.
enum Removal {
    /// It is a tombstone. Set if something about its times was unusual.
    Deleted { oddity: Option<String> },
    /// It was cut off, and is kept aside.
    Kept(PathBuf),
    /// Its content is not the one that was healed.
    Changed,
    /// A process may still write to it, for this reason.
    InUse { reason: String },
}

/// What is wrong with an open file of `len_bytes` that was cut off. `None` if it was not.
fn cut_off(file: &File, len_bytes: i64) -> Result<Option<String>, Errno> {
    let len_bytes = u64::try_from(len_bytes).unwrap_or(0);
    let mut head = vec![0; usize::try_from(Header::SIZE_MAX_BYTES.min(len_bytes)).unwrap_or(0)];
    let read = rustix::io::pread(file, &mut head, 0)?;
    head.truncate(read);
    let error = Header::parse(&head, len_bytes).err();
    Ok(error.filter(|_| cut_from(&head, len_bytes).is_some()).map(|error| chain(&error)))
}

/// The file in `folder` that holds late points of the file `name`, if there is one.
fn late_points(folder: &OwnedFd, name: &Path) -> Result<Option<PathBuf>, Errno> {
    let sidecar = PathBuf::from(late_points_of(name.as_os_str()));
    match rustix::fs::statat(folder, &sidecar, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(Some(sidecar)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// How much of a file is read to find its complete header: that of 40 archives.
const HEAD_BYTES: usize = 496;

/// Whether the beginning of a file of `bytes`, read into `head`, is the header of a valid Whisper file, or of
/// a compressed one.
fn read_head(file: &File, head: &mut [u8], bytes: u64) -> std::io::Result<Result<(), HeaderError>> {
    let wanted = usize::try_from(bytes).unwrap_or(usize::MAX).min(head.len());
    let head = &mut head[..wanted];
    file.read_exact_at(head, 0)?;
    if is_compressed(head) {
        return Ok(Ok(()));
    }
    Ok(Header::parse(head, bytes).map(|_| ()))
}

impl Store {
    /// Renames each file to a tombstone if its content still has its digest, and if no process has written to
    /// it for `rest`.
    ///
    /// Carbon checks whether a file exists and then opens it. If the file is removed in between, carbon drops
    /// the points that it wanted to write. Carbon does not write to a file that is at rest.
    ///
    /// Returns one line per metric, and the tombstones' batch if there is any tombstone.
    ///
    /// # Errors
    /// [`StoreError`] if the prefix is another folder than at the start, or if the tombstones' folder or
    /// manifest cannot be made. Nothing was deleted then.
    pub(crate) fn delete(
        &self,
        metrics: &[DeleteMetric],
        rest: Duration,
        on_cut: OnCut,
    ) -> Result<(Vec<DeleteLine>, Option<BatchId>), StoreError> {
        self.check()?;
        let batch = BatchWriter::begin(&self.state, metrics)?;
        let (locks, folders) = (self.lock_budget(), FolderCache::default());
        let lines = metrics
            .iter()
            .enumerate()
            .map(|(seq, metric)| {
                let (mut problem, mut kept) = (None, None);
                let (outcome, reason) = match self.delete_one(
                    metric,
                    (&batch, seq),
                    (rest, on_cut),
                    &locks,
                    &folders,
                ) {
                    Ok(Removal::Deleted { oddity }) => {
                        (DeleteOutcome::Deleted, oddity.unwrap_or_default())
                    }
                    Ok(Removal::Kept(path)) => {
                        kept = Some(path.display().to_string());
                        (DeleteOutcome::Deleted, String::new())
                    }
                    Ok(Removal::Changed) => (DeleteOutcome::Changed, String::new()),
                    Ok(Removal::InUse { reason }) => (DeleteOutcome::InUse, reason),
                    Err(StoreError::Missing { .. }) => (DeleteOutcome::Missing, String::new()),
                    Err(error) => {
                        problem = Some(error.as_source_problem());
                        (DeleteOutcome::Failed, chain(&error))
                    }
                };
                if outcome == DeleteOutcome::Deleted {
                    self.unlist_near(&metric.name, &folders);
                }
                DeleteLine { metric: metric.name.clone(), outcome, kept, problem, reason }
            })
            .collect();
        Ok((lines, batch.end()))
    }

    /// Takes a metric whose file was removed off the list.
    ///
    /// An upload that has created it again in the meantime may have listed it already. A metric that is not
    /// in the list would never be moved, so the file is looked up again. (A name too many in the list does no
    /// harm.)
    pub(crate) fn unlist(&self, metric: &MetricName) {
        self.unlist_near(metric, &FolderCache::default());
    }

    fn unlist_near(&self, metric: &MetricName, folders: &FolderCache) {
        self.inventory.removed(metric);
        let there = folders.stat_at(&self.tree, &metric.relative_path());
        let is_file = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if there.is_ok_and(|there| there.is_some_and(is_file)) {
            self.inventory.added(metric);
        }
    }

    fn delete_one(
        &self,
        metric: &DeleteMetric,
        (batch, seq): (&BatchWriter<'_>, usize),
        (rest, on_cut): (Duration, OnCut),
        locks: &LockBudget,
        folders: &FolderCache,
    ) -> Result<Removal, StoreError> {
        let path = metric.name.relative_path();
        let (file, _) = folders.open_file(&self.tree, &path)?;
        self.lock_exclusive(&file, &path, locks)?;
        let failed = |errno| StoreError::io("stat", &path, errno);
        let now = rustix::fs::fstat(&file).map_err(failed)?;
        let named = folders.stat_at(&self.tree, &path).map_err(failed)?;
        if named.is_none_or(|named| (named.st_dev, named.st_ino) != (now.st_dev, now.st_ino)) {
            // Another delete was faster, or the file was replaced: it is not the content that was healed.
            return Ok(Removal::Changed);
        }
        let checked = CheckTime { now: SystemTime::now(), at: Instant::now() };
        let oddity = match self.watched.rest(&now, rest, checked) {
            Rest::Rests { oddity } => oddity,
            Rest::InUse { reason } => return Ok(Removal::InUse { reason }),
        };
        let digest = match self.remembered.take(Stamp::of(&now)) {
            Some(digest) => digest,
            None => self.digest(&file, &path)?,
        };
        if digest != metric.digest {
            return Ok(Removal::Changed);
        }
        if on_cut == OnCut::Salvage
            && let Some(reason) = cut_off(&file, now.st_size).map_err(failed)?
        {
            return self.keep_aside(metric, reason, folders).map(Removal::Kept);
        }
        self.check_whole(&file, &now, &path)?;
        // This name is new in the batch's folder, so nothing is replaced.
        let tombstone = BatchWriter::name_of(seq);
        let renamed = folders.beside(&self.tree, &path, |folder, name| {
            // Under the lock, which a go-carbon with locks holds while it writes there.
            if let Some(sidecar) = late_points(folder, name)? {
                return Ok(Err(sidecar));
            }
            rustix::fs::renameat(folder, name, batch.folder(), &tombstone).map(Ok)
        });
        match renamed {
            Ok(Ok(())) => {
                self.watched.forget(&now);
                Ok(Removal::Deleted { oddity })
            }
            Ok(Err(sidecar)) => Err(StoreError::LatePoints { path, sidecar }),
            Err(Errno::XDEV) => Err(StoreError::Elsewhere { path }),
            Err(errno) => Err(StoreError::io("create the tombstone of", &path, errno)),
        }
    }

    /// Keeps the file of `metric` aside. It is locked, and was cut off.
    fn keep_aside(
        &self,
        metric: &DeleteMetric,
        reason: String,
        folders: &FolderCache,
    ) -> Result<PathBuf, StoreError> {
        let path = metric.name.relative_path();
        let kept =
            folders.beside(&self.tree, &path, |folder, name| match late_points(folder, name)? {
                Some(sidecar) => Ok(Err(StoreError::LatePoints { path: path.clone(), sidecar })),
                None => Ok(self.keep_cut(&metric.name, folder, name, reason.clone())),
            });
        kept.map_err(|errno| StoreError::io("keep aside the truncated file", &path, errno))?
    }

    /// Refuses a file that is neither a valid Whisper file nor a compressed one: its points could not be
    /// looked up at its owners.
    fn check_whole(&self, file: &File, stat: &Stat, path: &Path) -> Result<(), StoreError> {
        let bytes = u64::try_from(stat.st_size).unwrap_or(0);
        let mut head = [0; HEAD_BYTES];
        let failed = |error| StoreError::io("read the header of", path, error);
        let mut parsed = read_head(file, &mut head, bytes).map_err(failed)?;
        if let Err(HeaderError::CutOff { .. }) = parsed
            && bytes > HEAD_BYTES as u64
        {
            let mut head = vec![0; usize::try_from(Header::SIZE_MAX_BYTES).unwrap_or(HEAD_BYTES)];
            parsed = read_head(file, &mut head, bytes).map_err(failed)?;
        }
        parsed.map_err(|source| StoreError::NotWhole { path: path.into(), source })
    }

    /// Unlinks the file of `metric` and the folders that are empty then, as the Go tool's DELETE does.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn unlink(&self, metric: &MetricName) -> Result<(), StoreError> {
        self.check()?;
        let path = metric.relative_path();
        // Refuses links, folders and what is behind links.
        drop(self.tree.open_file(&path, OFlags::RDONLY)?);
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(StoreError::BadPath { path });
        };
        let folder = self.tree.folder(folder).map_err(|errno| StoreError::open(&path, errno))?;
        match rustix::fs::unlinkat(&folder, Path::new(name), AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Err(StoreError::Missing { path }),
            Err(errno) => return Err(StoreError::io("remove", &path, errno)),
        }
        self.unlist(metric);
        self.tree.prune_folders(&path);
        Ok(())
    }
}
