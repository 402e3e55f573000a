use proptest::prelude::*;

use super::*;
use crate::aggregation::Aggregation;
use crate::retention::XFilesFactor;

const NOW: u32 = 1_000_000;

/// A file of archives (seconds per point, the stored points).
fn file(archives: &[(u32, &[(u32, f64)])]) -> Vec<u8> {
    let mut offset = 16 + 12 * u32::try_from(archives.len()).unwrap();
    let mut header = Header {
        aggregation: Aggregation::Average,
        last_update: None,
        max_retention: 600,
        x_files_factor: XFilesFactor::default(),
        archives: Vec::new(),
    };
    for (seconds_per_point, slots) in archives {
        let points = u32::try_from(slots.len()).unwrap();
        header.archives.push(Archive { offset, seconds_per_point: *seconds_per_point, points });
        offset += 12 * points;
    }
    let slots = archives.iter().flat_map(|(_, slots)| *slots);
    let slots = slots
        .flat_map(|(timestamp, value)| Point { timestamp: *timestamp, value: *value }.encode());
    header.encode().into_iter().chain(slots).collect()
}

#[test]
fn a_point_is_stored_big_endian_the_time_first() {
    let point = Point { timestamp: 0x0102_0304, value: 1.0 };
    assert_eq!(point.encode(), [1, 2, 3, 4, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(Point::decode(&point.encode()), point);
}

#[test]
fn positions_count_from_the_base_in_both_directions() {
    let archive = Archive { offset: 0, seconds_per_point: 10, points: 6 };
    let cases = [
        (100, 0),
        (109, 0),
        (110, 1),
        (150, 5),
        (160, 0),
        (99, 5),
        (90, 5),
        (40, 0),
        (0, 2),
        (u32::MAX, 3),
    ];
    for (t, position) in cases {
        assert_eq!(position_of(&archive, 100, t), Some(position), "{t}");
    }
    assert_eq!(position_of(&archive, 0, 100), None, "there is no base");
}

#[test]
fn a_slot_is_valid_if_its_own_time_is_stored_there_inside_the_window() {
    // Base at 999960, six slots of 10 s: a window from after 999940.
    let bytes = file(&[(
        10,
        &[
            (NOW - 40, 1.0),
            (NOW - 90, 2.0),
            (NOW - 20, f64::NAN),
            (NOW - 9, 3.0),
            (NOW, 0.0),
            (NOW - 50, 4.0),
        ],
    )]);
    let view = Image::parse(&bytes).unwrap().archive(0).unwrap();
    let cases = [
        (NOW - 40, Some(1.0)),
        (NOW - 90, None),
        (NOW - 30, None),
        (NOW - 20, None),
        (NOW - 10, None),
        (NOW - 9, None),
        (NOW, Some(0.0)),
        (NOW + 10, None),
        (NOW - 50, Some(4.0)),
    ];
    for (t, expected) in cases {
        assert_eq!(view.valid(t, NOW), expected, "{t}");
    }
    assert_eq!(view.valid(NOW - 50, NOW + 9), Some(4.0));
    assert_eq!(view.valid(NOW - 50, NOW + 10), None, "a slot as old as the retention has expired");
    let points: Vec<(u32, f64)> = view.points_valid(NOW).map(|p| (p.timestamp, p.value)).collect();
    assert_eq!(points, [(NOW - 50, 4.0), (NOW - 40, 1.0), (NOW, 0.0)]);
    assert_eq!(view.stored(5), Some(Point { timestamp: NOW - 50, value: 4.0 }));
    assert_eq!(view.stored(6), None);
    assert_eq!(view.slot_offset(5), 28 + 60);
}

#[test]
fn an_empty_slot_is_no_point_of_1970_even_if_the_window_reaches_back_there() {
    let bytes = file(&[(500, &[(500, 1.0), (0, 0.0), (0, 0.0)])]);
    let view = Image::parse(&bytes).unwrap().archive(0).unwrap();
    assert_eq!(view.valid(0, 600), None);
    assert_eq!(view.points_valid(600).count(), 1);
}

#[test]
fn the_last_point_is_the_newest_of_all_archives_and_the_finest_of_equals() {
    let bytes = file(&[(60, &[(NOW - NOW % 60, 1.0)]), (10, &[(NOW - NOW % 60, 2.0), (0, 0.0)])]);
    let image = Image::parse(&bytes).unwrap();
    let last = |now| image.last_point(now).map(|point| point.value);
    assert_eq!(last(NOW), Some(1.0), "the finer point has expired");
    assert_eq!(last(NOW - NOW % 60), Some(2.0));
    assert!(!image.is_empty(NOW));
    assert_eq!((last(NOW + 60), image.is_empty(NOW + 60)), (None, true));
}

#[test]
fn a_compressed_file_is_distinguished_from_a_damaged_one() {
    assert_eq!(Image::parse(b"whisper_compressed and so on").unwrap_err(), ImageError::Compressed);
    assert!(matches!(Image::parse(b"hello").unwrap_err(), ImageError::Header(_)));
}

proptest! {
    #[test]
    fn any_slots_can_be_looked_at(
        slots in prop::collection::vec((any::<u32>(), any::<f64>()), 1..40),
        steps in (1u32.., 1u32..100),
        now: u32,
        times in prop::collection::vec(any::<u32>(), 20),
        cut in 0usize..600,
    ) {
        let bytes = file(&[(steps.0, &slots), (steps.1, &slots)]);
        if let Ok(image) = Image::parse(&bytes[..bytes.len().min(cut)]) {
            prop_assert!(image.header().file_size_bytes() <= cut as u64);
        }
        let image = Image::parse(&bytes).unwrap();
        for view in image.archives() {
            let points: Vec<Point> = view.points_valid(now).collect();
            prop_assert!(points.is_sorted_by(|a, b| a.timestamp < b.timestamp));
            for point in &points {
                prop_assert_eq!(view.valid(point.timestamp, now), Some(point.value));
            }
            let stored = slots.iter().map(|(t, _)| *t);
            for t in stored.chain(times.iter().copied()) {
                let listed = points.iter().any(|point| point.timestamp == t);
                prop_assert_eq!(view.valid(t, now).is_some(), listed);
            }
        }
        prop_assert_eq!(image.is_empty(now), image.last_point(now).is_none());
    }

    /// A ring as it is usually written, with some slots that are empty, from other turns, or have other
    /// times.
    #[test]
    fn the_points_of_a_ring_are_the_slots_that_are_valid_in_order(
        (step, begin, turn) in (1u32..70, prop_oneof![0u32..500, u32::MAX - 900..], 0usize..20),
        changes in prop::collection::vec((0u32..8, any::<u32>()), 1..20),
        now in prop_oneof![0u32..2000, u32::MAX - 900..],
    ) {
        let count = u32::try_from(changes.len()).unwrap();
        let mut slots: Vec<(u32, f64)> = changes.iter().zip(0u32..).map(|(&(kind, any), index)| {
            let t = begin.wrapping_add(index.wrapping_mul(step));
            let t = match kind {
                0 => t.wrapping_sub(step.wrapping_mul(count)),
                1 => 0,
                2 => t.wrapping_add(any % 3),
                3 => t.wrapping_add(step.wrapping_mul(any % 3)),
                _ => t,
            };
            (t, if kind == 4 && any % 2 == 0 { f64::NAN } else { f64::from(index) })
        }).collect();
        slots.rotate_left(turn % changes.len());
        let bytes = file(&[(step, &slots)]);
        let view = Image::parse(&bytes).unwrap().archive(0).unwrap();
        let mut expected: Vec<(u32, f64)> = (0u32..).zip(&slots)
            .filter(|(position, (t, _))| view.position_of(*t) == Some(*position))
            .filter_map(|(_, &(t, _))| view.valid(t, now).map(|value| (t, value)))
            .collect();
        expected.sort_by_key(|&(t, _)| t);
        let points = view.points_valid(now).map(|point| (point.timestamp, point.value));
        prop_assert_eq!(points.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn bytes_from_outside_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), now: u32) {
        if let Ok(image) = Image::parse(&bytes) {
            image.last_point(now);
        }
    }
}
