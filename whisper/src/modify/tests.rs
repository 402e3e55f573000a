use proptest::prelude::*;

use super::*;
use crate::late::points_that_came;
use crate::retention::XFilesFactor;

const NOW: u32 = 1_800_000_059;

/// A file of these retentions with these points: the number of the archive, the age in its steps, and the
/// value.
fn file(retentions: &[&str], aggregation: Aggregation, points: &[(usize, u32, f64)]) -> Vec<u8> {
    let retentions: Vec<Retention> = retentions.iter().map(|text| text.parse().unwrap()).collect();
    let header = Header::for_retentions(&retentions, aggregation, XFilesFactor::default()).unwrap();
    let mut bytes = empty_file(&header).unwrap();
    for (number, archive) in header.archives.iter().enumerate() {
        let of_archive = points.iter().filter(|(of, _, _)| *of == number);
        let points = of_archive.map(|(_, age, value)| (time(archive, *age), *value)).collect();
        write_points(&mut bytes, archive, &points, NOW);
    }
    bytes
}

fn time(archive: &Archive, age: u32) -> u32 {
    let step = archive.seconds_per_point;
    NOW / step * step - age * step
}

fn resize(archive: usize, retention: &str, older_slots: OlderSlots) -> Modification {
    let resize = Resize { archive, retention: retention.parse().unwrap(), older_slots };
    Modification { aggregation: None, resize: Some(resize) }
}

/// The valid points of an archive: their ages in steps, and values.
fn points(bytes: &[u8], archive: usize) -> Vec<(u32, f64)> {
    let image = Image::parse(bytes).unwrap();
    let view = image.archive(archive).unwrap();
    let age = |t: u32| (time(&view.archive(), 0) - t) / view.archive().seconds_per_point;
    view.points_valid(NOW).map(|point| (age(point.timestamp), point.value)).collect()
}

fn modified(bytes: &[u8], modification: &Modification) -> Modified {
    modify(&Image::parse(bytes).unwrap(), modification, NOW).unwrap()
}

#[test]
fn a_grown_archive_keeps_its_points_and_takes_older_ones_from_the_coarser() {
    let content = [(0, 0, 1.0), (0, 7, 2.0), (1, 0, 9.0), (1, 2, 5.0), (1, 3, 6.0), (1, 9, 7.0)];
    for (aggregation, parts) in [(Aggregation::Average, 1.0), (Aggregation::Sum, 5.0)] {
        let before = file(&["60s:10m", "300s:2h"], aggregation, &content);
        let after = modified(&before, &resize(0, "60s:20m", OlderSlots::BeforeOldestPoint));
        // NOW's minute begins a slot of 300 s. The slot before it holds the minutes of ages 1 to 5, and so
        // on.
        let mut expected: Vec<(u32, f64)> = (11..=15).rev().map(|age| (age, 6.0 / parts)).collect();
        expected.extend((8..=10).rev().map(|age| (age, 5.0 / parts)));
        expected.extend([(7, 2.0), (0, 1.0)]);
        assert_eq!(points(&after.bytes, 0), expected, "{aggregation}");
        assert_eq!(points(&after.bytes, 1), points(&before, 1));
        assert_eq!(after.points_left_out, 0);

        let after = modified(&before, &resize(0, "60s:20m", OlderSlots::StayEmpty));
        assert_eq!(points(&after.bytes, 0), [(7, 2.0), (0, 1.0)]);
        let after = modified(&before, &resize(0, "60s:20m", OlderSlots::BeforeOldWindow));
        assert!(points(&after.bytes, 0).iter().all(|(age, _)| *age >= 10 || [0, 7].contains(age)));
    }
}

#[test]
fn points_that_a_shrunk_archive_has_no_slot_for_are_counted() {
    let content = [(0, 0, 1.0), (0, 4, 2.0), (0, 5, 3.0), (0, 9, 4.0), (1, 1, 8.0)];
    let before = file(&["60s:10m", "300s:2h"], Aggregation::Average, &content);
    let after = modified(&before, &resize(0, "60s:5m", OlderSlots::BeforeOldestPoint));
    assert_eq!(points(&after.bytes, 0), [(4, 2.0), (0, 1.0)]);
    assert_eq!(after.points_left_out, 2);
    assert_eq!(points(&after.bytes, 1), [(1, 8.0)]);
}

#[test]
fn a_coarser_step_rolls_up_what_is_known_and_a_finer_one_keeps_the_times() {
    let ages: Vec<(usize, u32, f64)> = (0..10).map(|age| (0, age, f64::from(age))).collect();
    let before = file(&["60s:1h"], Aggregation::Max, &ages);
    let after = modified(&before, &resize(0, "300s:1h", OlderSlots::StayEmpty));
    let values: Vec<f64> = points(&after.bytes, 0).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values.first(), Some(&9.0), "{values:?}");
    let back = modified(&after.bytes, &resize(0, "60s:1h", OlderSlots::StayEmpty));
    let times = |bytes: &[u8]| -> Vec<u32> {
        let image = Image::parse(bytes).unwrap();
        let times = image.archive(0).unwrap().points_valid(NOW).map(|point| point.timestamp);
        times.collect()
    };
    assert_eq!(times(&back.bytes), times(&after.bytes));
}

