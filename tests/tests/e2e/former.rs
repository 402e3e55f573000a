//! Nodes that were members of the ring: the daemons remember them, and name them while they hold metrics.

use bucky_tests::{Launch, TestCluster};

use crate::cluster;

/// A cluster that has just shrunk: the last node is no longer a member, and still has its metrics. All
/// daemons were started with the old ring, and the remaining ones again with the new ring.
fn shrunk(nodes: usize) -> TestCluster {
    let mut cluster = cluster(nodes).in_ring(nodes - 1).lay();
    cluster.scatter(60, &cluster.ring_of_first(nodes));
    let left = format!("{}:2003", cluster.node(nodes - 1).host());
    for node in 0..nodes {
        cluster.node_mut(node).ring_member(&left);
    }
    cluster.start();
    for node in 0..nodes - 1 {
        let node = cluster.node_mut(node);
        node.stop();
        node.remove_ring_member(&left);
    }
    cluster.start();
    cluster
}

#[test]
fn a_node_that_has_left_the_ring_is_named_until_it_is_drained() {
    let cluster = shrunk(3);
    let before = cluster.ledger();
    let (left, held) = (cluster.node(2).addr(), cluster.node(2).metrics().len());
    assert!(held > 0);
    let said = format!("{left} was a member of the ring until 2");
    let advice = format!("still has {held} metrics; to drain it: bucky rebalance {left}");
    cluster.bucky(&["servers"]).assert_code(0).assert_stderr_has(&said).assert_stderr_has(&advice);
    cluster
        .bucky(&["rebalance"])
        .assert_code(0)
        .assert_stderr_has(&said)
        .assert_stderr_has(&advice);
    cluster.bucky(&["verify"]).assert_code(0).assert_stderr_has(&said);
    let json = cluster.bucky(&["servers", "-j"]).assert_code(0).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["forgotten"][0].as_str().unwrap().starts_with(&said), "{json}");
    // The node that is named on the command line is known.
    let run = cluster.bucky(&["rebalance", &left]).assert_code(0);
    assert!(!run.stderr.contains("was a member"), "{run}");
    cluster.assert_all_in_place(&before);
    let run = cluster.bucky(&["servers"]).assert_code(0);
    assert!(!run.stderr.contains("was a member"), "it is empty: {run}");
}

#[test]
fn the_memory_outlives_restarts_and_a_node_that_is_off_is_named_as_well() {
    let mut cluster = shrunk(3);
    cluster.node_mut(2).stop();
    for node in 0..2 {
        cluster.node_mut(node).kill();
    }
    for node in 0..2 {
        cluster.node_mut(node).start();
    }
    let left = cluster.node(2).addr();
    let run = cluster.bucky(&["servers"]).assert_code(0);
    run.assert_stderr_has(&format!("{left} was a member of the ring"))
        .assert_stderr_has("does not answer");
}

#[test]
fn an_unreadable_memory_keeps_no_daemon_from_starting() {
    let mut cluster = shrunk(3);
    let memory = cluster.node(0).prefix().join(".bucky/ring");
    let kept = std::fs::read_to_string(&memory).unwrap();
    assert!(kept.contains(cluster.node(2).host()), "{kept}");
    for node in 0..2 {
        cluster.node_mut(node).stop();
        std::fs::write(cluster.node(node).prefix().join(".bucky/ring"), b"{\"members\": [7")
            .unwrap();
        cluster.node_mut(node).start();
    }
    let run = cluster.bucky(&["servers"]).assert_code(0);
    assert!(!run.stderr.contains("was a member"), "{run}");
    assert!(std::fs::read_to_string(&memory).unwrap().contains(cluster.node(1).host()));
}

#[test]
fn servers_shows_further_nodes_with_their_waiting_metrics() {
    let mut cluster = shrunk(3);
    let (left, owner) = (cluster.node(2).addr(), cluster.node(1).addr());
    let held = cluster.node(2).metrics().len();
    // Deleted sources wait for longer than this test.
    cluster.node_mut(2).stop();
    cluster.node_mut(2).flag("--tombstone-grace", "3600").launch(Launch::Plain);
    cluster.node_mut(2).start();
    cluster
        .bucky(&["rebalance", &left])
        .assert_code(0)
        .assert_stderr_has("for the owners to confirm");
    let run = cluster.bucky(&["servers", &left]).assert_code(0).assert_stderr_has("no member");
    let row = run.stderr.lines().find(|line| line.starts_with(&left)).unwrap();
    assert!(held > 0 && row.contains(&format!("  {held}, ")), "{held} wait: {row}");
    let run = cluster.bucky(&["servers"]).assert_code(0);
    assert!(!run.stderr.contains("no member"), "{run}");
    cluster.node_mut(2).stop();
    let run = cluster.bucky(&["servers", &left]).assert_code(3);
    run.assert_stderr_has(&format!("{left} is down")).assert_stderr_has(&owner);
}
