//! The folder of one delete request: how it is written, and how it is read.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bucky_api::DeleteMetric;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;
use uuid::Uuid;

use super::Tombstone;
use crate::store::error::StoreError;
use crate::store::state_dir::StateDir;

pub(super) const MANIFEST: &str = "manifest";
/// The length of a tombstone's name in digits. ext4 searches all names of a block of the folder, three times
/// for a rename. Long names mean fewer in each block, which saves a third of the rename's time.
const NAME_DIGITS: usize = 32;
pub(super) const FOLDER_FLAGS: OFlags = MANIFEST_FLAGS.union(OFlags::DIRECTORY);
const MANIFEST_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The folder of one delete request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BatchId(pub(super) String);

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A batch that is being made. It is hidden from the sweeper until it has ended.
pub(in crate::store) struct BatchWriter<'s> {
    state: &'s StateDir,
    id: BatchId,
    folder: OwnedFd,
    _unfinished: Unfinished<'s>,
}

/// The batches that are being made. The sweeper must not take one for complete: it would ask for a
/// confirmation before the grace time is over, and remove the manifest while files still arrive.
#[derive(Default)]
pub(in crate::store) struct UnfinishedBatches(Mutex<HashSet<BatchId>>);

struct Unfinished<'s> {
    all: &'s UnfinishedBatches,
    id: BatchId,
}

impl UnfinishedBatches {
    fn begin(&self, id: BatchId) -> Unfinished<'_> {
        self.locked().insert(id.clone());
        Unfinished { all: self, id }
    }

    /// Whether this batch is still being made.
    pub(super) fn has(&self, id: &BatchId) -> bool {
        self.locked().contains(id)
    }

    fn locked(&self) -> MutexGuard<'_, HashSet<BatchId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.all.locked().remove(&self.id);
    }
}

impl<'s> BatchWriter<'s> {
    /// Creates the folder and its manifest, durably.
    pub(in crate::store) fn begin(
        state: &'s StateDir,
        metrics: &[DeleteMetric],
    ) -> Result<Self, StoreError> {
        let id = BatchId(Uuid::new_v4().to_string());
        let unfinished = state.unfinished_batches().begin(id.clone());
        let failed = |errno: Errno| {
            StoreError::io("create the tombstone folder", state.tombstone_path(&id.0), errno)
        };
        rustix::fs::mkdirat(state.tombstones(), &id.0, Mode::from_raw_mode(0o755))
            .map_err(failed)?;
        let folder = rustix::fs::openat(state.tombstones(), &id.0, FOLDER_FLAGS, Mode::empty());
        let folder = folder.map_err(failed)?;
        let batch = Self { state, folder, id: id.clone(), _unfinished: unfinished };
        if let Err(error) = batch.write_manifest(metrics) {
            batch.end();
            let path = state.tombstone_path(&id.0).join(MANIFEST);
            return Err(StoreError::io("write the tombstones' manifest", path, error));
        }
        Ok(batch)
    }

    fn write_manifest(&self, metrics: &[DeleteMetric]) -> std::io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, MANIFEST, flags, Mode::from_raw_mode(0o644))?;
        let mut writer = BufWriter::new(File::from(file));
        for (seq, metric) in metrics.iter().enumerate() {
            let tombstone = Tombstone {
                seq,
                metric: metric.name.clone(),
                digest: metric.digest,
                owners: metric.owners.clone(),
                on_schema_difference: metric.on_schema_difference,
                points_given_up: metric.points_given_up,
            };
            serde_json::to_writer(&mut writer, &tombstone)?;
            writer.write_all(b"\n")?;
        }
        writer.into_inner()?.sync_all()?;
        rustix::fs::fsync(&self.folder)?;
        rustix::fs::fsync(self.state.tombstones())?;
        Ok(())
    }

    pub(in crate::store) fn folder(&self) -> &OwnedFd {
        &self.folder
    }

    pub(in crate::store) fn name_of(seq: usize) -> PathBuf {
        PathBuf::from(format!("{seq:0NAME_DIGITS$}"))
    }

    /// Ends the batch. The grace time begins. A batch without tombstones is removed again.
    pub(in crate::store) fn end(self) -> Option<BatchId> {
        // What is in the folder counts, and not the results of the renames: on a network file system the two
        // may differ.
        if !present_files(&self.folder).is_ok_and(|present| present.is_empty()) {
            let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
            let times = Timestamps { last_access: now, last_modification: now };
            if let Err(errno) =
                rustix::fs::utimensat(&self.folder, MANIFEST, &times, AtFlags::SYMLINK_NOFOLLOW)
            {
                tracing::warn!(batch = %self.id.0, error = %errno, "cannot set a batch's time; its grace time counts \
                     from the start of the delete");
            }
            return Some(self.id);
        }
        let _ = rustix::fs::unlinkat(&self.folder, MANIFEST, AtFlags::empty());
        if let Err(errno) =
            rustix::fs::unlinkat(self.state.tombstones(), &self.id.0, AtFlags::REMOVEDIR)
        {
            tracing::warn!(batch = %self.id.0, error = %errno, "cannot remove an empty tombstone folder");
        }
        None
    }
}

/// The tombstones that a batch's manifest lists, in order.
pub(super) fn read_manifest(
    folder: &OwnedFd,
    batch: &BatchId,
) -> Result<Vec<Tombstone>, StoreError> {
    let path = Path::new(&batch.0).join(MANIFEST);
    let failed =
        |error: std::io::Error| StoreError::io("read the tombstones' manifest", &path, error);
    let manifest = rustix::fs::openat(folder, MANIFEST, MANIFEST_FLAGS, Mode::empty())
        .map_err(|errno| failed(errno.into()))?;
    BufReader::new(File::from(manifest))
        .lines()
        .map(|line| {
            serde_json::from_str(&line.map_err(failed)?).map_err(|error| failed(error.into()))
        })
        .collect()
}

/// The numbers of the files in a batch's folder, sorted.
pub(super) fn present_files(folder: &OwnedFd) -> Result<Vec<usize>, Errno> {
    let mut present = Vec::new();
    for entry in Dir::read_from(folder)? {
        if let Some(seq) = entry?.file_name().to_str().ok().and_then(|name| name.parse().ok()) {
            present.push(seq);
        }
    }
    present.sort_unstable();
    Ok(present)
}
