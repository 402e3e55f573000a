//! The rules for one archive of the destination.

use super::slots::{RollUp, Slot, Slots, timestamp, value_for};
use crate::Point;

/// What the source has for one archive of the destination (R2).
pub(super) enum SourceSlots<'s, 'a> {
    /// Nothing that the destination lacks.
    None,
    /// An archive of the same resolution.
    Same(Slots<'a>),
    /// Archives that are finer, the coarsest of them first: what the first cannot answer, the next may.
    Finer { archives: Vec<Slots<'a>>, step: i64, roll_up: &'s mut RollUp },
}

impl<'s, 'a> SourceSlots<'s, 'a> {
    pub(super) fn for_destination(
        sources: &[Slots<'a>],
        destination: &Slots<'_>,
        roll_up: &'s mut RollUp,
    ) -> Self {
        let step = destination.step();
        if let Some(same) = sources.iter().find(|source| source.step() == step) {
            // Comparing all bytes is cheaper than looking at each slot, and most archives of a copy are equal.
            let equal = same.stored.as_flattened() == destination.stored.as_flattened();
            return if equal { Self::None } else { Self::Same(*same) };
        }
        let archives: Vec<Slots<'a>> =
            sources.iter().rev().filter(|source| source.divides(step)).copied().collect();
        if archives.is_empty() { Self::None } else { Self::Finer { archives, step, roll_up } }
    }

    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The slots of the destination's window that the source may have something for: the first, and a cursor.
    fn window(&self, destination: &Slots<'_>) -> (i64, Cursor) {
        match self {
            Self::None => (destination.newest + destination.step(), Cursor(None)),
            Self::Same(same) => {
                let first = same.oldest.max(destination.oldest);
                (first, Cursor(same.position(first)))
            }
            Self::Finer { .. } => (destination.oldest, Cursor(None)),
        }
    }

    /// The source's value for slot `t`. `cursor` stands on `t`.
    #[inline]
    fn value(&mut self, t: i64, cursor: Cursor) -> Option<f64> {
        match self {
            Self::None => None,
            Self::Same(same) => value_for(same.stored.get(cursor.0?)?, t),
            Self::Finer { archives, step, roll_up } => {
                archives.iter().find_map(|finer| roll_up.value(finer, t, *step))
            }
        }
    }

    /// The cursor on the slot after.
    #[inline]
    fn next(&self, cursor: Cursor) -> Cursor {
        match self {
            Self::Same(same) => Cursor(cursor.0.map(|position| same.next_position(position))),
            Self::None | Self::Finer { .. } => cursor,
        }
    }

    /// The source's values for slots after `newest`, the oldest first.
    fn later_than(&mut self, newest: i64) -> Vec<(i64, f64)> {
        match self {
            Self::None => Vec::new(),
            Self::Same(same) => same.points_after_newest(),
            Self::Finer { archives, step, roll_up } => {
                let step = *step;
                let mut slots: Vec<i64> = (archives.iter())
                    .flat_map(Slots::points_after_newest)
                    .map(|(finer_t, _)| finer_t - finer_t % step)
                    .filter(|t| *t > newest)
                    .collect();
                slots.sort_unstable();
                slots.dedup();
                let mut value = |t| archives.iter().find_map(|finer| roll_up.value(finer, t, step));
                slots.into_iter().filter_map(|t| Some((t, value(t)?))).collect()
            }
        }
    }
}

/// Where in the source's archive of the same resolution the walk through a window stands. Counting along is what
/// saves a division for each slot.
#[derive(Clone, Copy)]
struct Cursor(Option<usize>);

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
    /// Its slots as they will be; empty as long as nothing has changed.
    after: Vec<Slot>,
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
    pub(super) fn new(before: Slots<'a>) -> Self {
        let base = before.base;
        Self { before, after: Vec::new(), base, filled: 0, rolled_up: 0, left_out: 0 }
    }

