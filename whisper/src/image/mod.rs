//! A whole standard Whisper file in memory, and views of its archives.
//!
//! Pure: takes bytes, returns points. An archive is a ring of slots. Its first slot holds the *base*, the
//! timestamp that fixes where all others lie: timestamp `t` has position `((t - base) / seconds_per_point)
//! mod points`, rounded down. A slot holds a point only if the timestamp stored there belongs to that
//! position. Any other content is left over from an earlier turn of the ring, or empty.

use crate::header::{Archive, Header, HeaderError, POINT_BYTES, is_compressed};

/// A timestamp and its value, as a file stores them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Unix seconds; 0 if nothing was ever stored.
    pub timestamp: u32,
    /// The value.
    pub value: f64,
}

/// One slot as a file stores it.
pub(crate) type Slot = [u8; Point::SIZE_BYTES];

impl Point {
    /// The size of a stored point, in bytes.
    pub const SIZE_BYTES: usize = 12;

    /// The point as a file stores it: both parts big-endian, the timestamp first.
    pub fn encode(self) -> [u8; Self::SIZE_BYTES] {
        let mut bytes = [0; Self::SIZE_BYTES];
        let (timestamp, value) = bytes.split_at_mut(4);
        timestamp.copy_from_slice(&self.timestamp.to_be_bytes());
        value.copy_from_slice(&self.value.to_be_bytes());
        bytes
    }

    /// The point that these bytes store.
    pub fn decode(bytes: &[u8; Self::SIZE_BYTES]) -> Self {
        let [t0, t1, t2, t3, value @ ..] = *bytes;
        Self { timestamp: u32::from_be_bytes([t0, t1, t2, t3]), value: f64::from_be_bytes(value) }
    }
}

/// Why bytes are not a standard Whisper file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ImageError {
    /// They are in go-carbon's compressed format, which can be moved as a whole but not read.
    #[error("the file is in go-carbon's compressed format, whose points cannot be read")]
    Compressed,
    /// The header is damaged, or this is not a Whisper file.
    #[error("not a valid Whisper file")]
    Header(#[source] HeaderError),
}

/// A whole standard Whisper file in memory.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    header: Header,
    bytes: &'a [u8],
}

impl<'a> Image<'a> {
    /// Parses and checks the header of `bytes`, a whole file. Does not copy or read any point.
    ///
    /// # Errors
    /// [`ImageError`] if `bytes` is in another format or damaged.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ImageError> {
        if is_compressed(bytes) {
            return Err(ImageError::Compressed);
        }
        let header = Header::parse(bytes, bytes.len() as u64).map_err(ImageError::Header)?;
        Ok(Self { header, bytes })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The whole file.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The archive with this number in the file, from 0.
    pub fn archive(&self, index: usize) -> Option<ArchiveView<'a>> {
        let archive = *self.header.archives.get(index)?;
        let end = usize::try_from(archive.end()).ok()?;
        let slots = self.bytes.get(archive.offset as usize..end)?;
        Some(ArchiveView { archive, slots })
    }

    /// All archives in the order of the file.
    pub fn archives(&self) -> impl Iterator<Item = ArchiveView<'a>> + '_ {
        (0..self.header.archives.len()).filter_map(|index| self.archive(index))
    }

    /// The newest valid point at `now` from any archive; of several with the same time, that of the finest
    /// archive.
    pub fn last_point(&self, now: u32) -> Option<Point> {
        let finest_first = self.header.finest_first();
        let views = finest_first.into_iter().filter_map(|index| self.archive(index));
        let newest = views.filter_map(|view| view.points_valid(now).last());
        newest.reduce(|best, point| if point.timestamp > best.timestamp { point } else { best })
    }

    /// Whether no archive has a valid point at `now`, so that nothing can be moved, filled or shown.
    pub fn is_empty(&self, now: u32) -> bool {
        self.archives().all(|view| view.points_valid(now).next().is_none())
    }
}

/// The slots of one archive.
#[derive(Clone, Copy, Debug)]
pub struct ArchiveView<'a> {
    archive: Archive,
    slots: &'a [u8],
}

impl<'a> ArchiveView<'a> {
    /// Where the archive lies, and what it keeps.
    pub fn archive(&self) -> Archive {
        self.archive
    }

