//! The rules for one archive of the destination.

use super::marks::{Marks, WORD};
use super::slots::{ArchiveSlots, RollUp, Slot, Walk, head, holds, timestamp, value_for};
use super::source::SourceSlots;
use crate::Point;

/// What a position holds, from the point of view of the slot that is to be written there.
enum Occupancy {
    /// The slot itself, with a value.
    Same,
    /// Nothing that must be kept.
    Free,
    /// Another slot that must be kept.
    Taken,
}

/// One archive of the destination while it is filled.
pub(super) struct ArchiveFilling<'a> {
    /// The archive as it was.
    pub(super) before: ArchiveSlots<'a>,
    /// Its slots as they will be; empty if there was nothing to fill the archive from.
    pub(super) after: Vec<Slot>,
    /// Which slots change.
    pub(super) changed: Marks,
    /// Whether a changed slot is later than the slot that `now` lies in.
    reaches_ahead: bool,
    /// What positions count from: the archive's base, or what becomes the base of an empty archive.
    base: u32,
    /// The number of slots that got the source's value and kept it.
    pub(super) filled: u64,
    /// The number of slots that a new roll-up changed.
    pub(super) rolled_up: u64,
    /// The number of slots that the source has a value for, but whose position holds something that must be
    /// kept.
    pub(super) left_out: u64,
}

impl<'a> ArchiveFilling<'a> {
    /// Fills the archive `before`: by R1 and R2 with the values of the source, then by R3 with `roll_ups`,
    /// which are ordered oldest first.
    pub(super) fn new(
        before: ArchiveSlots<'a>,
        mut source: SourceSlots<'_, '_>,
        roll_ups: &[(i64, f64)],
    ) -> Self {
        let mut filling = Self {
            before,
            after: Vec::new(),
            changed: Marks::default(),
            reaches_ahead: false,
            base: before.base,
            filled: 0,
            rolled_up: 0,
            left_out: 0,
        };
        if filling.base == 0 {
            let oldest_roll_up = roll_ups.first().map(|(t, _)| *t);
            let oldest = source.oldest(&before).into_iter().chain(oldest_roll_up).min();
            filling.base = oldest.and_then(|t| u32::try_from(t).ok()).unwrap_or(0);
        }
        let nothing_to_do = source.is_none() && roll_ups.is_empty();
        if filling.base != 0 && !nothing_to_do {
            filling.after = before.stored.to_vec();
            filling.changed = Marks::none_of(before.stored.len());
            filling.fill_in_order(source, roll_ups);
        }
        filling
    }

    /// Fills the slots up to now before those after it, so that a clock that is ahead cannot displace a point
    /// that graphs show.
    fn fill_in_order(&mut self, mut source: SourceSlots<'_, '_>, roll_ups: &[(i64, f64)]) {
        let newest = self.before.newest;
        let (up_to_now, after_now) =
            roll_ups.split_at(roll_ups.partition_point(|(t, _)| *t <= newest));
        let may_reach_ahead = match &mut source {
            SourceSlots::None => false,
            SourceSlots::Same(same) => self.take_same_resolution(same),
            SourceSlots::Finer(finer) => {
                self.take_each(|t| finer.value(t));
                true
            }
        };
        let mut walk = Walk::by(self.before.step(), 1);
        up_to_now.iter().for_each(|(t, value)| self.write_roll_up(&mut walk, *t, *value));
        if may_reach_ahead {
            source.later_than(newest).iter().for_each(|(t, value)| self.take(*t, *value));
        }
        after_now.iter().for_each(|(t, value)| self.write_roll_up(&mut walk, *t, *value));
    }

