//! The durable order itself: both daemons are recorded, call by call, and the recordings are compared.

use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::order::{Arrival, durable_at, renamed_at};
use bucky_tests::{Launch, TestCluster, soak};
use bucky_whisper::MetricName;

use crate::cluster;

/// Two recorded nodes. The first one has `count` metrics of each kind that belong to the second.
fn recorded(count: usize) -> (TestCluster, Vec<(MetricName, Arrival)>) {
    let mut cluster = cluster(2).lay();
    let new = cluster.names_owned_by(1, "new.in.deep.folders", count);
    let half = cluster.names_owned_by(1, "half", count);
    for (number, name) in new.iter().chain(&half).enumerate() {
        let value = f64::from(u32::try_from(number).unwrap());
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [value, 2.0, 3.0]));
    }
    for name in &half {
        cluster.node(1).write(name, &MINUTES, &minutes(now(), [7.0]));
    }
    for node in 0..2 {
        cluster.node_mut(node).launch(Launch::Recorded);
    }
    cluster.start();
    let expect = |names: Vec<String>, arrival| {
        names.into_iter().map(move |name| (name.parse().unwrap(), arrival))
    };
    let metrics = expect(new, Arrival::Created).chain(expect(half, Arrival::Filled)).collect();
    (cluster, metrics)
}

/// Moves everything in batches of this many metrics, and checks that every metric is durable at its owner
/// before the owner answers, and before its source is renamed.
fn moves_in_order(count: usize, batch: &str) {
    let (mut cluster, metrics) = recorded(count);
    let before = cluster.ledger();
    cluster.bucky(&["rebalance", "--expect-shuffle", "--batch-metrics", batch]).assert_code(0);
    cluster.assert_all_in_place(&before);
    for node in 0..2 {
        cluster.node_mut(node).stop();
    }
    let [source, owner] = [cluster.node(0), cluster.node(1)];
    let (departures, arrivals) = (source.recording(), owner.recording());
    for (metric, arrival) in &metrics {
        let durable = durable_at(&arrivals, &owner.prefix(), metric, *arrival)
            .unwrap_or_else(|problem| panic!("at the owner, in batches of {batch}: {problem}"));
        let renamed = renamed_at(&departures, &source.prefix(), metric)
            .unwrap_or_else(|problem| panic!("at the source, in batches of {batch}: {problem}"));
        assert!(
            durable.micros < renamed.micros,
            "{metric} was durable at its owner {} us after its source was renamed",
            durable.micros - renamed.micros
        );
    }
    soak::record(
        &format!("durable order, batches of {batch}"),
        1,
        &format!("{} metrics", metrics.len()),
        before.points(),
    );
}

#[test]
fn a_metric_alone_is_durable_at_its_owner_before_its_source_is_renamed() {
    moves_in_order(soak::rounds(12, 200), "1");
}

#[test]
fn a_batch_is_durable_at_its_owner_before_its_sources_are_renamed() {
    moves_in_order(soak::rounds(150, 2000), "100");
}
