//! One run of `bucky rebalance` on a cluster, and its cost for the client and the daemons together.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bucky_tests::{Node, TestCluster, wait};

use crate::measure;

/// The time limit for the last tombstones: they are confirmed after the client has ended, at about the pace
/// of the move.
const TOMBSTONES_LIMIT: Duration = Duration::from_secs(1800);

/// The cost of a rebalance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Wall time until the client has ended.
    pub(crate) until_end: Duration,
    /// Wall time until the last tombstone is confirmed and removed.
    pub(crate) until_gone: Duration,
    /// Processor time of the client and of all daemons until then.
    pub(crate) cpu: Duration,
    /// The client's peak of memory, in MiB.
    pub(crate) client_mib: f64,
    /// The largest peak of the daemons, in MiB.
    pub(crate) daemon_mib: f64,
}

/// Starts the daemons, rebalances with `-w 100`, waits until all tombstones are gone, and stops the daemons.
/// Their start is not counted.
pub(crate) fn run(cluster: &mut TestCluster) -> Run {
    cluster.start();
    let pids: Vec<u32> = cluster.nodes().iter().map(Node::pid).collect();
    let spent = || -> Duration { pids.iter().filter_map(|&pid| measure::cpu(pid)).sum() };
    let before = spent();
    let begun = Instant::now();
    let mut bucky = Command::new(cluster.programs().bucky);
    bucky.args(["rebalance", "-w", "100", "-h", &cluster.node(0).addr()]);
    bucky.stderr(std::fs::File::create(cluster.path("bucky.log")).unwrap());
    let client = measure::run(bucky);
    let nodes = cluster.nodes();
    let gone = wait::within(TOMBSTONES_LIMIT, || {
        let has_some =
            nodes.iter().any(|node| has_a_file(&node.prefix().join(".bucky/tombstones")));
        (!has_some).then_some(())
    });
    let until_gone = begun.elapsed();
    assert!(gone.is_some(), "tombstones are left");
    let cpu = spent().saturating_sub(before) + client.cpu;
    let peaks = pids.iter().filter_map(|&pid| measure::memory_mib(pid, "VmHWM:"));
    let daemon_mib = peaks.fold(0.0, f64::max);
    for node in 0..pids.len() {
        cluster.node_mut(node).stop();
    }
    Run { until_end: client.wall, until_gone, cpu, client_mib: client.peak_mib, daemon_mib }
}

/// Whether there is a file below `folder`. Stops at the first one, because the daemons need the processors.
fn has_a_file(folder: &Path) -> bool {
    // Entries and folders may disappear during the search.
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.filter_map(Result::ok).any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => has_a_file(&entry.path()),
        Ok(_) => true,
        Err(_) => false,
    })
}
