//! What is refused before anything is changed.

use bucky_ring::Relay;
use bucky_tests::cluster::assert_untouched;
use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::program::Running;
use bucky_tests::{Launch, TestCluster, tree};

use crate::cluster;

/// A cluster with metrics to move, not started.
fn with_misplaced(nodes: usize) -> TestCluster {
    let cluster = cluster(nodes).lay();
    cluster.scatter(60, &cluster.ring_of_first(nodes - 1));
    cluster
}

/// Runs `bucky` with `args` and checks that no node has changed.
#[track_caller]
fn refused(cluster: &TestCluster, args: &[&str], code: i32) -> bucky_tests::Finished {
    let marks: Vec<_> = cluster.nodes().iter().map(|node| tree::marks(&node.prefix())).collect();
    let finished = cluster.bucky(args).assert_code(code);
    for (node, marks) in cluster.nodes().iter().zip(&marks) {
        assert_untouched(marks, &node.prefix());
    }
    finished
}

/// Bar 6. The Go tool reports differing `-replicas` as healthy (D16).
#[test]
fn a_ring_that_differs_on_one_node_moves_nothing_and_is_named_field_by_field() {
    for (old, new, said) in [
        ("carbon", "fnv1a", "hash carbon, there fnv1a"),
        ("1", "2", "replication factor 1, there 2"),
        (":2003", ":2004", "port 2003, there 2004"),
    ] {
        let mut cluster = with_misplaced(3);
        let odd = cluster.node(1).addr();
        let member = format!("{}:2003", cluster.node(2).host());
        let (old, new) = match old {
            ":2003" => (member.clone(), member.replace(":2003", new)),
            _ => (old.to_owned(), new.to_owned()),
        };
        cluster.node_mut(1).replace_arg(&old, &new);
        cluster.start();
        refused(&cluster, &["rebalance"], 3).assert_stderr_has(&odd).assert_stderr_has(said);
        cluster
            .bucky(&["servers"])
            .assert_code(3)
            .assert_stdout_has("Is cluster healthy: false")
            .assert_stderr_has(said);
    }
}

/// With a member down every command of the Go tool panics.
#[test]
fn d4_an_unreachable_node_is_named_and_nothing_is_moved() {
    let mut cluster = with_misplaced(3);
    cluster.start();
    cluster.node_mut(2).kill();
    let away = cluster.node(2).addr();
    refused(&cluster, &["rebalance"], 3).assert_stderr_has(&away).assert_stderr_has("is down");
    cluster
        .bucky(&["servers"])
        .assert_code(3)
        .assert_stderr_has(&away)
        .assert_stdout_has("Is cluster healthy: false");
    cluster.bucky(&["inconsistent"]).assert_code(3).assert_stderr_has(&away);
    cluster.bucky(&["list"]).assert_code(3).assert_stderr_has(&away);
}

/// The Go tool compares the texts of addresses: it deletes all of the node's metrics, with exit code 0.
#[test]
fn d29_a_node_is_not_drained_into_itself_under_another_address() {
    let mut cluster = with_misplaced(3);
    cluster.start();
    for node in [0, 2] {
        let alias = cluster.alias_of(node);
        let said = refused(&cluster, &["rebalance", &alias.addr().to_string()], 2);
        said.assert_stderr_has("it is the same node as")
            .assert_stderr_has(&cluster.node(node).addr());
    }
    let itself = cluster.node(1).addr();
    refused(&cluster, &["rebalance", &itself], 2).assert_stderr_has(&itself);
}

/// The daemon does not trust the client here (D29).
#[test]
fn d29_a_daemon_does_not_pull_from_itself_under_another_address() {
    let cluster = cluster(1).start();
    let metric = cluster.name_owned_by(0, "own");
    cluster.node(0).write(&metric, &MINUTES, &minutes(now(), [1.0]));
    let alias = cluster.alias_of(0);
    let body = serde_json::json!({ "from": alias.addr().to_string(), "metrics": [metric] });
    let answer = cluster.post_json(0, "/v1/pull", &body).assert_status(400);
    assert!(
        answer.json()["error"]["message"].as_str().unwrap().contains("this same store"),
        "{}",
        answer.text()
    );
}

#[test]
fn d29_two_daemons_on_one_prefix_are_refused() {
    let mut cluster = cluster(2).lay();
    cluster.node_mut(0).start();
    let prefix = cluster.node(0).prefix();
    cluster.node_mut(1).flag("-p", prefix.to_str().unwrap());
    let second = Running::start(cluster.node(1).command()).finish().assert_code(1);
    second.assert_stderr_has("another buckyd").assert_stderr_has(prefix.to_str().unwrap());
}

/// Bar 6: a full destination.
#[test]
fn a_destination_without_the_room_is_named_before_anything_is_moved() {
    let mut cluster = with_misplaced(3);
    cluster.node_mut(2).launch(Launch::OnSmallDisk(64 * 1024));
    cluster.start();
    let small = cluster.node(2).addr();
    refused(&cluster, &["rebalance"], 1)
        .assert_stderr_has(&small)
        .assert_stderr_has("--ignore-free-space");
}

#[test]
fn wrong_usage_exits_with_2_and_touches_nothing() {
    let mut cluster = with_misplaced(2);
    cluster.start();
    for args in [
        &["rebalance", "-w", "0"][..],
        &["rebalance", "-w", "-1"],
        &["rebalance", "-r", ""],
        &["rebalance", "-r", "("],
        &["rebalance", "--no-such-flag"],
        &["rebalance", "--allowed-dsts", "127.0.0.9:1"],
        &["lsit"],
    ] {
        refused(&cluster, args, 2);
    }
}

/// `--ring-from` of the client: the relay's file has one copy more, and another order, than all daemons.
#[test]
fn daemons_with_another_ring_than_the_relays_file_move_nothing() {
    let mut cluster = cluster(3).relay(Relay::CarbonCRelay).lay();
    cluster.scatter(60, &cluster.ring_of_first(2));
    cluster.start();
    let before = cluster.ledger();
    let nodes: Vec<String> =
        cluster.nodes().iter().map(|node| format!("{}:2003", node.host())).collect();
    let write = |name: &str, kind: &str, nodes: &[String]| {
        let text = format!("cluster a {kind} {};\nmatch * send to a;\n", nodes.join(" "));
        std::fs::write(cluster.path(name), text).unwrap();
    };
    write("same.conf", "carbon_ch", &nodes);
    write("other.conf", "carbon_ch replication 2", &nodes[..2]);

    let said = "the daemons have another ring than other.conf: replication factor 1, in the file 2; number of nodes 3";
    for command in ["servers", "rebalance"] {
        refused(&cluster, &[command, "--ring-from", "other.conf"], 3).assert_stderr_has(said);
    }
    cluster.bucky(&["inconsistent", "--ring-from", "other.conf"]).assert_stderr_has(said);
    refused(&cluster, &["rebalance", "--ring-from", "no.conf"], 2).assert_stderr_has("no.conf");
    cluster.bucky(&["servers", "--ring-from", "same.conf"]).assert_code(0);
    cluster.bucky(&["rebalance", "--ring-from", "same.conf"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}
