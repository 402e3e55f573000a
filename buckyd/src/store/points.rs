//! Which slots of a part of a file hold points. Files of any length are read piece by piece, each piece under
//! the lock.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bucky_api::chain;
use bucky_whisper::{
    Header, ImageError, MetricName, PointsWindow, WindowPoints, is_compressed, points_in_window,
    unlock,
};

use super::error::StoreError;
use super::folder_cache::FolderCache;
use super::{LockBudget, Store, Volumes};

/// The result of looking for points.
pub(crate) enum Slots {
    /// These points.
    Points(WindowPoints),
    /// The file has no archive of this resolution.
    NoArchive,
    /// It is not a Whisper file whose points can be read.
    Unfit(ImageError),
}

impl Volumes {
    /// The slots of `window` in the archive of `metric` with this resolution.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn points(
        &self,
        metric: &MetricName,
        seconds_per_point: u32,
        window: PointsWindow,
    ) -> Result<Slots, StoreError> {
        self.of(metric).points(metric, seconds_per_point, window)
    }
}

impl Store {
    fn points(
        &self,
        metric: &MetricName,
        seconds_per_point: u32,
        window: PointsWindow,
    ) -> Result<Slots, StoreError> {
        let path = metric.relative_path();
        let (file, _) = FolderCache::default().open_file(&self.tree, &path)?;
        let failed = |error| StoreError::io("read", &path, error);
        let bytes = file.metadata().map_err(failed)?.len();
        let reader = Reader { store: self, file: &file, path: &path, locks: self.lock_budget() };
        let mut head = vec![0; usize::try_from(Header::SIZE_MAX_BYTES.min(bytes)).unwrap_or(0)];
        reader.read_at(&mut head, 0)?;
        if is_compressed(&head) {
            return Ok(Slots::Unfit(ImageError::Compressed));
        }
        let header = match Header::parse(&head, bytes) {
            Ok(header) => header,
            Err(error) => return Ok(Slots::Unfit(ImageError::Header(error))),
        };
        let mut archives = header.archives.iter();
        let Some(archive) = archives.find(|one| one.seconds_per_point == seconds_per_point) else {
            return Ok(Slots::NoArchive);
        };
        let mut base = [0; 4];
        reader.read_at(&mut base, archive.offset.into())?;
        let read_at = |buffer: &mut [u8], at| {
            reader.read_at(buffer, at).map_err(|error| io::Error::other(chain(&error)))
        };
        let points = points_in_window(archive, u32::from_be_bytes(base), window, read_at);
        points.map(Slots::Points).map_err(failed)
    }
}

/// Reads a file. The lock is held for one piece at a time.
struct Reader<'s> {
    store: &'s Store,
    file: &'s File,
    path: &'s Path,
    locks: LockBudget,
}

impl Reader<'_> {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> Result<(), StoreError> {
        self.store.lock_shared(self.file, self.path, &self.locks)?;
        let read = self.file.read_exact_at(buffer, at);
        unlock(self.file).map_err(|error| StoreError::lock(self.path, error))?;
        read.map_err(|error| StoreError::io("read", self.path, error))
    }
}
