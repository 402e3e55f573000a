use std::future::ready;

use bucky_whisper::{
    Aggregation, Header, Image, Point, PointsWindow, Retention, Summary, Window, XFilesFactor,
    points_in_window,
};
use proptest::prelude::*;

use super::*;
use crate::verify::copies::{ComparedCopy, examine};
use crate::verify::finding::FindingKind;

const NOW: u32 = 1_800_000_000;
const CLOCK: Clock = Clock { now: NOW, latest: NOW, settled: NOW - 900 };

/// A file with points in its only archive; `ages` are in slots.
fn file(step: u32, slots: u32, ages: &[i32]) -> Vec<u8> {
    let retention = Retention::new(step, slots).unwrap();
    let factor = XFilesFactor::new(0.0).unwrap();
    let header = Header::for_retentions(&[retention], Aggregation::Last, factor).unwrap();
    let mut bytes = header.encode();
    bytes.resize(usize::try_from(header.file_size_bytes()).unwrap(), 0);
    let time = |age: i32| i64::from(NOW - NOW % step) - i64::from(age) * i64::from(step);
    let Some(base) = ages.first().map(|age| time(*age)) else { return bytes };
    for age in ages {
        let position = (time(*age) - base).div_euclid(step.into()).rem_euclid(slots.into());
        let at = header.archives[0].offset as usize + usize::try_from(position).unwrap() * 12;
        let point = Point { timestamp: u32::try_from(time(*age)).unwrap(), value: 1.0 };
        bytes[at..at + 12].copy_from_slice(&point.encode());
    }
    bytes
}

fn digest_of_file(content: &[u8]) -> DigestFound {
    let Clock { now, settled, .. } = CLOCK;
    DigestFound::of(Summary::of(content, Window { now, settled, with_times: true }), true)
}

fn answer(content: &[u8], request: &PointsRequest) -> PointsFound {
    let PointsRequest { first, slots, now, latest, seconds_per_point, .. } = *request;
    let image = Image::parse(content).unwrap();
    let mut archives = image.archives();
    let Some(view) = archives.find(|one| one.archive().seconds_per_point == seconds_per_point)
    else {
        return PointsFound::NoArchive;
    };
    let window = PointsWindow { first, slots, now, latest };
    let read = |buffer: &mut [u8], at: u64| {
        let at = usize::try_from(at).unwrap();
        buffer.copy_from_slice(&content[at..at + buffer.len()]);
        Ok(())
    };
    points_in_window(&view.archive(), view.base(), window, read).unwrap().into()
}

/// The result of comparing these copies, at nodes 0 and up, by the times of their points.
fn by_points(owners: &[usize], copies: &[Vec<u8>], window_slots: u32) -> Comparison {
    let place = MetricPlace::Owners(owners.to_vec());
    let metric = "a".parse().unwrap();
    let subject = VerifySubject { metric, place, nodes: (0..copies.len()).collect() };
    let found: NodeDigests =
        copies.iter().map(|content| digest_of_file(content)).enumerate().collect();
    let ask = |node: usize, request: PointsRequest| {
        assert!(request.slots <= window_slots);
        ready(Ok(Some(answer(&copies[node], &request))))
    };
    let examined = examine_by(&subject, &found, (CLOCK, window_slots), ask);
    futures_util::FutureExt::now_or_never(examined).unwrap().unwrap().unwrap()
}

fn by_contents(owners: &[usize], copies: &[Vec<u8>]) -> Comparison {
    let copy =
        |(node, content): (usize, &Vec<u8>)| ComparedCopy { node, content: Some(content.clone()) };
    let copies: Vec<ComparedCopy> = copies.iter().enumerate().map(copy).collect();
    examine(&MetricPlace::Owners(owners.to_vec()), &copies, CLOCK)
}

fn ages() -> impl Strategy<Value = Vec<i32>> {
    proptest::collection::vec(1..140_i32, 0..60)
}

