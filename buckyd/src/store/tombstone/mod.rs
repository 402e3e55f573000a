//! Deleted sources, kept until their owners have confirmed them.
//!
//! Each delete request has its own folder below `tombstones/`, named by a random id. Its `manifest` has a
//! JSON line for each file, in the order of the files' numbers, with the metric, the digest and the owners.
//! It is durable before the first file is renamed, so every tombstone is described. There is no other record:
//! after a restart the folders are the list.

mod batch;
mod may_unlink;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bucky_api::counted::counted;
use bucky_api::{DaemonAddr, OnSchemaDifference};
use bucky_whisper::{Digest, MetricName};
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use self::batch::BatchId;
pub(super) use self::batch::{BatchWriter, UnfinishedBatches};
use self::batch::{FOLDER_FLAGS, MANIFEST, present_files, read_manifest};
#[cfg(test)]
pub(crate) use self::may_unlink::confirmed;
pub(crate) use self::may_unlink::{
    Answer, Answers, ConfirmedTombstone, TombstoneFile, TombstoneKind, Waits, may_unlink,
};
use super::error::StoreError;
use super::snapshot::{Snapshot, VolumeReader};
use super::stamp::Stamp;
use super::tree::open_unnoted;
use super::untouched::is_marked_untouched;
use super::{LockBudget, Store};

/// One deleted source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tombstone {
    /// Its number, which is the file's name in the batch's folder.
    pub(crate) seq: usize,
    /// The metric's name.
    pub(crate) metric: MetricName,
    /// The digest of the content that the owners were healed with.
    pub(crate) digest: Digest,
    /// The nodes that must hold its points. Empty for the old file of a metric that was reshaped here: then
    /// the metric's own file must.
    pub(crate) owners: Vec<DaemonAddr>,
    /// What can replace a point that has no place at an owner.
    #[serde(default)]
    pub(crate) on_schema_difference: OnSchemaDifference,
    /// How many points may have no place at an owner.
    #[serde(default)]
    pub(crate) points_given_up: u64,
}

/// The result of unlinking a confirmed tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnlinkOutcome {
    /// It is unlinked, or was already gone.
    Unlinked,
    /// It stays: its content is not what was confirmed. A writer still had it open.
    Changed,
}

