use super::*;
use crate::{Aggregation, Image, Retention, XFilesFactor};

const NOW: u32 = 1_800_000_000;
const WINDOW: Window = Window { now: NOW, settled: NOW - 900, with_times: true };

fn header(retentions: &[&str]) -> Header {
    let retentions: Vec<Retention> = retentions.iter().map(|text| text.parse().unwrap()).collect();
    let factor = XFilesFactor::new(0.5).unwrap();
    Header::for_retentions(&retentions, Aggregation::Average, factor).unwrap()
}

/// A file whose rings begin `turned` slots before `NOW`. A slot has a point if `has` returns true for its age
/// in slots.
fn file(retentions: &[&str], turned: u32, has: impl Fn(u32) -> bool) -> Vec<u8> {
    let header = header(retentions);
    let mut bytes = header.encode();
    for archive in &header.archives {
        let newest = NOW - NOW % archive.seconds_per_point;
        let base = newest - turned * archive.seconds_per_point;
        let mut slots = vec![[0; 12]; archive.points as usize];
        slots[0] = Point { timestamp: base, value: f64::NAN }.encode();
        for age in (0..archive.points).filter(|age| has(*age)) {
            let timestamp = newest - age * archive.seconds_per_point;
            let position = position_of(archive, base, timestamp).unwrap() as usize;
            slots[position] = Point { timestamp, value: f64::from(age) }.encode();
        }
        bytes.extend(slots.concat());
    }
    bytes
}

fn counts(content: &[u8]) -> Vec<(u64, u64)> {
    let points = Summary::of(content, WINDOW).points.unwrap();
    points.archives.iter().map(|one| (one.all.points, one.settled.points)).collect()
}

#[test]
fn the_counts_are_those_of_the_points_that_are_valid() {
    let content = file(&["60s:1h", "5m:1d"], 17, |age| age % 7 != 3);
    let image = Image::parse(&content).unwrap();
    let valid: Vec<(u64, u64)> = image
        .archives()
        .map(|view| {
            let settled = view.points_valid(NOW).filter(|point| point.timestamp < WINDOW.settled);
            (view.points_valid(NOW).count() as u64, settled.count() as u64)
        })
        .collect();
    assert_eq!(counts(&content), valid);
    let summary = Summary::of(&content, WINDOW);
    assert_eq!((summary.digest, summary.bytes), (Digest::of(&content), content.len() as u64));
    assert_eq!(summary.points.unwrap().points(), valid.iter().map(|(all, _)| all).sum::<u64>());
}

#[test]
fn pieces_of_any_length_give_the_same() {
    let content = file(&["60s:1h", "5m:6h", "1h:3d"], 5, |age| age % 3 != 1);
    let whole = Summary::of(&content, WINDOW);
    for len in [1, 5, 11, 12, 13, 100, 1000] {
        let mut summarizer = Summarizer::new(&content, content.len() as u64, WINDOW);
        content.chunks(len).for_each(|piece| summarizer.add(piece));
        assert_eq!(summarizer.finish(), whole, "pieces of {len}");
    }
}

#[test]
fn the_same_times_have_one_digest_wherever_the_ring_begins_and_whatever_the_values() {
    let times = |content: &[u8]| {
        let points = Summary::of(content, WINDOW).points.unwrap();
        points.archives.iter().map(|one| (one.all, one.settled)).collect::<Vec<_>>()
    };
    let has = |age| age % 5 != 2;
    let first = file(&["60s:2h", "5m:1d"], 0, has);
    let other = file(&["60s:2h", "5m:1d"], 40, has);
    assert_ne!(Digest::of(&first), Digest::of(&other));
    assert_eq!(times(&first), times(&other));
    let lacks_one = file(&["60s:2h", "5m:1d"], 40, |age| has(age) && age != 60);
    assert_ne!(times(&first), times(&lacks_one));
    // The same number of points, at other times.
    let shifted = file(&["60s:2h", "5m:1d"], 40, |age| (has(age) && age != 60) || age == 62);
    assert_eq!(counts(&first), counts(&shifted));
    assert_ne!(times(&first), times(&shifted));
}

#[test]
fn points_of_the_last_minutes_differ_only_in_the_figure_of_all() {
    let archive = |content: &[u8]| Summary::of(content, WINDOW).points.unwrap().archives[0];
    let old = archive(&file(&["60s:2h"], 3, |age| age > 10));
    let new = archive(&file(&["60s:2h"], 3, |age| age > 8));
    assert_ne!(old.all, new.all);
    assert_eq!(old.settled, new.settled);
}

#[test]
fn slots_that_have_expired_at_the_given_time_are_not_counted() {
    let content = file(&["60s:1h"], 0, |_| true);
    for (later, left) in [(0, 60), (60, 59), (600, 50), (3600, 0)] {
        let window = Window { now: NOW + later, ..WINDOW };
        assert_eq!(Summary::of(&content, window).points.unwrap().points(), left, "{later}");
    }
}

#[test]
fn slots_that_lie_where_they_do_not_belong_are_not_counted() {
    let mut content = file(&["60s:1h"], 0, |_| true);
    let slot = |position: usize| 28 + position * 12;
    // An older turn, a time between two slots, the neighbour's time, never written.
    for (position, timestamp) in [(3, NOW - 3600 * 9), (9, NOW + 7), (20, NOW - 60), (30, 0)] {
        let point = Point { timestamp, value: 1.0 };
        content[slot(position)..slot(position + 1)].copy_from_slice(&point.encode());
    }
    let image = Image::parse(&content).unwrap();
    let valid = image.archive(0).unwrap().points_valid(NOW).count() as u64;
    assert_eq!(counts(&content)[0].0, valid);
    assert_eq!(valid, 56);
}

#[test]
fn a_nonstandard_file_has_a_digest_too() {
    let cut = &file(&["60s:1h"], 0, |_| true)[..200];
    let damaged = Summary::of(cut, WINDOW);
    assert_eq!((damaged.digest, damaged.bytes), (Digest::of(cut), 200));
    assert!(matches!(damaged.points, Err(ImageError::Header(_))), "{damaged:?}");
    // The file was longer when its length was read.
    let whole = file(&["60s:1h"], 0, |_| true);
    let mut summarizer = Summarizer::new(&whole, whole.len() as u64, WINDOW);
    summarizer.add(&whole[..whole.len() - 1]);
    let shrunk = summarizer.finish();
    assert!(matches!(shrunk.points, Err(ImageError::Header(_))), "{shrunk:?}");
    let compressed = Summary::of(b"whisper_compressed and more", WINDOW);
    assert_eq!(compressed.points, Err(ImageError::Compressed));
    let empty = Summary::of(b"", WINDOW);
    assert!(matches!(empty.points, Err(ImageError::Header(_))), "{empty:?}");
}
