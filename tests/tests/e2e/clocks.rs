//! Nodes whose clocks differ are named by `servers`, and nothing is deleted.

use bucky_tests::cluster::assert_untouched;
use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{Clock, GoDaemon, TestCluster, tree, wait};

use crate::cluster;

const HOUR: i64 = 3600;

/// A cluster whose last node has just joined the ring. Its daemons do not run yet.
fn with_misplaced(nodes: usize) -> TestCluster {
    let cluster = cluster(nodes).lay();
    cluster.scatter(60, &cluster.ring_of_first(nodes - 1));
    cluster
}

/// Runs `bucky` with `args`, which must be refused, and checks that no node has changed.
#[track_caller]
fn refused(cluster: &TestCluster, args: &[&str]) -> bucky_tests::Finished {
    let marks: Vec<_> = cluster.nodes().iter().map(|node| tree::marks(&node.prefix())).collect();
    let finished =
        cluster.bucky(args).assert_code(3).assert_stderr_has("the clocks differ by more than");
    for (node, marks) in cluster.nodes().iter().zip(&marks) {
        assert_untouched(marks, &node.prefix());
    }
    finished
}

#[test]
fn a_node_whose_clock_is_ahead_is_named_and_nothing_is_deleted_until_it_is_set() {
    let mut cluster = with_misplaced(3);
    cluster.node_mut(2).set_clock(Clock::Ahead(2 * HOUR));
    cluster.start();
    let before = cluster.ledger();
    let off = cluster.node(2).addr();
    let said = format!("the clock of {off} is 2 h ahead of that of");
    cluster
        .bucky(&["servers"])
        .assert_code(3)
        .assert_stdout_has("Is cluster healthy: false")
        .assert_stderr_has(&said);
    let json = cluster.bucky(&["servers", "-j"]).assert_code(3).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let ahead = json["nodes"][2]["clock_ahead_millis"].as_i64().unwrap();
    assert!((ahead - 2 * HOUR * 1000).abs() < 60_000, "{ahead}");
    refused(&cluster, &["rebalance"]).assert_stderr_has(&said);
    refused(&cluster, &["rebalance", "--no-op"]).assert_stderr_has(&said);
    // If nothing is deleted, it is only reported.
    cluster.bucky(&["rebalance", "--no-op", "--no-delete"]).assert_code(0).assert_stderr_has(&said);
    cluster.node_mut(2).set_clock(Clock::Ahead(0));
    cluster.bucky(&["servers"]).assert_code(0);
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

#[test]
fn a_copy_that_deletes_is_refused_as_a_rebalance_is() {
    let mut cluster = cluster(2).lay();
    cluster.scatter(20, &cluster.ring_of_first(1));
    cluster.node_mut(1).set_clock(Clock::Ahead(-HOUR));
    cluster.start();
    let (from, to) = (cluster.node(0).addr(), cluster.node(1).addr());
    let said = format!("the clock of {to} is 1 h behind that of");
    refused(&cluster, &["copy", "-src", &from, "-dst", &to, "-delete"]).assert_stderr_has(&said);
    let seeds = ["-src-cluster-seed", &from, "-dst-cluster-seed", &to];
    let args = [&["backfill2"], seeds.as_slice(), &["-r", ".", "-delete"]].concat();
    refused(&cluster, &args).assert_stderr_has(&said);
    cluster.bucky(&["copy", "-src", &from, "-dst", &to]).assert_code(0).assert_stderr_has(&said);
}

#[test]
fn where_the_nodes_agree_the_clock_of_this_host_is_named() {
    let mut cluster = with_misplaced(3);
    for node in 0..3 {
        cluster.node_mut(node).set_clock(Clock::Ahead(HOUR));
    }
    cluster.start();
    let said = "the clock of this host is 1 h behind that of";
    refused(&cluster, &["rebalance"]).assert_stderr_has(said);
    let stderr = cluster.bucky(&["servers"]).assert_code(3).assert_stderr_has(said).stderr;
    assert_eq!(stderr.matches("the clock of").count(), 1, "{stderr}");
}

#[test]
fn a_clock_that_whisper_cannot_express_is_named_with_its_time() {
    let mut cluster = with_misplaced(3);
    cluster.node_mut(1).set_clock(Clock::At(86_400));
    cluster.start();
    let said = format!("the clock of {} shows 1970/01/02", cluster.node(1).addr());
    cluster.bucky(&["servers"]).assert_code(3).assert_stderr_has(&said);
    refused(&cluster, &["rebalance"]).assert_stderr_has(&said);
}

#[test]
fn a_clock_that_is_set_in_the_middle_of_a_run_ends_the_deletes() {
    let mut cluster = cluster(2).lay();
    let (here, there) = (0, 1);
    for metric in cluster.names_owned_by(there, "late", 200) {
        cluster.node(here).write(&metric, &MINUTES, &minutes(now(), (0..20).map(f64::from)));
    }
    cluster.node_mut(there).set_clock(Clock::Ahead(0));
    cluster.start();
    let before = cluster.ledger();
    let run = cluster.start_bucky(&["rebalance", "--metrics-per-second", "10"]);
    wait::until("some metrics have moved", || cluster.node(there).metrics().len() > 10);
    cluster.node_mut(there).set_clock(Clock::Ahead(2 * HOUR));
    let off = cluster.node(there).addr();
    let run = run.finish().assert_code(1);
    let run = run.assert_stderr_has(&format!("the clock of {off} is 2 h ahead of"));
    let run = run.assert_stderr_has("from now on this run deletes nothing that");
    assert_eq!(run.stderr.matches("from now on").count(), 1, "{run}");
    assert!(!cluster.node(here).metrics().is_empty(), "all were deleted: {run}");
    cluster.node_mut(there).set_clock(Clock::Ahead(0));
    cluster.bucky(&["rebalance", "--expect-shuffle"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

#[test]
fn a_go_daemons_clock_is_read_from_the_date_of_its_answers() {
    let mut cluster = with_misplaced(3);
    std::fs::create_dir_all(cluster.node(2).prefix()).unwrap();
    for node in 0..2 {
        cluster.node_mut(node).start();
    }
    let go = GoDaemon::instead_of(&cluster, 2);
    go.set_clock(-2 * HOUR);
    let said = format!("the clock of {} is 2 h behind that of", cluster.node(2).addr());
    cluster.bucky(&["servers"]).assert_code(3).assert_stderr_has(&said);
    refused(&cluster, &["rebalance"]).assert_stderr_has(&said);
    go.stop();
}

#[test]
fn a_source_whose_time_is_still_to_come_does_not_keep_rest_waiting_for_ever() {
    let cluster = cluster(2).start();
    let metric = cluster.name_owned_by(1, "rested");
    cluster.node(0).write(&metric, &MINUTES, &minutes(now(), (0..20).map(f64::from)));
    let before = cluster.ledger();
    let file = std::fs::File::open(cluster.node(0).path(&metric)).unwrap();
    let tomorrow = std::time::SystemTime::now() + std::time::Duration::from_secs(86_400);
    file.set_modified(tomorrow).unwrap();
    let said = "ahead of this node's clock";
    let run =
        cluster.bucky(&["rebalance", "-f", "--rest", "3s"]).assert_code(1).assert_stderr_has(said);
    run.assert_stderr_has("it stays for now");
    wait::until("it is deleted", || {
        let run = cluster.bucky(&["rebalance", "-f", "--rest", "3s"]);
        if run.code == Some(0) {
            run.assert_stderr_has(said);
            return true;
        }
        false
    });
    cluster.assert_all_in_place(&before);
}

#[test]
fn a_tombstone_waits_as_long_as_the_clock_of_its_owner_is_off() {
    let mut cluster = cluster(2).lay();
    let metric = cluster.name_owned_by(1, "kept");
    cluster.node(0).write(&metric, &MINUTES, &minutes(now(), (0..20).map(f64::from)));
    cluster.node_mut(1).set_clock(Clock::Ahead(2 * HOUR));
    cluster.start();
    let before = cluster.ledger();
    // The operator has allowed it to bucky, but not to the daemons.
    cluster.bucky(&["rebalance", "--max-clock-difference", "3h"]).assert_code(0);
    let said = format!("{}: its clock is 2 h ahead", cluster.node(1).addr());
    wait::until("the tombstone is held because of the clock", || {
        let status = cluster.get(0, "/v1/status").json();
        status["tombstones"]["held"].to_string().contains(&said)
    });
    assert!(!tree::tombstones(&cluster.node(0).prefix()).is_empty());
    cluster.node_mut(1).set_clock(Clock::Ahead(0));
    cluster.assert_all_in_place(&before);
}

#[test]
fn a_source_on_a_go_daemon_whose_time_is_still_to_come_is_waited_for_once() {
    let mut cluster = cluster(2).lay();
    let names = cluster.names_owned_by(1, "rested", 5);
    let tomorrow = std::time::SystemTime::now() + std::time::Duration::from_secs(86_400);
    for name in &names {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), (0..20).map(f64::from)));
        let file = std::fs::File::open(cluster.node(0).path(name)).unwrap();
        file.set_modified(tomorrow).unwrap();
    }
    let before = cluster.ledger();
    cluster.node_mut(1).start();
    let go = GoDaemon::instead_of(&cluster, 0);
    let run = cluster.bucky(&["rebalance", "--rest", "3s"]).assert_code(0);
    let run = run.assert_stderr_has("in the future by the clock of that node");
    assert_eq!(run.stderr.matches("in the future by the clock of that node").count(), 1, "{run}");
    go.stop();
    cluster.assert_all_in_place(&before);
}
