//! The slots of one archive at a given time, and how finer ones become a coarser one.

use std::iter::repeat;

use super::point_map::Clocks;
use crate::image::position_of;
use crate::{Aggregation, AggregationSix, Archive, Header, Image, Point, XFilesFactor};

pub(super) use crate::image::Slot;

/// The timestamp that a slot stores.
pub(super) fn timestamp(slot: &Slot) -> i64 {
    let [t0, t1, t2, t3, ..] = *slot;
    i64::from(u32::from_be_bytes([t0, t1, t2, t3]))
}

/// The value that a stored slot has for slot `t`, or `None` if it stores another timestamp or NaN.
pub(super) fn value_for(slot: &Slot, t: i64) -> Option<f64> {
    if timestamp(slot) != t {
        return None;
    }
    let value = Point::decode(slot).value;
    (!value.is_nan()).then_some(value)
}

/// The first eight bytes of a slot: its timestamp, and the first half of the value with sign, exponent and
/// high digits.
pub(super) fn head(slot: &Slot) -> u64 {
    let [head @ .., _, _, _, _] = *slot;
    u64::from_be_bytes(head)
}

/// Whether a slot stores a value for the slot whose timestamp is in the upper half of `wanted`. `head` is the
/// beginning of the slot. A faster form of [`value_for`].
pub(super) fn holds(slot: &Slot, head: u64, wanted: u64) -> bool {
    // Subtracting the wanted timestamp leaves the beginning of the value.
    let value = head.wrapping_sub(wanted);
    let is_finite = value & !SIGN < EXPONENT;
    is_finite || (head >> 32 == wanted >> 32 && !Point::decode(slot).value.is_nan())
}

/// The sign bit in the first four bytes of a value.
const SIGN: u64 = 1 << 31;
/// The exponent bits there: all of them are set in infinities and NaNs, and in no other value.
const EXPONENT: u64 = 0x7ff0_0000;

/// Finds the positions of slots that mostly follow each other.
pub(super) struct Walk {
    /// The distance between two consecutive slots in seconds, and in positions.
    seconds: i64,
    positions: usize,
    last: Option<(i64, usize)>,
}

impl Walk {
    /// For an archive in which slots that are `seconds` apart are `positions` apart.
    pub(super) fn by(seconds: i64, positions: usize) -> Self {
        Self { seconds, positions, last: None }
    }

    /// [`ArchiveSlots::position`], without a division if slot `t` follows the previous one. Every call must
    /// pass the same archive.
    pub(super) fn position(&mut self, slots: &ArchiveSlots<'_>, t: i64) -> Option<usize> {
        let position = match self.last {
            Some((last, position)) if t == last + self.seconds => {
                let next = position + self.positions;
                next.checked_sub(slots.stored.len()).unwrap_or(next)
            }
            _ => slots.position(t)?,
        };
        self.last = Some((t, position));
        Some(position)
    }
}

/// The slots of one archive, and the window that its points are valid in. Times are Unix seconds; they are
/// `i64` so that a window may begin before 1970 and a span may end after the last timestamp.
#[derive(Clone, Copy)]
pub(super) struct ArchiveSlots<'a> {
    /// The number of the archive in its file, from 0.
    pub(super) number: usize,
    pub(super) archive: Archive,
    /// What positions count from; 0 if the archive is empty.
    pub(super) base: u32,
    /// The oldest slot inside the window by the earlier clock: the first multiple of the resolution after
    /// `now - retention`. Never 0, which an unwritten slot stores.
    pub(super) oldest: i64,
    /// The oldest slot inside the window by the later clock. Older slots may have been overwritten already.
    pub(super) oldest_by_both: i64,
    /// The slot that the later clock's `now` lies in. Later slots can hold points only if clocks disagree.
    pub(super) newest: i64,
    /// The archive's slots by position.
    pub(super) stored: &'a [Slot],
}

