//! Programs that end during a move. Running the same command again finishes it.

use std::time::Duration;

use bucky_tests::{Running, TestCluster, tree, wait};
use bucky_whisper::Image;
use rustix::process::Signal;

use crate::cluster;

/// How many times a move is started. On a busy machine it may be over before it is met in its middle.
const TRIES: usize = 5;
/// How long whisper.py may take to create a file, on a slow machine.
const CREATED_WITHIN: Duration = Duration::from_secs(5);
/// How many metrics each source must at least still have at that time.
const LEFT: usize = 100;

/// Three nodes, the last of which is new, and a move to it that has begun and has most of its work left.
fn moving() -> (TestCluster, bucky_tests::Ledger, Running) {
    let (cluster, before, run) = standing_still();
    let come = || tree::metrics(&cluster.node(2).prefix()).len();
    // Metrics in progress when it was stopped may arrive late: two batches of five.
    let earlier = come() + 10;
    run.resume();
    wait::until("more metrics have come", || come() > earlier);
    (cluster, before, run)
}

/// The same move, with the client stopped until it is resumed.
fn standing_still() -> (TestCluster, bucky_tests::Ledger, Running) {
    let mut output = String::new();
    for _ in 0..TRIES {
        let mut cluster = cluster(3).lay();
        cluster.scatter(1500, &cluster.ring_of_first(2));
        cluster.start();
        let before = cluster.ledger();
        let mut run = cluster.start_bucky(&["rebalance", "-w", "2", "--batch-metrics", "5"]);
        wait::until("some metrics have come, or the move is over", || {
            tree::metrics(&cluster.node(2).prefix()).len() > 20 || !run.is_running()
        });
        let has_left = |node: usize| {
            let names = cluster.node(node).metrics();
            names.iter().filter(|name| cluster.owners(name)[0] == 2).count() >= LEFT
        };
        if run.pause() && [0, 1].into_iter().all(has_left) {
            return (cluster, before, run);
        }
        output = run.stderr();
    }
    panic!("{TRIES} moves were over before their middle; of the last:\n{output}");
}

/// Checks that every existing file is complete. A file that whisper.py is creating becomes complete in a
/// moment.
#[track_caller]
pub(crate) fn assert_nothing_is_half_made(cluster: &TestCluster) {
    for node in cluster.nodes() {
        for name in node.metrics() {
            let is_complete = || match std::fs::read(node.path(&name)) {
                Ok(content) => Image::parse(&content).is_ok().then_some(()),
                // Moved since it was listed: while a run continues, sources are deleted.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(()),
                Err(error) => panic!("{name} on {}: {error}", node.host()),
            };
            let is_complete = is_complete().or_else(|| wait::within(CREATED_WITHIN, is_complete));
            assert!(is_complete.is_some(), "{name} on {} is half made", node.host());
        }
    }
}

/// D14: the Go daemon leaves a half-written file under the metric's name.
#[test]
fn d14_a_destination_that_is_killed_loses_nothing_and_the_next_run_finishes() {
    let (mut cluster, before, run) = moving();
    cluster.node_mut(2).kill();
    let ended = run.finish();
    assert!(matches!(ended.code, Some(1 | 3)), "{ended}");
    let ended = ended.assert_stderr_has(&cluster.node(2).addr());
    assert_nothing_is_half_made(&cluster);
    assert!(!tree::metrics(&cluster.node(0).prefix()).is_empty(), "{ended}");
    cluster.node_mut(2).start();
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

#[test]
fn a_source_that_is_killed_loses_nothing_and_the_next_run_finishes() {
    let (mut cluster, before, run) = moving();
    cluster.node_mut(1).kill();
    let ended = run.finish();
    assert!(matches!(ended.code, Some(1 | 3)), "{ended}");
    assert_nothing_is_half_made(&cluster);
    cluster.node_mut(1).start();
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

#[test]
fn a_client_that_is_killed_loses_nothing_and_the_next_run_finishes() {
    let (cluster, before, run) = moving();
    run.signal(Signal::KILL);
    assert_eq!(run.finish().code, None);
    // The daemons finish their current requests without the client.
    cluster.bucky(&["rebalance", "-f"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

#[test]
fn a_daemon_that_is_told_to_stop_finishes_what_runs_and_exits_with_0() {
    let (mut cluster, before, run) = moving();
    let status = cluster.node_mut(2).stop();
    assert_eq!(status.code(), Some(0));
    assert_nothing_is_half_made(&cluster);
    assert_eq!(
        tree::unexpected_files(&cluster.node(2).prefix()),
        [""; 0].map(std::path::PathBuf::from)
    );
    let ended = run.finish();
    assert!(matches!(ended.code, Some(1 | 3)), "{ended}");
    cluster.node_mut(2).start();
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

#[test]
fn an_interrupt_finishes_the_current_metrics_and_prints_how_to_continue() {
    let (cluster, before, run) = moving();
    run.signal(Signal::INT);
    let ended = run.finish().assert_code(1);
    ended
        .assert_stderr_has("finishing what is in progress")
        .assert_stderr_has("Run the same command again");
    assert_nothing_is_half_made(&cluster);
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

#[test]
fn two_operators_who_move_the_same_metrics_at_once_lose_nothing() {
    let (cluster, before, first) = standing_still();
    let come = || tree::metrics(&cluster.node(2).prefix()).len();
    let earlier = come() + 10;
    let mut second = cluster.start_bucky(&["rebalance", "-w", "3", "--batch-metrics", "7"]);
    wait::until("the second moves, too", || come() > earlier || !second.is_running());
    first.resume();
    // If one of them finds that the other has deleted a metric, that is not a failure.
    first.finish().assert_code(0);
    second.finish().assert_code(0);
    cluster.assert_all_in_place(&before);
}

/// The Go tool's state file lists failed jobs as done (D27).
#[test]
fn d27_a_journal_lets_the_next_run_continue_and_counts_no_failure_as_done() {
    let mut cluster = cluster(2).lay();
    let names = cluster.names_owned_by(1, "job", 40);
    for name in &names {
        let points = bucky_tests::metrics::minutes(bucky_tests::metrics::now(), [1.0, 2.0]);
        cluster.node(0).write(name, &bucky_tests::metrics::MINUTES, &points);
    }
    let whole = std::fs::read(cluster.node(0).path(&names[7])).unwrap();
    cluster.node(0).put(&names[7], b"");
    cluster.start();
    let journal = cluster.path("journal");
    let args = ["rebalance", "--journal", journal.to_str().unwrap()];
    cluster.bucky(&args).assert_code(1).assert_stderr_has(&names[7]);
    assert!(journal.exists());
    cluster.node(0).put(&names[7], &whole);
    cluster.bucky(&args).assert_code(0);
    assert_eq!(cluster.node(1).metrics(), names);
    assert_eq!(cluster.node(0).metrics(), [""; 0]);
    assert!(!journal.exists(), "a journal that is done is removed");
}

/// Temporary files of a killed daemon are removed at its next start.
#[test]
fn d14_unfinished_files_of_a_killed_daemon_are_cleared_at_its_next_start() {
    let mut cluster = cluster(1).start();
    cluster.node_mut(0).kill();
    let tmp = cluster.node(0).prefix().join(".bucky/tmp/17");
    std::fs::write(&tmp, b"half a file").unwrap();
    cluster.node_mut(0).start();
    assert!(!tmp.exists());
    cluster.assert_nothing_unexpected();
}
