//! Both kinds of daemon in one ring, in each role.

use bucky_tests::go::unframe;
use bucky_tests::{GoClient, GoDaemon};

use super::Mixed;
use crate::cluster;

/// The new node has our daemon, the old ones have the Go tool's.
#[test]
fn metrics_go_from_go_daemons_to_ours() {
    let Mixed { go, cluster } = Mixed::grown(3, 3, 2, &[0, 1]);
    let before = cluster.ledger();
    assert!(before.misplaced(cluster.ring()) > 10);
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
    assert!(go.iter().all(|daemon| daemon.requests().iter().any(|r| r.starts_with("DELETE "))));
}

/// The new node has the Go tool's daemon, the old ones have ours.
#[test]
fn metrics_go_from_our_daemons_to_go_daemons() {
    let Mixed { go, cluster } = Mixed::grown(3, 3, 2, &[2]);
    let before = cluster.ledger();
    assert!(before.misplaced(cluster.ring()) > 10);
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
    assert!(go[0].requests().iter().any(|request| request.starts_with("POST /metrics/")));
    cluster.bucky(&["verify", "-f"]).assert_code(0);
}

#[test]
fn a_drained_go_node_gives_all_it_has() {
    let Mixed { go, cluster } = Mixed::grown(3, 2, 3, &[2]);
    let before = cluster.ledger();
    assert!(!cluster.node(2).metrics().is_empty());
    cluster.bucky(&["rebalance", &go[0].addr()]).assert_code(0);
    assert_eq!(cluster.node(2).metrics(), Vec::<String>::new());
    cluster.assert_all_in_place(&before);
}

/// A Go daemon fetches a metric from ours, and ours from a Go daemon.
#[test]
fn daemons_of_both_kinds_fetch_from_each_other() {
    let cluster = cluster(2).lay();
    let names = cluster.names_owned_by(0, "offload", 1);
    let metric = names[0].as_str();
    for (own, go) in [(0, 1), (1, 0)] {
        for (source, destination) in [(own, go), (go, own)] {
            // Each pair begins with a metric that only the source has.
            let name = format!("{metric}.from{source}to{destination}");
            let points = bucky_tests::metrics::minutes(bucky_tests::metrics::now(), [3.0, 1.0]);
            cluster.node(source).write(&name, &bucky_tests::metrics::MINUTES, &points);
        }
    }
    let Mixed { go, cluster } = Mixed::start(cluster, &[1]);
    for (source, destination) in [(0, 1), (1, 0)] {
        let name = format!("{metric}.from{source}to{destination}");
        let client = GoClient::of(cluster.node(destination).addr());
        client.offload(&name, &cluster.node(source).addr()).assert_status(200);
        let there = unframe(&client.get(&name).assert_status(200).body).unwrap();
        assert_eq!(there, std::fs::read(cluster.node(source).path(&name)).unwrap(), "{name}");
        let missing = client.offload("no.such", &cluster.node(source).addr()).assert_status(404);
        assert_eq!(missing.text(), "Error fetching metric: metric not found\n");
    }
    drop::<Vec<GoDaemon>>(go);
}

/// A Go daemon is asked first. Its ring document has none of our keys, so they are taken from the other
/// members.
#[test]
fn the_ring_of_a_go_daemon_is_completed_by_ours() {
    let Mixed { cluster, go } = Mixed::grown(2, 2, 1, &[0]);
    for number in [0, 1] {
        let addr = cluster.node(number).addr();
        let run = cluster.start_bucky_at(&addr, &["servers"]).finish().assert_code(0);
        assert!(run.stdout.contains("Is cluster healthy: true"), "{run}");
    }
    let ring: serde_json::Value =
        serde_json::from_slice(&GoClient::of(go[0].addr()).hashring().body).unwrap();
    let keys: Vec<&String> = ring.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["Algo", "Name", "Nodes", "Replicas"]);
}
