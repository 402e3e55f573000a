//! What is counted, and how it is said.

use super::*;

#[test]
fn the_effect_at_several_owners_is_the_most_that_happened() {
    let effect = |outcome, points| Effect { outcome, points, bytes: 10 };
    let both = effect(HealOutcome::Unchanged, 0).and(effect(HealOutcome::Filled, 5));
    assert_eq!(both, Effect { outcome: HealOutcome::Filled, points: 5, bytes: 20 });
    let both = both.and(effect(HealOutcome::Created, 0)).and(effect(HealOutcome::Filled, 1));
    assert_eq!(both.outcome, HealOutcome::Created);
}

/// The Go tool's three counters: gone, not copied, not deleted.
#[test]
fn each_kind_of_shortfall_is_reported_with_its_count() {
    struct Told(RunCounts);
    impl fmt::Display for Told {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.write_shortfalls(f)
        }
    }
    let failed = BTreeMap::from([
        (FailureKind::Busy, 2),
        (FailureKind::StillWrittenTo, 1),
        (FailureKind::NotDeleted, 4),
    ]);
    let lines = Told(RunCounts { failed, gone: 3, ..RunCounts::default() }).to_string();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines[0], "3 were gone before their turn.");
    assert_eq!(
        lines[1..],
        [
            "1 was copied, but not deleted at its source, which is still written to.",
            "4 were copied, but could not be deleted at their sources.",
            "2 failed: 2 busy."
        ]
    );
}

#[test]
fn failures_of_each_kind_are_put_up_with_up_to_the_tolerance() {
    let failed = BTreeMap::from([
        (FailureKind::Busy, 2),
        (FailureKind::StillWrittenTo, 1),
        (FailureKind::NotDeleted, 2),
    ]);
    let mut counts = RunCounts { failed, gone: 100, ..RunCounts::default() };
    assert_eq!((counts.copy_failures(), counts.delete_failures()), (2, 3));
    assert!(counts.is_failure(0) && counts.is_failure(2) && !counts.is_failure(3));
    counts.broken_sources = 1;
    assert!(counts.is_failure(1000), "a node that was not read is no such failure");
    assert!(
        !RunCounts { gone: 1, ..RunCounts::default() }.is_failure(0),
        "what is gone is no failure"
    );
}

#[test]
fn all_failures_are_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("errors");
    let output = Output::to_writers(Box::new(std::io::sink()), Box::new(std::io::sink()));
    let files = FailureFiles::open(Some(&path), None).unwrap();
    let tally = Tally::begin(files, Arc::new(output));
    let node: DaemonAddr = "a".parse().unwrap();
    for number in 0..1_005 {
        let failure =
            Failure { node: node.clone(), kind: FailureKind::Busy, reason: "locked".into() };
        let metric = MetricName::parse(&format!("m{number}")).unwrap();
        tally.failed(metric.as_str(), &node, &failure);
    }
    tally.flush();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count() as u64, 1_005);
    assert_eq!(text.lines().next(), Some("a:4242\tm0\tlocked"));
    assert_eq!(tally.counts().failed[&FailureKind::Busy], 1_005);
}
