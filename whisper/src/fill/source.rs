//! The values that the source has for one archive of the destination (R2).

use super::slots::{ArchiveSlots, RollUp};

/// Where the source's values for one archive of the destination come from.
pub(super) enum SourceSlots<'s, 'a> {
    /// The source has nothing that the destination lacks.
    None,
    /// The source's archive of the same resolution.
    Same(ArchiveSlots<'a>),
    /// The source's finer archives, since it has none of the same resolution.
    Finer(FinerSlots<'s, 'a>),
}

/// Archives of the source whose slots can be rolled up to those of a coarser archive.
pub(super) struct FinerSlots<'s, 'a> {
    /// The coarsest first; if it has no value, the next may have one.
    archives: Vec<ArchiveSlots<'a>>,
    /// The seconds between two slots of the coarser archive.
    step: i64,
    roll_up: &'s mut RollUp,
}

impl<'s, 'a> SourceSlots<'s, 'a> {
    /// The values for `destination` in the archives of the source, which are ordered finest first.
    pub(super) fn for_destination(
        sources: &[ArchiveSlots<'a>],
        destination: &ArchiveSlots<'_>,
        roll_up: &'s mut RollUp,
    ) -> Self {
        let step = destination.step();
        if let Some(same) = sources.iter().find(|source| source.step() == step) {
            // Comparing all bytes is cheaper than checking each slot, and most archives of a copy are equal.
            let equal = same.stored.as_flattened() == destination.stored.as_flattened();
            return if equal { Self::None } else { Self::Same(*same) };
        }
        let archives: Vec<ArchiveSlots<'a>> =
            sources.iter().rev().filter(|source| source.divides(step)).copied().collect();
        if archives.is_empty() {
            Self::None
        } else {
            Self::Finer(FinerSlots { archives, step, roll_up })
        }
    }

    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The oldest slot inside the destination's window that the source has a value for.
    pub(super) fn oldest(&mut self, destination: &ArchiveSlots<'_>) -> Option<i64> {
        match self {
            Self::None => None,
            Self::Same(same) => same.oldest_point(destination.oldest),
            Self::Finer(finer) => {
                let mut t = destination.oldest;
                while t <= destination.newest {
                    if finer.value(t).is_some() {
                        return Some(t);
                    }
                    t += destination.step();
                }
                finer.later_than(destination.newest).first().map(|(t, _)| *t)
            }
        }
    }

    /// The values for slots after `newest`, the oldest first.
    pub(super) fn later_than(&mut self, newest: i64) -> Vec<(i64, f64)> {
        match self {
            Self::None => Vec::new(),
            Self::Same(same) => same.points_after_newest(),
            Self::Finer(finer) => finer.later_than(newest),
        }
    }
}

impl FinerSlots<'_, '_> {
    /// The value for slot `t` of the coarser archive.
    pub(super) fn value(&mut self, t: i64) -> Option<f64> {
        self.archives.iter().find_map(|finer| self.roll_up.value(finer, t, self.step))
    }

    fn later_than(&mut self, newest: i64) -> Vec<(i64, f64)> {
        let mut slots: Vec<i64> = (self.archives.iter())
            .flat_map(ArchiveSlots::points_after_newest)
            .map(|(finer_t, _)| finer_t - finer_t % self.step)
            .filter(|t| *t > newest)
            .collect();
        slots.sort_unstable();
        slots.dedup();
        slots.into_iter().filter_map(|t| Some((t, self.value(t)?))).collect()
    }
}
