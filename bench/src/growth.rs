//! The cost of a move for each metric, as the number of metrics grows by ten and by a hundred.
//!
//! Every metric of four nodes is on the wrong node, so that all of them move and every node sends and
//! receives. The files are small: the figures show the work for each metric, and whether it grows with the
//! number of metrics. The cost of `tar | tar`, `sync` and `rm` for the same files is reported too, and shows
//! how the file system itself scales.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use bucky_tests::{ClusterPlan, TestCluster};

use crate::Plan;
use crate::figure::{Bar, Figure};
use crate::lay;
use crate::measure;
use crate::rebalance;
use crate::table::{Table, say};

/// 748 bytes for each file.
const RETENTIONS: [&str; 1] = ["60s:1h"];
const NODES: usize = 4;
/// How many metrics move, and how many times within a run: short moves are repeated.
const SIZES: [(u32, u32); 3] = [(10_000, 4), (100_000, 1), (1_000_000, 1)];

/// A larger size compared with a smaller one.
struct Step {
    smaller: usize,
    greater: usize,
    wall: Figure,
    cpu: Figure,
    peer: Figure,
}

const STEPS: [Step; 3] = [
    Step {
        smaller: 0,
        greater: 1,
        wall: flat("growth: wall a metric, of 100 k moved / of 10 k"),
        cpu: flat("growth: processors a metric, of 100 k moved / of 10 k"),
        peer: unbarred("growth: (tar, sync, rm) a file, of 100 k / of 10 k"),
    },
    Step {
        smaller: 1,
        greater: 2,
        wall: flat("growth: wall a metric, of 1 M moved / of 100 k"),
        cpu: flat("growth: processors a metric, of 1 M moved / of 100 k"),
        peer: unbarred("growth: (tar, sync, rm) a file, of 1 M / of 100 k"),
    },
    Step {
        smaller: 0,
        greater: 2,
        wall: flat("growth: wall a metric, of 1 M moved / of 10 k"),
        cpu: flat("growth: processors a metric, of 1 M moved / of 10 k"),
        peer: unbarred("growth: (tar, sync, rm) a file, of 1 M / of 10 k"),
    },
];

/// The cost of each metric in the largest move.
const MICROSECONDS: Figure =
    Figure { name: "growth: wall a metric, of 1 M moved", unit: "us", bar: Bar::None };
const CLIENT: Figure = Figure::memory("growth: client's peak, 1 M moved", Bar::AtMost(48.0));
const DAEMON: Figure =
    Figure::memory("growth: greatest daemon's peak, 1 M moved", Bar::AtMost(64.0));

const fn flat(name: &'static str) -> Figure {
    Figure::ratio(name, Bar::AtMost(1.15))
}

const fn unbarred(name: &'static str) -> Figure {
    Figure::ratio(name, Bar::None)
}

/// Measures the figures.
pub(crate) fn measure(plan: &Plan, table: &mut Table) {
    let wants_peer = STEPS.iter().any(|step| table.wants(&step.peer));
    let wants_ours = table.wants_any(&[MICROSECONDS, CLIENT, DAEMON])
        || STEPS.iter().any(|step| table.wants_any(&[step.wall, step.cpu]));
    if !wants_peer && !wants_ours {
        return;
    }
    for _ in 0..plan.runs {
        let costs = SIZES.map(|(metrics, times)| {
            let count = plan.scaled(metrics);
            let peer = wants_peer.then(|| by_tar(plan, count, times));
            let ours = wants_ours.then(|| by_bucky(plan, count, times));
            (peer, ours)
        });
        add_to_table(&costs, table);
    }
}

/// The cost of each metric in seconds, and the peaks of memory.
#[derive(Clone, Copy)]
struct PerMetric {
    wall: f64,
    cpu: f64,
    client_mib: f64,
    daemon_mib: f64,
}

fn add_to_table(costs: &[(Option<f64>, Option<PerMetric>)], table: &mut Table) {
    for step in &STEPS {
        let ((peer_before, before), (peer, ours)) = (costs[step.smaller], costs[step.greater]);
        if let (Some(before), Some(ours)) = (before, ours) {
            table.add(&step.wall, ours.wall / before.wall);
            table.add(&step.cpu, ours.cpu / before.cpu);
        }
        if let (Some(before), Some(peer)) = (peer_before, peer) {
            table.add(&step.peer, peer / before);
        }
    }
    if let Some((_, Some(greatest))) = costs.last() {
        table.add(&MICROSECONDS, greatest.wall * 1e6);
        table.add(&CLIENT, greatest.client_mib);
        table.add(&DAEMON, greatest.daemon_mib);
    }
}

