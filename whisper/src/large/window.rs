//! The part of a file that lies in one window of time, and the small image that is built from it.

use std::io;

use super::side::{SLOT_BYTES, Side, Slot, is_valid, timestamp};
use crate::header::{Archive, Header};
use crate::image::Point;

/// The slots of one archive that lie in a window.
pub(super) struct Part {
    /// The index of the archive among those of its side.
    pub(super) ring: usize,
    pub(super) step: i64,
    pub(super) first: i64,
    pub(super) slots: Vec<Slot>,
    /// The times whose slots hold newer timestamps, ascending: nothing is written there.
    taken: Vec<i64>,
}

impl Part {
    pub(super) fn times(&self) -> impl Iterator<Item = (i64, &Slot)> {
        (0..).map(|number: i64| self.first + number * self.step).zip(&self.slots)
    }

    pub(super) fn slot_mut(&mut self, t: i64) -> Option<&mut Slot> {
        let number = usize::try_from((t - self.first).div_euclid(self.step)).ok()?;
        self.slots.get_mut(number)
    }

    /// Clears the slots that are not valid points of the window.
    pub(super) fn keep_valid(&mut self) {
        let (step, first) = (self.step, self.first);
        for (number, slot) in (0..).zip(&mut self.slots) {
            if !is_valid(slot, first + step * number) {
                *slot = [0; Point::SIZE_BYTES];
            }
        }
    }

    /// Whether a newer timestamp is stored at the position of slot `t`.
    pub(super) fn is_taken(&self, t: i64) -> bool {
        self.taken.binary_search(&t).is_ok()
    }

    /// Stores the time without a value in the first slot if it holds no point, so that the others have a
    /// base.
    pub(super) fn anchor(&mut self) {
        let timestamp = u32::try_from(self.first).unwrap_or(0);
        if let Some(slot) = self.slots.first_mut()
            && !is_valid(slot, self.first)
        {
            *slot = Point { timestamp, value: f64::NAN }.encode();
        }
    }
}

/// The parts of all archives of a side that lie between `from` and `last`, as they are stored.
pub(super) fn parts(side: &Side<'_>, from: i64, last: i64, now: u32) -> io::Result<Vec<Part>> {
    let mut parts = Vec::new();
    for (number, ring) in side.rings.iter().enumerate() {
        if let Some((first, slots)) = ring.span(from, last, now) {
            let slots = side.stored(ring, first, slots)?;
            let (step, taken) = (ring.step(), Vec::new());
            parts.push(Part { ring: number, step, first, slots, taken });
        }
    }
    Ok(parts)
}

/// Removes from a window what does not belong to its time. Older turns may be overwritten. Newer turns may
/// not, so the source's points for those slots are removed too. Returns the times of those points: they are
/// displaced.
pub(super) fn exclude_newer(part: &mut Part, mut same: Option<&mut Part>) -> Vec<i64> {
    let mut displaced = Vec::new();
    for (number, slot) in (0..).zip(&mut part.slots) {
        let t = part.first + part.step * number;
        if timestamp(slot) > t {
            part.taken.push(t);
            if let Some(offered) = same.as_mut().and_then(|same| same.slot_mut(t)) {
                if timestamp(offered) != 0 {
                    displaced.push(t);
                }
                *offered = [0; Point::SIZE_BYTES];
            }
        }
        if timestamp(slot) != t {
            *slot = [0; Point::SIZE_BYTES];
        }
    }
    displaced
}

pub(super) fn header_bytes(archives: usize) -> u64 {
    16 + 12 * archives as u64
}

/// A file in which each of these parts is an archive.
pub(super) fn image_of(of: &Header, parts: &[Part]) -> Vec<u8> {
    let mut offset = header_bytes(parts.len());
    let mut archives = Vec::with_capacity(parts.len());
    for part in parts {
        let points = u32::try_from(part.slots.len()).unwrap_or(u32::MAX);
        archives.push(Archive {
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            seconds_per_point: u32::try_from(part.step).unwrap_or(u32::MAX),
            points,
        });
        offset += u64::from(points) * SLOT_BYTES;
    }
    let mut bytes = Header { archives, ..of.clone() }.encode();
    bytes.reserve_exact(usize::try_from(offset).unwrap_or(0).saturating_sub(bytes.len()));
    parts.iter().for_each(|part| bytes.extend_from_slice(part.slots.as_flattened()));
    bytes
}