    /// Applies R1 and R2 to the slots up to now, from the source's archive of the same resolution. Walks both
    /// rings side by side, up to the end of either one. A fill spends most of its time here.
    ///
    /// Returns whether the source may have points after now that must still be taken.
    fn take_same_resolution(&mut self, same: &ArchiveSlots<'_>) -> bool {
        let (step, newest) = (self.before.step(), self.before.newest);
        let same_turns = same.stored.len() == self.before.stored.len();
        let mut t = self.before.oldest.max(same.oldest);
        let mut walked = 0;
        let mut may_reach_ahead = false;
        while t <= newest {
            let (Some(from), Some(first)) = (same.position(t), self.view().position(t)) else {
                break;
            };
            let left = usize::try_from((newest - t) / step + 1).unwrap_or(usize::MAX);
            let from = same.stored.get(from..).unwrap_or_default();
            let slots = self.after.len().saturating_sub(first);
            let count = left.min(from.len()).min(slots);
            for (number, from) in from[..count].chunks(WORD).enumerate() {
                let skipped = number * WORD;
                // At most a few times the window, which is far below the limit of an i64.
                let block_t = t + step * i64::try_from(skipped).unwrap_or_default();
                may_reach_ahead |= self.take_block(from, first + skipped, block_t, same_turns);
            }
            if count == 0 {
                break;
            }
            walked += count;
            t += step * i64::try_from(count).unwrap_or(i64::MAX);
        }
        may_reach_ahead || (walked < same.stored.len() && same.reaches_ahead())
    }

    /// Applies R1 and R2 to a block of slots: `from` are the source's slots, the first of which is slot `t`,
    /// and `first` is its position in the destination. With `same_turns` a slot after now has the same
    /// position in both rings.
    ///
    /// Returns whether the source may have points after now that must still be taken.
    fn take_block(&mut self, from: &[Slot], first: usize, t: i64, same_turns: bool) -> bool {
        let (step, newest) = (self.before.archive.seconds_per_point, self.before.newest);
        let Some(slots) = self.after.get_mut(first..first + from.len()) else { return false };
        // If both are equal, the valid slots stay and the source has nothing else to give.
        if slots.as_flattened() == from.as_flattened() {
            return !same_turns && from.iter().any(|slot| timestamp(slot) > newest);
        }
        let at_beginning = |t: i64| u64::try_from(t).unwrap_or_default() << 32;
        let window = BlockWindow {
            first: at_beginning(t),
            step: u64::from(step) << 32,
            latest: at_beginning(newest) | u64::from(u32::MAX),
        };
        let taken = take_slots(from, slots, window);
        self.filled += u64::from(taken.slots.count_ones());
        self.left_out += taken.left_out;
        self.changed.set_block(first, taken.slots);
        taken.may_reach_ahead
    }

    /// Applies R1 and R2 to the slots up to now, from `value`, which is called only if the value is needed.
    fn take_each(&mut self, mut value: impl FnMut(i64) -> Option<f64>) {
        let mut t = self.before.oldest;
        let Some(mut position) = self.view().position(t) else {
            return;
        };
        while t <= self.before.newest {
            if self.after.get(position).is_some_and(|slot| value_for(slot, t).is_none())
                && let Some(value) = value(t)
            {
                self.take(t, value);
            }
            t += self.before.step();
            position = self.before.next_position(position);
        }
    }

    /// Applies R1 and R2 to one slot.
    fn take(&mut self, t: i64, value: f64) {
        let position = self.view().position(t);
        match self.held(position, t) {
            Occupancy::Same => {}
            Occupancy::Free => {
                self.write(position, t, value);
                self.filled += 1;
            }
            Occupancy::Taken => self.left_out += 1,
        }
    }

    /// Applies R3 to one slot.
    fn write_roll_up(&mut self, walk: &mut Walk, t: i64, value: f64) {
        let position = walk.position(&self.view(), t);
        match self.held(position, t) {
            Occupancy::Taken => return,
            Occupancy::Free => {}
            Occupancy::Same => {
                let stored = |slots: &[Slot]| slots.get(position?).copied();
                if stored(&self.after) == Some(encode(t, value)) {
                    return;
                }
                let before = stored(self.before.stored);
                let was_there = before.is_some_and(|slot| value_for(&slot, t).is_some());
                self.filled -= u64::from(!was_there);
            }
        }
        self.write(position, t, value);
        self.rolled_up += 1;
    }

    /// What the position of slot `t` holds now.
    fn held(&self, position: Option<usize>, t: i64) -> Occupancy {
        let stored = position.and_then(|position| Some((position, self.after.get(position)?)));
        match stored {
            None => Occupancy::Taken,
            Some((_, slot)) if value_for(slot, t).is_some() => Occupancy::Same,
            Some((_, slot)) if timestamp(slot) > t => Occupancy::Taken,
            Some((position, _)) if t > self.before.newest && self.view().holds_point(position) => {
                Occupancy::Taken
            }
            Some(_) => Occupancy::Free,
        }
    }

