//! Figures about a run, sent to a carbon.

use bucky_tests::{LineReceiver, wait};

use super::misplaced;

/// D35: the Go tool's `finished_jobs` counts jobs that have begun.
#[test]
fn figures_are_sent_each_interval_and_at_the_end_and_count_what_is_done() {
    let (cluster, before, _) = misplaced(12);
    let lines = LineReceiver::start(cluster.node(0).host());
    cluster.node(1).gate().hold("POST /v1/pull");
    let endpoint = format!("-graphite-endpoint={}", lines.addr());
    let args =
        ["rebalance", &endpoint, "-graphite-stat-interval=1", "-graphite-metrics-prefix=ops.sync"];
    let run = cluster.start_bucky(&args);
    wait::until("figures came twice", || lines.texts().len() >= 2);
    assert!(lines.values("ops.sync.main.finished_jobs.last").iter().all(|count| *count == 0.0));
    cluster.node(1).gate().release();
    run.finish().assert_code(0);
    let [source, owner] = [0, 1].map(|node| cluster.node(node).host().replace('.', "_"));
    // Checked for each of these, because the figures of one node may be sent before those of the other have
    // changed.
    let done = ["main".to_owned(), format!("node.{source}"), format!("node.{owner}")]
        .map(|whose| format!("ops.sync.{whose}.finished_jobs.last 12 "));
    let texts = wait::until_some("the last figures", || {
        let texts = lines.texts();
        let is_last = |text: &String| done.iter().all(|line| text.contains(line));
        texts.last().is_some_and(is_last).then_some(texts)
    });
    let names = |text: &String| -> Vec<String> {
        text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    let mut expected: Vec<String> =
        ["total_jobs", "finished_jobs", "not_found", "copy_error", "delete_error"]
            .iter()
            .map(|name| format!("ops.sync.main.{name}.last"))
            .collect();
    for host in [&source, &owner] {
        for name in ["finished_jobs", "copy_error", "delete_error"] {
            expected.push(format!("ops.sync.node.{host}.{name}.last"));
        }
    }
    for text in &texts {
        assert_eq!(names(text), expected, "each connection brings all of it");
        let stamps = text.lines().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>());
        assert!(stamps.flatten().count() == expected.len(), "{text}");
    }
    let last = |name: &str| lines.values(name).last().copied();
    assert_eq!(last("ops.sync.main.total_jobs.last"), Some(12.0));
    assert_eq!(last(&format!("ops.sync.node.{source}.finished_jobs.last")), Some(12.0));
    assert_eq!(last(&format!("ops.sync.node.{owner}.finished_jobs.last")), Some(12.0));
    cluster.assert_all_in_place(&before);
}

/// D33: the Go tool logs thousands of lines at its end.
#[test]
fn an_endpoint_that_is_away_is_reported_once_and_changes_nothing() {
    let (cluster, before, _) = misplaced(12);
    // No process listens on the port of the rings' carbons.
    let endpoint = format!("{}:2003", cluster.node(0).host());
    let run = cluster
        .bucky(&["rebalance", "-graphite-endpoint", &endpoint, "-graphite-ip-to-hostname"])
        .assert_code(0);
    assert_eq!(run.stderr.matches("cannot send statistics to").count(), 1, "{}", run.stderr);
    cluster.assert_all_in_place(&before);
}
