//! Random pairs of files of one metric from different storage schemas: a source, and its owner's file.

use std::collections::BTreeMap;

use fastrand::Rng;

use crate::plain_file::{PlainArchive, PlainFile};

/// Steps of finest archives. Many of them do not divide each other.
const STEPS: [u32; 10] = [1, 5, 7, 10, 15, 20, 30, 60, 90, 300];
/// Factors between the steps of an archive and the next coarser one.
const TIMES: [u32; 6] = [2, 3, 4, 6, 10, 12];
/// The shortest retention: a run takes seconds, and points that expire during it prove nothing.
const SHORTEST: u32 = 900;
/// The largest number of slots of an archive.
const MOST_SLOTS: u32 = 1_200;

/// A source, and its owner's file.
#[derive(Clone, Debug)]
pub struct LayoutPair {
    /// The misplaced file.
    pub source: PlainFile,
    /// The owner's file, if it has one.
    pub owner: Option<PlainFile>,
}

impl LayoutPair {
    /// A random pair, with points up to `now` and some after it.
    pub fn random(rng: &mut Rng, now: u32) -> Self {
        let layout = layout(rng);
        let source = file(rng, &layout, now, 1.0);
        let owner = owners_layout(rng, &layout).map(|layout| file(rng, &layout, now, 1_000_000.0));
        Self { source, owner }
    }

    /// Whether one file could have the archives of both, each with the longer retention, by the rules of
    /// whisper.py.
    pub fn fits_together(&self) -> bool {
        let owners = self.owner.iter().flat_map(|owner| &owner.archives);
        let mut reaches: BTreeMap<u32, u32> = BTreeMap::new();
        for archive in self.source.archives.iter().chain(owners) {
            let reach = reaches.entry(archive.step).or_default();
            *reach = archive.reach().max(*reach);
        }
        let archives: Vec<(u32, u32)> = reaches.into_iter().collect();
        archives.windows(2).all(|pair| {
            let [(finer, reach), (coarser, longer)] = [pair[0], pair[1]];
            coarser % finer == 0 && longer > reach && reach / finer >= coarser / finer
        })
    }

    /// Both layouts, for messages.
    pub fn description(&self) -> String {
        let owner = self.owner.as_ref().map_or("no file".to_owned(), PlainFile::layout);
        format!("source {}, owner {owner}", self.source.layout())
    }
}

type Archives = Vec<(u32, u32)>;

fn layout(rng: &mut Rng) -> Archives {
    let mut step = one_of(rng, &STEPS);
    let mut archives = vec![(step, slots(rng, step, SHORTEST))];
    for _ in 0..rng.u32(0..3) {
        let (finer, finer_slots) = archives[archives.len() - 1];
        step *= one_of(rng, &TIMES);
        // whisper.py requires that it reaches farther than the finer one, which must have enough points for
        // one of these.
        let reach = finer * finer_slots;
        if step / finer <= finer_slots && reach / step < MOST_SLOTS / 2 {
            archives.push((step, slots(rng, step, reach + step)));
        }
    }
    archives
}

/// A number of slots with a retention of at least `shortest`.
fn slots(rng: &mut Rng, step: u32, shortest: u32) -> u32 {
    let least = shortest.div_ceil(step).max(12);
    rng.u32(least..=(least * 3).min(MOST_SLOTS).max(least))
}

/// The layout of the owner's file for such a source.
fn owners_layout(rng: &mut Rng, source: &Archives) -> Option<Archives> {
    let mut archives = source.clone();
    let which = rng.usize(..archives.len());
    match rng.u32(0..20) {
        0..4 => return None,
        4..7 => {}
        // One archive shorter, or longer.
        7..10 => archives[which].1 = (archives[which].1 / 2).max(6),
        10..12 => archives[which].1 *= 2,
        // Without one of the archives, or with only that one.
        12..14 if archives.len() > 1 => drop(archives.remove(which)),
        14..15 => archives = vec![archives[which]],
        // With one more archive, which is the coarsest.
        15..17 => {
            let (step, slots) = archives[archives.len() - 1];
            archives.push((step * 2, slots));
        }
        _ => archives = layout(rng),
    }
    Some(archives)
}

/// A file with random points, whose values begin at `value` and are all different.
fn file(rng: &mut Rng, layout: &Archives, now: u32, mut value: f64) -> PlainFile {
    let mut file = PlainFile::empty(layout, rng.u32(1..=5), one_of(rng, &[0.0, 0.5, 1.0]));
    let is_empty = rng.u32(0..10) == 0;
    for archive in file.archives.iter_mut().filter(|_| !is_empty) {
        for time in times(rng, archive, now) {
            archive.put(time, value);
            value += 1.0;
        }
    }
    file
}

/// The times of the points of an archive, in random order: the first one becomes the base.
fn times(rng: &mut Rng, archive: &PlainArchive, now: u32) -> Vec<u32> {
    let (step, slots) = (archive.step, archive.reach() / archive.step);
    let newest = now - now % step;
    let share = one_of(rng, &[0.0, 0.02, 0.3, 0.9, 1.0]);
    let (youngest, oldest) = match rng.u32(0..4) {
        0 => (slots / 2, slots),
        1 => (0, slots / 2),
        _ => (0, slots),
    };
    let ages = (youngest..oldest).filter(|_| rng.f64() < share).collect::<Vec<_>>();
    let mut times: Vec<u32> = ages.into_iter().map(|age| newest - age * step).collect();
    if rng.u32(0..4) == 0 {
        // Points of an earlier turn, which have expired.
        times.extend((0..slots / 8).map(|age| newest - (slots + age) * step));
    }
    if rng.u32(0..8) == 0 {
        // Points of a clock that was ahead.
        times.extend((1..=rng.u32(1..4)).map(|slot| newest + slot * step));
    }
    rng.shuffle(&mut times);
    times
}

fn one_of<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}

#[cfg(test)]
mod tests {
    use bucky_whisper::Image;

    use super::*;

    #[test]
    fn every_pair_is_two_files_that_carbon_would_serve() {
        let mut rng = Rng::with_seed(7);
        for _ in 0..300 {
            let pair = LayoutPair::random(&mut rng, 1_790_000_000);
            for file in [Some(pair.source.clone()), pair.owner.clone()].into_iter().flatten() {
                let bytes = file.encode();
                assert!(Image::parse(&bytes).is_ok(), "{}", pair.description());
            }
        }
    }
}