#[test]
fn between_average_and_sum_roll_ups_are_corrected_by_the_finest_step() {
    let content = [(0, 0, 2.0), (1, 1, 2.0), (2, 1, 2.0)];
    let before = file(&["60s:10m", "300s:1h", "3600s:1d"], Aggregation::Average, &content);
    let to = |aggregation| Modification { aggregation: Some(aggregation), resize: None };
    let sum = modified(&before, &to(Aggregation::Sum)).bytes;
    assert_eq!(Image::parse(&sum).unwrap().header().aggregation, Aggregation::Sum);
    let values = |bytes: &[u8]| [0, 1, 2].map(|archive| points(bytes, archive)[0].1);
    // The Go tool multiplies the third archive by 12, the ratio to the second archive.
    assert_eq!(values(&sum), [2.0, 10.0, 120.0]);
    assert_eq!(modified(&sum, &to(Aggregation::Average)).bytes, before);
    for other in Aggregation::ALL.into_iter().filter(|other| *other != Aggregation::Sum) {
        let after = modified(&before, &to(other)).bytes;
        assert_eq!(after[4..], before[4..], "{other}: only the method changes");
        assert_eq!(Image::parse(&after).unwrap().header().aggregation, other);
    }
}

#[test]
fn an_impossible_resize_is_refused() {
    let before = file(&["60s:10m", "300s:1h"], Aggregation::Average, &[]);
    let image = Image::parse(&before).unwrap();
    let refusal = |archive, retention: &str| {
        modify(&image, &resize(archive, retention, OlderSlots::StayEmpty), NOW).unwrap_err()
    };
    assert_eq!(refusal(5, "60s:1h"), ModifyError::NoSuchArchive { archive: 5, archives: 2 });
    for (archive, retention) in [(0, "60s:2h"), (0, "7s:10m"), (1, "60s:1d"), (1, "300s:5m")] {
        let refused = refusal(archive, retention);
        assert!(matches!(refused, ModifyError::Retentions(_)), "{retention}: {refused:?}");
    }
}

#[test]
fn late_points_are_reported_once_for_the_archive_that_they_were_written_to() {
    let before = file(&["60s:10m", "300s:2h"], Aggregation::Average, &[(0, 1, 1.0), (1, 5, 5.0)]);
    let content = [(0, 0, 3.0), (0, 1, 2.0), (1, 0, 7.0), (1, 5, 5.0), (1, 9, 9.0)];
    let after = file(&["60s:10m", "300s:2h"], Aggregation::Average, &content);
    let came =
        points_that_came(&Image::parse(&before).unwrap(), &Image::parse(&after).unwrap(), NOW);
    let values: Vec<(u32, f64)> =
        came.iter().map(|late| (late.seconds_per_point, late.point.value)).collect();
    assert_eq!(values, [(60, 2.0), (60, 3.0), (300, 9.0)]);
}

proptest! {
    /// For any sizes: a point that both archives have a slot for is in both, with the same bits. There is no
    /// other point if older slots stay empty. The other archive does not change.
    #[test]
    fn points_inside_both_windows_survive_a_resize(
        ages in prop::collection::btree_map(0_u32..60, any::<f64>(), 0..60),
        coarse in prop::collection::btree_map(0_u32..100, -1e9..1e9, 0..20),
        new_points in 10_u32..400,
    ) {
        let points_of = |number, points: &BTreeMap<u32, f64>| -> Vec<(usize, u32, f64)> {
            points.iter().map(|(age, value)| (number, *age, *value)).collect()
        };
        let content = [points_of(0, &ages), points_of(1, &coarse)].concat();
        let before = file(&["60s:1h", "600s:1d"], Aggregation::Average, &content);
        let retention = format!("60:{new_points}");
        let after = modified(&before, &resize(0, &retention, OlderSlots::StayEmpty));
        let known = |points: Vec<(u32, f64)>| -> Vec<(u32, u64)> {
            let inside = points.into_iter().filter(|(age, _)| *age < new_points);
            inside.map(|(age, value)| (age, value.to_bits())).collect()
        };
        prop_assert_eq!(known(points(&after.bytes, 0)), known(points(&before, 0)));
        let before_count = points(&before, 0).len();
        prop_assert_eq!(points(&after.bytes, 0).len() as u64 + after.points_left_out, before_count as u64);
        prop_assert_eq!(points(&after.bytes, 1), points(&before, 1));
        let image = Image::parse(&after.bytes).unwrap();
        prop_assert_eq!(image.header().archives[0].points, new_points);
        // Resizing back keeps the points that were inside.
        let back = modified(&after.bytes, &resize(0, "60s:1h", OlderSlots::StayEmpty));
        prop_assert_eq!(known(points(&back.bytes, 0)), known(points(&before, 0)));
    }
}
