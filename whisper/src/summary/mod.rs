//! Summarises a whole file in figures that two nodes can compare: its digest, its header, and for each
//! archive the number of filled slots and a digest of their times.
//!
//! The file is passed in pieces, from its beginning, and none of it is kept: memory does not grow with the
//! file. If two archives with the same step and length have the same digest, they are filled at the same
//! times, wherever their rings begin. Values are not compared, because a fill keeps the existing value.
//!
//! `now` is an argument, and must be the same for all copies of a metric. Then a slot that expires between
//! two reads is counted in both figures or in neither.

use crate::digest::{ContentDigest, Digest};
use crate::header::{Archive, Header, is_compressed};
use crate::image::{ImageError, Point, position_of};

/// Which slots to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The time at which slots count as valid, Unix seconds.
    pub now: u32,
    /// Slots before this time are also counted separately, Unix seconds.
    pub settled: u32,
    /// Whether to compute digests of the times. Without them the counts cost almost nothing.
    pub with_times: bool,
}

/// A set of filled slots: how many, and a digest of their times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// The number of slots.
    pub points: u64,
    /// The sum of the digests of their times, modulo 2^128, so that the order does not matter; 0 without
    /// [`Window::with_times`].
    times: u128,
}

impl Filled {
    /// The digest of their times.
    pub fn times(&self) -> Digest {
        Digest::of_sum(self.times)
    }

    fn add(&mut self, time: u128) {
        self.points += 1;
        self.times = self.times.wrapping_add(time);
    }
}

/// What one archive holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveSummary {
    /// The archive.
    pub archive: Archive,
    /// All slots that are valid at [`Window::now`].
    pub all: Filled,
    /// Of these, the slots before [`Window::settled`].
    pub settled: Filled,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The digest of the whole content.
    pub digest: Digest,
    /// The size of the file, in bytes.
    pub bytes: u64,
    /// The counts, if the file is a standard Whisper file.
    pub points: Result<PointSummary, ImageError>,
}

/// The header of a file, and what each archive holds.
#[derive(Clone, Debug, PartialEq)]
pub struct PointSummary {
    /// The header.
    pub header: Header,
    /// The archives in the order of the file.
    pub archives: Vec<ArchiveSummary>,
}

/// Computes the summary of one file from its pieces.
#[derive(Debug)]
pub struct Summarizer {
    content: ContentDigest,
    points: Result<(Header, Vec<Scan>), ImageError>,
    /// How many bytes were added so far.
    at: u64,
}

impl Summarizer {
    /// A summarizer for a file of `len_bytes` that begins with `head`: its first [`Header::SIZE_MAX_BYTES`],
    /// or all of it. `head` itself must still be added.
    pub fn new(head: &[u8], len_bytes: u64, window: Window) -> Self {
        let header = if is_compressed(head) {
            Err(ImageError::Compressed)
        } else {
            Header::parse(head, len_bytes).map_err(ImageError::Header)
        };
        let points = header.map(|header| {
            let scans = header.archives.iter().map(|archive| Scan::new(*archive, window));
            let scans = scans.collect();
            (header, scans)
        });
        Self { content: ContentDigest::default(), points, at: 0 }
    }

    /// Adds the next piece.
    pub fn add(&mut self, piece: &[u8]) {
        self.content.add(piece);
        let (begin, end) = (self.at, self.at + piece.len() as u64);
        self.at = end;
        let Ok((_, scans)) = &mut self.points else { return };
        for scan in scans {
            let from = u64::from(scan.archive.offset).max(begin);
            let to = scan.archive.end().min(end);
            if from < to {
                // Both offsets lie inside the piece.
                let within = |at: u64| usize::try_from(at - begin).unwrap_or(usize::MAX);
                scan.add(piece.get(within(from)..within(to)).unwrap_or_default());
            }
        }
    }