impl<'a> ArchiveSlots<'a> {
    /// The archives of `image`, the finest first. Of two with the same resolution, which whisper.py refuses
    /// to create, only the first in the file counts.
    pub(super) fn finest_first(image: &Image<'a>, clocks: Clocks) -> Vec<Self> {
        let mut archives: Vec<Self> = image
            .header()
            .finest_first()
            .into_iter()
            .filter_map(|number| Self::of(image, number, clocks))
            .collect();
        archives.dedup_by_key(|slots| slots.archive.seconds_per_point);
        archives
    }

    /// All archives of `image` in the order of the file.
    pub(super) fn in_file_order(image: &Image<'a>, clocks: Clocks) -> Vec<Self> {
        let numbers = 0..image.header().archives.len();
        numbers.filter_map(|number| Self::of(image, number, clocks)).collect()
    }

    fn of(image: &Image<'a>, number: usize, clocks: Clocks) -> Option<Self> {
        let archive = *image.header().archives.get(number)?;
        let end = usize::try_from(archive.end()).ok()?;
        let (stored, _) = image.bytes().get(archive.offset as usize..end)?.as_chunks();
        let step = i64::from(archive.seconds_per_point);
        let latest = i64::from(clocks.latest);
        let oldest_at = |now: u32| {
            let outside = i64::from(now) - step * i64::from(archive.points);
            (outside.div_euclid(step) + 1).max(1) * step
        };
        Some(Self {
            number,
            archive,
            base: stored.first().map_or(0, |slot| Point::decode(slot).timestamp),
            oldest: oldest_at(clocks.earliest),
            oldest_by_both: oldest_at(clocks.latest),
            newest: latest - latest % step,
            stored,
        })
    }

    /// Seconds between two slots.
    pub(super) fn step(&self) -> i64 {
        i64::from(self.archive.seconds_per_point)
    }

    /// How many slots lie in the later clock's window: at most as many as the archive has.
    pub(super) fn window_slots(&self) -> usize {
        let slots = (self.newest - self.oldest_by_both).div_euclid(self.step()) + 1;
        usize::try_from(slots).unwrap_or_default()
    }

    /// The times of the valid points outside the later clock's window, ascending. `words` has a bit for each
    /// slot of the window, set if it holds a point; those slots are not checked again.
    pub(super) fn points_outside_window(&self, words: &[u64]) -> Vec<u32> {
        let mut times = Vec::new();
        // An empty archive has no positions.
        let Some(start) = self.position(self.oldest_by_both) else { return times };
        let count = self.stored.len();
        for (number, word) in (0..count).step_by(64).zip(words.iter().copied().chain(repeat(0))) {
            if word == u64::MAX {
                continue;
            }
            for position in (number..count.min(number + 64)).map(|number| (start + number) % count)
            {
                let t = self.stored.get(position).map_or(0, timestamp);
                let is_outside = t > self.newest || (t >= self.oldest && t < self.oldest_by_both);
                if is_outside && self.holds_point(position) {
                    times.extend(u32::try_from(t).ok());
                }
            }
        }
        times.sort_unstable();
        times
    }

    /// How many of its slots fit into `seconds`.
    pub(super) fn slots_in(&self, seconds: i64) -> usize {
        usize::try_from(seconds / self.step()).unwrap_or_default()
    }

    /// The position of slot `t`, or `None` if the archive is empty or a timestamp cannot express `t`.
    pub(super) fn position(&self, t: i64) -> Option<usize> {
        let t = u32::try_from(t).ok()?;
        position_of(&self.archive, self.base, t).map(|position| position as usize)
    }

    /// The position after `position`.
    pub(super) fn next_position(&self, position: usize) -> usize {
        if position + 1 < self.stored.len() { position + 1 } else { 0 }
    }

    /// Whether `position` stores a point, which is a valid slot of this archive.
    pub(super) fn holds_point(&self, position: usize) -> bool {
        self.stored.get(position).is_some_and(|slot| {
            let t = timestamp(slot);
            t >= self.oldest
                && t % self.step() == 0
                && value_for(slot, t).is_some()
                && self.position(t) == Some(position)
        })
    }

    /// The oldest point that is not older than `from`, or `None` if there is none.
    pub(super) fn oldest_point(&self, from: i64) -> Option<i64> {
        let mut oldest = None;
        for (position, slot) in self.stored.iter().enumerate() {
            let t = timestamp(slot);
            if t >= from && oldest.is_none_or(|oldest| t < oldest) && self.holds_point(position) {
                oldest = Some(t);
            }
        }
        oldest
    }

