use super::*;
use bucky_whisper::{Aggregation, Header, Point, Retention, XFilesFactor};

const NOW: u32 = 1_800_000_000;
const CLOCK: Clock = Clock { now: NOW, latest: NOW, settled: NOW - 900 };

/// A file with points in its finest archive; `ages` are in slots.
fn file(retentions: &str, ages: &[u32]) -> Vec<u8> {
    let retentions: Vec<Retention> =
        retentions.split(',').map(|text| text.parse().unwrap()).collect();
    let factor = XFilesFactor::new(0.0).unwrap();
    let header = Header::for_retentions(&retentions, Aggregation::Last, factor).unwrap();
    let mut bytes = header.encode();
    bytes.resize(usize::try_from(header.file_size_bytes()).unwrap(), 0);
    let archive = header.archives[0];
    let step = archive.seconds_per_point;
    for age in ages {
        let timestamp = NOW - NOW % step - age * step;
        // The base is at position 0: slots are counted from it.
        let base = u32::from_be_bytes(bytes[archive.offset as usize..][..4].try_into().unwrap());
        let position = if base == 0 {
            0
        } else {
            (i64::from(timestamp) - i64::from(base))
                .div_euclid(i64::from(step))
                .rem_euclid(i64::from(archive.points))
        };
        let at = archive.offset as usize + usize::try_from(position).unwrap() * 12;
        bytes[at..at + 12]
            .copy_from_slice(&Point { timestamp, value: f64::from(*age) + 0.5 }.encode());
    }
    bytes
}

fn sound(ages: &[u32]) -> Vec<u8> {
    file("60:1440", ages)
}

