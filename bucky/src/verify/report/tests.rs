use super::*;
use crate::output::{Captured, Unread};
use crate::verify::finding::{LackingArchive, UnplacedArchive};

fn finding(metric: &str, node: &str, what: What) -> MetricFinding {
    MetricFinding { metric: metric.into(), node: node.into(), what }
}

fn ending(counts: VerifyCounts) -> Ending<'static> {
    Ending {
        counts,
        nodes: 2,
        sample: None,
        remarks: Vec::new(),
        broken_off: None,
        seed: "a:4242",
        drained: &[],
    }
}

fn findings() -> Vec<MetricFinding> {
    let archive = LackingArchive {
        seconds_per_point: 60,
        points: 7,
        first: 1_800_000_000,
        last: 1_800_000_360,
    };
    let lacks = What::Lacks {
        other: "b:4242".into(),
        points: 7,
        without_place: 1,
        archives: vec![archive],
    };
    let mut findings: Vec<MetricFinding> = (0..12)
        .map(|number| {
            let owners = vec!["a:4242".into()];
            finding(&format!("app.m{number:02}"), "b:4242", What::Misplaced { owners })
        })
        .collect();
    findings.push(finding("app.m11", "a:4242", lacks));
    findings.push(finding("bad", "a:4242", What::Corrupt { reason: "archive count 0".into() }));
    findings
}

fn report(json: bool, findings: &[MetricFinding], ending: &Ending<'_>) -> (String, bool) {
    let (output, data, _): (Output, Captured, Captured) = Output::captured();
    let mut report = Report::begin(json, false, None, &output).unwrap();
    findings.iter().for_each(|finding| report.add(finding, &output).unwrap());
    let has_findings = report.has_findings();
    report.end(ending, &output).unwrap();
    (data.text(), has_findings)
}

/// A verification whose reader has gone away continues: scripts look at its exit code.
#[test]
fn findings_count_even_if_nothing_reads_them() {
    for (json, unread) in
        [(true, Unread::AtOnce), (false, Unread::AtOnce), (true, Unread::AtTheFlush)]
    {
        let output = Output::to_writers(Box::new(unread), Box::new(Captured::default()));
        let mut report = Report::begin(json, false, None, &output).unwrap();
        findings().iter().for_each(|finding| report.add(finding, &output).unwrap());
        assert!(report.has_findings());
        report.end(&ending(VerifyCounts::default()), &output).unwrap();
    }
}

#[test]
fn all_in_place_is_one_line() {
    let counts = VerifyCounts {
        metrics: 3000,
        in_place: 3000,
        copies: 3001,
        points: 1_546_400,
        ..VerifyCounts::default()
    };
    let (text, has_findings) = report(false, &[], &ending(counts));
    assert_eq!(
        text,
        "3,000 metrics on 2 nodes, 3,001 copies read, 1,546,400 points: all in place.\n"
    );
    assert!(!has_findings);
}

#[test]
fn findings_are_grouped_and_say_what_to_do_next() {
    let counts = VerifyCounts {
        metrics: 20,
        in_place: 7,
        copies: 33,
        points: 9,
        changed: 1,
        ..VerifyCounts::default()
    };
    let mut ending = ending(counts);
    ending.sample = Some("a sample of 1%, --seed 42".into());
    let text = "3 deleted copies not yet confirmed".to_owned();
    ending.remarks.push(Remark { node: "b:4242".into(), text, is_finding: false });
    let (text, has_findings) = report(false, &findings(), &ending);
    insta::assert_snapshot!(text);
    assert!(has_findings);
}

/// The state between a copy and the delete of its sources: deleting the sources loses nothing.
#[test]
fn the_report_says_if_owners_have_all_points_of_misplaced_copies() {
    const SAID: &str = "No misplaced copy has a point that its owner lacks.";
    let counts = VerifyCounts { metrics: 12, ..VerifyCounts::default() };
    let findings = findings();
    let (text, _) = report(false, &findings[..12], &ending(counts));
    assert!(text.contains(SAID), "{text}");
    assert!(!report(false, &findings, &ending(counts)).0.contains(SAID));
    let gone = finding("m", "a:4242", What::Missing);
    assert!(!report(false, &[&findings[..12], &[gone]].concat(), &ending(counts)).0.contains(SAID));
    let broken_off = Ending { broken_off: Some("b is away".into()), ..ending(counts) };
    assert!(!report(false, &findings[..12], &broken_off).0.contains(SAID));
}

