//! Taking a metric away: conditionally, by way of a tombstone, or at once for the Go tool's DELETE.

use bucky_api::{DeleteLine, DeleteMetric, DeleteOutcome, chain};
use bucky_whisper::MetricName;
use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;
use std::path::Path;

use super::error::StoreError;
use super::tombstone::{BatchId, BatchWriter};
use super::{LockBudget, Store};

impl Store {
    /// Renames each file whose content still has its digest to a tombstone.
    ///
    /// Returns a line a metric, and the tombstones' batch if there is any tombstone.
    ///
    /// # Errors
    /// [`StoreError`] where the tombstones' folder or manifest cannot be made; nothing was deleted then.
    pub(crate) fn delete(
        &self,
        metrics: &[DeleteMetric],
    ) -> Result<(Vec<DeleteLine>, Option<BatchId>), StoreError> {
        let batch = BatchWriter::begin(&self.state, metrics)?;
        let locks = self.lock_budget();
        let lines = metrics
            .iter()
            .enumerate()
            .map(|(seq, metric)| {
                let (outcome, reason) = match self.delete_one(metric, &batch, seq, &locks) {
                    Ok(outcome) => (outcome, String::new()),
                    Err(StoreError::Missing { .. }) => (DeleteOutcome::Missing, String::new()),
                    Err(error) => (DeleteOutcome::Failed, chain(&error)),
                };
                if outcome == DeleteOutcome::Deleted {
                    self.inventory.removed(&metric.name);
                }
                DeleteLine { metric: metric.name.clone(), outcome, reason }
            })
            .collect();
        Ok((lines, batch.end()))
    }

    fn delete_one(
        &self,
        metric: &DeleteMetric,
        batch: &BatchWriter<'_>,
        seq: usize,
        locks: &LockBudget,
    ) -> Result<DeleteOutcome, StoreError> {
        let path = metric.name.relative_path();
        let file = self.tree.open_file(&path, OFlags::RDONLY)?;
        self.lock_exclusive(&file, &path, locks)?;
        if !self.tree.still_names(&path, &file)? {
            // Another delete was faster, or something was put in its place: not what was healed.
            return Ok(DeleteOutcome::Changed);
        }
        if self.digest(&file, &path)? != metric.digest {
            return Ok(DeleteOutcome::Changed);
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(StoreError::BadPath { path });
        };
        let folder = self.tree.folder(folder).map_err(|errno| StoreError::open(&path, errno))?;
        // Nothing in the batch's folder has this name, so nothing is replaced.
        let tombstone = BatchWriter::name_of(seq);
        match rustix::fs::renameat(&folder, Path::new(name), batch.folder(), &tombstone) {
            Ok(()) => Ok(DeleteOutcome::Deleted),
            Err(Errno::XDEV) => Err(StoreError::Elsewhere { path }),
            Err(errno) => Err(StoreError::io("rename to its tombstone", &path, errno)),
        }
    }

    /// Unlinks the file of `metric` and the folders that are empty then, as the Go tool's DELETE does.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn unlink(&self, metric: &MetricName) -> Result<(), StoreError> {
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
        self.inventory.removed(metric);
        self.tree.prune_folders(&path);
        Ok(())
    }
}
