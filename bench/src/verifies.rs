//! `bucky verify` of a healthy cluster, compared with `md5sum` of the same files.
//!
//! Both read every byte from the page cache, on the same number of processors. Ours first waits for a new
//! scan of each node, compares all copies and counts every point. The network traffic is measured on a
//! cluster with two equal copies of each metric.

use std::process::Command;

use bucky_tests::{ClusterPlan, TestCluster};

use crate::Plan;
use crate::figure::{Bar, Figure};
use crate::lay::{self, LARGE};
use crate::measure::{self, Cost};
use crate::table::{Table, say};
use crate::turns::ratio;

const METRICS: u32 = 6_000;
/// The number of metrics in the cluster with two copies.
const COPIED: u32 = 1_000;

const WALL: Figure =
    Figure::ratio("verify, 147 KB: wall / (find, xargs -P2 md5sum)", Bar::AtMost(0.5));
const CLIENT: Figure = Figure::memory("verify, 147 KB: client's peak", Bar::AtMost(48.0));
const CROSSED: Figure = Figure::ratio(
    "verify, 147 KB, two equal copies: bytes of answers / bytes of files",
    Bar::AtMost(0.02),
);

/// Measures the figures.
pub(crate) fn measure(plan: &Plan, table: &mut Table) {
    if table.wants_any(&[WALL, CLIENT]) {
        time(plan, table);
    }
    if table.wants(&CROSSED) {
        bytes(plan, table);
    }
}

fn time(plan: &Plan, table: &mut Table) {
    let count = plan.scaled(METRICS);
    let mut cluster = ClusterPlan::of(plan.programs, 3).lay();
    say(&format!("verify, 147 KB: laying {count} metrics"));
    lay::scatter(&cluster, 3, count, &LARGE);
    cluster.start();
    // Warms the cache for both.
    md5sum(&cluster);
    for run in 0..plan.runs {
        let before = (run % 2 == 0).then(|| md5sum(&cluster));
        let ours = verify(&cluster);
        let peer = before.unwrap_or_else(|| md5sum(&cluster));
        table.add(&WALL, ratio(ours.wall, peer.wall));
        table.add(&CLIENT, ours.peak_mib);
    }
}

fn md5sum(cluster: &TestCluster) -> Cost {
    let prefixes: Vec<String> =
        cluster.nodes().iter().map(|node| format!("'{}'", node.prefix().display())).collect();
    measure::shell(&format!(
        "find {} -name '*.wsp' -print0 | xargs -0 -P2 md5sum > /dev/null",
        prefixes.join(" ")
    ))
}

fn verify(cluster: &TestCluster) -> Cost {
    let mut command: Command = cluster.command(&["verify"]);
    command.stderr(std::process::Stdio::null());
    measure::run(command)
}

fn bytes(plan: &Plan, table: &mut Table) {
    let count = plan.scaled(COPIED);
    let cluster = ClusterPlan::of(plan.programs, 3).replication_factor(2);
    let mut cluster = cluster.gate(0).gate(1).gate(2).lay();
    lay::scatter(&cluster, 3, count, &LARGE);
    cluster.start();
    let answered =
        || -> u64 { cluster.nodes().iter().map(|node| node.gate().answered_bytes()).sum() };
    let before = answered();
    verify(&cluster);
    let crossed = answered() - before;
    let files = 2 * count * lay::content(&LARGE, 0, |_, _| true).len();
    #[expect(clippy::cast_precision_loss, reason = "a ratio of two sizes")]
    table.add(&CROSSED, crossed as f64 / files as f64);
}
