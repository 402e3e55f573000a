//! Taking a metric away: conditionally, by way of a tombstone, or at once for the Go tool's DELETE.

use bucky_api::{DeleteLine, DeleteMetric, DeleteOutcome, chain};
use bucky_whisper::MetricName;
use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::error::StoreError;
use super::tombstone::{BatchId, BatchWriter};
use super::{LockBudget, Store};

/// What became of one file.
enum Removal {
    /// It is a tombstone.
    Deleted,
    /// It has another content than was healed.
    Changed,
    /// It was written to so long ago.
    InUse { age: Duration },
}

fn written_ago(age: Duration) -> String {
    format!("it was written to {} s ago", age.as_secs())
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
    /// [`StoreError`] where the tombstones' folder or manifest cannot be made; nothing was deleted then.
    pub(crate) fn delete(
        &self,
        metrics: &[DeleteMetric],
        rest: Duration,
    ) -> Result<(Vec<DeleteLine>, Option<BatchId>), StoreError> {
        let batch = BatchWriter::begin(&self.state, metrics)?;
        let locks = self.lock_budget();
        let lines = metrics
            .iter()
            .enumerate()
            .map(|(seq, metric)| {
                let (outcome, reason) = match self.delete_one(metric, &batch, seq, rest, &locks) {
                    Ok(Removal::Deleted) => (DeleteOutcome::Deleted, String::new()),
                    Ok(Removal::Changed) => (DeleteOutcome::Changed, String::new()),
                    Ok(Removal::InUse { age }) => (DeleteOutcome::InUse, written_ago(age)),
                    Err(StoreError::Missing { .. }) => (DeleteOutcome::Missing, String::new()),
                    Err(error) => (DeleteOutcome::Failed, chain(&error)),
                };
                if outcome == DeleteOutcome::Deleted {
                    self.unlist(&metric.name);
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
        self.inventory.removed(metric);
        if self.tree.open_file(&metric.relative_path(), OFlags::RDONLY).is_ok() {
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
    ) -> Result<Removal, StoreError> {
        let path = metric.name.relative_path();
        let file = self.tree.open_file(&path, OFlags::RDONLY)?;
        self.lock_exclusive(&file, &path, locks)?;
        if !self.tree.still_names(&path, &file)? {
            // Another delete was faster, or something was put in its place: not what was healed.
            return Ok(Removal::Changed);
        }
        if let Some(age) = self.in_use(&file, rest, &path)? {
            return Ok(Removal::InUse { age });
        }
        if self.digest(&file, &path)? != metric.digest {
            return Ok(Removal::Changed);
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(StoreError::BadPath { path });
        };
        let folder = self.tree.folder(folder).map_err(|errno| StoreError::open(&path, errno))?;
        // Nothing in the batch's folder has this name, so nothing is replaced.
        let tombstone = BatchWriter::name_of(seq);
        match rustix::fs::renameat(&folder, Path::new(name), batch.folder(), &tombstone) {
            Ok(()) => Ok(Removal::Deleted),
            Err(Errno::XDEV) => Err(StoreError::Elsewhere { path }),
            Err(errno) => Err(StoreError::io("rename to its tombstone", &path, errno)),
        }
    }

    /// How long ago `file` was written to, where that is less than `rest`. A time to come counts as now.
    fn in_use(
        &self,
        file: &File,
        rest: Duration,
        path: &Path,
    ) -> Result<Option<Duration>, StoreError> {
        if rest.is_zero() {
            return Ok(None);
        }
        let written = file
            .metadata()
            .and_then(|metadata| metadata.modified())
            .map_err(|error| StoreError::io("look at", path, error))?;
        let age = SystemTime::now().duration_since(written).unwrap_or_default();
        Ok((age < rest).then_some(age))
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
        self.unlist(metric);
        self.tree.prune_folders(&path);
        Ok(())
    }
}
