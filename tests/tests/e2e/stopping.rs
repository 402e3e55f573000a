//! A run that is stopped: the first time it finishes its current work; the second time it ends at once. And a
//! journal, with which the next run does not repeat finished work.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use bucky_tests::cluster::assert_untouched;
use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{Ledger, Running, TestCluster, tree, wait};
use rustix::process::Signal;

use crate::cluster;

/// How soon a run must end that was stopped twice: it waits for nothing, but machines are slow at times.
const AT_ONCE: Duration = Duration::from_secs(30);

/// Two nodes, and metrics of the second on the first. The second is behind a gate.
fn misplaced(count: usize) -> (TestCluster, Ledger, Vec<String>) {
    let mut cluster = cluster(2).gate(1).lay();
    let names = cluster.names_owned_by(1, "stopped", count);
    for name in &names {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0, 2.0, 3.0]));
    }
    cluster.start();
    let before = cluster.ledger();
    (cluster, before, names)
}

/// A run with batches of ten, held at its first pull.
fn held(cluster: &TestCluster, args: &[&str]) -> Running {
    cluster.node(1).gate().hold("POST /v1/pull");
    let run = cluster.start_bucky(
        &[&["rebalance", "--expect-shuffle", "--batch-metrics", "10", "-w", "1"], args].concat(),
    );
    cluster.node(1).gate().wait_until_held();
    run
}

fn interrupt(run: &Running, said: &str) {
    run.signal(Signal::INT);
    wait::until(&format!("the run says {said:?}"), || run.stderr().contains(said));
}

#[test]
fn a_stopped_run_finishes_the_current_metrics_and_begins_nothing_new() {
    let (cluster, before, _) = misplaced(60);
    let mut run = held(&cluster, &[]);
    interrupt(&run, "finishing what is in progress");
    assert!(run.is_running(), "what is under way was not waited for");
    cluster.node(1).gate().release();
    let ended = run.finish().assert_code(1);
    ended.assert_stderr_has("Run the same command again");
    cluster.wait_until_no_tombstones();
    let moved = cluster.node(1).metrics().len();
    assert!(
        (10..60).contains(&moved),
        "{moved} were moved: the batch that was under way, and no more"
    );
    assert_eq!(moved + cluster.node(0).metrics().len(), 60, "a metric is on both nodes");
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

#[test]
fn stopped_twice_a_run_ends_at_once_and_the_next_one_finishes() {
    let (cluster, before, _) = misplaced(30);
    let run = held(&cluster, &[]);
    interrupt(&run, "finishing what is in progress");
    run.signal(Signal::INT);
    let mut run = Some(run);
    let ended = wait::within(AT_ONCE, || run.take_if(|run| !run.is_running()));
    let ended = ended.expect("it still waits for what is under way").finish().assert_code(130);
    ended.assert_stderr_has("stopped at once").assert_stderr_has("same command again");
    cluster.node(1).gate().release();
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

/// How many times the daemon of node 1 was asked to fetch.
fn pulls(cluster: &TestCluster) -> usize {
    cluster.node(1).log().lines().filter(|line| line.contains("\"POST /v1/pull")).count()
}

/// With `--no-delete` the sources stay, so only the journal shows what is done.
#[test]
fn a_journal_keeps_the_next_run_from_repeating_finished_metrics() {
    let (cluster, before, names) = misplaced(100);
    let journal = cluster.path("journal");
    let args = ["--no-delete", "--journal", text(&journal)];
    let run = held(&cluster, &args);
    interrupt(&run, "finishing what is in progress");
    cluster.node(1).gate().release();
    run.finish().assert_code(1);
    let done = cluster.node(1).metrics();
    assert!((10..100).contains(&done.len()), "{} were copied", done.len());
    // A crash in the middle of a line.
    append(&journal, b"{\"through\":{\"source\":\"cut of");
    // If the next run repeated the work of the first, it would show.
    for name in &done {
        std::fs::remove_file(cluster.node(1).path(name)).unwrap();
    }
    let earlier = pulls(&cluster);
    let again = [
        "rebalance",
        "--expect-shuffle",
        "--batch-metrics",
        "10",
        "--no-delete",
        "--journal",
        text(&journal),
    ];
    cluster.bucky(&again).assert_code(0);
    let rest: Vec<String> = names.iter().filter(|name| !done.contains(name)).cloned().collect();
    assert_eq!(cluster.node(1).metrics(), rest, "exactly what the first run had not done");
    assert!(pulls(&cluster) > earlier);
    assert!(!journal.exists(), "a journal that is done is removed");
    // Without a journal every metric is checked.
    cluster.bucky(&["rebalance", "--expect-shuffle"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

#[test]
fn a_journal_of_another_ring_or_selection_is_refused_and_nothing_is_touched() {
    let (cluster, _, _) = misplaced(40);
    let journal = cluster.path("journal");
    let run = held(&cluster, &["--journal", text(&journal)]);
    interrupt(&run, "finishing what is in progress");
    cluster.node(1).gate().release();
    run.finish().assert_code(1);
    cluster.wait_until_no_tombstones();
    cluster.assert_nothing_unexpected();

    // Another cluster, whose operator uses the wrong file.
    let mut other = crate::cluster(3).lay();
    other.scatter(60, &other.ring_of_first(2));
    other.start();
    let marks: Vec<_> = other.nodes().iter().map(|node| tree::marks(&node.prefix())).collect();
    let noted = std::fs::read(&journal).unwrap();
    let refused = other.bucky(&["rebalance", "--journal", text(&journal)]).assert_code(2);
    refused.assert_stderr_has(text(&journal)).assert_stderr_has("another ring");
    // The same cluster, another selection.
    let refused = cluster.bucky(&["rebalance", "-r", "^stopped", "--journal", text(&journal)]);
    refused.assert_code(2).assert_stderr_has("another expression");
    // Not a journal at all.
    let notes = cluster.path("notes");
    std::fs::write(&notes, "call Anna back\n").unwrap();
    let refused = other.bucky(&["rebalance", "--journal", text(&notes)]).assert_code(2);
    refused.assert_stderr_has("line 1").assert_stderr_has("not from a journal");

    for (node, marks) in other.nodes().iter().zip(&marks) {
        assert_untouched(marks, &node.prefix());
    }
    assert_eq!(
        std::fs::read(&journal).unwrap(),
        noted,
        "a journal that is refused is left as it is"
    );
    assert_eq!(std::fs::read(&notes).unwrap(), b"call Anna back\n");
}

#[test]
fn two_runs_with_one_journal_do_not_both_write_it() {
    let (cluster, before, _) = misplaced(30);
    let journal = cluster.path("journal");
    let args = ["--journal", text(&journal)];
    let first = held(&cluster, &args);
    let second = cluster.bucky(&["rebalance", "--journal", text(&journal)]).assert_code(2);
    second.assert_stderr_has("in use by another run");
    cluster.node(1).gate().release();
    first.finish().assert_code(0);
    cluster.assert_all_in_place(&before);
}

fn append(path: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
