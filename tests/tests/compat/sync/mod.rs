//! The options of the sync engine: how fast moves go, what they tell while they run, and what they leave behind in files.

mod figures;
mod files;
mod health;
mod moves;
mod pace;
mod signals;

use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{Ledger, TestCluster};

use crate::cluster;

/// Two nodes, each behind a gate, and metrics of the second on the first, in this order of names.
fn strays(count: usize) -> (TestCluster, Ledger, Vec<String>) {
    let mut cluster = cluster(2).gate(0).gate(1).lay();
    let names = cluster.names_owned_by(1, "sync", count);
    for name in &names {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0, 2.0, 3.0]));
    }
    cluster.start();
    let before = cluster.ledger();
    (cluster, before, names)
}
