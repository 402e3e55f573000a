//! Our daemons replace those of a Go cluster one after the other, over the same folders, while lists are read
//! and metrics are moved.

use bucky_tests::{GoClient, GoDaemon};

use crate::cluster;

#[test]
fn go_daemons_are_replaced_by_ours_one_by_one_during_work() {
    let mut cluster = cluster(3).lay();
    cluster.scatter(super::METRICS, &cluster.ring_of_first(2));
    let before = cluster.ledger();
    let mut go: Vec<Option<GoDaemon>> =
        (0..3).map(|number| Some(GoDaemon::instead_of(&cluster, number))).collect();
    let count = before.metrics();
    let listed = |cluster: &bucky_tests::TestCluster| {
        cluster.bucky(&["servers"]).assert_code(0);
        let run = cluster.bucky(&["list", "-f"]).assert_code(0);
        assert_eq!(run.stdout.lines().count(), count, "{run}");
    };
    listed(&cluster);
    for number in 0..3 {
        go[number].take().unwrap().stop();
        cluster.node_mut(number).start();
        listed(&cluster);
        // A third of the misplaced metrics with each replaced daemon, and the rest at the end.
        let third = format!("[{}]$", ["0-3", "4-6", "7-9"][number]);
        cluster.bucky(&["rebalance", "-f", "-r", &third]).assert_code(0);
        cluster.wait_until_no_tombstones();
        listed(&cluster);
        // The Go tool's client works at every stage.
        let addr = cluster.node(number).addr();
        assert_eq!(GoClient::of(addr).list(None), in_file_order(&cluster, number));
    }
    cluster.bucky(&["rebalance", "-f"]).assert_code(0);
    cluster.assert_all_in_place(&before);
    cluster.bucky(&["verify", "-f"]).assert_code(0);
}

/// The way back: a Go daemon serves the files that ours leave in a folder.
#[test]
fn a_go_daemon_takes_the_place_of_ours_again() {
    let mut cluster = cluster(2).lay();
    cluster.scatter(super::METRICS, &cluster.ring_of_first(1));
    cluster.start();
    let before = cluster.ledger();
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.wait_until_no_tombstones();
    for number in 0..2 {
        cluster.node_mut(number).stop();
    }
    let _go: Vec<GoDaemon> = (0..2).map(|number| GoDaemon::instead_of(&cluster, number)).collect();
    for number in 0..2 {
        let listed = GoClient::of(cluster.node(number).addr()).list(None);
        assert_eq!(
            listed.len(),
            cluster.node(number).metrics().len(),
            "our own folder is in no list"
        );
    }
    cluster.bucky(&["verify"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

/// Our daemon returns the list sorted by name.
fn in_file_order(cluster: &bucky_tests::TestCluster, number: usize) -> Vec<String> {
    cluster.node(number).metrics()
}
