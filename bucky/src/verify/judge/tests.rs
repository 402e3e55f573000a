use bucky_api::{Problem, TimesDigest};
use bucky_whisper::Digest;

use super::*;
use crate::verify::finding::FindingKind;

const PLACE: [usize; 2] = [0, 1];

fn times(points: u64, text: &str) -> TimesDigest {
    TimesDigest { points, times: Digest::of(text.as_bytes()) }
}

fn whole(content: &str, layout: Option<LayoutDigest>) -> DigestFound {
    let digest = Digest::of(content.as_bytes());
    DigestFound::Whole { bytes: 100, digest, points: 7, layout }
}

/// Archives with these settled and newest points.
fn layout(archives: &[(u32, TimesDigest, TimesDigest)]) -> Option<LayoutDigest> {
    let archive = |(seconds_per_point, settled, all): &(u32, TimesDigest, TimesDigest)| {
        let (settled, all) = (*settled, *all);
        ArchiveDigest { seconds_per_point: *seconds_per_point, slots: 1440, all, settled }
    };
    let archives = archives.iter().map(archive).collect();
    Some(LayoutDigest { aggregation: 1, x_files_factor: 0.5, archives })
}

fn damaged() -> DigestFound {
    DigestFound::Damaged { bytes: 100, reason: "archive count at byte 12 is 0".into() }
}

fn missing() -> DigestFound {
    DigestFound::Unread { problem: Problem::SourceMissing, reason: "gone".into() }
}

fn compressed(content: &str) -> DigestFound {
    DigestFound::Compressed { bytes: 50, digest: Digest::of(content.as_bytes()) }
}

/// The findings about copies on the owners 0 and 1, and on 2, which does not own the metric.
fn judged(found: &[(usize, DigestFound)]) -> Option<Vec<(usize, FindingKind)>> {
    let place = MetricPlace::Owners(PLACE.to_vec());
    judge(&place, found).map(|examined| examined.findings(&place))
}

#[test]
fn copies_of_one_content_agree_and_others_are_undecided_until_their_figures_agree() {
    let same = [(0, whole("a", None)), (1, whole("a", None))];
    assert_eq!(judged(&same), Some(Vec::new()));
    let differ = [(0, whole("a", None)), (1, whole("b", None))];
    assert_eq!(judged(&differ), None);
    // The newest points are compared with a misplaced copy, but not between owners.
    let one = || layout(&[(60, times(5, "x"), times(6, "y"))]);
    let newer = || layout(&[(60, times(5, "x"), times(7, "z"))]);
    assert_eq!(judged(&[(0, whole("a", one())), (1, whole("b", newer()))]), Some(Vec::new()));
    let stray = [(0, whole("a", one())), (1, whole("a", one())), (2, whole("b", newer()))];
    assert_eq!(judged(&stray), None);
    let stray = [(0, whole("a", one())), (1, whole("a", one())), (2, whole("b", one()))];
    assert_eq!(judged(&stray), Some(vec![(2, FindingKind::Misplaced)]));
}

#[test]
fn figures_of_other_archives_prove_nothing_unless_there_is_no_point() {
    let of = |step, points| layout(&[(step, times(points, "x"), times(points, "x"))]);
    for other in [
        of(61, 5),
        layout(&[(60, times(5, "x"), times(5, "x")), (600, times(0, ""), times(0, ""))]),
        of(60, 4),
    ] {
        assert_eq!(judged(&[(0, whole("a", of(60, 5))), (1, whole("b", other.clone()))]), None);
    }
    // A copy without points lacks nothing, but it is reported that its archives differ.
    let empty = layout(&[(61, times(0, ""), times(0, ""))]);
    let found = judged(&[(0, whole("a", of(60, 5))), (2, whole("b", empty))]).unwrap();
    assert_eq!(found[0], (2, FindingKind::Misplaced));
    let differ = matches!(&found[1..], [(0, FindingKind::LayoutsDiffer { other: 2, layout, .. })]
        if layout == "60s:1d, average, xff 0.5");
    assert!(differ, "{found:?}");
}

#[test]
fn damaged_missing_and_compressed_copies_are_found_without_a_look_at_their_contents() {
    let reason = "archive count at byte 12 is 0".to_owned();
    assert_eq!(
        judged(&[(0, damaged()), (1, whole("a", None)), (2, whole("b", None))]),
        None,
        "the owner that is whole is to be compared"
    );
    assert_eq!(
        judged(&[(0, damaged()), (1, missing()), (2, whole("b", None))]),
        Some(vec![
            (0, FindingKind::Corrupt { reason }),
            (1, FindingKind::Missing),
            (2, FindingKind::Misplaced)
        ])
    );
    assert_eq!(judged(&[(0, missing()), (1, missing())]), Some(vec![(0, FindingKind::Gone)]));
    let equal = [(0, compressed("a")), (1, compressed("a"))];
    assert_eq!(judged(&equal), Some(Vec::new()));
    let differ = [(0, compressed("a")), (1, whole("b", None))];
    let incomparable = |node, other| (node, FindingKind::Incomparable { other });
    assert_eq!(judged(&differ), Some(vec![incomparable(0, 1), incomparable(1, 0)]));
    let busy = DigestFound::Unread { problem: Problem::Busy, reason: "its lock is held".into() };
    let unread = FindingKind::Unreadable { reason: "its lock is held".into() };
    assert_eq!(judged(&[(0, busy), (1, whole("a", None))]), Some(vec![(0, unread)]));
}

#[test]
fn copies_points_and_bytes_are_counted_as_they_are_read() {
    let place = MetricPlace::Owners(PLACE.to_vec());
    let found = [(0, whole("a", None)), (1, damaged()), (2, compressed("c")), (3, missing())];
    let examined = judge(&place, &found).unwrap();
    let counts = (examined.copies, examined.points, examined.bytes, examined.compressed());
    assert_eq!(counts, (3, 7, 250, 1));
}
