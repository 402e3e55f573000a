//! Which points of one file another file holds, and for which it has no place.
//!
//! Pure, and deliberately separate from the fill: it checks the file as it is now, not what the fill intended
//! to do. A source may be deleted only if this check finds every one of its points held, or lost as the
//! operator has allowed.
//!
//! A point of the source (an archive of step S, a slot t, valid by either clock) is *held* if the destination
//! has an archive of step S whose window reaches back to t, and that archive stores a value for t, or a newer
//! turn of the ring at t's position. A point is *without a place* if the destination has no archive of step
//! S, or one that does not reach back to t. A roll-up does not make a finer point held.

use super::point_map::{Clocks, PointMap, WORD, bits_of, valid_words, valid_words_beside};
use super::slots::{ArchiveSlots, timestamp, value_for};
use crate::Image;

/// How much of one file another file holds, archive by archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// One entry for each archive of the source, in the order of its file.
    pub archives: Vec<ArchiveCoverage>,
}

/// How much of one archive of the source a file holds. Every valid point is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveCoverage {
    /// The archive's resolution.
    pub seconds_per_point: u32,
    /// The number of points that the file holds.
    pub held: u64,
    /// The number of points that the file has a slot for and does not hold: a fill would add them.
    pub missing: u64,
    /// The number of points that have no place because of the layout: the file has no archive of this
    /// resolution, or it is too short.
    pub without_place: u64,
    /// The number of points whose slot is taken by a timestamp in the future. A clock that was ahead has
    /// written it, or the file is damaged. If the point itself lies in the future, its slot may be taken by a
    /// valid point.
    pub displaced: u64,
    /// Whether the file has an archive of this resolution.
    pub has_archive: bool,
    /// How many of the points without a place lie under a valid point of a coarser archive.
    pub coarser: u64,
    /// The resolution of that archive; if there are several, the finest.
    pub coarser_seconds_per_point: Option<u32>,
    /// The oldest and the newest point without a place, in Unix seconds.
    pub span_without_place: Option<(u32, u32)>,
}

impl Coverage {
    /// How much of `source` is held by `destination`.
    pub fn of(source: &Image<'_>, destination: &Image<'_>, clocks: Clocks) -> Self {
        let archives = ArchiveSlots::finest_first(destination, clocks);
        let of_archive = |slots: &ArchiveSlots<'_>| {
            coverage_of_map(&PointMap::of_archive(slots), Some(slots), &archives)
        };
        Self {
            archives: ArchiveSlots::in_file_order(source, clocks).iter().map(of_archive).collect(),
        }
    }

    /// How much `destination` holds of a source of which only the maps are known.
    pub fn of_maps(source: &[PointMap], destination: &Image<'_>, clocks: Clocks) -> Self {
        let archives = ArchiveSlots::finest_first(destination, clocks);
        Self { archives: source.iter().map(|map| coverage_of_map(map, None, &archives)).collect() }
    }

    /// The number of points that are held, in all archives.
    pub fn held(&self) -> u64 {
        self.archives.iter().map(|archive| archive.held).sum()
    }

    /// The number of points that a fill would add, in all archives.
    pub fn missing(&self) -> u64 {
        self.archives.iter().map(|archive| archive.missing).sum()
    }

    /// The number of points that the layout has no place for, in all archives.
    pub fn without_place(&self) -> u64 {
        self.archives.iter().map(|archive| archive.without_place).sum()
    }

    /// The number of points whose slot is taken, in all archives; see [`ArchiveCoverage::displaced`].
    pub fn displaced(&self) -> u64 {
        self.archives.iter().map(|archive| archive.displaced).sum()
    }

    /// The number of points without a place that lie under a valid point of a coarser archive, in all
    /// archives.
    pub fn coarser(&self) -> u64 {
        self.archives.iter().map(|archive| archive.coarser).sum()
    }

    /// Whether every point is held.
    pub fn is_whole(&self) -> bool {
        self.missing() + self.without_place() + self.displaced() == 0
    }
}

