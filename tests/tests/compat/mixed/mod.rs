//! Clusters in which daemons of the Go tool take part.
//!
//! - `go_client`: the Go tool's client, with our daemons
//! - `go_cluster`: our client, with daemons of the Go tool only
//! - `roles`: both kinds in one ring, each as source, owner and drained node
//! - `replacement`: one daemon after the other taken over, while work goes on

mod go_client;
mod go_cluster;
mod replacement;
mod roles;

use bucky_tests::{GoDaemon, TestCluster};

use crate::cluster;

/// A cluster some of whose daemons are the Go tool's.
struct Mixed {
    // Ended before the cluster's folder goes.
    go: Vec<GoDaemon>,
    cluster: TestCluster,
}

impl Mixed {
    /// `nodes` nodes, `in_ring` of them in the ring, with metrics where a ring of the first `before` had them; those
    /// with these numbers have a daemon of the Go tool.
    fn grown(nodes: usize, in_ring: usize, before: usize, go: &[usize]) -> Self {
        let cluster = cluster(nodes).in_ring(in_ring).lay();
        cluster.scatter(METRICS, &cluster.ring_of_first(before));
        Self::start(cluster, go)
    }

    /// All daemons of a cluster, those with these numbers the Go tool's.
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

/// How many metrics the stories are told with: a few of each layout on every node.
const METRICS: usize = 90;
