//! Copies with daemons of the Go tool as source or destination. The fake daemons fail the test if they get a
//! request that the real ones would refuse.

use std::collections::BTreeMap;

use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{GoDaemon, TestCluster};
use serde_json::json;

use super::{assert_kept, map_file, marks, minutes_of};
use crate::cluster;

/// Replaces the daemons of these nodes with those of the Go tool.
fn with_go(mut cluster: TestCluster, go: &[usize]) -> (Vec<GoDaemon>, TestCluster) {
    for number in 0..cluster.nodes().len() {
        if !go.contains(&number) {
            cluster.node_mut(number).start();
        } else {
            std::fs::create_dir_all(cluster.node(number).prefix()).unwrap();
        }
    }
    (go.iter().map(|number| GoDaemon::instead_of(&cluster, *number)).collect(), cluster)
}

fn contents(cluster: &TestCluster, node: usize) -> BTreeMap<String, Vec<u8>> {
    let node = cluster.node(node);
    let content = |name: String| (name.clone(), std::fs::read(node.path(&name)).unwrap());
    node.metrics().into_iter().map(content).collect()
}

#[test]
fn copy_from_a_go_daemon_and_to_one() {
    for go in [0, 1] {
        let cluster = cluster(2).lay();
        cluster.scatter(30, &cluster.ring_of_first(1));
        let (_go, cluster) = with_go(cluster, &[go]);
        let (source, destination) = (cluster.node(0).addr(), cluster.node(1).addr());
        let before = contents(&cluster, 0);
        let args = ["copy", "-src", &source, "-dst", &destination];
        cluster.bucky(&args).assert_code(0).assert_stderr_has("30 metrics copied");
        assert!(contents(&cluster, 1) == before, "not all came as it was");
        assert!(contents(&cluster, 0) == before, "the source is another one");
        cluster.bucky(&[&args[..], &["-delete"]].concat()).assert_code(0);
        cluster.wait_until_no_tombstones();
        assert!(contents(&cluster, 1) == before);
        assert_eq!(cluster.node(0).metrics(), [""; 0]);
    }
}

/// A Go daemon does not say which files it serves.
#[test]
fn d29_copy_to_a_go_daemon_on_the_same_host_is_refused() {
    let mut cluster = cluster(1).lay();
    cluster.scatter(5, cluster.ring());
    cluster.start();
    let before = marks(cluster.node(0));
    let addr = std::net::SocketAddr::new(cluster.node(0).host().parse().unwrap(), 0);
    let go = GoDaemon::start(addr, "other", cluster.node(0).prefix(), cluster.ring());
    let (ours, theirs) = (cluster.node(0).addr(), go.addr());
    for (source, destination) in [(&ours, &theirs), (&theirs, &ours), (&theirs, &theirs)] {
        let args = ["copy", "-src", source, "-dst", destination, "-delete"];
        let run = cluster.bucky(&args).assert_code(2);
        assert!(run.stderr.contains("one node") || run.stderr.contains("the same node"), "{run}");
    }
    assert_kept(cluster.node(0), &before);
}

#[test]
fn backfill_where_some_or_all_daemons_are_the_go_tools() {
    for go in [&[0][..], &[1, 2], &[0, 1, 2]] {
        let cluster = cluster(3).replication_factor(2).lay();
        let now = now();
        let mut map = serde_json::Map::new();
        for number in 0..9 {
            let old = format!("old.m{number}");
            let node = cluster.node(number % 3);
            node.write(&old, &MINUTES, &minutes(now, [1.0, 2.0, 3.0]));
            map.insert(old, json!(format!("new.m{number}")));
        }
        let (daemons, cluster) = with_go(cluster, go);
        let before: Vec<_> = cluster.nodes().iter().map(marks).collect();
        let map = map_file(&cluster, &map.into());
        let run = cluster.bucky(&["backfill", "-v", &map]).assert_code(0);
        run.assert_stderr_has("18 metrics created").assert_stderr_has("] old.m8 => [");
        for number in 0..9 {
            let new = format!("new.m{number}");
            for node in 0..3 {
                let values: Vec<f64> = minutes_of(&cluster, node, &new).into_values().collect();
                let is_owner = cluster.owners(&new).contains(&node);
                let expected = if is_owner { vec![3.0, 2.0, 1.0] } else { Vec::new() };
                assert_eq!(values, expected, "{new} on {node}, {go:?}");
            }
        }
        for (node, before) in cluster.nodes().iter().zip(&before) {
            assert_kept(node, before);
        }
        let asked: Vec<String> = daemons.iter().flat_map(GoDaemon::requests).collect();
        assert!(
            asked
                .iter()
                .all(|request| !request.starts_with("DELETE") && !request.starts_with("PUT"))
        );
    }
}

#[test]
fn backfill2_from_a_go_cluster_to_ours() {
    let old = cluster(2).lay();
    old.scatter(40, old.ring());
    let (_go, old) = with_go(old, &[0, 1]);
    let new = cluster(3).replication_factor(2).start();
    let before = old.ledger();
    let seeds =
        ["-src-cluster-seed", &old.node(0).addr(), "-dst-cluster-seed", &new.node(0).addr()];
    let run = |more: &[&str]| old.bucky(&[&["backfill2"], &seeds[..], more].concat());
    run(&["-r", "."]).assert_code(0).assert_stderr_has("40 metrics copied");
    new.assert_all_in_place(&before);
    run(&["-r", ".", "-delete"]).assert_code(0).assert_stderr_has("40 metrics moved");
    new.assert_all_in_place(&before);
    assert!(old.nodes().iter().all(|node| node.metrics().is_empty()));
}
