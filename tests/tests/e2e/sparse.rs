//! Files with holes stay sparse at their owners, and files without holes stay dense.

use std::os::unix::fs::MetadataExt;

use bucky_tests::Node;
use bucky_tests::metrics::{Layout, minutes, now};
use bucky_whisper::Aggregation;

use crate::cluster;

/// 6 MiB.
const LAYOUT: Layout =
    Layout { retentions: "1m:1y", aggregation: Aggregation::Average, x_files_factor: 0.5 };

/// The disk space of a metric's file, in bytes.
fn room(node: &Node, metric: &str) -> u64 {
    std::fs::metadata(node.path(metric)).unwrap().blocks() * 512
}

#[test]
fn a_sparse_source_stays_sparse_at_its_owner_and_a_dense_one_dense() {
    let mut cluster = cluster(2).lay();
    let points = minutes(now(), [1.0, 2.0, 3.0]);
    let [sparse, dense] = ["sparse", "dense"].map(|stem| cluster.name_owned_by(1, stem));
    for metric in [&sparse, &dense] {
        cluster.node(0).write(metric, &LAYOUT, &points);
    }
    // A file that is written in full has no holes any more.
    let content = std::fs::read(cluster.node(0).path(&dense)).unwrap();
    cluster.node(0).put(&dense, &content);
    let len_bytes = content.len() as u64;
    assert!(room(cluster.node(0), &sparse) < 100_000 && room(cluster.node(0), &dense) >= len_bytes);
    cluster.start();
    let before = cluster.ledger();
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
    assert!(room(cluster.node(1), &sparse) < 100_000);
    assert!(room(cluster.node(1), &dense) >= len_bytes);
}
