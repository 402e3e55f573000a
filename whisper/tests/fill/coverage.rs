//! How much of one file another file holds: every point of the source is counted once, in the right category.
//!
//! The test model counts slot by slot from the bytes, without the crate's maps.

use bucky_whisper::{AggregationSix, Clocks, Coverage, FillOptions, Image, PointMap};
use proptest::prelude::*;

use crate::file::{Archive, File, plan_with};
use crate::laws::pair;

/// The number of points that are held, missing, without a place, and displaced.
#[derive(Debug, Default, PartialEq)]
struct Count {
    held: u64,
    missing: u64,
    without_place: u64,
    displaced: u64,
}

/// How much of each archive of `source` the file `destination` holds, counted slot by slot.
fn counted(source: &File, destination: &File, clocks: Clocks) -> Vec<Count> {
    let look = |from: &Archive| {
        let finest = destination.finest_first();
        let same = finest.iter().map(|number| &destination.archives[*number]);
        let same = same.into_iter().find(|archive| archive.step == from.step);
        let mut count = Count::default();
        for (t, _) in from.points(clocks.earliest) {
            let Some(same) = same else {
                count.without_place += 1;
                continue;
            };
            let (stored, value) = same.slots[same.position(same.base(), t)];
            let is_there = same.base() != 0 && stored == t && !value.is_nan();
            let in_window = i64::from(t) > i64::from(clocks.earliest) - same.retention();
            let newest = clocks.latest - clocks.latest % same.step;
            if !in_window {
                count.without_place += 1;
            } else if is_there {
                count.held += 1;
            } else if same.base() != 0
                && t > newest
                && same.valid(stored, clocks.earliest).is_some()
            {
                count.displaced += 1;
            } else if same.base() == 0 || stored <= t {
                count.missing += 1;
            } else if stored > newest || i64::from(stored - t) % same.retention() != 0 {
                count.displaced += 1;
            } else {
                count.held += 1;
            }
        }
        count
    };
    source.archives.iter().map(look).collect()
}

fn coverage(source: &[u8], destination: &[u8], clocks: Clocks) -> Coverage {
    Coverage::of(&Image::parse(source).unwrap(), &Image::parse(destination).unwrap(), clocks)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn every_point_is_counted_once_and_in_the_right_place(
        (source, destination, now) in pair(), apart in 0_u32..200,
    ) {
        let clocks = Clocks::new(now, now.saturating_sub(apart));
        let found = coverage(&source.bytes(), &destination.bytes(), clocks);
        let found: Vec<Count> = found.archives.iter().map(|archive| Count {
            held: archive.held,
            missing: archive.missing,
            without_place: archive.without_place,
            displaced: archive.displaced,
        }).collect();
        prop_assert_eq!(found, counted(&source, &destination, clocks));
    }

    #[test]
    fn after_a_fill_nothing_is_missing_that_has_a_place(
        (source, destination, now) in pair(), apart in 0_u32..200,
    ) {
        // If two archives have the same resolution, a fill uses only the first.
        prop_assume!(source.finest_first().len() == source.archives.len());
        let clocks = Clocks::new(now, now.saturating_sub(apart));
        let options = FillOptions { clocks, aggregation_six: AggregationSix::AvgZero };
        let mut bytes = destination.bytes();
        plan_with(&source.bytes(), &bytes, options).apply(&mut bytes);
        let found = coverage(&source.bytes(), &bytes, clocks);
        prop_assert_eq!(found.missing(), 0, "{:?}", found);
    }

    #[test]
    fn a_copy_holds_everything(
        (source, _, now) in pair(), apart in 0_u32..200,
    ) {
        prop_assume!(source.finest_first().len() == source.archives.len());
        let clocks = Clocks::new(now, now.saturating_sub(apart));
        let found = coverage(&source.bytes(), &source.bytes(), clocks);
        prop_assert!(found.is_whole(), "{:?}", found);
        let image = source.bytes();
        let maps = PointMap::of(&Image::parse(&image).unwrap(), clocks);
        let points: u64 = maps.iter().map(PointMap::count).sum();
        prop_assert_eq!(found.held(), points);
        prop_assert!(maps.iter().all(PointMap::is_sound), "{:?}", maps);
    }

    /// For long archives in which most stretches have the same bytes, wherever the rings begin, the result is
    /// the same as from the maps alone.
    #[test]
    fn stretches_that_are_the_same_in_both_files_are_counted_as_any_others(
        filled in 0_u32..420, rotated in 0_usize..400, apart in 0_u32..9_000,
        changed in prop::collection::vec((0_usize..400, 0_u8..4), 0..6),
    ) {
        let source = dense(&[(60, 400), (300, 130)], filled);
        let mut owner = dense(&[(60, 400), (300, 130)], filled);
        for archive in &mut owner.archives {
            let count = archive.slots.len();
            let turn = archive.step * u32::try_from(count).unwrap();
            archive.slots.rotate_left(rotated % count);
            for (at, how) in &changed {
                let (t, value) = &mut archive.slots[at % count];
                match how {
                    0 => *t = 0,
                    1 => *value = f64::NAN,
                    2 => *t += turn,
                    _ => *value = 7.0,
                }
            }
        }
        for clocks in [Clocks::at(NOW), Clocks::new(NOW, NOW + apart), Clocks::new(NOW, NOW - apart)] {
            let (from, into) = (source.bytes(), owner.bytes());
            let (from, into) = (Image::parse(&from).unwrap(), Image::parse(&into).unwrap());
            let by_maps = Coverage::of_maps(&PointMap::of(&from, clocks), &into, clocks);
            prop_assert_eq!(Coverage::of(&from, &into, clocks), by_maps);
        }
    }
}

const NOW: u32 = 1_700_000_000;

