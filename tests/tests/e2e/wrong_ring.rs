//! The story of the wrong word: all daemons agree on a ring that the relay does not have. A rebalance by it is
//! refused, and the ring of the disks is named.

use bucky_ring::{Algorithm, Relay, Ring, RingSpec, resolve};
use bucky_tests::TestCluster;

use crate::cluster;

const METRICS: usize = 600;

/// The daemons' nodes with other arithmetic.
fn with(cluster: &TestCluster, relay: Relay, algorithm: Algorithm, copies: usize) -> Ring {
    let (relay, tagged_names) = resolve(algorithm, Some(relay), None).unwrap();
    let spec = cluster.ring().spec().clone();
    let spec = RingSpec { algorithm, relay, replication_factor: copies, tagged_names, ..spec };
    Ring::new(spec).unwrap()
}

/// Lays out metrics by `ring` and starts the daemons.
fn laid_out(mut cluster: TestCluster, ring: &Ring) -> TestCluster {
    cluster.scatter(METRICS, ring);
    cluster.start();
    cluster
}

/// A rebalance, and one that only plans, are refused with the ring of the disks; nothing has moved.
fn assert_refused(cluster: &TestCluster, ring: &Ring) {
    let before = cluster.bucky(&["list"]).assert_code(0).stdout;
    for args in [&["rebalance"][..], &["rebalance", "--no-op"]] {
        let run = cluster
            .bucky(args)
            .assert_code(3)
            .assert_stderr_has("refused: ")
            .assert_stderr_has("--expect-shuffle")
            .assert_stderr_has(": 100.00 % in place");
        let spec = ring.spec();
        let words = format!("--hash {}", spec.algorithm);
        assert!(run.stderr.contains(&words), "{run}");
        if spec.replication_factor > 1 {
            let words = format!("--replicas {}", spec.replication_factor);
            assert!(run.stderr.contains(&words), "{run}");
        }
    }
    assert_eq!(cluster.bucky(&["list"]).assert_code(0).stdout, before);
    cluster.bucky(&["verify"]).assert_code(1);
}

#[test]
fn a_move_by_a_wrong_word_is_refused_with_the_ring_of_the_disks() {
    let cases = [
        // The wrong hash; the wrong relay, which has another order of a jump ring; one copy for two.
        (Relay::Carbon, Algorithm::Carbon, 1, Relay::Carbon, Algorithm::Fnv1a),
        (Relay::CarbonCRelay, Algorithm::JumpFnv1a, 1, Relay::Buckytools, Algorithm::Fnv1a),
        (Relay::Carbon, Algorithm::Carbon, 2, Relay::Carbon, Algorithm::Carbon),
    ];
    for (relay, algorithm, copies, daemons_relay, daemons_algorithm) in cases {
        let cluster = cluster(4).relay(daemons_relay).algorithm(daemons_algorithm).lay();
        let ring = with(&cluster, relay, algorithm, copies);
        assert_refused(&laid_out(cluster, &ring), &ring);
    }
}

/// The order is neither the daemons' nor sorted: the disks show it.
#[test]
fn a_jump_ring_in_a_wrong_order_is_refused_with_the_order_of_the_disks() {
    for copies in [1, 2] {
        let plan = cluster(4).algorithm(Algorithm::JumpFnv1a).relay(Relay::CarbonCRelay);
        let cluster = plan.replication_factor(copies).lay();
        let mut spec = cluster.ring().spec().clone();
        spec.nodes.reverse();
        spec.nodes.swap(0, 1);
        let disks = Ring::new(spec).unwrap();
        let cluster = laid_out(cluster, &disks);
        assert_refused(&cluster, &disks);
        let nodes: Vec<String> = disks.nodes().iter().map(ToString::to_string).collect();
        cluster.bucky(&["rebalance"]).assert_stderr_has(&nodes.join(" "));
        let fit = cluster.bucky(&["ring", "fit"]).assert_code(1);
        let first = fit.stdout.lines().nth(1).unwrap_or_default();
        assert!(
            first.contains("jump_fnv1a") && first.ends_with("in the order of the disks"),
            "{fit}"
        );
    }
}

