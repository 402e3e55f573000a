//! Where a fill may write: over expired points, with clocks ahead, damage and bases, and what it counts.

use bucky_whisper::{AggregationSix, ArchiveFill, Clocks, FillOptions};

use crate::file::{Archive, File, filled, plan, plan_with};

const NOW: u32 = 1_700_000_015;
const STEP: u32 = 10;
const POINTS: u32 = 6;
const RETENTION: u32 = STEP * POINTS;

/// The slot that is `age` slots older than that of `NOW`.
fn t(age: u32) -> u32 {
    NOW - NOW % STEP - STEP * age
}

fn archive(points: &[(u32, f64)]) -> Archive {
    let mut archive = Archive::empty(STEP, POINTS);
    points.iter().for_each(|(t, value)| archive.store(*t, *value));
    archive
}

fn file(archives: Vec<Archive>) -> Vec<u8> {
    File { aggregation: 2, x_files_factor: 0.5, archives }.bytes()
}

fn points(bytes: &[u8], number: usize) -> Vec<(u32, f64)> {
    File::parse(bytes).archives[number].points(NOW)
}

#[test]
fn the_base_may_lie_anywhere_in_either_ring() {
    let even = [(t(5), 5.0), (t(3), 3.0), (t(1), 1.0)];
    let odd = [(t(4), 4.0), (t(2), 2.0), (t(0), 0.0)];
    for source_turn in 0..POINTS {
        for destination_turn in 0..POINTS {
            let (mut source, mut destination) = (archive(&even), archive(&odd));
            // Positions count from the base, so writing another point first turns the ring.
            for (archive, turn) in
                [(&mut source, source_turn), (&mut destination, destination_turn)]
            {
                let stored = archive.slots.clone();
                archive.slots.fill((0, 0.0));
                archive.slots[0] = (t(0) - RETENTION * 3 - STEP * turn, 7.0);
                for (t, value) in stored.into_iter().filter(|(t, _)| *t != 0) {
                    archive.store(t, value);
                }
            }
            let after = filled(&file(vec![source]), &file(vec![destination]), NOW);
            let expected: Vec<(u32, f64)> =
                (0..6).rev().map(|age| (t(age), f64::from(age))).collect();
            assert_eq!(
                points(&after, 0),
                expected,
                "turned by {source_turn} and {destination_turn}"
            );
        }
    }
}

#[test]
fn the_oldest_point_written_becomes_the_base_of_an_empty_archive() {
    let source = archive(&[(t(1), 1.0), (t(3), 3.0), (t(0), 0.0)]);
    let after = filled(&file(vec![source]), &file(vec![archive(&[])]), NOW);
    let slots = &File::parse(&after).archives[0].slots;
    assert_eq!(slots[..4], [(t(3), 3.0), (0, 0.0), (t(1), 1.0), (t(0), 0.0)]);
}

#[test]
fn the_base_of_an_empty_coarser_archive_may_come_from_a_roll_up() {
    let coarser = |points: &[(u32, f64)]| {
        let mut archive = Archive::empty(30, 4);
        points.iter().for_each(|(t, value)| archive.store(*t, *value));
        archive
    };
    // The span of three slots that begins two slots before the newest of 30 seconds.
    let newest = NOW - NOW % 30;
    let fine = [(newest - 30, 1.0), (newest - 20, 1.0), (newest - 10, 1.0)];
    let source = file(vec![archive(&fine), coarser(&[(newest, 9.0)])]);
    let after = filled(&source, &file(vec![archive(&[]), coarser(&[])]), NOW);
    assert_eq!(File::parse(&after).archives[1].slots[..2], [(newest - 30, 3.0), (newest, 9.0)]);
}

#[test]
fn expired_leftovers_are_overwritten_even_where_they_are_the_base() {
    let destination = archive(&[(t(5) - RETENTION, 7.0), (t(4) - 2 * RETENTION, 7.0), (t(3), 3.0)]);
    let source = archive(&[(t(5), 5.0), (t(4), 4.0), (t(3), 9.0)]);
    let after = filled(&file(vec![source]), &file(vec![destination]), NOW);
    assert_eq!(points(&after, 0), [(t(5), 5.0), (t(4), 4.0), (t(3), 3.0)]);
    assert_eq!(File::parse(&after).archives[0].base(), t(5));
}

