//! Which slots of an archive hold a valid point: a bit for each slot of its window.
//!
//! A map is small (1.5 KB for 12,000 slots) and covers every point, which a sample does not. A node sends the
//! maps of a file to the owners of the metric and learns whether they hold all its points, without sending
//! one value.

use super::slots::{ArchiveSlots, Slot, head, holds};
use crate::Image;

/// How many slots one word of a map stands for.
pub(super) const WORD: i64 = 64;

/// The two clocks that decide which points are valid: that of the node with the source, and that of the node
/// with the destination.
///
/// A point is valid if either clock says so. A window is rolled up only if it is complete by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// The earlier time, in Unix seconds: by this clock the fewest points have expired.
    pub earliest: u32,
    /// The later time, in Unix seconds: a later timestamp lies in the future.
    pub latest: u32,
}

impl Clocks {
    /// Both clocks, in either order.
    pub const fn new(one: u32, other: u32) -> Self {
        if one < other {
            Self { earliest: one, latest: other }
        } else {
            Self { earliest: other, latest: one }
        }
    }

    /// One clock for both sides.
    pub const fn at(now: u32) -> Self {
        Self { earliest: now, latest: now }
    }

    /// The same clocks, with the earlier one moved to at most `seconds` before the later one.
    pub(super) fn at_most_apart(self, seconds: u32) -> Self {
        Self { earliest: self.earliest.max(self.latest.saturating_sub(seconds)), ..self }
    }
}

/// The times of the valid points of one archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointMap {
    /// The archive's resolution; never 0.
    pub seconds_per_point: u32,
    /// How many slots the archive has: with the resolution, this gives how far back it reaches.
    pub points: u32,
    /// The time of the first bit, in Unix seconds: a multiple of the resolution.
    pub first: u32,
    /// A bit for each slot from `first` on; the lowest bit of the first word is the first slot. The last word
    /// may be padded with zeros.
    pub words: Vec<u64>,
    /// The times of the valid points outside that window, ascending: points that have expired by the later
    /// clock only, and points in the future, which a clock that was ahead has written.
    pub outside: Vec<u32>,
}

impl PointMap {
    /// The maps of all archives of `image`, in the order of the file. A point that has expired by both clocks
    /// is left out.
    pub fn of(image: &Image<'_>, clocks: Clocks) -> Vec<Self> {
        ArchiveSlots::in_file_order(image, clocks).iter().map(Self::of_archive).collect()
    }

    pub(super) fn of_archive(slots: &ArchiveSlots<'_>) -> Self {
        let (first, count) = (slots.oldest_by_both, slots.window_slots());
        let words = valid_words(slots, first, count);
        Self {
            seconds_per_point: slots.archive.seconds_per_point,
            points: slots.archive.points,
            first: u32::try_from(first).unwrap_or(u32::MAX),
            outside: slots.points_outside_window(&words),
            words,
        }
    }

    /// How many points the map has.
    pub fn count(&self) -> u64 {
        let in_window: u64 = self.words.iter().map(|word| u64::from(word.count_ones())).sum();
        in_window + self.outside.len() as u64
    }

    /// Whether this can be the map of an archive: it has a resolution, a first slot that is a multiple of it,
    /// and no more bits than the archive has slots. Check this before you use a map that came over the
    /// network.
    pub fn is_sound(&self) -> bool {
        self.seconds_per_point > 0
            && self.points > 0
            && self.first.is_multiple_of(self.seconds_per_point)
            && self.words.len() as u64 <= u64::from(self.points).div_ceil(64)
            && self.outside.len() as u64 <= u64::from(self.points)
    }
}

/// The numbers of the bits that are set, in ascending order.
pub(super) fn bits_of(word: u64) -> impl Iterator<Item = i64> {
    let mut left = word;
    std::iter::from_fn(move || {
        let bit = i64::from(left.trailing_zeros());
        (left != 0).then(|| {
            left &= left - 1;
            bit
        })
    })
}

/// A bit for each of `count` slots from `first` on: whether `slots` stores a value for that slot.
pub(super) fn valid_words(slots: &ArchiveSlots<'_>, first: i64, count: usize) -> Vec<u64> {
    let mut words = vec![0_u64; count.div_ceil(64)];
    let Some(position) = slots.position(first) else { return words };
    let step = slots.step();
    let mut number = 0;
    let mut at = position;
    while number < count {
        let Some(stored) = slots.stored.get(at..) else { break };
        let stored = &stored[..stored.len().min(count - number)];
        if stored.is_empty() {
            break;
        }
        mark_run(&mut words, stored, number, first, step);
        number += stored.len();
        at = 0;
    }
    words
}

/// The bits of [`valid_words`] for `slots`, computed with the help of `known`, the bits of `other` for the
/// same times. After a fill most stretches of both files have the same bytes, and then the same bits.
pub(super) fn valid_words_beside(
    slots: &ArchiveSlots<'_>,
    first: i64,
    count: usize,
    (other, known): (&ArchiveSlots<'_>, &[u64]),
) -> Vec<u64> {
    let (Some(mut at), Some(mut at_other)) = (slots.position(first), other.position(first)) else {
        return valid_words(slots, first, count);
    };
    let mut words = vec![0; count.div_ceil(64)];
    for ((number, word), known) in (0_i64..).zip(&mut words).zip(known) {
        let t = first + slots.step() * WORD * number;
        *word = match (stretch(slots, at), stretch(other, at_other)) {
            (Some(stored), Some(others)) if stored == others => *known,
            _ => {
                let left = count.saturating_sub(usize::try_from(number * WORD).unwrap_or(count));
                valid_words(slots, t, left.min(64)).first().copied().unwrap_or_default()
            }
        };
        for (at, len) in [(&mut at, slots.stored.len()), (&mut at_other, other.stored.len())] {
            *at = (*at + 64).checked_rem(len).unwrap_or(0);
        }
    }
    words
}

/// The bytes of one word's slots from `position` on, or `None` if the ring ends before that.
fn stretch<'a>(slots: &ArchiveSlots<'a>, position: usize) -> Option<&'a [u8]> {
    slots.stored.get(position..position + 64).map(<[Slot]>::as_flattened)
}

/// Sets the bits from `number` on for `stored`, consecutive slots of the ring.
fn mark_run(words: &mut [u64], stored: &[Slot], number: usize, first: i64, step: i64) {
    let mut number = number;
    let mut rest = stored;
    while !rest.is_empty() {
        let (word, shift) = (number / 64, number % 64);
        let (now, later) = rest.split_at(rest.len().min(64 - shift));
        let t = first + step * i64::try_from(number).unwrap_or(i64::MAX);
        if let Some(word) = words.get_mut(word) {
            *word |= valid_bits(now, t, step) << shift;
        }
        number += now.len();
        rest = later;
    }
}

/// A bit for each of at most 64 slots, the first of which is slot `t`.
#[inline(never)]
fn valid_bits(stored: &[Slot], t: i64, step: i64) -> u64 {
    // Timestamps are compared in the upper half of 64 bits, as in the fill.
    let (mut wanted, step) = (upper_half(t), upper_half(step));
    let mut bits = 0;
    for (number, slot) in stored.iter().enumerate() {
        bits |= u64::from(holds(slot, head(slot), wanted)) << number;
        wanted = wanted.wrapping_add(step);
    }
    bits
}

fn upper_half(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or_default() << 32
}
