//! Two nodes with different storage schemas, in every command that fills, moves or deletes.
//!
//! Each test holds the same rule. A point that a source had is in the owner's file, in an archive of its own
//! resolution; or its source still exists and the command reports that and exits with 1; or the operator has
//! decided what to do with it.

mod commands;
mod rebalance;

use std::collections::BTreeSet;

use bucky_tests::metrics::{minutes, now};
use bucky_tests::{Finished, Layout, TestCluster, tree};
use bucky_whisper::Aggregation;

use crate::cluster;

/// The layout by the cluster's schemas.
const LONG: Layout =
    Layout { retentions: "1m:6h,10m:2d", aggregation: Aggregation::Average, x_files_factor: 0.0 };
/// The layout that a carbon without these schemas creates.
const SHORT: Layout =
    Layout { retentions: "1m:1h", aggregation: Aggregation::Average, x_files_factor: 0.5 };
/// Coarser, with a longer retention.
const COARSE: Layout =
    Layout { retentions: "10m:2d", aggregation: Aggregation::Average, x_files_factor: 0.0 };
const KEPT: &str = "points have no place at the owner";

/// Metrics of the second node that the first node has too, with another layout.
fn laid(count: usize, source: &Layout, owner: &Layout) -> (TestCluster, Vec<String>) {
    let cluster = cluster(2).flag("--tombstone-grace", "1").lay();
    let names = cluster.names_owned_by(1, "web.hits", count);
    lay(&cluster, &names, source, owner);
    (cluster, names)
}

fn lay(cluster: &TestCluster, names: &[String], source: &Layout, owner: &Layout) {
    let now = now();
    for name in names {
        cluster.node(0).write(name, source, &minutes(now, (0..300).map(f64::from)));
        cluster.node(1).write(name, owner, &minutes(now, [7.0, 7.0, 7.0]));
    }
}

/// The points of a metric's file on a node, by resolution and time; empty if there is no file.
fn points(cluster: &TestCluster, node: usize, name: &str) -> BTreeSet<(u32, u32)> {
    let ledger = cluster.ledger();
    let of_step = |step: u32| {
        let points = ledger.archive(name, cluster.node(node).host(), step).unwrap_or_default();
        points.iter().map(move |point| (step, point.timestamp)).collect::<Vec<_>>()
    };
    [60, 600].into_iter().flat_map(of_step).collect()
}

/// Checks that every point of `before`, by metric, is at the owner or still at the source.
#[track_caller]
fn assert_accounted_for(cluster: &TestCluster, before: &[(String, BTreeSet<(u32, u32)>)]) {
    for (name, before) in before {
        let mut there = points(cluster, 0, name);
        there.extend(points(cluster, 1, name));
        let now = now();
        let lost: Vec<_> = before
            .difference(&there)
            // Points that have expired since.
            .filter(|(step, t)| t + step * if *step == 60 { 360 } else { 288 } > now)
            .collect();
        assert!(lost.is_empty(), "{name}: {} points are gone: {lost:?}", lost.len());
    }
}

fn sources(cluster: &TestCluster, names: &[String]) -> Vec<(String, BTreeSet<(u32, u32)>)> {
    names.iter().map(|name| (name.clone(), points(cluster, 0, name))).collect()
}

fn are_there(cluster: &TestCluster, node: usize, names: &[String]) -> usize {
    names.iter().filter(|name| cluster.node(node).has(name)).count()
}

fn layout_of(cluster: &TestCluster, name: &str) -> String {
    let bytes = std::fs::read(cluster.node(1).path(name)).unwrap();
    bucky_whisper::Image::parse(&bytes).unwrap().header().layout()
}

#[track_caller]
fn assert_kept(run: Finished, cluster: &TestCluster, names: &[String]) {
    run.assert_code(1)
        .assert_stderr_has(KEPT)
        .assert_stderr_has("source 60s:6h,10m:2d, owner 60s:1h");
    assert_eq!(are_there(cluster, 0, names), names.len(), "the sources stay");
    assert!(tree::tombstones(&cluster.node(0).prefix()).is_empty());
}
