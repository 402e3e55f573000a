//! The Go tool's client, step by step as it works, with our daemons.

use std::collections::BTreeMap;

use bucky_tests::go::unframe;
use bucky_tests::{GoClient, TestCluster};

use crate::cluster;

/// How the client copies a metric.
#[derive(Clone, Copy, PartialEq)]
enum Copy {
    /// It fetches the metric and sends it on.
    ByHand,
    /// The destination fetches the metric.
    Offload,
}

#[test]
fn a_go_rebalance_over_our_daemons_moves_every_point() {
    go_rebalance(Copy::ByHand);
}

#[test]
fn a_go_rebalance_with_offload_over_our_daemons_moves_every_point() {
    go_rebalance(Copy::Offload);
}

fn go_rebalance(copy: Copy) {
    let mut cluster = cluster(3).lay();
    cluster.scatter(super::METRICS, &cluster.ring_of_first(2));
    cluster.start();
    let before = cluster.ledger();
    let jobs = jobs(&cluster);
    assert!(jobs.len() > 10, "{} metrics to move are no test", jobs.len());
    for (metric, from, to) in jobs {
        let answer = match copy {
            Copy::ByHand => {
                let got = from.get(&metric).assert_status(200);
                let stat = got.header("x-metric-stat").unwrap().to_owned();
                let size: serde_json::Value = serde_json::from_str(&stat).unwrap();
                assert_eq!(size["Size"], unframe(&got.body).unwrap().len());
                to.post(&metric, &stat, got.body)
            }
            Copy::Offload => to.offload(&metric, from.addr()),
        };
        let took: BTreeMap<String, u64> =
            serde_json::from_slice(&answer.assert_status(200).body).unwrap();
        let keys: Vec<&str> = took.keys().map(String::as_str).collect();
        assert_eq!(keys, ["Compress", "Copy", "Download", "Dump", "Fill"]);
        assert_eq!(took["Download"] > 0, copy == Copy::Offload, "{took:?}");
        assert!(took["Copy"] > 0, "{metric} was new: {took:?}");
        let deleted = from.delete(&metric).assert_status(200);
        assert_eq!((deleted.header("content-length"), deleted.body.len()), (Some("0"), 0));
        to.head(&metric).assert_status(200);
        assert_eq!(from.head(&metric).assert_status(404).header("x-metric-stat"), Some("null"));
    }
    cluster.assert_all_in_place(&before);
    assert_eq!(self::jobs(&cluster).len(), 0, "the lists are true at once");
}

/// What the Go client concludes from the nodes' lists: each misplaced metric, with its source and its owner.
fn jobs(cluster: &TestCluster) -> Vec<(String, GoClient, GoClient)> {
    let client = |number: usize| GoClient::of(cluster.node(number).addr());
    let ring: serde_json::Value =
        serde_json::from_slice(&client(0).hashring().assert_status(200).body).unwrap();
    assert_eq!(
        (&ring["Algo"], &ring["Replicas"], &ring["Nodes"][1]["Server"]),
        (&"carbon".into(), &1.into(), &cluster.node(1).host().into())
    );
    let mut jobs = Vec::new();
    for number in 0..cluster.nodes().len() {
        for metric in client(number).list(None) {
            let owner = cluster.owners(&metric)[0];
            if owner != number && !metric.starts_with("carbon.agents.") {
                jobs.push((metric, client(number), client(owner)));
            }
        }
    }
    jobs
}

/// Our daemon has its list when it answers at all, or says like the Go daemon that it is being built.
#[test]
fn the_go_clients_first_list_calls_are_answered_as_it_expects() {
    let mut cluster = cluster(1).lay();
    let names = cluster.names_owned_by(0, "first.call", 5);
    for name in &names {
        cluster.node(0).write(name, &bucky_tests::metrics::MINUTES, &[]);
    }
    cluster.node_mut(0).start_unready();
    let client = GoClient::of(cluster.node(0).addr());
    bucky_tests::wait::until("the daemon listens", || {
        client.try_ask("GET", "/hashring", &[], None).is_ok()
    });
    let first = client.list_once(None);
    match first.status {
        202 => {
            assert_eq!(first.text(), "Cache update in progress.\n");
            assert_eq!(first.header("content-type"), Some("text/plain; charset=utf-8"));
        }
        200 => assert_eq!(first.header("content-type"), Some("application/json")),
        other => panic!("{other}: {}", first.text()),
    }
    assert_eq!(client.list(None), names);
    assert_eq!(
        client.list(Some(&[&names[3], "nobody", &names[1], &names[1]])),
        [names[1].as_str(), &names[3]]
    );
    assert_eq!(client.list(Some(&[])), Vec::<String>::new());
}

/// The Go client distinguishes by status which node lacks the metric and which is at fault.
#[test]
fn an_offload_that_fails_is_answered_by_whose_fault_it_is() {
    let cluster = cluster(2).start();
    let (here, there) = (cluster.node(0).addr(), cluster.node(1).addr());
    let client = GoClient::of(here);
    let missing = client.offload("no.such", &there).assert_status(404);
    assert_eq!(missing.text(), "Error fetching metric: metric not found\n");
    cluster.node(1).put("bad.source", &[0; 200]);
    let answer = client.offload("bad.source", &there);
    assert!([400, 500].contains(&answer.status), "{answer:?}");
    assert!(!cluster.node(0).has("bad.source"), "nothing of it is kept (D45)");
}