/// How much of `map` the archives of the destination, the finest first, hold. `source` is the map's archive,
/// if it is known.
fn coverage_of_map(
    map: &PointMap,
    source: Option<&ArchiveSlots<'_>>,
    archives: &[ArchiveSlots<'_>],
) -> ArchiveCoverage {
    let mut found =
        ArchiveCoverage { seconds_per_point: map.seconds_per_point, ..ArchiveCoverage::default() };
    let step = i64::from(map.seconds_per_point);
    if step == 0 {
        return found;
    }
    let same = archives.iter().find(|slots| slots.step() == step);
    found.has_archive = same.is_some();
    let coarser: Vec<&ArchiveSlots<'_>> =
        archives.iter().filter(|slots| slots.step() > step).collect();
    let mut count_point = CoverageCounter { found, same, coarser };
    let first = i64::from(map.first);
    let bits = map.words.len() * 64;
    let mut there = match (same, source) {
        (Some(slots), Some(source)) => valid_words_beside(slots, first, bits, (source, &map.words)),
        (Some(slots), None) => valid_words(slots, first, bits),
        (None, _) => vec![0; map.words.len()],
    };
    if let Some(slots) = same {
        // Points before the window may still be stored in the ring, but they are never read.
        clear_before(&mut there, (slots.oldest - first).max(0) / step);
    }
    for (number, (wanted, there)) in (0_i64..).zip(map.words.iter().zip(there)) {
        count_point.found.held += u64::from((wanted & there).count_ones());
        for bit in bits_of(wanted & !there) {
            count_point.count_point(first + (number * WORD + bit) * step);
        }
    }
    for t in &map.outside {
        count_point.count_point(i64::from(*t));
    }
    count_point.found
}

/// Clears the first `bits` bits.
fn clear_before(words: &mut [u64], bits: i64) {
    for (word, first) in words.iter_mut().zip((0_i64..).step_by(64)) {
        match bits - first {
            ..=0 => return,
            left @ 1..64 => *word &= u64::MAX << left,
            _ => *word = 0,
        }
    }
}

/// Classifies single points.
struct CoverageCounter<'s, 'a> {
    found: ArchiveCoverage,
    same: Option<&'s ArchiveSlots<'a>>,
    coarser: Vec<&'s ArchiveSlots<'a>>,
}

impl CoverageCounter<'_, '_> {
    fn count_point(&mut self, t: i64) {
        match self.same.map_or(PointState::WithoutPlace, |slots| state_of(slots, t)) {
            PointState::Occupancy => self.found.held += 1,
            PointState::Missing => self.found.missing += 1,
            PointState::Displaced => self.found.displaced += 1,
            PointState::WithoutPlace => self.note_without_place(t),
        }
    }

    fn note_without_place(&mut self, t: i64) {
        let found = &mut self.found;
        found.without_place += 1;
        if let Ok(t) = u32::try_from(t) {
            let (oldest, newest) = found.span_without_place.unwrap_or((t, t));
            found.span_without_place = Some((oldest.min(t), newest.max(t)));
        }
        let covering = self.coarser.iter().find(|slots| {
            let slot = t - t.rem_euclid(slots.step());
            let stored = slots.position(slot).and_then(|position| slots.stored.get(position));
            slot >= slots.oldest_by_both
                && stored.is_some_and(|stored| value_for(stored, slot).is_some())
        });
        if let Some(slots) = covering {
            found.coarser += 1;
            let finest = found.coarser_seconds_per_point.unwrap_or(u32::MAX);
            found.coarser_seconds_per_point = Some(finest.min(slots.archive.seconds_per_point));
        }
    }
}

/// What became of one point.
enum PointState {
    Occupancy,
    Missing,
    Displaced,
    WithoutPlace,
}

/// What the archive of the same resolution has for slot `t`.
fn state_of(slots: &ArchiveSlots<'_>, t: i64) -> PointState {
    // The archive is too short. A point may still be stored in the ring, but it is never read; nor is a newer
    // turn.
    if t < slots.oldest {
        return PointState::WithoutPlace;
    }
    let position = slots.position(t);
    let stored = position.and_then(|position| slots.stored.get(position));
    if stored.is_some_and(|stored| value_for(stored, t).is_some()) {
        return PointState::Occupancy;
    }
    let there = stored.map_or(0, timestamp);
    if there > t {
        // The ring has wrapped: by one of the clocks the point has expired. Any other timestamp is damage.
        let turn = slots.step() * i64::from(slots.archive.points);
        let is_newer_turn = there <= slots.newest && (there - t) % turn == 0;
        return if is_newer_turn { PointState::Occupancy } else { PointState::Displaced };
    }
    // A fill lets a point in the future displace no valid point.
    if t > slots.newest && position.is_some_and(|position| slots.holds_point(position)) {
        return PointState::Displaced;
    }
    PointState::Missing
}
