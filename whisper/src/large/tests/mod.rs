use std::io::Write;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;
use proptest::sample::select;

use super::side::Slot;
use super::*;
use crate::Image;
use crate::aggregation::{Aggregation, AggregationSix};
use crate::fill::{Clocks, fill};
use crate::header::Archive;
use crate::image::Point;
use crate::retention::{Retention, XFilesFactor};

mod reshape;

const NOW: u32 = 1_800_000_059;
/// Retentions that whisper.py would create.
const LAYOUTS: [&[&str]; 6] = [
    &["1s:1m", "10s:10m", "60s:1h"],
    &["10s:10m", "60s:2h"],
    &["60s:20m", "300s:3h"],
    &["60s:3h"],
    &["1s:2m", "60s:30m"],
    &["20s:5m", "60s:1h", "300s:6h"],
];

fn options() -> FillOptions {
    FillOptions { clocks: Clocks::at(NOW), aggregation_six: AggregationSix::AvgZero }
}

fn header(layout: &[&str], aggregation: Aggregation, factor: f32) -> Header {
    let retentions: Vec<Retention> = layout.iter().map(|text| text.parse().unwrap()).collect();
    Header::for_retentions(&retentions, aggregation, XFilesFactor::new(factor).unwrap()).unwrap()
}

/// What a slot of a ring holds that was written in order.
#[derive(Clone, Debug)]
enum Content {
    Value(f64),
    NotANumber,
    Never,
    /// Left over from the previous turn.
    Leftover,
    /// Of the next turn, written by a clock that was ahead.
    Ahead,
}

fn content(ahead: u32) -> impl Strategy<Value = Content> + use<> {
    prop_oneof![
        6 => (0_u8..100).prop_map(|value| Content::Value(value.into())),
        1 => Just(Content::NotANumber),
        3 => Just(Content::Never),
        2 => Just(Content::Leftover),
        ahead => Just(Content::Ahead),
    ]
}

/// A file whose rings begin anywhere.
fn file() -> impl Strategy<Value = Vec<u8>> {
    file_with(0)
}

/// A file whose rings begin anywhere and that has points in the future, with the weight `ahead`.
fn file_with(ahead: u32) -> impl Strategy<Value = Vec<u8>> {
    let aggregation = select(Aggregation::ALL.to_vec());
    let factor = select(vec![0.0, 0.3, 0.5, 1.0_f32]);
    (select(LAYOUTS.to_vec()), aggregation, factor).prop_flat_map(
        move |(layout, aggregation, factor)| {
            let header = header(layout, aggregation, factor);
            let rings: Vec<_> =
                header.archives.iter().map(|archive| ring(archive, ahead)).collect();
            rings.prop_map(move |rings| {
                let mut bytes = header.encode();
                rings.iter().for_each(|slots| bytes.extend_from_slice(slots.as_flattened()));
                bytes
            })
        },
    )
}

fn ring(archive: &Archive, ahead: u32) -> impl Strategy<Value = Vec<Slot>> + use<> {
    let (step, points) = (archive.seconds_per_point, archive.points);
    let contents = prop::collection::vec(content(ahead), points as usize);
    (contents, 0..points, any::<prop::sample::Index>(), 0_u8..6).prop_map(
        move |(contents, turn, from, kind)| {
            let newest = NOW / step * step;
            // Some rings are empty from some slot on, as holes are, and some completely.
            let full = if kind < 3 { points as usize } else { from.index(points as usize) };
            let mut slots = vec![[0; Point::SIZE_BYTES]; points as usize];
            for (position, (slot, content)) in slots.iter_mut().zip(&contents).enumerate() {
                let age = (u32::try_from(position).unwrap() + turn) % points;
                let t = newest - (points - 1 - age) * step;
                let (timestamp, value) = match content {
                    _ if kind == 5 || position > full => (0, 0.0),
                    Content::Value(value) => (t, *value),
                    Content::NotANumber => (t, f64::NAN),
                    Content::Never if position == 0 => (t - points * step, 1.0),
                    Content::Never => (0, 0.0),
                    Content::Leftover => (t - points * step, 7.0),
                    Content::Ahead => (t + points * step, 3.0),
                };
                *slot = Point { timestamp, value }.encode();
            }
            slots
        },
    )
}

