//! Clusters with some daemons of the Go tool.
//!
//! - `go_client`: the Go tool's client, with our daemons
//! - `go_cluster`: our client, with only daemons of the Go tool
//! - `roles`: both kinds in one ring, each as source, owner and drained node
//! - `replacement`: one daemon after the other is replaced while work continues

mod go_client;
mod go_cluster;
mod replacement;
mod roles;

use bucky_tests::{GoDaemon, TestCluster};

use crate::cluster;

/// A cluster with some daemons of the Go tool.
struct Mixed {
    // Stopped before the cluster's folder is removed.
    go: Vec<GoDaemon>,
    cluster: TestCluster,
}

impl Mixed {
    /// `nodes` nodes, `in_ring` of them in the ring, with metrics on their owners in a ring of the first
    /// `before` nodes. The nodes with the numbers in `go` have a daemon of the Go tool.
    fn grown(nodes: usize, in_ring: usize, before: usize, go: &[usize]) -> Self {
        let cluster = cluster(nodes).in_ring(in_ring).lay();
        cluster.scatter(METRICS, &cluster.ring_of_first(before));
        Self::start(cluster, go)
    }

    /// Starts all daemons of a cluster; those with the numbers in `go` are the Go tool's.
    fn start(mut cluster: TestCluster, go: &[usize]) -> Self {
        let nodes = cluster.nodes().len();
        for own in (0..nodes).filter(|number| !go.contains(number)) {
            cluster.node_mut(own).start();
        }
        for number in go {
            std::fs::create_dir_all(cluster.node(*number).prefix()).unwrap();
        }
        let go = go.iter().map(|number| GoDaemon::instead_of(&cluster, *number)).collect();
        Self { go, cluster }
    }
}

/// How many metrics the tests use: a few of each layout on every node.
const METRICS: usize = 90;