impl Store {
    /// The batches that wait, and how long each has waited, the oldest first. A batch that is still being
    /// made is left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn tombstone_batches(&self) -> Result<Vec<(BatchId, Duration)>, StoreError> {
        let failed = |errno: Errno| StoreError::io("list", "tombstones", errno);
        let now = SystemTime::now();
        let mut batches = Vec::new();
        for entry in Dir::read_from(self.state.tombstones()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let batch = BatchId(name.to_owned());
            if name.parse::<Uuid>().is_err() || self.state.unfinished_batches().has(&batch) {
                continue;
            }
            // `None` if it was removed since the folder was read.
            if let Some(made) = self.made(&batch) {
                batches.push((batch, now.duration_since(made).unwrap_or_default()));
            }
        }
        batches.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        Ok(batches)
    }

    /// When the delete of a batch ended: the time of its manifest, because the folder's time changes with
    /// each file. A folder without a manifest is left from a crash before the first tombstone.
    fn made(&self, batch: &BatchId) -> Option<SystemTime> {
        let stat = |path: &Path| {
            rustix::fs::statat(self.state.tombstones(), path, AtFlags::SYMLINK_NOFOLLOW).ok()
        };
        let folder = Path::new(&batch.0);
        let stat = stat(&folder.join(MANIFEST)).or_else(|| stat(folder))?;
        let seconds = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
        let nanos = Duration::from_nanos(stat.st_mtime_nsec);
        Some(SystemTime::UNIX_EPOCH + seconds + nanos)
    }

    /// Whether this volume has the batch.
    pub(super) fn has_batch(&self, batch: &BatchId) -> bool {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::statat(self.state.tombstones(), &batch.0, flags).is_ok()
    }

    /// How many tombstones of a batch are still there. A batch that cannot be read counts as having none.
    pub(crate) fn count_tombstones(&self, batch: &BatchId) -> u64 {
        let present = self.batch_folder(batch).and_then(|folder| {
            present_files(&folder).map_err(|errno| StoreError::io("list", &batch.0, errno))
        });
        present.map_or(0, |present| present.len() as u64)
    }

    /// The tombstones of a batch that are still there.
    ///
    /// # Errors
    /// [`StoreError`], also if a line of the manifest cannot be read while its file may exist.
    pub(crate) fn tombstones(&self, batch: &BatchId) -> Result<Vec<Tombstone>, StoreError> {
        self.check()?;
        let folder = self.batch_folder(batch)?;
        let present =
            present_files(&folder).map_err(|errno| StoreError::io("list", &batch.0, errno))?;
        if present.is_empty() {
            return Ok(Vec::new());
        }
        let mut tombstones = read_manifest(&folder, batch)?;
        tombstones.retain(|tombstone| present.binary_search(&tombstone.seq).is_ok());
        if tombstones.len() == present.len() {
            return Ok(tombstones);
        }
        // Files that the manifest does not list must not be removed without a check.
        let source = std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            format!(
                "it names {} of {} beside it",
                tombstones.len(),
                counted(present.len() as u64, "file", "files")
            ),
        );
        Err(StoreError::io(
            "read the tombstones' manifest",
            Path::new(&batch.0).join(MANIFEST),
            source,
        ))
    }

    /// The content of a tombstone as it is now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn read_tombstone(
        &self,
        batch: &BatchId,
        seq: usize,
        files: &mut VolumeReader<'_>,
    ) -> Result<Snapshot, StoreError> {
        read_in(&self.batch_folder(batch)?, batch, seq, files)
    }

    /// Whether no process has written to the old file of a reshaped metric since it was set aside. `false` if
    /// that cannot be determined.
    pub(crate) fn is_untouched(&self, batch: &BatchId, seq: usize) -> bool {
        let opened = self.batch_folder(batch).and_then(|folder| open_in(&folder, batch, seq));
        let stat = opened.ok().and_then(|(file, _)| rustix::fs::fstat(&file).ok());
        stat.is_some_and(|stat| is_marked_untouched(&stat))
    }

    /// Opens a tombstone of any length. Also returns its path for messages.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn open_tombstone(
        &self,
        batch: &BatchId,
        seq: usize,
    ) -> Result<(File, PathBuf), StoreError> {
        let (file, name) = open_in(&self.batch_folder(batch)?, batch, seq)?;
        Ok((file, path_in(batch, &name)))
    }

    /// Reads these tombstones as they are now, one after the other. `each` gets their contents in order.
    ///
    /// # Errors
    /// [`StoreError`] if the batch's folder cannot be opened.
    pub(crate) fn read_tombstones<'t, T>(
        &self,
        batch: &BatchId,
        tombstones: impl Iterator<Item = &'t Tombstone>,
        mut each: impl FnMut(&'t Tombstone, Result<&Snapshot, StoreError>) -> T,
    ) -> Result<Vec<T>, StoreError> {
        let folder = self.batch_folder(batch)?;
        let mut files = VolumeReader::new(self);
        let read =
            tombstones.map(|tombstone| match read_in(&folder, batch, tombstone.seq, &mut files) {
                Ok(file) => {
                    let taken = each(tombstone, Ok(&file));
                    files.give_back(file);
                    taken
                }
                Err(error) => each(tombstone, Err(error)),
            });
        Ok(read.collect())
    }

    /// Unlinks each of these tombstones that has not changed since it was confirmed.
    ///
    /// # Errors
    /// [`StoreError`] if the batch's folder cannot be opened.
    pub(crate) fn unlink_confirmed(
        &self,
        batch: &BatchId,
        tombstones: &[ConfirmedTombstone],
    ) -> Result<Vec<Result<UnlinkOutcome, StoreError>>, StoreError> {
        self.check()?;
        let folder = self.batch_folder(batch)?;
        let locks = self.lock_budget();
        let unlinked = tombstones.iter().map(|one| self.unlink_one(&folder, batch, one, &locks));
        Ok(unlinked.collect())
    }

    fn unlink_one(
        &self,
        folder: &OwnedFd,
        batch: &BatchId,
        one: &ConfirmedTombstone,
        locks: &LockBudget,
    ) -> Result<UnlinkOutcome, StoreError> {
        let (file, name) = match open_in(folder, batch, one.seq()) {
            Err(StoreError::Missing { .. }) => return Ok(UnlinkOutcome::Unlinked),
            result => result?,
        };
        let path = path_in(batch, &name);
        self.lock_exclusive(&file, &path, locks)?;
        let stat = rustix::fs::fstat(&file)
            .map_err(|errno| StoreError::io("stat", path.clone(), errno))?;
        let is_unchanged = one.settled() == Some(Stamp::of(&stat));
        if !is_unchanged && self.digest(&file, &path)? != one.digest() {
            return Ok(UnlinkOutcome::Changed);
        }
        rustix::fs::unlinkat(folder, &name, AtFlags::empty())
            .map_err(|errno| StoreError::io("remove the tombstone", path, errno))?;
        Ok(UnlinkOutcome::Unlinked)
    }

    /// Removes the folder of a batch whose tombstones are all gone, and the metrics' empty folders.
    ///
    /// `false` if tombstones are left: then nothing is removed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn close_batch(&self, batch: &BatchId) -> Result<bool, StoreError> {
        self.check()?;
        let folder = self.batch_folder(batch)?;
        let failed = |errno: Errno| StoreError::io("remove the tombstone folder", &batch.0, errno);
        if !present_files(&folder).map_err(failed)?.is_empty() {
            return Ok(false);
        }
        // The metrics' folders first: if the daemon ends in between, the manifest still lists them at the
        // next start.
        let mut pruned = None;
        for tombstone in read_manifest(&folder, batch).unwrap_or_default() {
            let path = tombstone.metric.relative_path();
            if pruned.as_deref() != path.parent() {
                self.tree.prune_folders(&path);
                pruned = path.parent().map(Path::to_owned);
            }
        }
        match rustix::fs::unlinkat(&folder, MANIFEST, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(errno)),
        }
        rustix::fs::unlinkat(self.state.tombstones(), &batch.0, AtFlags::REMOVEDIR)
            .map_err(failed)?;
        Ok(true)
    }

    fn batch_folder(&self, batch: &BatchId) -> Result<OwnedFd, StoreError> {
        rustix::fs::openat(self.state.tombstones(), &batch.0, FOLDER_FLAGS, Mode::empty())
            .map_err(|errno| StoreError::open(&batch.0, errno))
    }
}