fn on_disk(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn content_of(file: &File, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// The destination after a fill in memory, and after a fill on disk, with the result of the latter.
fn both(source: &[u8], destination: &[u8], window_slots: u32) -> (Vec<u8>, (Vec<u8>, LargeFill)) {
    let mut expected = destination.to_vec();
    let plan = fill(&Image::parse(source).unwrap(), &Image::parse(destination).unwrap(), options());
    plan.apply(&mut expected);
    let into = on_disk(destination);
    let done = filled(&on_disk(source), &into, options(), window_slots);
    (expected, (content_of(&into, destination.len()), done))
}

fn filled(source: &File, into: &File, options: FillOptions, window_slots: u32) -> LargeFill {
    fill_by((LargeBytes::File(source), into), options, window_slots, FillMode::Fill).unwrap()
}

/// All valid points of a file, by archive, independent of where a ring begins.
fn points(bytes: &[u8]) -> Vec<Vec<(u32, u64)>> {
    let image = Image::parse(bytes).unwrap();
    let of = |view: crate::ArchiveView<'_>| {
        view.points_valid(NOW).map(|point| (point.timestamp, point.value.to_bits())).collect()
    };
    image.archives().map(of).collect()
}

proptest! {
    #[test]
    fn it_fills_as_a_fill_in_memory_does_whatever_the_windows(
        source in file(), destination in file(), window_slots in 1_u32..3_000,
    ) {
        let (expected, (found, done)) = both(&source, &destination, window_slots);
        prop_assert_eq!(points(&found), points(&expected));
        let coverage = crate::Coverage::of(
            &Image::parse(&source).unwrap(), &Image::parse(&found).unwrap(), options().clocks,
        );
        prop_assert_eq!(&done.coverage, &coverage);
        let into = on_disk(&destination);
        let preview = fill_by((LargeBytes::Memory(&source), &into), options(), window_slots, FillMode::Preview);
        prop_assert_eq!(preview.unwrap(), done);
        prop_assert_eq!(content_of(&into, destination.len()), destination);
    }

    /// These counts decide what `coarsen` and `drop` may delete. They must be right for any clocks, and for
    /// points from clocks that were ahead.
    #[test]
    fn it_counts_as_a_look_at_files_in_memory_does(
        source in file_with(1), destination in file_with(1), window_slots in 1_u32..3_000, apart in 0_u32..4_000,
    ) {
        let options = FillOptions { clocks: Clocks::new(NOW - apart, NOW), ..options() };
        let (from, into) = (on_disk(&source), on_disk(&destination));
        let preview = fill_by((LargeBytes::Memory(&source), &into), options, window_slots, FillMode::Preview);
        prop_assert_eq!(content_of(&into, destination.len()), &destination[..], "nothing is written");
        let coverage_of = |into: &[u8]| {
            let images = [&source, into].map(|bytes| Image::parse(bytes).unwrap());
            crate::Coverage::of(&images[0], &images[1], options.clocks)
        };
        let before = fill_by((LargeBytes::File(&from), &into), options, window_slots, FillMode::Count);
        prop_assert_eq!(before.unwrap().coverage, coverage_of(&destination));
        let done = filled(&from, &into, options, window_slots);
        let found = content_of(&into, destination.len());
        prop_assert_eq!(&done.coverage, &coverage_of(&found));
        let preview = preview.unwrap();
        prop_assert!(preview.points_filled >= done.points_filled);
        prop_assert!(preview.coverage.held() >= done.coverage.held());
        prop_assert_eq!(done.coverage.missing(), 0);
        let images = [&destination, &found].map(|bytes| Image::parse(bytes).unwrap());
        let kept = crate::Coverage::of(&images[0], &images[1], options.clocks);
        prop_assert!(kept.is_whole(), "a point of the destination is gone: {:?}", kept);
    }

    #[test]
    fn a_second_fill_changes_nothing(
        source in file(), destination in file(), window_slots in 1_u32..3_000,
    ) {
        let into = on_disk(&destination);
        let from = on_disk(&source);
        let first = filled(&from, &into, options(), window_slots);
        let after = content_of(&into, destination.len());
        let second = filled(&from, &into, options(), window_slots);
        prop_assert!(second.is_empty(), "{:?}", second);
        prop_assert_eq!(second.coverage, first.coverage);
        prop_assert_eq!(content_of(&into, destination.len()), after);
    }
}

#[test]
fn points_that_only_the_earlier_clock_counts_are_filled_and_counted() {
    let header = header(&["1s:1m", "60s:1h"], Aggregation::Last, 0.0);
    let file = |times: &[u32]| {
        let mut bytes = header.encode();
        bytes.resize(usize::try_from(header.file_size_bytes()).unwrap(), 0);
        for t in times {
            let at = 40 + usize::try_from((t - (NOW - 100)) % 60).unwrap() * 12;
            bytes[at..at + 12].copy_from_slice(&Point { timestamp: *t, value: 1.0 }.encode());
        }
        bytes
    };
    // The base of both is NOW - 40, which is in the first slot.
    let (source, destination) = (file(&[NOW - 40, NOW - 62]), file(&[NOW - 40]));
    let into = on_disk(&destination);
    let clocks = Clocks::new(NOW - 5, NOW);
    let options = FillOptions { clocks, ..options() };
    let done = filled(&on_disk(&source), &into, options, 1_000);
    assert_eq!((done.points_filled, done.coverage.held()), (1, 2));
    assert!(done.coverage.is_whole());
    assert_eq!(content_of(&into, destination.len())[40..], source[40..]);
}

#[test]
fn an_unfit_file_is_refused_with_the_reason() {
    let sound = header(&["60s:1h"], Aggregation::Sum, 0.5);
    let whole = |header: &Header| {
        let mut bytes = header.encode();
        bytes.resize(usize::try_from(header.file_size_bytes()).unwrap(), 0);
        bytes
    };
    let mut odd = header(&["60s:1h", "300s:5h"], Aggregation::Sum, 0.5);
    odd.archives[1].seconds_per_point = 90;
    let fill = |source: &[u8], destination: &[u8]| {
        fill_large(&on_disk(source), &on_disk(destination), options()).unwrap_err()
    };
    let sound = whole(&sound);
    let refused = fill(&whole(&odd), &sound);
    assert!(matches!(refused, LargeFillError::Source(UnfitError::Layout)), "{refused}");
    let refused = fill(&sound, b"whisper_compressed and so on");
    assert!(matches!(refused, LargeFillError::Destination(UnfitError::Compressed)), "{refused}");
    let refused = fill(&sound, &sound[..sound.len() - 1]);
    assert!(matches!(refused, LargeFillError::Destination(UnfitError::Header(_))), "{refused}");
}

/// The header would need windows that do not fit into memory: one slot of its coarsest archive spans too many
/// of the finest.
#[test]
fn archives_that_are_too_far_apart_for_a_window_are_refused() {
    let far = header(&["1s:60d", "30d:10y"], Aggregation::Sum, 0.5);
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&far.encode(), 0).unwrap();
    file.set_len(far.file_size_bytes()).unwrap();
    let refused = fill_large(&file, &file, options()).unwrap_err();
    assert!(matches!(refused, LargeFillError::Destination(UnfitError::Layout)), "{refused}");
}

/// A clock that was ahead has left a timestamp in the slot of the source's point. That point must not count
/// as held.
#[test]
fn a_point_whose_slot_a_timestamp_in_the_future_takes_is_displaced() {
    let header = header(&["60s:1h"], Aggregation::Last, 0.0);
    let file = |ahead: u32| {
        let mut bytes = header.encode();
        let base = NOW / 60 * 60 - 600;
        for number in 0..60_u32 {
            let timestamp = if number < 3 { base + number * 60 } else { 0 };
            let timestamp = if number == 2 { timestamp + ahead } else { timestamp };
            bytes.extend_from_slice(&Point { timestamp, value: 1.0 }.encode());
        }
        bytes
    };
    let into = on_disk(&file(3600));
    let done = filled(&on_disk(&file(0)), &into, options(), 1_000);
    assert_eq!((done.coverage.held(), done.coverage.displaced()), (2, 1));
    assert_eq!(content_of(&into, 748)[28 + 24..28 + 28], file(3600)[28 + 24..28 + 28]);
}