/// A metric on the wrong node has two findings. Moving it is enough, but not for a metric that an owner lost.
#[test]
fn a_metric_that_an_owner_lacks_and_another_node_has_is_not_counted_as_two_problems() {
    let counts = VerifyCounts { metrics: 12, ..VerifyCounts::default() };
    let missing = |metric: &str| finding(metric, "a:4242", What::Missing);
    let both: Vec<MetricFinding> =
        findings()[..2].iter().flat_map(|one| [missing(&one.metric), one.clone()]).collect();
    let (text, _) = report(false, &both, &ending(counts));
    assert!(
        text.contains(
            "\n2 metrics that an owner lacks (a misplaced copy of each is counted below):\n"
        ),
        "{text}"
    );
    assert!(text.contains("bucky rebalance") && !text.contains("bucky heal"), "{text}");
    let (text, _) = report(false, &[&both[..], &[missing("lost")]].concat(), &ending(counts));
    assert!(
        text.contains(
            "\n3 metrics that an owner lacks (a misplaced copy of 2 of them is counted below):\n"
        ),
        "{text}"
    );
    assert!(text.contains("bucky rebalance") && text.contains("bucky heal"), "{text}");
    let (text, _) = report(false, &[missing("lost")], &ending(counts));
    assert!(text.contains("\n1 metric that an owner lacks:\n"), "{text}");
    let (text, _) = report(false, &[both[1].clone(), both[0].clone()], &ending(counts));
    assert!(text.contains("(a misplaced copy of it is counted below)"), "{text}");
}

#[test]
fn the_json_is_one_document_with_every_finding() {
    let counts = VerifyCounts { metrics: 20, in_place: 7, ..VerifyCounts::default() };
    for findings in [findings(), Vec::new()] {
        let (text, _) = report(true, &findings, &ending(counts));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["findings"].as_array().unwrap().len(), findings.len());
        assert_eq!(value["summary"]["all_in_place"], findings.is_empty());
        let misplaced = if findings.is_empty() { 0 } else { 12 };
        assert_eq!(value["summary"]["kinds"]["misplaced"]["metrics"], misplaced);
    }
    let (text, _) = report(true, &findings(), &ending(counts));
    let line = text.lines().find(|line| line.contains("lacks")).unwrap();
    assert_eq!(
        line.trim_end_matches(','),
        r#"{"metric":"app.m11","node":"a:4242","kind":"lacks","other":"b:4242","points":7,"without_place":1,"archives":[{"seconds_per_point":60,"points":7,"first":1800000000,"last":1800000360}]}"#
    );
}

#[test]
fn owners_that_differ_fail_only_where_that_was_asked_for() {
    let differ =
        || What::ReplicasDiffer { other: "b:4242".into(), points: 1, archives: Vec::new() };
    let (output, _, _) = Output::captured();
    for strict in [false, true] {
        let mut report = Report::begin(false, strict, None, &output).unwrap();
        report.add(&finding("m", "a:4242", differ()), &output).unwrap();
        assert_eq!(report.has_findings(), strict);
    }
}

/// An operator who reads "all in place" does not read any further.
#[test]
fn a_list_of_differences_never_stands_below_all_in_place() {
    let counts = VerifyCounts { metrics: 3, in_place: 3, differ: 1, ..VerifyCounts::default() };
    let differ = What::ReplicasDiffer { other: "b:4242".into(), points: 1, archives: Vec::new() };
    let (text, has_findings) =
        report(false, &[finding("m", "a:4242", differ.clone())], &ending(counts));
    assert!(!has_findings && !text.contains("all in place"), "{text}");
    assert!(
        text.contains(": every copy is where it belongs, but copies of 1 metric differ.\n"),
        "{text}"
    );
    assert!(text.contains("  a:4242: m: lacks 1 point that the owner b:4242 has\n"), "{text}");
    assert!(text.contains("bucky heal -h a:4242 --points"), "{text}");
    let (text, _) = report(true, &[finding("m", "a:4242", differ)], &ending(counts));
    assert!(text.contains("\"all_in_place\":false"), "{text}");
}