#[test]
fn points_that_have_expired_in_the_source_or_in_the_destination_are_not_taken() {
    let source = archive(&[(t(6), 6.0), (t(1), 1.0)]);
    let after = filled(&file(vec![source.clone()]), &file(vec![archive(&[(t(5), 5.0)])]), NOW);
    assert_eq!(points(&after, 0), [(t(5), 5.0), (t(1), 1.0)]);

    let mut shorter = Archive::empty(STEP, 2);
    shorter.store(t(0), 0.0);
    let source = archive(&[(t(2), 2.0), (t(1), 1.0)]);
    let after = filled(&file(vec![source]), &file(vec![shorter]), NOW);
    assert_eq!(points(&after, 0), [(t(1), 1.0), (t(0), 0.0)]);
}

#[test]
fn points_of_a_clock_that_is_ahead_are_filled_and_kept() {
    let ahead = NOW - NOW % STEP + 2 * STEP;
    let source = archive(&[(t(0), 9.0), (ahead, 8.0)]);
    let after = filled(&file(vec![source]), &file(vec![archive(&[(t(0), 1.0)])]), NOW);
    assert_eq!(points(&after, 0), [(t(0), 1.0), (ahead, 8.0)]);
}

#[test]
fn a_point_after_now_displaces_no_point_inside_the_window_and_the_other_way_round() {
    // Both belong to the same position: they are one turn of the ring apart.
    let (in_window, ahead) = (t(4), t(4) + RETENTION);
    let with = |t: u32| archive(&[(self::t(5), 5.0), (t, f64::from(t))]);
    for (source, destination) in [(in_window, ahead), (ahead, in_window)] {
        let (source, destination) = (file(vec![with(source)]), file(vec![with(destination)]));
        let plan = plan(&source, &destination, NOW);
        assert!(plan.is_empty());
        assert_eq!(plan.points_left_out(), 1, "and it is told");
    }
    // If the destination has neither point, the one inside the window is filled first.
    let mut longer = Archive::empty(STEP, 2 * POINTS);
    for t in [t(5), in_window, ahead] {
        longer.store(t, f64::from(t));
    }
    let after = filled(&file(vec![longer]), &file(vec![archive(&[(t(5), 5.0)])]), NOW);
    assert_eq!(points(&after, 0), [(t(5), 5.0), (in_window, f64::from(in_window))]);
}

#[test]
fn an_empty_archive_may_begin_with_a_roll_up_of_points_that_are_all_ahead() {
    let next = NOW - NOW % 30 + 30;
    let source = archive(&[(next, 1.0), (next + 10, 2.0), (next + 20, 3.0)]);
    let destination = file(vec![Archive::empty(30, 4)]);
    let after = filled(&file(vec![source]), &destination, NOW);
    assert_eq!(points(&after, 0), [(next, 6.0)]);
}

#[test]
fn a_newer_timestamp_is_never_overwritten_even_if_it_is_no_point() {
    let mut destination = archive(&[(t(5), 5.0)]);
    destination.slots[1] = (t(0) + 3, 7.0);
    let source = file(vec![archive(&[(t(4), 4.0), (t(3), 3.0)])]);
    let plan = plan(&source, &file(vec![destination.clone()]), NOW);
    assert_eq!((plan.points_filled(), plan.points_left_out()), (1, 1));
    let after = filled(&source, &file(vec![destination]), NOW);
    assert_eq!(File::parse(&after).archives[0].slots[1], (t(0) + 3, 7.0));
}

#[test]
fn an_older_timestamp_that_is_no_point_gives_way() {
    let mut destination = archive(&[(t(5), 5.0)]);
    destination.slots[1] = (t(4) - 3, 7.0);
    destination.slots[2] = (t(4), 7.0);
    let source = file(vec![archive(&[(t(4), 4.0), (t(3), 3.0)])]);
    let after = filled(&source, &file(vec![destination]), NOW);
    assert_eq!(points(&after, 0), [(t(5), 5.0), (t(4), 4.0), (t(3), 3.0)]);
}

#[test]
fn points_at_the_wrong_position_or_between_slots_are_not_taken() {
    let mut source = archive(&[(t(5), 5.0)]);
    source.slots[1] = (t(4) + 3, 7.0);
    source.slots[2] = (t(4), 7.0);
    let (source, destination) = (file(vec![source]), file(vec![archive(&[])]));
    assert_eq!(points(&filled(&source, &destination, NOW), 0), [(t(5), 5.0)]);
}