proptest! {
    /// Whatever the copies hold, also expired points and other retentions, the result is that of comparing
    /// contents.
    #[test]
    fn comparing_points_and_comparing_contents_find_the_same(
        one in ages(), two in ages(), three in ages(),
        slots in (60..130_u32, 60..130_u32, 60..130_u32),
        owners in prop_oneof![Just(vec![0]), Just(vec![0, 1])],
        window_slots in 1..200_u32,
    ) {
        let copies =
            vec![file(60, slots.0, &one), file(60, slots.1, &two), file(60, slots.2, &three)];
        let place = MetricPlace::Owners(owners.clone());
        let (found, expected) =
            (by_points(&owners, &copies, window_slots), by_contents(&owners, &copies));
        prop_assert_eq!(found.findings(&place), expected.findings(&place));
        let counts = |one: &Comparison| (one.copies, one.points, one.bytes);
        prop_assert_eq!(counts(&found), counts(&expected));
    }
}

#[test]
fn points_in_the_future_and_their_slots_are_reported() {
    // The misplaced copy has a point in a slot where the owner has one from the future, and another point in
    // the future.
    let owner = file(60, 100, &[50, -70]);
    let stray = file(60, 100, &[50, 30, -5]);
    let found = by_points(&[0], &[owner, stray], 16);
    let t = NOW - NOW % 60 + 5 * 60;
    let archive = LackingArchive { seconds_per_point: 60, points: 1, first: t, last: t };
    let lacks = FindingKind::Lacks { other: 1, archives: vec![archive], without_place: 1 };
    assert_eq!(
        found.findings(&MetricPlace::Owners(vec![0])),
        [(1, FindingKind::Misplaced), (0, lacks)]
    );
}

#[test]
fn points_of_an_archive_that_an_owner_has_not_have_no_place() {
    let (owner, stray) = (file(60, 100, &[5]), file(10, 400, &[300, 7]));
    let found = by_points(&[0], &[owner.clone(), stray.clone()], 64);
    let t = |age: u32| NOW - NOW % 10 - age * 10;
    let archives = vec![UnplacedArchive {
        seconds_per_point: 10,
        points: 2,
        first: t(300),
        last: t(7),
        has_archive: false,
    }];
    let expected = FindingKind::NoPlace { other: 1, archives };
    assert!(found.findings(&MetricPlace::Owners(vec![0])).contains(&(0, expected)), "{found:?}");
    // Between owners only the difference of their headers is reported.
    let place = MetricPlace::Owners(vec![0, 1]);
    let found = by_points(&[0, 1], &[owner, stray], 64).findings(&place);
    assert!(matches!(&found[..], [(0, FindingKind::LayoutsDiffer { .. })]), "{found:?}");
}

#[test]
fn a_node_that_cannot_tell_is_not_taken_for_one_that_has_all() {
    let copies = [file(60, 100, &[5]), file(60, 100, &[50])];
    let subject = VerifySubject {
        metric: "a".parse().unwrap(),
        place: MetricPlace::Owners(vec![0]),
        nodes: vec![0, 1],
    };
    let found: NodeDigests =
        copies.iter().map(|content| digest_of_file(content)).enumerate().collect();
    let examined = |answer: Option<PointsFound>| {
        let ask = move |_, _| ready(Ok(answer.clone()));
        let examined = examine_long(&subject, &found, CLOCK, ask);
        futures_util::FutureExt::now_or_never(examined).unwrap().unwrap()
    };
    assert!(examined(None).is_none());
    let (problem, reason) = (Problem::Busy, "its lock is held".to_owned());
    for answer in [PointsFound::Unread { problem, reason }, PointsFound::NoArchive] {
        let findings = examined(Some(answer)).unwrap().findings(&subject.place);
        assert!(matches!(&findings[0], (0, FindingKind::Unreadable { .. })), "{findings:?}");
    }
}
