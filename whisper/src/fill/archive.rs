//! The rules for one archive of the destination.

use super::marks::{Marks, WORD};
use super::slots::{RollUp, Slot, Slots, Walk, head, holds, timestamp, value_for};
use super::source::SourceSlots;
use crate::Point;

/// What a position holds, seen from a slot that wants it.
enum Held {
    /// The slot itself, with a value.
    Same,
    /// Nothing that has to stay.
    Free,
    /// Something that has to stay.
    Taken,
}

/// One archive of the destination while it is filled.
pub(super) struct Filling<'a> {
    /// The archive as it was.
    pub(super) before: Slots<'a>,
    /// Its slots as they will be; none if it was not looked at because there is nothing to fill it from.
    pub(super) after: Vec<Slot>,
    /// Which of them change.
    pub(super) changed: Marks,
    /// Whether one of those is later than the slot that `now` lies in.
    reaches_ahead: bool,
    /// What positions count from: the archive's base, or what becomes the base of an empty one.
    base: u32,
    /// Slots that got the source's value, and kept it.
    pub(super) filled: u64,
    /// Slots that were rolled up anew to another value than they had.
    pub(super) rolled_up: u64,
    /// Slots that the source has a value for, but whose position holds something that has to stay.
    pub(super) left_out: u64,
}

