//! The options for the pace of moves, for reports during a run, and for the files that it leaves.

mod figures;
mod files;
mod health;
mod moves;
mod pace;
mod signals;

use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{Ledger, TestCluster};

use crate::cluster;

/// Two nodes, each behind a gate, and metrics of the second node on the first one, sorted by name.
fn misplaced(count: usize) -> (TestCluster, Ledger, Vec<String>) {
    let mut cluster = cluster(2).gate(0).gate(1).lay();
    let names = cluster.names_owned_by(1, "sync", count);
    for name in &names {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0, 2.0, 3.0]));
    }
    cluster.start();
    let before = cluster.ledger();
    (cluster, before, names)
}
