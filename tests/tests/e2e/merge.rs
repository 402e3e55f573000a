//! Metrics of which several nodes have parts.

use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{Layout, Node, TestCluster};
use bucky_whisper::{Aggregation, Point};

use crate::cluster;

/// Bar 5: after relays' failovers, three nodes have parts of one metric.
#[test]
fn parts_of_a_metric_on_three_nodes_end_in_its_owner_as_their_union() {
    let cluster = cluster(3).start();
    let metric = cluster.name_owned_by(2, "relay.failover");
    let now = now();
    let all = minutes(now, (0..300).map(f64::from));
    for (number, node) in cluster.nodes().iter().enumerate() {
        // Every third point each, and an hour of its own.
        let hour = 60 * number..60 * (number + 1);
        let has = |(index, _): &(usize, &Point)| index % 3 == number || hour.contains(index);
        let part: Vec<Point> =
            all.iter().enumerate().filter(has).map(|(_, point)| *point).collect();
        node.write(&metric, &MINUTES, &part);
    }
    rescan(&cluster);
    let before = cluster.ledger();
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
    assert_eq!(values(&cluster, cluster.node(2), &metric, 60), expected(&all));
}

#[test]
fn where_nodes_disagree_the_owners_value_stays() {
    let cluster = cluster(2).start();
    let metric = cluster.name_owned_by(1, "conflict");
    let now = now();
    cluster.node(0).write(&metric, &MINUTES, &minutes(now, [1.0, 1.0, 1.0, 1.0]));
    // The owner knows the second point as a zero, which is not a gap (D8).
    cluster.node(1).write(&metric, &MINUTES, &minutes(now, [5.0, 0.0]));
    rescan(&cluster);
    cluster.bucky(&["rebalance"]).assert_code(0);
    assert_eq!(
        values(&cluster, cluster.node(1), &metric, 60),
        expected(&minutes(now, [5.0, 0.0, 1.0, 1.0]))
    );
}

/// Single-point gaps, which the Go tool leaves and whose neighbours it overwrites (D8), in all archives.
#[test]
fn d8_two_halves_of_a_series_become_complete_with_right_roll_ups() {
    for aggregation in [Aggregation::Sum, Aggregation::Max, Aggregation::Last, Aggregation::Average]
    {
        let layout = Layout { retentions: "1m:6h,10m:2d", aggregation, x_files_factor: 0.0 };
        let cluster = cluster(2).start();
        let metric = cluster.name_owned_by(1, "halves");
        // Whole slots of the coarse archive, all of them inside the fine archive's window.
        let newest = (now() / 600) * 600 - 60;
        let all: Vec<Point> = (0..200)
            .map(|age| Point { timestamp: newest - age * 60, value: f64::from(age % 7) })
            .collect();
        for node in 0..2 {
            let half = all.iter().skip(node).step_by(2).copied().collect::<Vec<_>>();
            cluster.node(node).write(&metric, &layout, &half);
        }
        rescan(&cluster);
        cluster.bucky(&["rebalance"]).assert_code(0);
        let fine = expected(&all);
        assert_eq!(values(&cluster, cluster.node(1), &metric, 60), fine, "{}", aggregation.name());
        let coarse = values(&cluster, cluster.node(1), &metric, 600);
        assert_eq!(coarse, rolled_up(&fine, aggregation), "{}", aggregation.name());
    }
}

/// What the coarse archive must have: each slot of ten minutes from the points inside it.
fn rolled_up(fine: &[(u32, f64)], aggregation: Aggregation) -> Vec<(u32, f64)> {
    let mut slots: std::collections::BTreeMap<u32, Vec<f64>> = std::collections::BTreeMap::new();
    for (timestamp, value) in fine {
        slots.entry(timestamp - timestamp % 600).or_default().push(*value);
    }
    let value = |values: &[f64]| match aggregation {
        Aggregation::Sum => values.iter().sum(),
        Aggregation::Max => values.iter().copied().fold(f64::MIN, f64::max),
        Aggregation::Last => values[values.len() - 1],
        _ => values.iter().sum::<f64>() / f64::from(u32::try_from(values.len()).unwrap()),
    };
    slots.into_iter().map(|(slot, values)| (slot, value(&values))).collect()
}

fn rescan(cluster: &TestCluster) {
    cluster.bucky(&["list", "-f"]).assert_code(0);
}

fn values(cluster: &TestCluster, node: &Node, metric: &str, step: u32) -> Vec<(u32, f64)> {
    expected(cluster.ledger().archive(metric, node.host(), step).unwrap())
}

fn expected(points: &[Point]) -> Vec<(u32, f64)> {
    let mut values: Vec<_> = points.iter().map(|point| (point.timestamp, point.value)).collect();
    values.sort_by_key(|(timestamp, _)| *timestamp);
    values
}
