//! `bucky` and `buckyd` end to end. A test is a story; its name is what it shows.

mod growth;
mod locate_vectors;

use bucky_tests::{ClusterPlan, Programs};

const PROGRAMS: Programs = Programs {
    bucky: env!("CARGO_BIN_EXE_bucky-under-test"),
    buckyd: env!("CARGO_BIN_EXE_buckyd-under-test"),
};

/// A cluster of this many nodes.
fn cluster(nodes: usize) -> ClusterPlan {
    ClusterPlan::of(PROGRAMS, nodes)
}