    /// Applies R1 and R2 with what the source has, then R3 with the roll-ups `anew`, which are oldest first.
    ///
    /// The slots up to now are settled before those after it, so that a clock that is ahead cannot take the place
    /// of a point that graphs show.
    pub(super) fn run(&mut self, source: &mut SourceSlots<'_, '_>, anew: &[(i64, f64)]) {
        let later = source.later_than(self.before.newest);
        if self.base == 0 {
            let Some(base) = self.earliest(source, &later, anew) else {
                return;
            };
            self.base = base;
        }
        self.after = self.before.stored.to_vec();
        let (up_to_now, after_now) =
            anew.split_at(anew.partition_point(|(t, _)| *t <= self.before.newest));

        self.take_window(source);
        up_to_now.iter().for_each(|(t, value)| self.roll_up_anew(*t, *value));
        later.iter().for_each(|(t, value)| self.take(*t, *value));
        after_now.iter().for_each(|(t, value)| self.roll_up_anew(*t, *value));
    }

    /// The oldest slot that an empty archive will get.
    fn earliest(
        &self,
        source: &mut SourceSlots<'_, '_>,
        later: &[(i64, f64)],
        anew: &[(i64, f64)],
    ) -> Option<u32> {
        let (mut t, mut cursor) = source.window(&self.before);
        while t <= self.before.newest && source.value(t, cursor).is_none() {
            t += self.before.step();
            cursor = source.next(cursor);
        }
        let in_window = (t <= self.before.newest).then_some(t);
        let oldest = |points: &[(i64, f64)]| points.first().map(|(t, _)| *t);
        let earliest = in_window.into_iter().chain(oldest(later)).chain(oldest(anew)).min()?;
        u32::try_from(earliest).ok()
    }

    /// R1 and R2 for the slots up to now, in their order.
    fn take_window(&mut self, source: &mut SourceSlots<'_, '_>) {
        let (mut t, mut cursor) = source.window(&self.before);
        let Some(mut position) = self.view().position(t) else {
            return;
        };
        while t <= self.before.newest {
            if let Some(slot) = self.after.get_mut(position)
                && value_for(slot, t).is_none()
                && let Some(value) = source.value(t, cursor)
            {
                // An older timestamp is out of the window: two slots up to now never share a position.
                if timestamp(slot) <= t {
                    *slot = encode(t, value);
                    self.filled += 1;
                } else {
                    self.left_out += 1;
                }
            }
            t += self.before.step();
            cursor = source.next(cursor);
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
                let was_there = self
                    .before
                    .stored
                    .get(position)
                    .is_some_and(|slot| value_for(slot, t).is_some());
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
        if let Some(slot) = self.after.get_mut(position) {
            *slot = encode(t, value);
        }
    }

    /// The archive as it will be.
    fn view(&self) -> Slots<'_> {
        let stored = if self.after.is_empty() { self.before.stored } else { &self.after };
        Slots { base: self.base, stored, ..self.before }
    }

    /// The positions that change, in their order, with what they will hold.
    pub(super) fn changes(&self) -> impl Iterator<Item = (usize, &Slot)> {
        let pairs = self.before.stored.iter().zip(&self.after).enumerate();
        pairs
            .filter(|(_, (before, after))| before != after)
            .map(|(position, (_, after))| (position, after))
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
        let mut gains: Vec<i64> = self.changes().map(|(_, slot)| timestamp(slot)).collect();
        // Sorted but for the place where the ring begins: a stable sort finds that in one pass.
        gains.sort();
        let view = self.view();
        let mut anew = Vec::new();
        let mut next = coarser.oldest;
        for gain in gains {
            if gain >= next {
                let t = gain - gain % step;
                next = t + step;
                anew.extend(roll_up.value(&view, t, step).map(|value| (t, value)));
            }
        }
        anew
    }
}

/// The slot `t` with `value`, as a file stores it.
fn encode(t: i64, value: f64) -> Slot {
    // Every slot that is written was read from a file or spans one that was: it has at most 32 bits.
    let timestamp = u32::try_from(t).unwrap_or_default();
    Point { timestamp, value }.encode()
}