#[test]
fn layouts_that_differ_are_counted_by_their_pair_with_an_example() {
    let layouts = |layout: &str| What::LayoutsDiffer {
        other: "b:4242".into(),
        layout: layout.into(),
        others: "60s:30d,1h:5y, average, xff 0.5".into(),
    };
    let mut findings: Vec<MetricFinding> = (0..1_500)
        .map(|number| finding(&format!("m{number}"), "a:4242", layouts("60s:1d, average, xff 0.5")))
        .collect();
    findings.push(finding("odd", "a:4242", layouts("60s:30d,1h:5y, sum, xff 0.5")));
    let counts =
        VerifyCounts { metrics: 1_501, in_place: 1_501, differ: 1_501, ..VerifyCounts::default() };
    let (text, has_findings) = report(false, &findings, &ending(counts));
    assert!(!has_findings, "{text}");
    let lines = "1,501 metrics whose copies have different schemas:\n  \
        1,500 copies: owner 60s:1d, average, xff 0.5; other copy 60s:30d,1h:5y, average, xff 0.5. \
        For example m0 on a:4242 and b:4242\n  \
        1 copy: owner 60s:30d,1h:5y, sum, xff 0.5; other copy 60s:30d,1h:5y, average, xff 0.5. \
        For example odd on a:4242 and b:4242\n\n";
    assert!(text.contains(lines), "{text}");
    let (text, _) = report(true, &findings, &ending(counts));
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["findings"], serde_json::json!([]));
    let pair = &value["summary"]["layouts"][0];
    assert_eq!((&pair["copies"], &pair["example"]), (&1_500.into(), &"m0".into()));
}

#[test]
fn points_without_place_are_a_failure_that_says_which_archive_is_missing_or_short() {
    let archive = |seconds_per_point, has_archive| UnplacedArchive {
        seconds_per_point,
        points: 10,
        first: 1_800_000_000,
        last: 1_800_036_000,
        has_archive,
    };
    let archives = vec![archive(60, true), archive(3600, false)];
    let what = What::NoPlace { other: "b:4242".into(), points: 20, archives };
    let counts = VerifyCounts { metrics: 1, ..VerifyCounts::default() };
    let (text, has_findings) = report(false, &[finding("m", "a:4242", what)], &ending(counts));
    assert!(has_findings);
    let line = "a:4242: m: has no place for 20 points of b:4242 (10 of the 60 s archive, which is shorter here, \
        1800000000 to 1800036000; 10 of the 3600 s archive, which is not here, 1800000000 to 1800036000)\n";
    assert!(text.contains(line), "{text}");
}

#[test]
fn advice_repeats_the_nodes_that_are_to_be_drained() {
    let drained: Vec<DaemonAddr> =
        ["c:4242", "d:4242"].iter().map(|host| host.parse().unwrap()).collect();
    let ending = Ending {
        drained: &drained,
        ..ending(VerifyCounts { metrics: 12, ..VerifyCounts::default() })
    };
    let (text, _) = report(false, &findings(), &ending);
    assert!(text.contains("owners: bucky rebalance -h a:4242 c:4242 d:4242\n"), "{text}");
    assert!(text.contains("bucky rebalance -h a:4242 --replace-corrupt c:4242 d:4242"), "{text}");
}

#[test]
fn a_verification_that_broke_off_is_never_all_in_place() {
    let mut ending = ending(VerifyCounts { metrics: 5, in_place: 5, ..VerifyCounts::default() });
    ending.broken_off = Some("cannot reach b:4242".into());
    let (text, _) = report(false, &[], &ending);
    assert!(text.ends_with(": ended early: cannot reach b:4242.\n"), "{text}");
    let (text, _) = report(true, &[], &ending);
    assert!(text.contains("\"all_in_place\":false") && text.contains("\"complete\":false"));
}