    /// Whether there may be points after `newest`.
    pub(super) fn reaches_ahead(&self) -> bool {
        self.stored.iter().any(|slot| timestamp(slot) > self.newest)
    }

    /// The points after `newest`, the oldest first.
    pub(super) fn points_after_newest(&self) -> Vec<(i64, f64)> {
        // There are hardly ever any, and this check is cheap.
        if !self.reaches_ahead() {
            return Vec::new();
        }
        let mut points: Vec<(i64, f64)> = (self.stored.iter().enumerate())
            .filter(|(position, slot)| timestamp(slot) > self.newest && self.holds_point(*position))
            .map(|(_, slot)| (timestamp(slot), Point::decode(slot).value))
            .collect();
        points.sort_unstable_by_key(|(t, _)| *t);
        points
    }

    /// Whether slots of `step` seconds can be rolled up from this archive: its own step must divide `step`,
    /// and it must have at least as many slots as one slot of `step` seconds contains.
    pub(super) fn divides(&self, step: i64) -> bool {
        self.step() < step
            && step % self.step() == 0
            && step / self.step() <= i64::from(self.archive.points)
    }

    /// Whether the span of the coarser slot `t` of `step` seconds lies completely inside this archive's
    /// window.
    ///
    /// The window is open towards the future, since clocks may disagree, but not farther than the archive is
    /// long. Later timestamps are damage, and rolling up each of them would take quadratic time.
    fn covers(&self, t: i64, step: i64) -> bool {
        let retention = self.step() * i64::from(self.archive.points);
        t >= self.oldest_by_both && t + step <= self.newest + self.step() + retention
    }
}

/// How finer slots become a coarser one, by the destination's settings.
pub(super) struct RollUp {
    aggregation: Aggregation,
    aggregation_six: AggregationSix,
    x_files_factor: XFilesFactor,
    /// The known values of the finer slots under one coarser slot; the allocation is reused.
    known: Vec<f64>,
}

impl RollUp {
    pub(super) fn new(header: &Header, aggregation_six: AggregationSix) -> Self {
        Self {
            aggregation: header.aggregation,
            aggregation_six,
            x_files_factor: header.x_files_factor,
            known: Vec::new(),
        }
    }

    /// The value of the coarser slot `t` of `step` seconds, from `finer`, whose step must divide it. `None`
    /// if the window of `finer` does not cover the slot, or too little of it is known.
    ///
    /// `None` too for a roll-up that is NaN (infinities of both signs): it could not be distinguished from a
    /// gap.
    pub(super) fn value(&mut self, finer: &ArchiveSlots<'_>, t: i64, step: i64) -> Option<f64> {
        self.value_from(finer, finer.position(t)?, finer.slots_in(step), t, step)
    }

    /// [`Self::value`], given that the first of the `slots` finer slots lies at `position`.
    pub(super) fn value_from(
        &mut self,
        finer: &ArchiveSlots<'_>,
        position: usize,
        slots: usize,
        t: i64,
        step: i64,
    ) -> Option<f64> {
        if !finer.covers(t, step) {
            return None;
        }
        let (up_to_first, from_first) = finer.stored.split_at_checked(position)?;
        let before_end = slots.min(from_first.len());
        let after_end = (slots - before_end).min(up_to_first.len());
        self.known.clear();
        let mut finer_t = t;
        for slot in [&from_first[..before_end], &up_to_first[..after_end]].into_iter().flatten() {
            if let Some(value) = value_for(slot, finer_t) {
                self.known.push(value);
            }
            finer_t += finer.step();
        }
        let total = u32::try_from(before_end + after_end).ok()?;
        let known = u32::try_from(self.known.len()).ok()?;
        if !self.x_files_factor.is_met(known, total) {
            return None;
        }
        let total = usize::try_from(total).ok()?;
        let value = self.aggregation.roll_up_known(self.aggregation_six, &self.known, total)?;
        (!value.is_nan()).then_some(value)
    }
}
