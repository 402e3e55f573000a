//! Networks that fail: a node cut off during a move, which comes back or does not; links that are open in one
//! direction only. The run ends by itself, or continues; after the repair the next run succeeds.

use std::time::Duration;

use bucky_tests::{Cut, Finished, Gate, Ledger, Running, TestCluster, soak, tree, wait};

use crate::cluster;

/// How many times a move is started. On a busy machine it may be over before it is met in its middle.
const TRIES: usize = 5;
/// How many metrics each source must at least still have for each new node at that time.
const LEFT: usize = 20;
/// How long a run may take to end by itself: each of its own limits is a few seconds.
const ENDS_WITHIN: Duration = Duration::from_secs(150);

/// A move to the new nodes 2 and 3 that has begun and has most of its work left, with every node behind a
/// gate. The client is stopped until it is resumed.
struct Story {
    cluster: TestCluster,
    before: Ledger,
    run: Running,
}

impl Story {
    /// `args` are the client's flags.
    fn moving(args: &[&str]) -> Self {
        let mut output = String::new();
        for _ in 0..TRIES {
            let plan = cluster(4).gate(0).gate(1).gate(2).gate(3);
            let plan = plan.flag("--peer-timeout", "1").flag("--idle-timeout", "1");
            let mut cluster = plan.lay();
            cluster.scatter(500, &cluster.ring_of_first(2));
            cluster.start();
            let before = cluster.ledger();
            // The client waits longer than the daemons, so that they tell it which node they waited for.
            let own =
                ["rebalance", "-w", "4", "--batch-metrics", "5", "-t", "2", "--idle-timeout", "4"];
            let mut run = cluster.start_bucky(&[&own[..], args].concat());
            wait::until("some metrics have come, or the move is over", || {
                tree::metrics(&cluster.node(2).prefix()).len() > 10 || !run.is_running()
            });
            let has_left = |(source, owner)| misplaced(&cluster, source, owner) >= LEFT;
            if run.pause() && [(0, 2), (0, 3), (1, 2), (1, 3)].into_iter().all(has_left) {
                return Self { cluster, before, run };
            }
            output = run.stderr();
        }
        panic!("{TRIES} moves were over before their middle; of the last:\n{output}");
    }

    fn gate(&self, node: usize) -> &Gate {
        self.cluster.node(node).gate()
    }

    /// The run has ended by itself; after the repair, the next run succeeds.
    #[track_caller]
    fn finish(cluster: &TestCluster, before: &Ledger) {
        for node in cluster.nodes() {
            node.gate().mend();
            node.gate().reopen();
        }
        // Requests that waited at the gate may arrive late, and be processed now.
        cluster.bucky(&["rebalance", "-f"]).assert_code(0);
        cluster.assert_all_in_place(before);
    }
}

/// How many metrics of `owner` are still on the node `source`.
fn misplaced(cluster: &TestCluster, source: usize, owner: usize) -> usize {
    let names = cluster.node(source).metrics();
    names.iter().filter(|name| cluster.owners(name)[0] == owner).count()
}

/// How long a node is cut off before it comes back.
fn away() -> Duration {
    Duration::from_secs(u64::try_from(soak::rounds(4, 20)).unwrap())
}

/// Lets time pass: here the time itself is the event.
fn pass(time: Duration) {
    std::thread::sleep(time);
}

#[test]
fn a_node_that_is_cut_off_and_comes_back_costs_time_only() {
    for node in [2, 1].into_iter().take(soak::rounds(1, 2)) {
        let story = Story::moving(&["--away-timeout", "60"]);
        story.gate(node).cut(Cut::Both);
        story.run.resume();
        pass(away());
        story.gate(node).mend();
        let Story { cluster, before, run } = story;
        let ended = run.finish();
        assert!(matches!(ended.code, Some(0 | 1)), "{ended}");
        if ended.code == Some(1) {
            ended.assert_stderr_has(&cluster.node(node).addr());
        }
        Story::finish(&cluster, &before);
        soak::record(
            "a node cut off and back",
            1,
            &format!("{} s", away().as_secs()),
            before.points(),
        );
    }
}

/// As during a restart of its host: connections are refused, and then accepted.
#[test]
fn a_node_that_is_down_and_comes_back_is_waited_for() {
    for node in [2, 0].into_iter().take(soak::rounds(1, 2)) {
        let story = Story::moving(&["--away-timeout", "60"]);
        story.gate(node).refuse();
        story.run.resume();
        pass(away());
        story.gate(node).reopen();
        let Story { cluster, before, run } = story;
        run.finish().assert_code(0).assert_stderr_has("retrying for up to");
        Story::finish(&cluster, &before);
    }
}

/// Checks that the run has ended with 1, in time and by itself, and has named the node; and that all metrics
/// that do not need the node have moved.
#[track_caller]
fn assert_ended_without(cluster: &TestCluster, ended: Finished, node: usize) {
    let took = ended.took;
    let ended = ended.assert_code(1).assert_stderr_has(&cluster.node(node).addr());
    assert!(took < ENDS_WITHIN, "{ended}");
    let others = [2, 3].into_iter().find(|other| *other != node).unwrap();
    for source in [0, 1].into_iter().filter(|source| *source != node) {
        let left = misplaced(cluster, source, others);
        assert_eq!(left, 0, "from {source} to {others} did not go on: {ended}");
    }
}

#[test]
fn a_node_that_never_comes_back_is_named_and_the_rest_is_moved() {
    let cases = [(2, true), (1, false), (2, false), (0, true)];
    for (node, is_refused) in cases.into_iter().take(soak::rounds(2, 4)) {
        let story = Story::moving(&["--away-timeout", "2"]);
        if is_refused {
            story.gate(node).refuse();
        } else {
            story.gate(node).cut(Cut::Both);
        }
        story.run.resume();
        let Story { cluster, before, run } = story;
        assert_ended_without(&cluster, run.finish(), node);
        Story::finish(&cluster, &before);
    }
}

/// Requests to the node pass and its answers do not, or the reverse.
#[test]
fn a_link_that_is_open_in_one_direction_only_ends_the_run_and_loses_nothing() {
    let cases = [(2, Cut::Answers), (0, Cut::Requests), (2, Cut::Requests), (0, Cut::Answers)];
    for (node, cut) in cases.into_iter().take(soak::rounds(2, 4)) {
        let story = Story::moving(&["--away-timeout", "2"]);
        story.gate(node).cut(cut);
        story.run.resume();
        let Story { cluster, before, run } = story;
        assert_ended_without(&cluster, run.finish(), node);
        Story::finish(&cluster, &before);
    }
}