/// Instances are not varied, so the ring of the disks cannot be named; the move is refused all the same.
#[test]
fn a_ring_that_is_not_tried_is_refused_too() {
    let cluster =
        cluster(4).algorithm(Algorithm::Fnv1a).relay(Relay::Carbon).instances(&["a"]).lay();
    let mut spec = cluster.ring().spec().clone();
    for (number, node) in spec.nodes.iter_mut().enumerate() {
        *node = format!("{}:2003=other{number}", node.host()).parse().unwrap();
    }
    let disks = Ring::new(spec).unwrap();
    let cluster = laid_out(cluster, &disks);
    cluster
        .bucky(&["rebalance"])
        .assert_code(3)
        .assert_stderr_has("no ring that is known explains where")
        .assert_stderr_has("does the relay have other instances?");
    cluster
        .bucky(&["ring", "fit"])
        .assert_code(1)
        .assert_stdout_has("No ring that is known explains");
    let nodes: Vec<String> = disks.nodes().iter().map(ToString::to_string).collect();
    let mut args = vec!["ring", "fit"];
    args.extend(nodes.iter().map(String::as_str));
    cluster.bucky(&args).assert_code(1).assert_stdout_has("100.00 %");
}

#[test]
fn what_is_to_be_shuffled_is_moved_on_request() {
    let cluster = cluster(4).algorithm(Algorithm::Fnv1a).lay();
    let ring = with(&cluster, Relay::Carbon, Algorithm::Carbon, 1);
    let cluster = laid_out(cluster, &ring);
    cluster.bucky(&["rebalance"]).assert_code(3);
    cluster.bucky(&["rebalance", "--expect-shuffle"]).assert_code(0);
    cluster.bucky(&["verify"]).assert_code(0);
}

#[test]
fn nodes_that_come_are_no_shuffle() {
    for copies in [1, 2] {
        for algorithm in [Algorithm::Carbon, Algorithm::Fnv1a, Algorithm::JumpFnv1a] {
            let plan = cluster(4).relay(Relay::CarbonCRelay).algorithm(algorithm);
            let cluster = plan.replication_factor(copies).lay();
            let ring = cluster.ring_of_first(3);
            let cluster = laid_out(cluster, &ring);
            let run = cluster.bucky(&["rebalance"]).assert_code(0);
            assert!(run.stderr.contains("Ring: "), "{run}");
            cluster.bucky(&["verify"]).assert_code(0);
        }
    }
}

/// After such copies, the disks would explain the wrong ring as well as the right one.
#[test]
fn copies_by_a_wrong_word_are_refused_and_more_copies_are_made() {
    let plan = cluster(4).relay(Relay::Carbon).algorithm(Algorithm::Fnv1a).replication_factor(2);
    let cluster = plan.lay();
    let ring = with(&cluster, Relay::Carbon, Algorithm::Carbon, 2);
    let cluster = laid_out(cluster, &ring);
    let before = cluster.bucky(&["list"]).assert_code(0).stdout;
    for args in [&["heal"][..], &["heal", "--no-op"]] {
        cluster
            .bucky(args)
            .assert_code(3)
            .assert_stderr_has("would be copied between nodes that were members before")
            .assert_stderr_has("--hash carbon");
    }
    assert_eq!(cluster.bucky(&["list"]).assert_code(0).stdout, before);
    cluster.bucky(&["heal", "--expect-shuffle"]).assert_code(0);

    let plan = self::cluster(4).relay(Relay::Carbon).algorithm(Algorithm::Carbon);
    let cluster = plan.replication_factor(2).lay();
    let ring = with(&cluster, Relay::Carbon, Algorithm::Carbon, 1);
    let cluster = laid_out(cluster, &ring);
    cluster.bucky(&["heal"]).assert_code(0);
    cluster.bucky(&["verify"]).assert_code(0);
}
