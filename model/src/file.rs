//! Whisper files, reduced to what a move can lose: three slots, and the slots that each layout has.
//!
//! A fine archive has an old and a new slot; a coarse archive has one slot that covers both. Positions, steps
//! and values are arithmetic within one file; `whisper/` has its own tests for them.

use std::fmt;

/// How many slots there are.
const SLOTS: usize = 3;

/// A set of slots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Points(u8);

impl Points {
    /// The empty set.
    pub const NONE: Self = Self(0);
    /// The older slot of the fine archive. It expires first.
    pub const OLD: Self = Self(0b001);
    /// The newer slot of the fine archive, to which live writers write.
    pub const NEW: Self = Self(0b010);
    /// The slot of the coarse archive, which covers both.
    pub const COARSE: Self = Self(0b100);
    /// All three.
    pub const ALL: Self = Self(0b111);
    /// What one update by carbon writes: the point, and its roll-up.
    pub const UPDATE: Self = Self(0b110);

    /// The slots in either set.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The slots in both sets.
    pub const fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The slots that are not in `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `other` has all of these slots.
    pub const fn are_in(self, other: Self) -> bool {
        self.without(other).is_empty()
    }

    fn has(self, slot: usize) -> bool {
        self.0 >> slot & 1 == 1
    }
}

impl fmt::Debug for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["old", "new", "coarse"].into_iter().enumerate();
        let names: Vec<&str> = names.filter(|(slot, _)| self.has(*slot)).map(|(_, n)| n).collect();
        if names.is_empty() { f.write_str("none") } else { f.write_str(&names.join("+")) }
    }
}

/// Which archives a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// The fine archive and the coarse one.
    Both,
    /// Both, but the fine archive is too short for the old slot.
    Shorter,
    /// The coarse archive alone.
    CoarseOnly,
    /// The fine archive alone.
    FineOnly,
}

impl Layout {
    /// The slots that a file of this layout has.
    pub const fn places(self) -> Points {
        match self {
            Self::Both => Points::ALL,
            Self::Shorter => Points::UPDATE,
            Self::CoarseOnly => Points::COARSE,
            Self::FineOnly => Points::OLD.and(Points::NEW),
        }
    }

    /// The layout with the archives of both.
    pub fn joined(self, other: Self) -> Self {
        let places = self.places().and(other.places());
        let layouts = [Self::CoarseOnly, Self::FineOnly, Self::Shorter, Self::Both];
        layouts.into_iter().find(|layout| places.are_in(layout.places())).unwrap_or(Self::Both)
    }
}

/// The content of a file. Two contents have the same digest if and only if they are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Image {
    layout: Layout,
    /// The value of each slot: 0 if it is empty, otherwise the number of the writer.
    values: [u8; SLOTS],
}

impl Image {
    /// A file of this layout with those of `points` that it has slots for.
    pub fn with(layout: Layout, points: Points) -> Self {
        let mut image = Self { layout, values: [0; SLOTS] };
        image.put(points, 1);
        image
    }

    /// Its layout.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The slots that have a point.
    pub fn points(&self) -> Points {
        let filled = (0..SLOTS).filter(|slot| self.values[*slot] != 0);
        Points(filled.fold(0, |points, slot| points | 1 << slot))
    }

    /// Writes `value` to those of `points` that the file has slots for.
    pub fn put(&mut self, points: Points, value: u8) {
        let points = points.within(self.layout.places());
        for slot in (0..SLOTS).filter(|slot| points.has(*slot)) {
            self.values[slot] = value;
        }
    }

    /// Writes the values that `source` has for `points`.
    pub fn take_from(&mut self, source: &Self, points: Points) {
        let points = points.within(self.layout.places()).within(source.points());
        for slot in (0..SLOTS).filter(|slot| points.has(*slot)) {
            self.values[slot] = source.values[slot];
        }
    }

    /// The points that a fill from `source` adds: those of `valid` that the source has, this file lacks, and
    /// the layout has slots for.
    pub fn gains(&self, source: &Self, valid: Points) -> Points {
        source.points().within(valid).within(self.layout.places()).without(self.points())
    }

    /// The same content in another layout. Points without a slot there are left out.
    #[must_use]
    pub fn in_layout(&self, layout: Layout) -> Self {
        let mut image = Self { layout, values: [0; SLOTS] };
        image.take_from(self, Points::ALL);
        image
    }
}
