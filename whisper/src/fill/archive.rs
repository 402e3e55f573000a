//! The rules for one archive of the destination.

use super::slots::{RollUp, Slot, Slots, timestamp, value_for};
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
    /// By position, whether it changes.
    pub(super) changed: Vec<bool>,
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
            changed: Vec::new(),
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
            filling.changed = vec![false; before.stored.len()];
            filling.settle(source, anew);
        }
        filling
    }

    /// The slots up to now are settled before those after it, so that a clock that is ahead cannot take the place
    /// of a point that graphs show.
    fn settle(&mut self, mut source: SourceSlots<'_, '_>, anew: &[(i64, f64)]) {
        let newest = self.before.newest;
        let (up_to_now, after_now) = anew.split_at(anew.partition_point(|(t, _)| *t <= newest));
        match &mut source {
            SourceSlots::None => {}
            SourceSlots::Same(same) => self.take_alike(same),
            SourceSlots::Finer(finer) => self.take_each(|t| finer.value(t)),
        }
        up_to_now.iter().for_each(|(t, value)| self.roll_up_anew(*t, *value));
        source.later_than(newest).iter().for_each(|(t, value)| self.take(*t, *value));
        after_now.iter().for_each(|(t, value)| self.roll_up_anew(*t, *value));
    }

    /// R1 and R2 for the slots up to now, from the source's archive of the same resolution. Both rings are walked
    /// side by side, up to where one of them begins anew: this is what most of the time of a fill goes into.
    fn take_alike(&mut self, same: &Slots<'_>) {
        let (step, newest) = (self.before.step(), self.before.newest);
        let mut t = self.before.oldest.max(same.oldest);
        while t <= newest {
            let (Some(from), Some(first)) = (same.position(t), self.view().position(t)) else {
                return;
            };
            let left = usize::try_from((newest - t) / step + 1).unwrap_or(usize::MAX);
            let from = same.stored.get(from..).unwrap_or_default();
            let slots = self.after.get_mut(first..).unwrap_or_default();
            let changed = self.changed.get_mut(first..).unwrap_or_default();
            for ((from, slot), changed) in from.iter().zip(slots).zip(changed).take(left) {
                if value_for(slot, t).is_none() && value_for(from, t).is_some() {
                    // An older timestamp is out of the window: slots up to now never share a position.
                    if timestamp(slot) <= t {
                        *slot = *from;
                        *changed = true;
                        self.filled += 1;
                    } else {
                        self.left_out += 1;
                    }
                }
                t += step;
            }
        }
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
        match self.held(t) {
            (_, Held::Same) => {}
            (position, Held::Free) => {
                self.write(position, t, value);
                self.filled += 1;
            }
            (_, Held::Taken) => self.left_out += 1,
        }
    }

    /// R3 for one slot.
    fn roll_up_anew(&mut self, t: i64, value: f64) {
        let (position, held) = self.held(t);
        match held {
            Held::Taken => return,
            Held::Free => {}
            Held::Same => {
                if self.after.get(position) == Some(&encode(t, value)) {
                    return;
                }
                let before = self.before.stored.get(position);
                let was_there = before.is_some_and(|slot| value_for(slot, t).is_some());
                self.filled -= u64::from(!was_there);
            }
        }
        self.write(position, t, value);
        self.rolled_up += 1;
    }

    /// The position of slot `t`, and what it holds by now.
    fn held(&self, t: i64) -> (usize, Held) {
        let view = self.view();
        let position = view.position(t).unwrap_or(usize::MAX);
        let held = match self.after.get(position) {
            None => Held::Taken,
            Some(slot) if value_for(slot, t).is_some() => Held::Same,
            Some(slot) if timestamp(slot) > t => Held::Taken,
            Some(_) if t > self.before.newest && view.holds_point(position) => Held::Taken,
            Some(_) => Held::Free,
        };
        (position, held)
    }

    fn write(&mut self, position: usize, t: i64, value: f64) {
        if let (Some(slot), Some(changed)) =
            (self.after.get_mut(position), self.changed.get_mut(position))
        {
            *slot = encode(t, value);
            *changed = true;
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
        let mut slots: Vec<i64> = Vec::new();
        let mut span = 0..0;
        for (slot, _) in self.after.iter().zip(&self.changed).filter(|(_, changed)| **changed) {
            let gain = timestamp(slot);
            if !span.contains(&gain) {
                let t = gain - gain % step;
                span = t..t + step;
                slots.push(t);
            }
        }
        slots.retain(|t| *t >= coarser.oldest);
        slots.sort_unstable();
        slots.dedup();
        let view = self.view();
        slots.into_iter().filter_map(|t| Some((t, roll_up.value(&view, t, step)?))).collect()
    }
}

/// The slot `t` with `value`, as a file stores it.
fn encode(t: i64, value: f64) -> Slot {
    // Every slot that is written was read from a file or spans one that was: it has at most 32 bits.
    let timestamp = u32::try_from(t).unwrap_or_default();
    Point { timestamp, value }.encode()
}