/// Opens the tombstone `seq` in its batch's folder. Also returns its name there.
fn open_in(folder: &OwnedFd, batch: &BatchId, seq: usize) -> Result<(File, PathBuf), StoreError> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |name: &Path| {
        open_unnoted(|how| rustix::fs::openat(folder, name, flags | how, Mode::empty()))
    };
    let name = BatchWriter::name_of(seq);
    match open(&name) {
        Ok(file) => Ok((File::from(file), name)),
        Err(Errno::NOENT) => {
            // The name that earlier daemons gave it.
            let short = PathBuf::from(seq.to_string());
            let file = open(&short).map_err(|errno| StoreError::open(path_in(batch, &name), errno));
            Ok((File::from(file?), short))
        }
        Err(errno) => Err(StoreError::open(path_in(batch, &name), errno)),
    }
}

/// A tombstone's path below the folder of all of them, for messages.
fn path_in(batch: &BatchId, name: &Path) -> PathBuf {
    Path::new(&batch.0).join(name)
}

fn read_in(
    folder: &OwnedFd,
    batch: &BatchId,
    seq: usize,
    files: &mut VolumeReader<'_>,
) -> Result<Snapshot, StoreError> {
    let (file, name) = open_in(folder, batch, seq)?;
    let path = path_in(batch, &name);
    let stat =
        rustix::fs::fstat(&file).map_err(|errno| StoreError::io("stat", path.clone(), errno))?;
    files.read_open(&file, &stat, &path)
}