impl<'a> Filling<'a> {
    /// Fills the archive `before`: R1 and R2 with what the source has, then R3 with the roll-ups `anew`, which are
    /// oldest first.
    pub(super) fn new(
        before: Slots<'a>,
        mut source: SourceSlots<'_, '_>,
        anew: &[(i64, f64)],
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
            let oldest_anew = anew.first().map(|(t, _)| *t);
            let oldest = source.oldest(&before).into_iter().chain(oldest_anew).min();
            filling.base = oldest.and_then(|t| u32::try_from(t).ok()).unwrap_or(0);
        }
        let nothing_to_do = source.is_none() && anew.is_empty();
        if filling.base != 0 && !nothing_to_do {
            filling.after = before.stored.to_vec();
            filling.changed = Marks::none_of(before.stored.len());
            filling.settle(source, anew);
        }
        filling
    }

    /// The slots up to now are settled before those after it, so that a clock that is ahead cannot take the place
    /// of a point that graphs show.
    fn settle(&mut self, mut source: SourceSlots<'_, '_>, anew: &[(i64, f64)]) {
        let newest = self.before.newest;
        let (up_to_now, after_now) = anew.split_at(anew.partition_point(|(t, _)| *t <= newest));
        let may_reach_ahead = match &mut source {
            SourceSlots::None => false,
            SourceSlots::Same(same) => self.take_alike(same),
            SourceSlots::Finer(finer) => {
                self.take_each(|t| finer.value(t));
                true
            }
        };
        let mut walk = Walk::by(self.before.step(), 1);
        up_to_now.iter().for_each(|(t, value)| self.roll_up_anew(&mut walk, *t, *value));
        if may_reach_ahead {
            source.later_than(newest).iter().for_each(|(t, value)| self.take(*t, *value));
        }
        after_now.iter().for_each(|(t, value)| self.roll_up_anew(&mut walk, *t, *value));
    }

    /// R1 and R2 for the slots up to now, from the source's archive of the same resolution. Both rings are walked
    /// side by side, up to where one of them begins anew: this is what most of the time of a fill goes into.
    ///
    /// Whether the source may have points after now that are still to be taken.
    fn take_alike(&mut self, same: &Slots<'_>) -> bool {
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
                // At most a few times the window: far below what an i64 holds.
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

    /// The same for a few slots: those `from` the source, the first of which is slot `t`, for the destination's from
    /// position `first` on. With `same_turns` a slot after now has the same place in both rings.
    fn take_block(&mut self, from: &[Slot], first: usize, t: i64, same_turns: bool) -> bool {
        let (step, newest) = (self.before.archive.seconds_per_point, self.before.newest);
        let Some(slots) = self.after.get_mut(first..first + from.len()) else { return false };
        // Where both are the same, what is valid stays and there is nothing else to be had.
        if slots.as_flattened() == from.as_flattened() {
            return !same_turns && from.iter().any(|slot| timestamp(slot) > newest);
        }
        let at_beginning = |t: i64| u64::try_from(t).unwrap_or_default() << 32;
        let window = Window {
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

    /// R1 and R2 for the slots up to now, from `value`, which is only asked where it is needed.
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

    /// R1 and R2 for one slot.
    fn take(&mut self, t: i64, value: f64) {
        let position = self.view().position(t);
        match self.held(position, t) {
            Held::Same => {}
            Held::Free => {
                self.write(position, t, value);
                self.filled += 1;
            }
            Held::Taken => self.left_out += 1,
        }
    }

    /// R3 for one slot.
    fn roll_up_anew(&mut self, walk: &mut Walk, t: i64, value: f64) {
        let position = walk.position(&self.view(), t);
        match self.held(position, t) {
            Held::Taken => return,
            Held::Free => {}
            Held::Same => {
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

    /// What the position of slot `t` holds by now.
    fn held(&self, position: Option<usize>, t: i64) -> Held {
        let stored = position.and_then(|position| Some((position, self.after.get(position)?)));
        match stored {
            None => Held::Taken,
            Some((_, slot)) if value_for(slot, t).is_some() => Held::Same,
            Some((_, slot)) if timestamp(slot) > t => Held::Taken,
            Some((position, _)) if t > self.before.newest && self.view().holds_point(position) => {
                Held::Taken
            }
            Some(_) => Held::Free,
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
    fn view(&self) -> Slots<'_> {
        Slots { base: self.base, stored: &self.after, ..self.before }
    }

    /// R3 for the next coarser archive: the new values of its slots under which this archive has gained a point,
    /// oldest first.
    pub(super) fn roll_up_gains(
        &self,
        coarser: &Slots<'_>,
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
        let anew = slots.into_iter().filter_map(|t| {
            let position = walk.position(&view, t)?;
            Some((t, roll_up.value_from(&view, position, finer_slots, t, step)?))
        });
        anew.collect()
    }

    /// The slots of `step` seconds under which something has changed, each at least once.
    fn spans_with_gains(&self, step: i64) -> Vec<i64> {
        let finer_slots = self.before.slots_in(step).max(1);
        let mut slots = Vec::with_capacity(self.after.len() / finer_slots + 2);
        let (mut span, mut position) = (0..0, 0);
        while let Some(changed) = self.changed.next(position) {
            let gain = self.after.get(changed).map_or(0, timestamp);
            if !span.contains(&gain) {
                // Mostly it is the one that follows, and nothing has to be divided.
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
            // Of slots after now, what has changed there may be of another turn of the ring.
            position = changed + 1 + if self.reaches_ahead { 0 } else { rest };
        }
        slots
    }
}

/// The times of a few slots that follow each other, where timestamps are compared: in the upper half of 64 bits.
#[derive(Clone, Copy)]
struct Window {
    /// The first slot's.
    first: u64,
    step: u64,
    /// The last that begins with the timestamp of the slot that `now` lies in.
    latest: u64,
}

/// What was taken of a few slots.
struct Taken {
    /// A bit for each that was, the first slot's being the lowest.
    slots: u64,
    left_out: u64,
    may_reach_ahead: bool,
}

/// R1 and R2 for a few slots. All that it needs fits into registers: keep it apart.
#[inline(never)]
fn take_slots(from: &[Slot], slots: &mut [Slot], window: Window) -> Taken {
    let (mut wanted, mut bit) = (window.first, 1_u64);
    let mut taken = Taken { slots: 0, left_out: 0, may_reach_ahead: false };
    for (from, slot) in from.iter().zip(slots) {
        let (offered, held) = (head(from), head(slot));
        taken.may_reach_ahead |= offered > window.latest;
        if !holds(slot, held, wanted) && holds(from, offered, wanted) {
            // An older timestamp is out of the window: slots up to now never share a position.
            if held >> 32 <= wanted >> 32 {
                *slot = *from;
                taken.slots |= bit;
            } else {
                taken.left_out += 1;
            }
        }
        // After the last slot both may be more than they can hold.
        wanted = wanted.wrapping_add(window.step);
        bit <<= 1;
    }
    taken
}

/// The slot `t` with `value`, as a file stores it.
fn encode(t: i64, value: f64) -> Slot {
    // Every slot that is written was read from a file or spans one that was: it has at most 32 bits.
    let timestamp = u32::try_from(t).unwrap_or_default();
    Point { timestamp, value }.encode()
}
