//! Copies: from node to node, from cluster to cluster, from old names to new ones.
//!
//! - `node`: `bucky copy`
//! - `names`: `bucky backfill`
//! - `clusters`: `bucky backfill2`
//! - `go`: copies with daemons of the Go tool as source or destination
//! - `large`: a hundred thousand names

mod clusters;
mod go;
mod large;
mod names;
mod node;

use std::collections::BTreeMap;
use std::path::PathBuf;

use bucky_tests::{Ledger, Node, TestCluster, tree};

/// The points of a metric on a node by time, from the archive with this step; `None` if the node has no file.
fn values(ledger: &Ledger, node: &Node, metric: &str, step: u32) -> Option<BTreeMap<u32, f64>> {
    let points = ledger.archive(metric, node.host(), step)?;
    Some(points.iter().map(|point| (point.timestamp, point.value)).collect())
}

/// The points of a metric with a point a minute, as it is now.
fn minutes_of(cluster: &TestCluster, node: usize, metric: &str) -> BTreeMap<u32, f64> {
    values(&cluster.ledger(), cluster.node(node), metric, 60).unwrap_or_default()
}

/// The state of the files of metrics below a node's prefix.
fn marks(node: &Node) -> BTreeMap<PathBuf, tree::Mark> {
    let is_metrics = |path: &PathBuf| path.extension().is_some_and(|end| end == "wsp");
    tree::marks(&node.prefix()).into_iter().filter(|(path, _)| is_metrics(path)).collect()
}

/// Checks that every file that a node had is unchanged; there may be new files.
#[track_caller]
fn assert_kept(node: &Node, before: &BTreeMap<PathBuf, tree::Mark>) {
    let now = marks(node);
    let touched: Vec<&PathBuf> =
        before.iter().filter(|(path, mark)| now.get(*path) != Some(mark)).map(|(p, _)| p).collect();
    assert!(touched.is_empty(), "touched on {}: {touched:?}", node.host());
}

/// Writes a map of names, and returns its path.
pub(crate) fn map_file(cluster: &TestCluster, map: &serde_json::Value) -> String {
    let path = cluster.path("map.json");
    std::fs::write(&path, map.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Makes all nodes scan again.
fn rescan(cluster: &TestCluster) {
    cluster.bucky(&["list", "-f"]).assert_code(0);
}
