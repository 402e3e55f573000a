//! Networks that fail: a node cut off in the middle of a move, that comes back or does not; links open in one
//! direction only. The run ends by itself, or resumes; once it is repaired the next run ends well.

use std::time::Duration;

use bucky_tests::{Cut, Finished, Gate, Ledger, Running, TestCluster, soak, tree, wait};

use crate::cluster;

/// A move to the new node 2 that has begun and not ended, every node behind a gate.
struct Story {
    cluster: TestCluster,
    before: Ledger,
    run: Running,
}

impl Story {
    /// `args` are the client's.
    fn moving(args: &[&str]) -> Self {
        let plan = cluster(4).gate(0).gate(1).gate(2).gate(3);
        let plan = plan.flag("--peer-timeout", "1").flag("--idle-timeout", "1");
        let mut cluster = plan.lay();
        cluster.scatter(500, &cluster.ring_of_first(2));
        cluster.start();
        let before = cluster.ledger();
        let own =
            ["rebalance", "-w", "4", "--batch-metrics", "5", "-t", "1", "--idle-timeout", "2"];
        let mut run = cluster.start_bucky(&[&own[..], args].concat());
        wait::until("some metrics have come", || {
            tree::metrics(&cluster.node(2).prefix()).len() > 10
        });
        assert!(run.is_running(), "the move was over before its middle");
        Self { cluster, before, run }
    }

    fn gate(&self, node: usize) -> &Gate {
        self.cluster.node(node).gate()
    }

    /// The run has ended by itself; once all is repaired, the next one ends well.
    #[track_caller]
    fn finish(cluster: &TestCluster, before: &Ledger) {
        for node in cluster.nodes() {
            node.gate().mend();
            node.gate().reopen();
        }
        // What was sent while nothing passed may come late, and be worked on now.
        cluster.bucky(&["rebalance", "-f"]).assert_code(0);
        cluster.assert_all_in_place(before);
    }
}

/// How long a node is away that comes back.
fn away() -> Duration {
    Duration::from_secs(u64::try_from(soak::rounds(4, 20)).unwrap())
}

/// Nobody waits for it: the test's own clock is the event.
fn pass(time: Duration) {
    std::thread::sleep(time);
}

#[test]
fn a_node_that_is_cut_off_and_comes_back_costs_time_only() {
    for node in [2, 1].into_iter().take(soak::rounds(1, 2)) {
        let story = Story::moving(&["--away-timeout", "60"]);
        story.gate(node).cut(Cut::Both);
        pass(away());
        story.gate(node).mend();
        let Story { cluster, before, run } = story;
        let ended = run.finish();
        assert!(matches!(ended.code, Some(0 | 1)), "{ended}");
        if ended.code == Some(1) {
            ended.assert_tells(&cluster.node(node).addr());
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

/// As while its host is started anew: connections are refused, and then not.
#[test]
fn a_node_that_is_down_and_comes_back_is_waited_for() {
    for node in [2, 0].into_iter().take(soak::rounds(1, 2)) {
        let story = Story::moving(&["--away-timeout", "60"]);
        story.gate(node).refuse();
        pass(away());
        story.gate(node).reopen();
        let Story { cluster, before, run } = story;
        run.finish().assert_code(0).assert_tells("waiting for it");
        Story::finish(&cluster, &before);
    }
}

/// Wants the run to have ended with 1, in time and by itself, naming the node; and what does not need the node to have
/// moved.
#[track_caller]
fn assert_ended_without(cluster: &TestCluster, ended: Finished, node: usize, limit: Duration) {
    let took = ended.took;
    let ended = ended.assert_code(1).assert_tells(&cluster.node(node).addr());
    assert!(took < limit, "{ended}");
    let others = [2, 3].into_iter().find(|other| *other != node).unwrap();
    let strays = |source: usize| {
        let names = cluster.node(source).metrics();
        names.iter().filter(|name| cluster.owners(name)[0] == others).count()
    };
    for source in [0, 1].into_iter().filter(|source| *source != node) {
        assert_eq!(strays(source), 0, "from {source} to {others} did not go on: {ended}");
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
        let Story { cluster, before, run } = story;
        assert_ended_without(&cluster, run.finish(), node, Duration::from_secs(60));
        Story::finish(&cluster, &before);
    }
}

/// Its requests come through and its answers do not, or the other way round.
#[test]
fn a_link_that_is_open_in_one_direction_only_ends_the_run_and_loses_nothing() {
    let cases = [(2, Cut::Answers), (0, Cut::Requests), (2, Cut::Requests), (0, Cut::Answers)];
    for (node, cut) in cases.into_iter().take(soak::rounds(2, 4)) {
        let story = Story::moving(&["--away-timeout", "2"]);
        story.gate(node).cut(cut);
        let Story { cluster, before, run } = story;
        assert_ended_without(&cluster, run.finish(), node, Duration::from_secs(60));
        Story::finish(&cluster, &before);
    }
}
