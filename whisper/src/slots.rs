//! Reads and writes the slots of an archive in an open file, across the end of the ring.
//!
//! Positions and counts come from checked headers. If the file was truncated since then, reading fails.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::header::Archive;
use crate::image::{Point, position_of};

/// Why an open Whisper file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Reading failed, or the file was truncated after its header was read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Writing failed. The part that was written before stays in the file.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The slots of an open file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileSlots<'a> {
    pub(crate) file: &'a File,
    pub(crate) path: &'a Path,
}

impl FileSlots<'_> {
    /// The timestamp in the first slot of `archive`; 0 if nothing was ever written.
    pub(crate) fn base(self, archive: &Archive) -> Result<u32, AccessError> {
        let points = self.read(archive, 0, 1)?;
        Ok(points.first().map_or(0, |point| point.timestamp))
    }

    /// The `count` slots of `archive` from position `first` on, across its end if necessary. `count` must not
    /// exceed its number of points.
    pub(crate) fn read(
        self,
        archive: &Archive,
        first: u32,
        count: u32,
    ) -> Result<Vec<Point>, AccessError> {
        let before_end = count.min(archive.points.saturating_sub(first));
        let mut points = Vec::with_capacity(count as usize);
        for (position, count) in [(first, before_end), (0, count - before_end)] {
            let mut bytes = vec![0; count as usize * Point::SIZE_BYTES];
            self.read_at(&mut bytes, slot_offset(archive, position))?;
            points.extend(bytes.as_chunks().0.iter().map(Point::decode));
        }
        Ok(points)
    }

    /// Writes `points` into the slots of `archive` from that of `start` on, across its end as often as
    /// necessary. `start` may lie in any turn of the ring; an archive without a base gets the first point as
    /// its base.
    pub(crate) fn write(
        self,
        archive: &Archive,
        base: u32,
        start: u32,
        points: &[Point],
    ) -> Result<(), AccessError> {
        let mut position = position_of(archive, base, start).unwrap_or(0);
        let mut left = points;
        while !left.is_empty() {
            let before_end = archive.points.saturating_sub(position) as usize;
            let (run, rest) = left.split_at(left.len().min(before_end));
            let bytes: Vec<u8> = run.iter().flat_map(|point| point.encode()).collect();
            self.write_at(&bytes, slot_offset(archive, position))?;
            position = 0;
            left = rest;
        }
        Ok(())
    }

    pub(crate) fn read_at(self, bytes: &mut [u8], offset: u64) -> Result<(), AccessError> {
        self.file
            .read_exact_at(bytes, offset)
            .map_err(|source| AccessError::Read { path: self.path.to_owned(), source })
    }

    pub(crate) fn write_at(self, bytes: &[u8], offset: u64) -> Result<(), AccessError> {
        self.file
            .write_all_at(bytes, offset)
            .map_err(|source| AccessError::Write { path: self.path.to_owned(), source })
    }
}

fn slot_offset(archive: &Archive, position: u32) -> u64 {
    u64::from(archive.offset) + u64::from(position) * Point::SIZE_BYTES as u64
}
