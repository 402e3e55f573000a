//! Whisper files, reduced to what a move can lose: three slots, and which layout has a place for which of them.
//!
//! A fine archive has an old slot and a new one, a coarse archive has one slot that covers both. Positions, steps and values
//! are arithmetic within one file; `whisper/` has its own tests for them.

use std::fmt;

/// How many slots there are.
const SLOTS: usize = 3;

/// A set of slots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Points(u8);

impl Points {
    /// None.
    pub const NONE: Self = Self(0);
    /// The older slot of the fine archive. The first to expire.
    pub const OLD: Self = Self(0b001);
    /// The newer slot of the fine archive, which live writers write.
    pub const NEW: Self = Self(0b010);
    /// The slot of the coarse archive, which covers both.
    pub const COARSE: Self = Self(0b100);
    /// All three.
    pub const ALL: Self = Self(0b111);
    /// What one update by carbon writes: the point, and its roll-up.
    pub const UPDATE: Self = Self(0b110);

    /// Those in either.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those in both.
    pub const fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are not in `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `other` has all of them.
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
    /// Both, but the fine one is too short for the old slot.
    Shorter,
    /// The coarse archive alone.
    CoarseOnly,
    /// The fine archive alone.
    FineOnly,
}

impl Layout {
    /// The slots that such a file has.
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

/// The content of a file. Two that are equal have the same digest, and no others have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Image {
    layout: Layout,
    /// What stands in each slot: 0 for nothing, else a number that tells who wrote it.
    values: [u8; SLOTS],
}

impl Image {
    /// A file of this layout with `points`, as far as it has a place for them.
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

    /// Writes `value` to `points`, as far as it has a place for them.
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

    /// What a fill from `source` brings: what has a place here and is not here. Of `source` only `valid` counts.
    pub fn gains(&self, source: &Self, valid: Points) -> Points {
        source.points().within(valid).within(self.layout.places()).without(self.points())
    }

    /// The same content in another layout. What has no place there is left out.
    #[must_use]
    pub fn in_layout(&self, layout: Layout) -> Self {
        let mut image = Self { layout, values: [0; SLOTS] };
        image.take_from(self, Points::ALL);
        image
    }
}