    fn write(&mut self, position: Option<usize>, t: i64, value: f64) {
        if let Some(position) = position
            && let Some(slot) = self.after.get_mut(position)
        {
            *slot = encode(t, value);
            self.changed.set(position);
            self.reaches_ahead |= t > self.before.newest;
        }
    }

    /// The archive as it will be.
    fn view(&self) -> ArchiveSlots<'_> {
        ArchiveSlots { base: self.base, stored: &self.after, ..self.before }
    }

    /// R3 for the next coarser archive: the new values of those of its slots under which this archive has
    /// gained a point, oldest first.
    pub(super) fn roll_up_gains(
        &self,
        coarser: &ArchiveSlots<'_>,
        roll_up: &mut RollUp,
    ) -> Vec<(i64, f64)> {
        let step = coarser.step();
        if !self.before.divides(step) {
            return Vec::new();
        }
        let mut slots = self.spans_with_gains(step);
        slots.retain(|t| *t >= coarser.oldest);
        slots.sort_unstable();
        slots.dedup();
        let (view, finer_slots) = (self.view(), self.before.slots_in(step));
        let mut walk = Walk::by(step, finer_slots);
        let roll_ups = slots.into_iter().filter_map(|t| {
            let position = walk.position(&view, t)?;
            Some((t, roll_up.value_from(&view, position, finer_slots, t, step)?))
        });
        roll_ups.collect()
    }

    /// The slots of `step` seconds under which something has changed, each at least once.
    fn spans_with_gains(&self, step: i64) -> Vec<i64> {
        let finer_slots = self.before.slots_in(step).max(1);
        let mut slots = Vec::with_capacity(self.after.len() / finer_slots + 2);
        let (mut span, mut position) = (0..0, 0);
        while let Some(changed) = self.changed.next(position) {
            let gain = self.after.get(changed).map_or(0, timestamp);
            if !span.contains(&gain) {
                // Usually this is the following slot, and no division is needed.
                let follows = (span.end..span.end + step).contains(&gain);
                let t = if follows { span.end } else { gain - gain % step };
                span = t..t + step;
                slots.push(t);
            }
            let rest = if gain == span.start && span.end <= self.before.newest {
                finer_slots - 1
            } else {
                self.before.slots_in((span.end - 1).min(self.before.newest) - gain)
            };
            // A slot after now may belong to another turn of the ring, so none may be skipped.
            position = changed + 1 + if self.reaches_ahead { 0 } else { rest };
        }
        slots
    }
}

/// The times of a block of consecutive slots. Timestamps are in the upper half of 64 bits for comparison.
#[derive(Clone, Copy)]
struct BlockWindow {
    /// The time of the first slot.
    first: u64,
    step: u64,
    /// The greatest number that begins with the timestamp of the slot that `now` lies in.
    latest: u64,
}

/// What was taken from a block of slots.
struct TakenSlots {
    /// A bit for each slot that was taken; the lowest bit is the first slot.
    slots: u64,
    left_out: u64,
    may_reach_ahead: bool,
}

/// Applies R1 and R2 to a block of slots. Keep this function separate: all that it needs fits into registers.
#[inline(never)]
fn take_slots(from: &[Slot], slots: &mut [Slot], window: BlockWindow) -> TakenSlots {
    let (mut wanted, mut bit) = (window.first, 1_u64);
    let mut taken = TakenSlots { slots: 0, left_out: 0, may_reach_ahead: false };
    for (from, slot) in from.iter().zip(slots) {
        let (offered, held) = (head(from), head(slot));
        taken.may_reach_ahead |= offered > window.latest;
        if !holds(slot, held, wanted) && holds(from, offered, wanted) {
            // An older timestamp is outside the window: slots up to now never share a position.
            if held >> 32 <= wanted >> 32 {
                *slot = *from;
                taken.slots |= bit;
            } else {
                taken.left_out += 1;
            }
        }
        // After the last slot both may overflow.
        wanted = wanted.wrapping_add(window.step);
        bit <<= 1;
    }
    taken
}

/// The slot `t` with `value`, as a file stores it.
fn encode(t: i64, value: f64) -> Slot {
    // Every slot that is written was read from a file or contains one that was, so it fits into 32 bits.
    let timestamp = u32::try_from(t).unwrap_or_default();
    Point { timestamp, value }.encode()
}