/// A file whose archives have a point in each of their `filled` newest slots.
fn dense(archives: &[(u32, u32)], filled: u32) -> File {
    let archives = archives.iter().map(|(step, points)| {
        let mut archive = Archive::empty(*step, *points);
        let newest = NOW - NOW % step;
        (0..filled.min(*points)).rev().for_each(|age| archive.store(newest - age * step, 1.0));
        archive
    });
    File { aggregation: 1, x_files_factor: 0.5, archives: archives.collect() }
}

#[test]
fn points_of_an_archive_that_the_owner_lacks_have_no_place_and_a_roll_up_does_not_hold_them() {
    let source = dense(&[(3600, 8760)], 8000).bytes();
    let mut owner = dense(&[(60, 1440), (600, 52_560)], 0).bytes();
    let clocks = Clocks::at(NOW);
    let options = FillOptions { clocks, aggregation_six: AggregationSix::AvgZero };
    plan_with(&source, &owner, options).apply(&mut owner);
    let found = coverage(&source, &owner, clocks);
    assert_eq!((found.held(), found.without_place()), (0, 8000));
    assert!(!found.archives[0].has_archive);
    assert_eq!(found.coarser(), 0, "its archives are finer");

    let source = dense(&[(60, 1440)], 1440).bytes();
    let mut owner = dense(&[(300, 2016)], 0).bytes();
    plan_with(&source, &owner, options).apply(&mut owner);
    let found = coverage(&source, &owner, clocks);
    assert_eq!((found.held(), found.without_place()), (0, 1440));
    assert!(found.coarser() > 1430, "all but those in a span that is not whole: {found:?}");
    assert_eq!(found.archives[0].coarser_seconds_per_point, Some(300));
}

#[test]
fn points_before_a_shorter_window_have_no_place_and_the_rest_is_held() {
    let source = dense(&[(60, 600)], 600).bytes();
    let mut owner = dense(&[(60, 60)], 3).bytes();
    let clocks = Clocks::at(NOW);
    let options = FillOptions { clocks, aggregation_six: AggregationSix::AvgZero };
    plan_with(&source, &owner, options).apply(&mut owner);
    let found = coverage(&source, &owner, clocks);
    assert_eq!((found.held(), found.missing(), found.without_place()), (60, 0, 540));
    let newest = NOW - NOW % 60;
    assert_eq!(found.archives[0].span_without_place, Some((newest - 599 * 60, newest - 60 * 60)));
}

/// No point was written to this metric for weeks. Its points are still stored in a ring that keeps a day, but
/// are no longer read.
#[test]
fn expired_points_in_a_shorter_ring_are_not_held() {
    let weeks = 20 * 86_400;
    let at = |archives: &[(u32, u32)]| {
        let mut file = dense(archives, 500);
        for (archive, (step, _)) in file.archives.iter_mut().zip(archives) {
            archive.slots.iter_mut().for_each(|(t, _)| *t = t.saturating_sub(weeks / step * step));
        }
        file.bytes()
    };
    let source = at(&[(60, 43_200)]);
    let clocks = Clocks::at(NOW);
    let shorter = coverage(&source, &at(&[(60, 1440)]), clocks);
    assert_eq!((shorter.held(), shorter.without_place()), (0, 500));
    let coarser = coverage(&source, &at(&[(3600, 24)]), clocks);
    assert_eq!((coarser.without_place(), coarser.coarser()), (500, 0));
}

#[test]
fn a_point_that_only_the_earlier_clock_counts_is_filled_and_held() {
    let source = dense(&[(1, 60)], 60);
    let behind = NOW;
    let ahead = NOW + 20;
    let empty = dense(&[(1, 60)], 0).bytes();
    let by_both = Clocks::new(behind, ahead);
    let options = FillOptions { clocks: by_both, aggregation_six: AggregationSix::AvgZero };
    let mut owner = empty.clone();
    plan_with(&source.bytes(), &owner, options).apply(&mut owner);
    let found = coverage(&source.bytes(), &owner, by_both);
    assert_eq!((found.held(), found.missing()), (60, 0));
    // By the owner's clock alone a third of the points would have been skipped, and not counted as missing.
    let by_one = FillOptions { clocks: Clocks::at(ahead), ..options };
    let mut owner = empty;
    plan_with(&source.bytes(), &owner, by_one).apply(&mut owner);
    assert_eq!(coverage(&source.bytes(), &owner, by_both).missing(), 20);
}

#[test]
fn a_newer_turn_of_the_ring_stands_for_a_point_that_has_expired_by_one_clock() {
    let source = dense(&[(1, 60)], 60).bytes();
    let mut owner = dense(&[(1, 60)], 60);
    for second in 1..=20 {
        owner.archives[0].store(NOW + second, 2.0);
    }
    let clocks = Clocks::new(NOW, NOW + 20);
    assert!(coverage(&source, &owner.bytes(), clocks).is_whole());
    // By one clock these points lie in the future, and have taken the slots of valid points.
    let found = coverage(&source, &owner.bytes(), Clocks::at(NOW));
    assert_eq!((found.displaced(), found.held()), (20, 40));
}

#[test]
fn clocks_that_are_years_apart_cost_no_more_than_the_archive_is_long() {
    let source = dense(&[(1, 60)], 60).bytes();
    let image = Image::parse(&source).unwrap();
    let clocks = Clocks::new(NOW, u32::MAX);
    let maps = PointMap::of(&image, clocks);
    assert!(maps[0].words.len() <= 1);
    assert_eq!(maps[0].outside.len(), 60);
    let empty = dense(&[(1, 60)], 0).bytes();
    let found = Coverage::of_maps(&maps, &Image::parse(&empty).unwrap(), clocks);
    assert_eq!(found.missing(), 60, "what counts by either clock is looked for");
}