#[test]
fn a_slot_never_written_is_no_point_of_1970() {
    // The whole archive lies inside its window, and its empty slots hold timestamp 0.
    let now = 35;
    let mut source = Archive::empty(STEP, POINTS);
    source.store(20, 2.0);
    let after = filled(&file(vec![source]), &file(vec![archive(&[])]), now);
    assert_eq!(File::parse(&after).archives[0].points(now), [(20, 2.0)]);
    assert_eq!(File::parse(&after).archives[0].base(), 20);
}

#[test]
fn the_last_second_that_a_file_can_express_is_no_edge() {
    let now = u32::MAX;
    let newest = now - now % STEP;
    let mut coarser = Archive::empty(30, 4);
    coarser.store(newest - newest % 30, 9.0);
    let mut source = Archive::empty(STEP, POINTS);
    source.store(newest, 1.0);
    source.store(newest - 2 * STEP, 2.0);
    let destination = file(vec![archive(&[]), coarser.clone()]);
    let after = filled(&file(vec![source, coarser]), &destination, now);
    assert_eq!(
        File::parse(&after).archives[0].points(now),
        [(newest - 2 * STEP, 2.0), (newest, 1.0)]
    );
}

#[test]
fn a_plan_has_one_run_for_each_stretch_and_counts_for_each_archive() {
    let mut coarser = Archive::empty(30, 4);
    let newest = NOW - NOW % 30;
    coarser.store(newest - 90, 1.0);
    coarser.store(newest, 1.0);
    let source = archive(&[5, 4, 3, 2, 1, 0].map(|age| (t(age), 1.0)));
    let destination = archive(&[(t(5), 2.0), (t(2), 2.0), (t(0), 2.0)]);
    let source = file(vec![source, coarser]);
    let destination = file(vec![destination, Archive::empty(30, 4)]);

    let plan = plan(&source, &destination, NOW);
    let runs: Vec<(u64, usize)> =
        plan.runs().map(|run| (run.offset, run.bytes.len() / 12)).collect();
    let header = 16 + 2 * 12;
    let coarser_at = header + 6 * 12;
    // The coarser archive comes first. In it the slot at `newest - 90` becomes the base.
    let expected = [(coarser_at, 1), (coarser_at + 24, 2), (header + 12, 2), (header + 48, 1)];
    assert_eq!(runs, expected);
    assert_eq!(plan.len_bytes(), 6 * 12);
    let counts = |archive, seconds_per_point, points_filled, points_rolled_up| ArchiveFill {
        archive,
        seconds_per_point,
        points_filled,
        points_rolled_up,
        points_left_out: 0,
    };
    assert_eq!(plan.archives(), [counts(0, 10, 3, 0), counts(1, 30, 2, 1)]);
    assert_eq!((plan.points_filled(), plan.points_rolled_up()), (5, 1));
}

#[test]
fn a_fill_that_was_interrupted_is_completed_by_the_next() {
    let source =
        file(vec![archive(&[5, 4, 3, 2, 1, 0].map(|age| (t(age), 1.0))), Archive::empty(30, 4)]);
    let destination = file(vec![archive(&[(t(5), 2.0), (t(1), 2.0)]), Archive::empty(30, 4)]);
    let whole = filled(&source, &destination, NOW);
    let plan = plan(&source, &destination, NOW);
    for written in 0..plan.runs().count() {
        let mut cut_off = destination.clone();
        for run in plan.runs().take(written) {
            let start = usize::try_from(run.offset).unwrap();
            cut_off[start..start + run.bytes.len()].copy_from_slice(run.bytes);
        }
        assert_eq!(filled(&source, &cut_off, NOW), whole, "cut off after {written} runs");
    }
}

#[test]
fn aggregation_six_is_what_the_options_say() {
    let newest = NOW - NOW % 30;
    let fine = |points: &[(u32, f64)]| {
        let mut fine = Archive::empty(STEP, POINTS);
        points.iter().for_each(|(t, value)| fine.store(*t, *value));
        fine
    };
    let file = |archives| File { aggregation: 6, x_files_factor: 0.5, archives }.bytes();
    let source = file(vec![fine(&[(newest - 30, 6.0)]), Archive::empty(30, 4)]);
    let destination = file(vec![fine(&[(newest - 20, 3.0)]), Archive::empty(30, 4)]);
    for (aggregation_six, expected) in
        [(AggregationSix::AvgZero, 3.0), (AggregationSix::First, 6.0)]
    {
        let mut after = destination.clone();
        plan_with(&source, &destination, FillOptions { clocks: Clocks::at(NOW), aggregation_six })
            .apply(&mut after);
        assert_eq!(File::parse(&after).archives[1].points(NOW), [(newest - 30, expected)]);
    }
}
