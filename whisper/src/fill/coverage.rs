//! Which points of one file another file holds, and which have no place in it.
//!
//! Pure, and apart from the fill on purpose: it looks at the file as it has become, not at what the fill meant to do. A source
//! may be deleted only if this finds every one of its points held (or what the operator has allowed).
//!
//! A point of the source (archive of step S, slot t, valid by either clock) is *held* if the destination has an archive of step
//! S whose window reaches back to t, and that stores a value for t, or a newer turn of the ring at t's position. It *has no
//! place* if the destination has no archive of step S, or one that does not reach back to t. A roll-up does not make a finer
//! point held.

use super::point_map::{Clocks, PointMap, WORD, bits_of, valid_words, valid_words_beside};
use super::slots::{Slots, timestamp, value_for};
use crate::Image;

/// What one file holds of another, archive by archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// One for each archive of the source, in the order of its file.
    pub archives: Vec<ArchiveCoverage>,
}

/// What a file holds of one archive of the source. Every valid point is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveCoverage {
    /// The archive's resolution.
    pub seconds_per_point: u32,
    /// Points that the file holds.
    pub held: u64,
    /// Points that it has a slot for and does not hold: a fill would bring them.
    pub missing: u64,
    /// Points that have no place because of the layout: there is no archive of this resolution, or it is too short.
    pub without_place: u64,
    /// Points whose slot is taken: by a timestamp in the future, which a clock that was ahead has written, or damage; or, where
    /// the point itself lies in the future, by one that counts.
    pub displaced: u64,
    /// Whether the file has an archive of this resolution at all.
    pub has_archive: bool,
    /// Of those without place, how many lie under a valid point of a coarser archive.
    pub coarser: u64,
    /// The resolution of that archive; of several, the finest.
    pub coarser_seconds_per_point: Option<u32>,
    /// The oldest and the newest point without place, in Unix seconds.
    pub span_without_place: Option<(u32, u32)>,
}

impl Coverage {
    /// What `destination` holds of `source`.
    pub fn of(source: &Image<'_>, destination: &Image<'_>, clocks: Clocks) -> Self {
        let archives = Slots::finest_first(destination, clocks);
        let of_archive =
            |slots: &Slots<'_>| look(&PointMap::of_archive(slots), Some(slots), &archives);
        Self { archives: Slots::in_file_order(source, clocks).iter().map(of_archive).collect() }
    }

    /// What `destination` holds of a source of which only the maps are known.
    pub fn of_maps(source: &[PointMap], destination: &Image<'_>, clocks: Clocks) -> Self {
        let archives = Slots::finest_first(destination, clocks);
        Self { archives: source.iter().map(|map| look(map, None, &archives)).collect() }
    }

    /// Points that are held, in all archives.
    pub fn held(&self) -> u64 {
        self.archives.iter().map(|archive| archive.held).sum()
    }

    /// Points that a fill would bring, in all archives.
    pub fn missing(&self) -> u64 {
        self.archives.iter().map(|archive| archive.missing).sum()
    }

    /// Points that the layout has no place for, in all archives.
    pub fn without_place(&self) -> u64 {
        self.archives.iter().map(|archive| archive.without_place).sum()
    }

    /// Points whose slot is taken, in all archives; see [`ArchiveCoverage::displaced`].
    pub fn displaced(&self) -> u64 {
        self.archives.iter().map(|archive| archive.displaced).sum()
    }

    /// Points without place that lie under a valid point of a coarser archive, in all archives.
    pub fn coarser(&self) -> u64 {
        self.archives.iter().map(|archive| archive.coarser).sum()
    }

    /// Whether every point is held.
    pub fn is_whole(&self) -> bool {
        self.missing() + self.without_place() + self.displaced() == 0
    }
}

/// What the archives of the destination, the finest first, hold of `map`, which is that of `source` if it is known.
fn look(map: &PointMap, source: Option<&Slots<'_>>, archives: &[Slots<'_>]) -> ArchiveCoverage {
    let mut found =
        ArchiveCoverage { seconds_per_point: map.seconds_per_point, ..ArchiveCoverage::default() };
    let step = i64::from(map.seconds_per_point);
    if step == 0 {
        return found;
    }
    let same = archives.iter().find(|slots| slots.step() == step);
    found.has_archive = same.is_some();
    let coarser: Vec<&Slots<'_>> = archives.iter().filter(|slots| slots.step() > step).collect();
    let mut judge = Judge { found, same, coarser };
    let first = i64::from(map.first);
    let bits = map.words.len() * 64;
    let mut there = match (same, source) {
        (Some(slots), Some(source)) => valid_words_beside(slots, first, bits, (source, &map.words)),
        (Some(slots), None) => valid_words(slots, first, bits),
        (None, _) => vec![0; map.words.len()],
    };
    if let Some(slots) = same {
        // What lies before the window may still stand in the ring, and is served to nobody.
        clear_before(&mut there, (slots.oldest - first).max(0) / step);
    }
    for (number, (wanted, there)) in (0_i64..).zip(map.words.iter().zip(there)) {
        judge.found.held += u64::from((wanted & there).count_ones());
        for bit in bits_of(wanted & !there) {
            judge.judge(first + (number * WORD + bit) * step);
        }
    }
    for t in &map.outside {
        judge.judge(i64::from(*t));
    }
    judge.found
}

/// Clears the first so many bits.
fn clear_before(words: &mut [u64], bits: i64) {
    for (word, first) in words.iter_mut().zip((0_i64..).step_by(64)) {
        match bits - first {
            ..=0 => return,
            left @ 1..64 => *word &= u64::MAX << left,
            _ => *word = 0,
        }
    }
}

/// Looks at single points.
struct Judge<'s, 'a> {
    found: ArchiveCoverage,
    same: Option<&'s Slots<'a>>,
    coarser: Vec<&'s Slots<'a>>,
}

impl Judge<'_, '_> {
    fn judge(&mut self, t: i64) {
        match self.same.map_or(Fate::NoPlace, |slots| fate(slots, t)) {
            Fate::Held => self.found.held += 1,
            Fate::Missing => self.found.missing += 1,
            Fate::Displaced => self.found.displaced += 1,
            Fate::NoPlace => self.note_without_place(t),
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
enum Fate {
    Held,
    Missing,
    Displaced,
    NoPlace,
}

/// What the archive of the same resolution has of slot `t`.
fn fate(slots: &Slots<'_>, t: i64) -> Fate {
    // Too short for it: what may still stand in the ring is served to nobody, and a newer turn does not stand for it.
    if t < slots.oldest {
        return Fate::NoPlace;
    }
    let position = slots.position(t);
    let stored = position.and_then(|position| slots.stored.get(position));
    if stored.is_some_and(|stored| value_for(stored, t).is_some()) {
        return Fate::Held;
    }
    let there = stored.map_or(0, timestamp);
    if there > t {
        // The ring has gone round: by one of the clocks the point has expired. Anything else is damage.
        let turn = slots.step() * i64::from(slots.archive.points);
        let is_newer_turn = there <= slots.newest && (there - t) % turn == 0;
        return if is_newer_turn { Fate::Held } else { Fate::Displaced };
    }
    // A fill lets a point in the future displace none that counts.
    if t > slots.newest && position.is_some_and(|position| slots.holds_point(position)) {
        return Fate::Displaced;
    }
    Fate::Missing
}
