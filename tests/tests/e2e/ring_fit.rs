//! `bucky ring fit`: the ring that laid out the disks is named first, whatever ring the daemons have.

use bucky_ring::{Algorithm, Relay, Ring, RingSpec, resolve};
use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{Finished, TestCluster};
use serde_json::Value;

use crate::cluster;

const METRICS: usize = 400;

/// The daemons' ring with other arithmetic.
fn with(cluster: &TestCluster, relay: Relay, algorithm: Algorithm, copies: usize) -> Ring {
    let (relay, tagged_names) = resolve(algorithm, Some(relay), None).unwrap();
    let nodes = cluster.ring().spec().nodes.clone();
    Ring::new(RingSpec {
        nodes,
        algorithm,
        relay,
        replication_factor: copies,
        diverse_replicas: false,
        tagged_names,
        aggregation: None,
        routes: None,
    })
    .unwrap()
}

/// Lays out metrics by `ring` and starts the daemons.
fn laid_out(mut cluster: TestCluster, ring: &Ring) -> TestCluster {
    cluster.scatter(METRICS, ring);
    cluster.start();
    cluster
}

fn first(run: &Finished) -> Value {
    let answer: Value = serde_json::from_str(&run.stdout).unwrap();
    answer["explanations"][0].clone()
}

/// The first explanation has the ring of `laid_out`, and all copies are where it has them.
fn assert_first(run: &Finished, laid_out: &Ring) {
    let best = first(run);
    let spec = laid_out.spec();
    let is_it = |ring: &Value| {
        let nodes = ring["Nodes"].as_array().unwrap();
        let hosts = nodes.iter().map(|node| node["Server"].as_str().unwrap());
        ring["Relay"] == spec.relay.name()
            && ring["Algo"] == spec.algorithm.name()
            && ring["Replicas"] == spec.replication_factor
            && hosts.eq(spec.nodes.iter().map(bucky_ring::Node::host))
    };
    assert!(best["rings"].as_array().unwrap().iter().any(is_it), "{run}");
    assert_eq!(best["in_place"], best["copies"], "{run}");
    assert_eq!(best["wanted"], best["copies"], "{run}");
}

#[test]
fn the_ring_that_laid_out_the_disks_is_named_first() {
    let cases = [
        // A wrong hash, a wrong relay, and one copy for two.
        (Relay::Carbon, Algorithm::Carbon, 1, Relay::Carbon, Algorithm::Fnv1a),
        (Relay::CarbonCRelay, Algorithm::JumpFnv1a, 1, Relay::Buckytools, Algorithm::Fnv1a),
        (Relay::Carbon, Algorithm::Carbon, 1, Relay::CarbonCRelay, Algorithm::Carbon),
        (Relay::Carbon, Algorithm::Mmh3, 2, Relay::Carbon, Algorithm::Mmh3),
    ];
    for (relay, algorithm, copies, daemons_relay, daemons_algorithm) in cases {
        let cluster = cluster(4).relay(daemons_relay).algorithm(daemons_algorithm).lay();
        let ring = with(&cluster, relay, algorithm, copies);
        let cluster = laid_out(cluster, &ring);
        let run = cluster.bucky(&["ring", "fit", "-j"]).assert_code(1);
        assert_first(&run, &ring);
        let all = cluster.bucky(&["ring", "fit", "-j", "--all"]).assert_code(1);
        assert_first(&all, &ring);
        let words = format!("--relay {relay} --hash {algorithm}");
        let text = cluster
            .bucky(&["ring", "fit"])
            .assert_code(1)
            .assert_stdout_has("Another ring explains them better")
            .assert_stdout_has("this cluster")
            .stdout;
        let several = text.contains("Several relays agree");
        assert!(text.contains(&words) || several, "{words}: {text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}

#[test]
fn the_clusters_own_ring_is_the_best_of_its_own_disks() {
    let cluster = cluster(3).replication_factor(2).lay();
    let ring = cluster.ring_of_first(3);
    let cluster = laid_out(cluster, &ring);
    cluster
        .bucky(&["ring", "fit"])
        .assert_code(0)
        .assert_stdout_has("The cluster's own ring explains them best: 100.00 %");
}

#[test]
fn a_jump_ring_in_another_order_is_found_among_the_nodes_given() {
    let cluster = cluster(4).algorithm(Algorithm::JumpFnv1a).lay();
    let mut spec = cluster.ring().spec().clone();
    spec.nodes.reverse();
    let words: Vec<String> = spec.nodes.iter().map(ToString::to_string).collect();
    let ring = Ring::new(spec).unwrap();
    let cluster = laid_out(cluster, &ring);
    let mut args = vec!["ring", "fit", "-j"];
    args.extend(words.iter().map(String::as_str));
    assert_first(&cluster.bucky(&args).assert_code(1), &ring);
}

#[test]
fn a_node_that_the_daemons_ring_lacks_is_found_among_the_nodes_given() {
    let cluster = cluster(4).in_ring(3).lay();
    let ring = cluster.ring_of_first(4);
    let words: Vec<String> = ring.nodes().iter().map(ToString::to_string).collect();
    let cluster = laid_out(cluster, &ring);
    let mut args = vec!["ring", "fit", "-j"];
    args.extend(words.iter().map(String::as_str));
    assert_first(&cluster.bucky(&args).assert_code(1), &ring);
}

#[test]
fn a_new_node_that_is_empty_does_not_hide_the_ring() {
    let cluster = cluster(4).lay();
    let ring = cluster.ring_of_first(3);
    let cluster = laid_out(cluster, &ring);
    let run = cluster.bucky(&["ring", "fit", "-j"]).assert_code(1);
    assert_first(&run, &ring);
}

#[test]
fn a_node_that_does_not_answer_is_said_and_the_rest_is_compared() {
    let cluster = cluster(4).algorithm(Algorithm::Fnv1a).lay();
    let ring = with(&cluster, Relay::Carbon, Algorithm::Carbon, 1);
    let mut cluster = laid_out(cluster, &ring);
    cluster.node_mut(2).kill();
    let run = cluster.bucky(&["ring", "fit", "-j", "--away-timeout", "0"]).assert_code(1);
    assert_first(&run, &ring);
    assert!(run.stderr.contains("did not answer; its copies are unknown"), "{run}");
}

#[test]
fn a_sample_has_the_same_names_on_every_node_and_no_local_ones() {
    let cluster = cluster(2).replication_factor(2).flag("--local-prefix", "own.").lay();
    cluster.node(1).write("own.cpu", &MINUTES, &minutes(now(), [1.0, 2.0]));
    let ring = cluster.ring_of_first(2);
    let cluster = laid_out(cluster, &ring);
    let sample = |node: usize| cluster.get(node, "/v1/sample?count=25").text();
    assert_eq!(sample(0).lines().count(), 25);
    assert_eq!(sample(0), sample(1));
    let whole = cluster.get(1, "/v1/sample").text();
    assert_eq!(whole.lines().count(), METRICS, "own.cpu is local");
    for query in ["count=0", "count=100001", "count=x", "counts=1"] {
        assert_eq!(cluster.get(0, &format!("/v1/sample?{query}")).status, 400, "{query}");
    }
}