fn by_bucky(plan: &Plan, count: usize, times: u32) -> PerMetric {
    let (mut wall, mut cpu) = (Duration::ZERO, Duration::ZERO);
    let (mut client_mib, mut daemon_mib) = (0.0_f64, 0.0_f64);
    for _ in 0..times {
        let mut misplaced = MisplacedCluster::lay(plan, count, &RETENTIONS);
        let run = rebalance::run(&mut misplaced.cluster);
        misplaced.assert_moved();
        wall += run.until_gone;
        cpu += run.cpu;
        client_mib = client_mib.max(run.client_mib);
        daemon_mib = daemon_mib.max(run.daemon_mib);
    }
    let each = |spent: Duration| (spent / times).as_secs_f64() / float(count);
    say(&format!(
        "growth: {count} metrics, each {:.0} us on the wall, {:.0} us of processors",
        each(wall) * 1e6,
        each(cpu) * 1e6
    ));
    PerMetric { wall: each(wall), cpu: each(cpu), client_mib, daemon_mib }
}

/// Seconds for each file.
fn by_tar(plan: &Plan, count: usize, times: u32) -> f64 {
    let mut wall = Duration::ZERO;
    for _ in 0..times {
        let misplaced = MisplacedCluster::lay(plan, count, &RETENTIONS);
        wall += measure::shell(&misplaced.script()).wall;
        misplaced.assert_moved();
    }
    let each = (wall / times).as_secs_f64() / float(count);
    say(&format!("growth: {count} files by tar, sync, rm, each {:.0} us", each * 1e6));
    each
}

/// A cluster in which every metric is on the node after its owner.
pub(crate) struct MisplacedCluster {
    pub(crate) cluster: TestCluster,
    /// How many metrics each node owns.
    owned: [usize; NODES],
}

impl MisplacedCluster {
    /// Writes `count` metrics with these retentions.
    pub(crate) fn lay(plan: &Plan, count: usize, retentions: &[&str]) -> Self {
        say(&format!("laying {count} metrics, each on the wrong node"));
        let cluster = ClusterPlan::of(plan.programs, NODES).flag("--tombstone-grace", "0").lay();
        let contents: Vec<Vec<u8>> =
            (0..16).map(|seed| lay::content(retentions, seed, |_, _| true)).collect();
        let prefixes: Vec<PathBuf> =
            cluster.nodes().iter().map(bucky_tests::Node::prefix).collect();
        let mut lists = vec![String::new(); NODES];
        let mut owned = [0; NODES];
        for number in 0..count {
            let metric = lay::name(number);
            let owner = cluster.ring().owner(metric.as_str());
            let holder = (owner + 1) % NODES;
            owned[owner] += 1;
            lay::write(&prefixes[holder], &metric, &contents[number % contents.len()]);
            writeln!(lists[holder], "{}", metric.relative_path().display()).unwrap();
        }
        for (holder, list) in lists.iter().enumerate() {
            std::fs::write(cluster.path(&format!("list-{holder}")), list).unwrap();
        }
        measure::shell("sync");
        Self { cluster, owned }
    }

    /// A script that moves everything without Bucky.
    pub(crate) fn script(&self) -> String {
        let (mut copies, mut removals) = (String::new(), String::new());
        for holder in 0..NODES {
            let owner = (holder + NODES - 1) % NODES;
            let (from, to) =
                (self.cluster.node(holder).prefix(), self.cluster.node(owner).prefix());
            let list = self.cluster.path(&format!("list-{holder}"));
            let (from, to, list) = (from.display(), to.display(), list.display());
            writeln!(copies, "tar c -C '{from}' -T '{list}' | tar x -C '{to}'").unwrap();
            writeln!(removals, "cd '{from}'; xargs -d '\\n' rm < '{list}'").unwrap();
        }
        format!("{copies}sync\n{removals}")
    }

    /// Checks that every node has exactly the metrics that it owns.
    pub(crate) fn assert_moved(&self) {
        for (node, owned) in self.owned.iter().enumerate() {
            let found = self.cluster.node(node).metrics().len();
            assert_eq!(found, *owned, "node {node} has not exactly what it owns");
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn float(number: usize) -> f64 {
    number as f64
}
