//! Which slots of an archive change: a bit for each position.
//!
//! A fill marks runs of thousands of slots, or every other slot. Both are cheap to set, to count and to walk,
//! 64 at a time.

use std::ops::Range;

/// How many positions a word holds.
pub(super) const WORD: usize = u64::BITS as usize;

/// A set of positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    words: Vec<u64>,
}

impl Marks {
    /// An empty set for `len` positions.
    pub(super) fn none_of(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(WORD)] }
    }

    /// Marks a position. A position beyond the set is ignored.
    pub(super) fn set(&mut self, position: usize) {
        self.set_block(position, 1);
    }

    /// Marks the positions from `first` on whose bits are set. The lowest bit is the position `first`.
    pub(super) fn set_block(&mut self, first: usize, bits: u64) {
        let (word, shift) = (first / WORD, first % WORD);
        if let Some(word) = self.words.get_mut(word) {
            *word |= bits << shift;
        }
        // The bits that do not fit go to the next word. There are none if the block is aligned to a word.
        let carried = (bits >> 1) >> (WORD - 1 - shift);
        if let Some(word) = self.words.get_mut(word + 1) {
            *word |= carried;
        }
    }

    /// The first marked position at or after `from`.
    pub(super) fn next(&self, from: usize) -> Option<usize> {
        self.find(from, 0)
    }

    /// The runs of consecutive marked positions, within `bounds`.
    pub(super) fn runs_in(&self, bounds: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let mut at = bounds.start;
        std::iter::from_fn(move || {
            let start = self.next(at).filter(|start| *start < bounds.end)?;
            at = self.find(start, u64::MAX).unwrap_or(bounds.end).min(bounds.end);
            Some(start..at)
        })
    }

    /// All runs of consecutive marked positions.
    pub(super) fn runs(&self) -> impl Iterator<Item = Range<usize>> {
        self.runs_in(0..self.words.len() * WORD)
    }

    /// How many runs there are.
    pub(super) fn count_runs(&self) -> usize {
        let mut before = 0;
        let begins = self.words.iter().map(|word| {
            let begin = word & !(word << 1 | before);
            before = word >> (WORD - 1);
            begin.count_ones() as usize
        });
        begins.sum()
    }

    /// Runs joined while at most `gap` unmarked positions lie between two of them, up to `most` positions in
    /// total. A stretch begins and ends with a mark. `gap` is at least [`WORD`].
    pub(super) fn stretches(&self, gap: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = self.next(at)?;
            at = self.stretch_end(start, gap, most);
            Some(start..at)
        })
    }

    fn stretch_end(&self, start: usize, gap: usize, most: usize) -> usize {
        let limit = start + most.max(1);
        let mut last = start;
        for (number, word) in self.words.iter().enumerate().skip(start / WORD) {
            let first = number * WORD;
            if first >= limit {
                break;
            }
            // Within one word no gap is too wide.
            let marks = word & bits_from(start.saturating_sub(first)) & !bits_from(limit - first);
            if marks == 0 {
                continue;
            }
            if first + marks.trailing_zeros() as usize > last + gap + 1 {
                break;
            }
            last = first + marks.ilog2() as usize;
        }
        last + 1
    }

    /// The first position at or after `from` whose bit differs from `skipped`.
    fn find(&self, from: usize, skipped: u64) -> Option<usize> {
        let first = from / WORD;
        let mut wanted = bits_from(from % WORD);
        for (number, word) in self.words.iter().enumerate().skip(first) {
            let found = (word ^ skipped) & wanted;
            if found != 0 {
                return Some(number * WORD + found.trailing_zeros() as usize);
            }
            wanted = u64::MAX;
        }
        None
    }
}

/// All bits from number `bit` on; none if the word has no such bit.
fn bits_from(bit: usize) -> u64 {
    if bit < WORD { u64::MAX << bit } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn marks(bits: &[bool]) -> Marks {
        let mut marks = Marks::none_of(bits.len());
        for (position, _) in bits.iter().enumerate().filter(|(_, bit)| **bit) {
            marks.set(position);
        }
        marks
    }

    /// Long runs and long gaps, single marks, and alternating ones.
    fn bits() -> impl Strategy<Value = Vec<bool>> {
        let piece = (any::<bool>(), prop_oneof![1_usize..4, 1_usize..200]);
        proptest::collection::vec(piece, 1..40).prop_map(|pieces| {
            pieces.into_iter().flat_map(|(bit, len)| std::iter::repeat_n(bit, len)).collect()
        })
    }

    fn runs_one_by_one(bits: &[bool]) -> Vec<Range<usize>> {
        let mut start = 0;
        let stretches = bits.chunk_by(|one, next| one == next).map(|stretch| {
            let run = start..start + stretch.len();
            start = run.end;
            (stretch[0], run)
        });
        stretches.filter(|(marked, _)| *marked).map(|(_, run)| run).collect()
    }

    proptest! {
        #[test]
        fn runs_are_what_one_finds_bit_by_bit(bits in bits()) {
            let marks = marks(&bits);
            let expected = runs_one_by_one(&bits);
            prop_assert_eq!(marks.count_runs(), expected.len());
            prop_assert_eq!(marks.runs().collect::<Vec<_>>(), expected);
        }

        #[test]
        fn a_block_of_marks_is_its_marks_one_by_one(first in 0_usize..200, block: u64) {
            let mut at_once = Marks::none_of(300);
            at_once.set_block(first, block);
            let mut one_by_one = Marks::none_of(300);
            (0..WORD).filter(|bit| block >> bit & 1 == 1).for_each(|bit| one_by_one.set(first + bit));
            prop_assert_eq!(at_once, one_by_one);
        }

        #[test]
        fn stretches_hold_all_marks_and_no_wide_gap(
            bits in bits(), gap in WORD..200, most in 1_usize..2000,
        ) {
            let marks = marks(&bits);
            let stretches: Vec<Range<usize>> = marks.stretches(gap, most).collect();
            let expected: Vec<usize> = (0..bits.len()).filter(|bit| bits[*bit]).collect();
            let inside = |run: Range<usize>| run.collect::<Vec<usize>>();
            let mut found = Vec::new();
            for stretch in &stretches {
                prop_assert!(bits[stretch.start] && bits[stretch.end - 1] && stretch.len() <= most);
                let runs: Vec<Range<usize>> = marks.runs_in(stretch.clone()).collect();
                for pair in runs.windows(2) {
                    prop_assert!(pair[1].start - pair[0].end <= gap);
                }
                found.extend(runs.into_iter().flat_map(inside));
            }
            // No two stretches could have been joined.
            for pair in stretches.windows(2) {
                let apart = pair[1].start - pair[0].end > gap;
                prop_assert!(apart || pair[1].start - pair[0].start >= most);
            }
            prop_assert_eq!(found, expected);
        }
    }
}
