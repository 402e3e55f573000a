//! Deletes and tombstones over all volumes. Each volume keeps its own.

use std::time::Duration;

use bucky_api::{DeleteLine, DeleteMetric, DeleteOutcome, chain};

use super::{FileReader, Volumes};
use crate::store::tombstone::{BatchId, ConfirmedTombstone, Tombstone, UnlinkOutcome};
use crate::store::volume::Volume;
use crate::store::{InspectedFile, LargeFile, OnCut, Snapshot, StoreError};

/// The result of a request to delete.
pub(crate) struct Deleted {
    /// One line per metric, in the order of the request.
    pub(crate) lines: Vec<DeleteLine>,
    /// The batches of tombstones that were made, with the number of tombstones of each.
    pub(crate) batches: Vec<(BatchId, u64)>,
}

impl Volumes {
    /// As [`crate::store::Store::delete`], at each metric's volume.
    ///
    /// # Errors
    /// As there. If some volumes have deleted and others could not, the lines of those say why.
    pub(crate) fn delete(
        &self,
        metrics: &[DeleteMetric],
        rest: Duration,
        on_cut: OnCut,
    ) -> Result<Deleted, StoreError> {
        if self.is_one() {
            let (lines, batch) = self.prefix.delete(metrics, rest, on_cut)?;
            let batches = batch.map(|batch| (batch, deleted(&lines)));
            return Ok(Deleted { lines, batches: batches.into_iter().collect() });
        }
        // A range of neighbours at a time: names come in order, and those of a volume are neighbours.
        let (mut lines, mut batches, mut rest_of) = (Vec::new(), Vec::new(), metrics);
        while let Some(first) = rest_of.first() {
            let volume = self.of(&first.name);
            let is_there =
                |metric: &&DeleteMetric| self.of(&metric.name).tree.at() == volume.tree.at();
            let count = rest_of.iter().take_while(is_there).count();
            let (part, others) = rest_of.split_at(count);
            match volume.delete(part, rest, on_cut) {
                Ok((part, batch)) => {
                    batches.extend(batch.map(|batch| (batch, deleted(&part))));
                    lines.extend(part);
                }
                Err(error) => {
                    let (problem, reason) = (error.as_source_problem(), chain(&error));
                    lines.extend(part.iter().map(|metric| DeleteLine {
                        metric: metric.name.clone(),
                        outcome: DeleteOutcome::Failed,
                        kept: None,
                        problem: Some(problem),
                        reason: reason.clone(),
                    }));
                }
            }
            rest_of = others;
        }
        Ok(Deleted { lines, batches })
    }

    /// The batches of all volumes that wait, and how long each has waited, the oldest first. A volume that
    /// cannot be read is logged and skipped, so that the others are worked on.
    ///
    /// # Errors
    /// [`StoreError`] if the prefix's batches cannot be listed.
    pub(crate) fn tombstone_batches(&self) -> Result<Vec<(BatchId, Duration)>, StoreError> {
        let mut batches = self.prefix.tombstone_batches()?;
        for volume in self.all().skip(1) {
            match volume.tombstone_batches() {
                Ok(others) => batches.extend(others),
                Err(error) => {
                    let path = volume.tree.path().display();
                    tracing::error!(volume = %path, error = chain(&error), "cannot list the tombstones of a volume");
                }
            }
        }
        batches.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        Ok(batches)
    }

    /// The volume that has `batch`.
    fn with_batch(&self, batch: &BatchId) -> Volume<'_> {
        if self.is_one() {
            return Volume::Prefix(&self.prefix);
        }
        let found = self.all().find(|volume| volume.has_batch(batch));
        found.unwrap_or(Volume::Prefix(&self.prefix))
    }

    pub(crate) fn count_tombstones(&self, batch: &BatchId) -> u64 {
        self.with_batch(batch).count_tombstones(batch)
    }

    pub(crate) fn tombstones(&self, batch: &BatchId) -> Result<Vec<Tombstone>, StoreError> {
        self.with_batch(batch).tombstones(batch)
    }

    pub(crate) fn read_tombstone(
        &self,
        batch: &BatchId,
        seq: usize,
        files: &mut FileReader<'_>,
    ) -> Result<Snapshot, StoreError> {
        let volume = self.with_batch(batch);
        volume.read_tombstone(batch, seq, files.at_prefix())
    }

    pub(crate) fn is_untouched(&self, batch: &BatchId, seq: usize) -> bool {
        self.with_batch(batch).is_untouched(batch, seq)
    }

    pub(crate) fn read_tombstones<'t, T>(
        &self,
        batch: &BatchId,
        tombstones: impl Iterator<Item = &'t Tombstone>,
        each: impl FnMut(&'t Tombstone, Result<&Snapshot, StoreError>) -> T,
    ) -> Result<Vec<T>, StoreError> {
        self.with_batch(batch).read_tombstones(batch, tombstones, each)
    }

    /// Opens a tombstone of any length, to be sent.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn open_large_tombstone(
        &self,
        batch: &BatchId,
        seq: usize,
    ) -> Result<LargeFile<'_>, StoreError> {
        let volume = self.with_batch(batch);
        let (file, path) = volume.open_tombstone(batch, seq)?;
        LargeFile::of(volume, file, path)
    }

    /// The properties of a tombstone of any length, without holding it in memory.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn inspect_large_tombstone(
        &self,
        batch: &BatchId,
        seq: usize,
    ) -> Result<InspectedFile, StoreError> {
        let volume = self.with_batch(batch);
        let (file, path) = volume.open_tombstone(batch, seq)?;
        volume.inspect_large(&file, &path)
    }

    pub(crate) fn unlink_confirmed(
        &self,
        batch: &BatchId,
        tombstones: &[ConfirmedTombstone],
    ) -> Result<Vec<Result<UnlinkOutcome, StoreError>>, StoreError> {
        self.with_batch(batch).unlink_confirmed(batch, tombstones)
    }

    pub(crate) fn close_batch(&self, batch: &BatchId) -> Result<bool, StoreError> {
        self.with_batch(batch).close_batch(batch)
    }
}

fn deleted(lines: &[DeleteLine]) -> u64 {
    lines.iter().filter(|line| line.outcome == DeleteOutcome::Deleted).count() as u64
}
