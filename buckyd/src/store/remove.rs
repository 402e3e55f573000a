//! Taking a metric away: conditionally, by way of a tombstone, or at once for the Go tool's DELETE.

use bucky_api::{DeleteLine, DeleteMetric, DeleteOutcome, chain};
use bucky_whisper::MetricName;
use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use rustix::io::Errno;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::error::StoreError;
use super::near::Near;
use super::rest::{Look, Rest};
use super::stamp::Stamp;
use super::tombstone::{BatchId, BatchWriter};
use super::{LockBudget, Store};

/// What became of one file.
enum Removal {
    /// It is a tombstone; what was odd about its times, if anything was.
    Deleted { oddity: Option<String> },
    /// It has another content than was healed.
    Changed,
    /// Somebody may still write to it: why.
    InUse { reason: String },
}

impl Store {
    /// Renames each file whose content still has its digest, and which nobody has written to for `rest`, to a tombstone.
    ///
    /// Carbon looks whether a file is there and then opens it; where the file goes in between, carbon drops what it wanted
    /// to write. A file that rests is one that it does not look for.
    ///
    /// Returns a line a metric, and the tombstones' batch if there is any tombstone.
    ///
    /// # Errors
    /// [`StoreError`] where the prefix is another folder than at the start, or the tombstones' folder or manifest cannot be
    /// made; nothing was deleted then.
    pub(crate) fn delete(
        &self,
        metrics: &[DeleteMetric],
        rest: Duration,
    ) -> Result<(Vec<DeleteLine>, Option<BatchId>), StoreError> {
        self.check()?;
        let batch = BatchWriter::begin(&self.state, metrics)?;
        let (locks, near) = (self.lock_budget(), Near::default());
        let lines = metrics
            .iter()
            .enumerate()
            .map(|(seq, metric)| {
                let (outcome, reason) =
                    match self.delete_one(metric, &batch, seq, rest, &locks, &near) {
                        Ok(Removal::Deleted { oddity }) => {
                            (DeleteOutcome::Deleted, oddity.unwrap_or_default())
                        }
                        Ok(Removal::Changed) => (DeleteOutcome::Changed, String::new()),
                        Ok(Removal::InUse { reason }) => (DeleteOutcome::InUse, reason),
                        Err(StoreError::Missing { .. }) => (DeleteOutcome::Missing, String::new()),
                        Err(error) => (DeleteOutcome::Failed, chain(&error)),
                    };
                if outcome == DeleteOutcome::Deleted {
                    self.unlist_near(&metric.name, &near);
                }
                DeleteLine { metric: metric.name.clone(), outcome, reason }
            })
            .collect();
        Ok((lines, batch.end()))
    }

    /// Takes a metric whose file went off the list.
    ///
    /// An upload that has created it anew in the meantime may have listed it already, and what is not listed is moved by
    /// nobody: so it is looked for once more. (A name too many in the list does no harm.)
    pub(crate) fn unlist(&self, metric: &MetricName) {
        self.unlist_near(metric, &Near::default());
    }

    fn unlist_near(&self, metric: &MetricName, near: &Near) {
        self.inventory.removed(metric);
        let there = near.look(&self.tree, &metric.relative_path());
        let is_file = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if there.is_ok_and(|there| there.is_some_and(is_file)) {
            self.inventory.added(metric);
        }
    }

    fn delete_one(
        &self,
        metric: &DeleteMetric,
        batch: &BatchWriter<'_>,
        seq: usize,
        rest: Duration,
        locks: &LockBudget,
        near: &Near,
    ) -> Result<Removal, StoreError> {
        let path = metric.name.relative_path();
        let (file, _) = near.open_file(&self.tree, &path)?;
        self.lock_exclusive(&file, &path, locks)?;
        let failed = |errno| StoreError::io("look at", &path, errno);
        let now = rustix::fs::fstat(&file).map_err(failed)?;
        let named = near.look(&self.tree, &path).map_err(failed)?;
        if named.is_none_or(|named| (named.st_dev, named.st_ino) != (now.st_dev, now.st_ino)) {
            // Another delete was faster, or something was put in its place: not what was healed.
            return Ok(Removal::Changed);
        }
        let look = Look { now: SystemTime::now(), at: Instant::now() };
        let oddity = match self.watched.rest(&now, rest, look) {
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
        // Nothing in the batch's folder has this name, so nothing is replaced.
        let tombstone = BatchWriter::name_of(seq);
        let renamed = near.beside(&self.tree, &path, |folder, name| {
            rustix::fs::renameat(folder, name, batch.folder(), &tombstone)
        });
        match renamed {
            Ok(()) => {
                self.watched.forget(&now);
                Ok(Removal::Deleted { oddity })
            }
            Err(Errno::XDEV) => Err(StoreError::Elsewhere { path }),
            Err(errno) => Err(StoreError::io("rename to its tombstone", &path, errno)),
        }
    }

    /// Unlinks the file of `metric` and the folders that are empty then, as the Go tool's DELETE does.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn unlink(&self, metric: &MetricName) -> Result<(), StoreError> {
        self.check()?;
        let path = metric.relative_path();
        // Refuses links, folders and what lies behind links.
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