fn look(
    owners: &[usize],
    copies: &[(usize, Option<&[u8]>)],
) -> (Comparison, Vec<(usize, FindingKind)>) {
    let place = MetricPlace::Owners(owners.to_vec());
    let mut nodes: Vec<usize> =
        copies.iter().map(|(node, _)| *node).chain(owners.to_vec()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let content = |node: usize| {
        copies
            .iter()
            .find(|(at, _)| *at == node)
            .and_then(|(_, content)| content.map(<[u8]>::to_vec))
    };
    let copies: Vec<ComparedCopy> =
        nodes.iter().map(|node| ComparedCopy { node: *node, content: content(*node) }).collect();
    let mut examined = examine(&place, &copies, CLOCK);
    for copy in copies.iter().filter(|copy| copy.content.is_none()) {
        let at = examined.states.partition_point(|(node, _)| *node < copy.node);
        let absent = CopyState::Absent(Problem::SourceMissing, String::new());
        examined.states.insert(at, (copy.node, absent));
    }
    let findings = examined.findings(&place);
    (examined, findings)
}

#[test]
fn a_sound_copy_at_its_only_owner_is_in_place_and_its_points_are_counted() {
    let copy = sound(&[0, 1, 7]);
    let (examined, findings) = look(&[2], &[(2, Some(&copy))]);
    assert_eq!(findings, []);
    assert_eq!((examined.copies, examined.points, examined.bytes), (1, 3, copy.len() as u64));
}

#[test]
fn a_copy_elsewhere_is_misplaced_and_the_owner_is_without() {
    let copy = sound(&[0]);
    let (_, findings) = look(&[0], &[(3, Some(&copy))]);
    assert_eq!(findings, [(0, FindingKind::Missing), (3, FindingKind::Misplaced)]);
}

#[test]
fn an_owner_lacks_the_points_that_a_fill_would_bring() {
    let owner = sound(&[0, 1, 5]);
    let stray = sound(&[1, 2, 3, 9]);
    let (_, findings) = look(&[0], &[(0, Some(&owner)), (1, Some(&stray))]);
    let newest = NOW - NOW % 60;
    let archive = LackingArchive {
        seconds_per_point: 60,
        points: 3,
        first: newest - 9 * 60,
        last: newest - 2 * 60,
    };
    let lacks = FindingKind::Lacks { other: 1, archives: vec![archive], without_place: 0 };
    assert_eq!(findings, [(1, FindingKind::Misplaced), (0, lacks)]);
    let parsed = [&stray, &owner].map(|bytes| Image::parse(bytes).unwrap());
    let options =
        FillOptions { clocks: Clocks::at(NOW), aggregation_six: AggregationSix::default() };
    assert_eq!(fill(&parsed[0], &parsed[1], options).points_filled(), 3);
}

#[test]
fn a_stray_with_nothing_new_is_only_misplaced() {
    let owner = sound(&[0, 1, 2, 3]);
    for stray in [owner.clone(), sound(&[1, 2])] {
        let (_, findings) = look(&[0], &[(0, Some(&owner)), (1, Some(&stray))]);
        assert_eq!(findings, [(1, FindingKind::Misplaced)]);
    }
}

/// Points of both resolutions are compared, each archive alone.
#[test]
fn each_archive_reports_the_points_that_it_lacks() {
    let mut stray = file("60:1440,300:2016", &[]);
    let owner = stray.clone();
    let coarse = 16 + 24 + 1440 * 12;
    let t = NOW - NOW % 300 - 500 * 300;
    stray[coarse..coarse + 12].copy_from_slice(&Point { timestamp: t, value: 1.0 }.encode());
    let (_, findings) = look(&[0], &[(0, Some(&owner)), (1, Some(&stray))]);
    let FindingKind::Lacks { archives, .. } = &findings[1].1 else { panic!("{findings:?}") };
    assert_eq!(
        archives,
        &[LackingArchive { seconds_per_point: 300, points: 1, first: t, last: t }]
    );
}

#[test]
fn owners_that_differ_are_reported_but_not_their_newest_points() {
    let one = sound(&[0, 1, 2, 100, 101]);
    let other = sound(&[3, 100, 102]);
    let (_, findings) = look(&[0, 1], &[(0, Some(&one)), (1, Some(&other))]);
    let t = |age: u32| NOW - NOW % 60 - age * 60;
    let archive =
        |age| LackingArchive { seconds_per_point: 60, points: 1, first: t(age), last: t(age) };
    let differ = |other, age| FindingKind::ReplicasDiffer { other, archives: vec![archive(age)] };
    assert_eq!(findings, [(0, differ(1, 102)), (1, differ(0, 101))]);
    // Between a misplaced copy and an owner, the newest points count.
    let (_, findings) = look(&[0], &[(0, Some(&other)), (1, Some(&one))]);
    let FindingKind::Lacks { archives, .. } = &findings[1].1 else { panic!("{findings:?}") };
    assert_eq!(archives[0].points, 4);
}

#[test]
fn an_owner_without_a_copy_is_found_where_another_owner_has_one() {
    let copy = sound(&[0]);
    let (_, findings) = look(&[0, 1], &[(0, Some(&copy))]);
    assert_eq!(findings, [(1, FindingKind::Missing)]);
}

#[test]
fn a_corrupt_file_is_reported_with_the_wrong_field_and_not_compared() {
    let owner = sound(&[0, 1]);
    let whole = sound(&[5]);
    let mut no_archives = whole.clone();
    no_archives[12..16].fill(0);
    for (content, reason) in [
        (&b""[..], "header cut off at byte 0 of 16"),
        (&whole[..whole.len() - 1], "behind the file's end"),
        (&no_archives, "archive count at byte 12 is 0"),
    ] {
        let (_, findings) = look(&[0], &[(0, Some(&owner)), (1, Some(content))]);
        let [(1, FindingKind::Misplaced), (1, FindingKind::Corrupt { reason: found_reason })] =
            findings.as_slice()
        else {
            panic!("{findings:?}")
        };
        assert!(found_reason.contains(reason), "{found_reason}");
        let (_, findings) = look(&[0], &[(0, Some(content))]);
        assert!(matches!(&findings[..], [(0, FindingKind::Corrupt { .. })]), "{findings:?}");
    }
}

#[test]
fn a_compressed_copy_is_a_finding_only_if_it_must_be_compared() {
    let compressed = b"whisper_compressed and so on".to_vec();
    let (examined, findings) = look(&[0], &[(0, Some(&compressed))]);
    assert_eq!((examined.compressed(), examined.points), (1, 0));
    assert_eq!(findings, []);
    let (_, findings) = look(&[0], &[(0, Some(&compressed)), (1, Some(&compressed))]);
    assert_eq!(findings, [(1, FindingKind::Misplaced)], "the same bytes");
    let stray = sound(&[0]);
    let (_, findings) = look(&[0], &[(0, Some(&compressed)), (1, Some(&stray))]);
    assert_eq!(
        findings,
        [(1, FindingKind::Misplaced), (0, FindingKind::Incomparable { other: 1 })]
    );
}

#[test]
fn a_metric_that_no_node_has_any_more_is_gone_and_not_missing_everywhere() {
    let (_, findings) = look(&[0, 1], &[(3, None)]);
    assert_eq!(findings, [(0, FindingKind::Gone)]);
}

#[test]
fn a_copy_that_cannot_be_read_is_not_taken_for_missing() {
    let place = MetricPlace::Owners(vec![0]);
    let busy = CopyState::Absent(Problem::SourceUnreadable, "permission denied".into());
    let examined = Comparison { states: vec![(0, busy)], ..Comparison::default() };
    let unreadable = FindingKind::Unreadable { reason: "permission denied".into() };
    assert_eq!(examined.findings(&place), [(0, unreadable)]);
}

#[test]
fn a_nodes_own_metric_is_in_place_wherever_it_is() {
    let copy = sound(&[0]);
    let copies = [0, 4].map(|node| ComparedCopy { node, content: Some(copy.clone()) });
    for place in [MetricPlace::Local, MetricPlace::Unplaceable] {
        assert_eq!(examine(&place, &copies, CLOCK).findings(&place), []);
    }
}

/// A file that another schema created at the owner has no slots for some points of the source: a fill leaves
/// them out.
#[test]
fn points_of_a_misplaced_copy_that_its_owner_has_no_slot_for_are_found() {
    let owner = file("60s:1h,10m:1d", &[1, 2]);
    let longer = file("60s:2h,10m:1d", &[1, 2, 90, 100]);
    let (examined, findings) = look(&[0], &[(0, Some(&owner)), (1, Some(&longer))]);
    let t = |age: u32| NOW - NOW % 60 - age * 60;
    let unplaced = |seconds_per_point, points, last, first, has_archive| {
        let archives =
            vec![UnplacedArchive { seconds_per_point, points, first, last, has_archive }];
        (0, FindingKind::NoPlace { other: 1, archives })
    };
    let no_place = unplaced(60, 2, t(90), t(100), true);
    assert!(findings.contains(&no_place), "{findings:?}");
    assert!(findings.contains(&(1, FindingKind::Misplaced)), "{findings:?}");
    assert_eq!(examined.layouts.len(), 1, "{examined:?}");
    assert_eq!(examined.layouts[0].owners, "60s:1h,10m:1d, last, xff 0");

    let finer = file("1s:1h,10m:1d", &[100, 200, 300]);
    let (_, findings) = look(&[0], &[(0, Some(&owner)), (1, Some(&finer))]);
    let no_place = |kind: &(usize, FindingKind)| {
        matches!(&kind.1, FindingKind::NoPlace { archives, .. }
            if archives.len() == 1 && archives[0].points == 3 && !archives[0].has_archive)
    };
    assert!(findings.iter().any(no_place), "{findings:?}");

    // Between owners it is a difference of layouts.
    let (_, findings) = look(&[0, 1], &[(0, Some(&owner)), (1, Some(&longer))]);
    assert!(!findings.iter().any(|(_, kind)| kind.is_misplacement()), "{findings:?}");
    let differ =
        findings.iter().filter(|(_, kind)| matches!(kind, FindingKind::LayoutsDiffer { .. }));
    assert_eq!(differ.count(), 1, "{findings:?}");
}
