//! The carbons beside the nodes: a full cache slows a run down; with space in the cache it gets faster.

use bucky_tests::{GoCarbons, LineReceiver, TestCluster, wait};

use super::misplaced;

/// `rebalance` that checks the carbons every second and sends figures every second.
fn watching(carbons: &GoCarbons, lines: &LineReceiver, more: &[&str]) -> Vec<String> {
    let args = [
        "rebalance",
        "-go-carbon-health-check",
        "-go-carbon-health-check-interval=1",
        "-go-carbon-cache-threshold=0.75",
        "-sync-speed-up-interval=1",
        "-graphite-stat-interval=1",
    ];
    let ports = [
        format!("-go-carbon-port={}", carbons.port()),
        format!("-graphite-endpoint={}", lines.addr()),
    ];
    let args = args.iter().chain(more).map(|arg| (*arg).to_owned());
    args.chain(ports).collect()
}

fn hosts(cluster: &TestCluster) -> [&str; 2] {
    [cluster.node(0).host(), cluster.node(1).host()]
}

/// D34: `-metrics-per-second` applies from the start, and a full cache returns a node to it.
#[test]
fn a_full_cache_brings_a_node_back_to_its_first_rate() {
    // Enough metrics that the run is still active when the full cache is noticed, even on a slow machine.
    let (cluster, before, _) = misplaced(200);
    let carbons = GoCarbons::start(&hosts(&cluster));
    let lines = LineReceiver::start(cluster.node(0).host());
    let args = watching(&carbons, &lines, &["-metrics-per-second=10", "-no-random-easing"]);
    let run = cluster.start_bucky(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let owner = cluster.node(1).host().replace('.', "_");
    let rate = format!("carbon.buckytools.node.{owner}.metrics_per_second.last");
    let rates = || lines.values(&rate);
    wait::until("the owner gets faster", || rates().last().is_some_and(|rate| *rate > 10.0));
    carbons.fill(1, 75);
    wait::until("it is back", || rates().last().is_some_and(|rate| *rate == 10.0));
    let source = cluster.node(0).host().replace('.', "_");
    let fast = lines.values(&format!("carbon.buckytools.node.{source}.metrics_per_second.last"));
    assert!(fast.iter().any(|rate| *rate > 10.0), "the source has room: {fast:?}");
    // Figures may arrive late, so the times in them are used.
    let steps = lines.stamped(&rate);
    let is_step = |pair: &[(u32, f64)]| {
        let seconds = f64::from(pair[1].0 - pair[0].0);
        pair[1].1 - pair[0].1 <= 5.0 * (seconds + 1.0)
    };
    assert!(steps.windows(2).all(is_step), "1 to 5 a second each second: {steps:?}");
    carbons.fill(1, 74);
    let ended = run.finish().assert_code(0);
    assert_eq!(ended.stderr.matches("is full (75 of 100)").count(), 1, "{}", ended.stderr);
    let sizes = lines.values(&format!("carbon.buckytools.node.{owner}.cache_size.last"));
    assert!(sizes.contains(&75.0), "{sizes:?}");
    cluster.assert_all_in_place(&before);
}

#[test]
fn a_carbon_that_does_not_answer_is_reported_once_and_keeps_the_first_rate() {
    let (cluster, before, _) = misplaced(30);
    let mut carbons = GoCarbons::start(&hosts(&cluster));
    let lines = LineReceiver::start(cluster.node(0).host());
    carbons.end(1);
    let args = watching(&carbons, &lines, &["-metrics-per-second=10"]);
    let ended = cluster.bucky(&args.iter().map(String::as_str).collect::<Vec<_>>()).assert_code(0);
    let message = format!("cannot read the carbon cache on {}", cluster.node(1).host());
    assert_eq!(ended.stderr.matches(&message).count(), 1, "{}", ended.stderr);
    assert!(carbons.asked(0) >= 2, "the other one goes on being asked");
    let owner = cluster.node(1).host().replace('.', "_");
    let rates = lines.values(&format!("carbon.buckytools.node.{owner}.metrics_per_second.last"));
    assert!(!rates.is_empty() && rates.iter().all(|rate| *rate == 10.0), "{rates:?}");
    assert!(ended.took.as_secs_f64() >= 2.9, "30 metrics at 10 a second: {:?}", ended.took);
    cluster.assert_all_in_place(&before);
}