    /// The timestamp in the archive's first slot, from which positions count; 0 if nothing was ever written.
    pub fn base(&self) -> u32 {
        self.stored(0).map_or(0, |point| point.timestamp)
    }

    /// The position of the slot for `t`, a Unix time that is rounded down to the archive's resolution as in
    /// whisper.py. `None` if nothing was ever written, so that any slot may become the first.
    pub fn position_of(&self, t: u32) -> Option<u32> {
        position_of(&self.archive, self.base(), t)
    }

    /// What is stored at `position`; `None` beyond the archive. It need not be a valid point: see
    /// [`Self::valid`].
    pub fn stored(&self, position: u32) -> Option<Point> {
        let start = (position as usize).checked_mul(Point::SIZE_BYTES)?;
        self.slots.get(start..)?.first_chunk().map(Point::decode)
    }

    /// The value of slot `t` if the slot is valid at `now`: `t` is a multiple of the resolution, the
    /// timestamp stored at its position is `t`, the value is not NaN, and `t > now - retention`.
    pub fn valid(&self, t: u32, now: u32) -> Option<f64> {
        let stored = self.stored(self.position_of(t)?)?;
        (stored.timestamp == t && self.counts(stored, now)).then_some(stored.value)
    }

    /// The point stored at `position` if it belongs there and is valid at `now`, as defined by
    /// [`Self::valid`].
    pub fn valid_at(&self, position: u32, now: u32) -> Option<Point> {
        let stored = self.stored(position)?;
        let counts =
            || self.counts(stored, now) && self.position_of(stored.timestamp) == Some(position);
        counts().then_some(stored)
    }

    /// All valid slots at `now`, the oldest first, including slots that lie in the future.
    pub fn points_valid(&self, now: u32) -> impl Iterator<Item = Point> + use<> {
        let base = self.base();
        let mut points: Vec<Point> = Vec::new();
        // Most points are one step newer than the one before, at the next position: no division is needed
        // then.
        let mut next = None;
        for (position, slot) in (0..self.archive.points).zip(self.slots.as_chunks().0) {
            let stored = Point::decode(slot);
            let is_next = next == Some(stored.timestamp);
            let lies_here = || position_of(&self.archive, base, stored.timestamp) == Some(position);
            next = None;
            if stored.timestamp != 0 && (is_next || lies_here()) {
                next = stored.timestamp.checked_add(self.archive.seconds_per_point);
                if self.counts(stored, now) {
                    points.push(stored);
                }
            }
        }
        // A ring that is written in order wraps once.
        let later = |pair: &[Point]| pair[1].timestamp < pair[0].timestamp;
        if let Some(turn) = points.windows(2).position(later) {
            points.rotate_left(turn + 1);
        }
        if !points.is_sorted_by_key(|point| point.timestamp) {
            points.sort_unstable_by_key(|point| point.timestamp);
        }
        points.into_iter()
    }

    /// Whether a stored point is valid at `now`, provided that it is at its own position.
    fn counts(&self, stored: Point, now: u32) -> bool {
        stored.timestamp != 0
            && stored.timestamp.is_multiple_of(self.archive.seconds_per_point)
            && !stored.value.is_nan()
            && u64::from(stored.timestamp) + self.archive.retention() > u64::from(now)
    }

    /// Where the slot at `position` begins, counted from the beginning of the file.
    pub fn slot_offset(&self, position: u32) -> u64 {
        u64::from(self.archive.offset) + u64::from(position) * POINT_BYTES
    }
}

/// The position of the slot for `t` in an archive whose first slot holds `base`; `None` for a base of 0.
pub(crate) fn position_of(archive: &Archive, base: u32, t: u32) -> Option<u32> {
    if base == 0 {
        return None;
    }
    let (step, points) = (archive.seconds_per_point, archive.points);
    // Headers are checked: neither is 0. In 32 bits this is twice as fast as in signed 64 bits.
    let slots_after_base = match t.checked_sub(base) {
        Some(seconds) => seconds / step % points,
        None => (points - (base - t).div_ceil(step) % points) % points,
    };
    Some(slots_after_base)
}

#[cfg(test)]
mod tests;