    /// The summary of the pieces, which should be the whole file. A file that is shorter than announced is
    /// damaged.
    pub fn finish(self) -> Summary {
        let bytes = self.at;
        let points = self.points.and_then(|(header, scans)| {
            header.require_inside(bytes).map_err(ImageError::Header)?;
            let archives = scans.into_iter().map(|scan| scan.found).collect();
            Ok(PointSummary { header, archives })
        });
        Summary { digest: self.content.finish(), bytes, points }
    }
}

impl Summary {
    /// The summary of a whole file in memory.
    pub fn of(content: &[u8], window: Window) -> Self {
        let mut summarizer = Summarizer::new(content, content.len() as u64, window);
        summarizer.add(content);
        summarizer.finish()
    }
}

impl PointSummary {
    /// How many slots are filled, in all archives together.
    pub fn points(&self) -> u64 {
        self.archives.iter().map(|archive| archive.all.points).sum()
    }
}

/// Greater than any timestamp.
const NO_NEXT: u64 = u64::MAX;

/// Scans the slots of one archive, one after the other.
#[derive(Debug)]
struct Scan {
    archive: Archive,
    window: Window,
    base: u32,
    /// The position of the next slot.
    position: u32,
    /// The time of the next slot if it continues the previous one: then no division is needed to check its
    /// position.
    next: u64,
    /// The beginning of a slot that was cut at the end of a piece.
    cut: [u8; Point::SIZE_BYTES],
    cut_bytes: usize,
    found: ArchiveSummary,
}

impl Scan {
    fn new(archive: Archive, window: Window) -> Self {
        let none = Filled::default();
        Self {
            archive,
            window,
            base: 0,
            position: 0,
            next: NO_NEXT,
            cut: [0; Point::SIZE_BYTES],
            cut_bytes: 0,
            found: ArchiveSummary { archive, all: none, settled: none },
        }
    }

    fn add(&mut self, mut bytes: &[u8]) {
        if self.cut_bytes > 0 {
            let (rest, more) = bytes.split_at(bytes.len().min(Point::SIZE_BYTES - self.cut_bytes));
            self.keep(rest);
            bytes = more;
            if self.cut_bytes == Point::SIZE_BYTES {
                let slot = self.cut;
                self.cut_bytes = 0;
                self.add_slots(&[slot]);
            }
        }
        let (slots, rest) = bytes.as_chunks();
        self.add_slots(slots);
        self.keep(rest);
    }

    /// Keeps the part of a slot that was cut.
    fn keep(&mut self, part: &[u8]) {
        let end = self.cut_bytes + part.len();
        if let Some(room) = self.cut.get_mut(self.cut_bytes..end) {
            room.copy_from_slice(part);
            self.cut_bytes = end;
        }
    }

    fn add_slots(&mut self, slots: &[[u8; Point::SIZE_BYTES]]) {
        let step = self.archive.seconds_per_point;
        let (retention, now) = (self.archive.retention(), u64::from(self.window.now));
        for slot in slots {
            let Point { timestamp, value } = Point::decode(slot);
            if self.position == 0 {
                self.base = timestamp;
            }
            let is_next = self.next == u64::from(timestamp);
            if is_next || self.is_at_its_position(timestamp) {
                self.next = u64::from(timestamp) + u64::from(step);
                if !value.is_nan() && u64::from(timestamp) + retention > now {
                    self.count(timestamp);
                }
            } else {
                self.next = NO_NEXT;
            }
            self.position += 1;
        }
    }

    /// Whether a slot for `timestamp` belongs at this position.
    fn is_at_its_position(&self, timestamp: u32) -> bool {
        timestamp != 0
            && timestamp.is_multiple_of(self.archive.seconds_per_point)
            && position_of(&self.archive, self.base, timestamp) == Some(self.position)
    }

    fn count(&mut self, timestamp: u32) {
        let time = if self.window.with_times { Digest::of_time(timestamp) } else { 0 };
        self.found.all.add(time);
        if timestamp < self.window.settled {
            self.found.settled.add(time);
        }
    }
}

#[cfg(test)]
mod tests;
