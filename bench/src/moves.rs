//! A cluster that grows from three nodes to four, beside `tar | tar`, `sync` and `rm` of the same files.
//!
//! Both begin with the same files in the page cache and end with them durable at the new node and gone at the old ones. Ours
//! counts until the last tombstone is confirmed and removed.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bucky_tests::{ClusterPlan, TestCluster, tree, wait};
use bucky_whisper::MetricName;

use crate::Plan;
use crate::lay::{self, LARGE, SMALL};
use crate::measure::{self, Cost};
use crate::table::{Table, say};

/// The node that is new.
const NEW: usize = 3;

struct Size {
    name: &'static str,
    metrics: u32,
    retentions: &'static [&'static str],
}

const SIZES: [Size; 2] = [
    Size { name: "147 KB", metrics: 20_000, retentions: &LARGE },
    Size { name: "17 KB", metrics: 40_000, retentions: &SMALL },
];

/// Takes the figures.
pub(crate) fn measure(plan: &Plan, table: &mut Table) {
    for size in &SIZES {
        let name = format!("rebalance, {}", size.name);
        if table.wants(&name) {
            Moves::lay(plan, size, name).take(plan, table);
        }
    }
}

struct Moves {
    name: String,
    is_large: bool,
    retentions: &'static [&'static str],
    cluster: TestCluster,
    /// The numbers of the metrics that move from each of the old nodes.
    moving: Vec<Vec<usize>>,
}

impl Moves {
    fn lay(plan: &Plan, size: &Size, name: String) -> Self {
        let count = plan.scaled(size.metrics);
        say(&format!("{name}: laying {count} metrics"));
        let cluster = ClusterPlan::of(plan.programs, 4).lay();
        lay::scatter(&cluster, 3, count, size.retentions);
        let old = cluster.ring_of_first(3);
        let mut moving = vec![Vec::new(); 3];
        for number in 0..count {
            let metric = lay::name(number);
            let key = metric.as_str();
            if cluster.ring().owner(key) == NEW {
                moving[old.owner(key)].push(number);
            }
        }
        let is_large = size.metrics == SIZES[0].metrics;
        Self { name, is_large, retentions: size.retentions, cluster, moving }
    }

    fn take(mut self, plan: &Plan, table: &mut Table) {
        self.keep();
        for _ in 0..plan.runs {
            let peer = self.by_tar();
            self.restore();
            let ours = self.by_bucky(table);
            self.restore();
            table.add(
                &format!("{}: wall / (tar, sync, rm)", self.name),
                "x",
                1.1,
                ratio(ours.wall, peer.wall),
            );
            table.add(
                &format!("{}: processors / (tar, sync, rm)", self.name),
                "x",
                1.3,
                ratio(ours.cpu, peer.cpu),
            );
            if self.is_large {
                self.lay_halves();
                let (fills, _) = self.by_bucky_unmeasured();
                self.restore();
                table.add(
                    &format!("{}: all fills / all creates", self.name),
                    "x",
                    1.5,
                    ratio(fills.wall, ours.wall),
                );
            }
        }
    }

    fn moved(&self) -> usize {
        self.moving.iter().map(Vec::len).sum()
    }

    fn kept(&self, node: usize) -> PathBuf {
        self.cluster.path(&format!("kept-{node}"))
    }

    fn list(&self, node: usize) -> PathBuf {
        self.cluster.path(&format!("list-{node}"))
    }

    /// Keeps a copy of what will move.
    fn keep(&self) {
        for (node, moving) in self.moving.iter().enumerate() {
            let mut list = String::new();
            for &number in moving {
                writeln!(list, "{}", relative(number).display()).unwrap();
            }
            std::fs::write(self.list(node), list).unwrap();
            std::fs::create_dir_all(self.kept(node)).unwrap();
            measure::shell(&copy(
                &self.cluster.node(node).prefix(),
                &self.list(node),
                &self.kept(node),
            ));
        }
    }

    /// Puts everything back to where it was, and what is written to disk.
    fn restore(&self) {
        let prefix = self.cluster.node(NEW).prefix();
        let _ = std::fs::remove_dir_all(&prefix);
        std::fs::create_dir_all(&prefix).unwrap();
        for node in 0..self.moving.len() {
            measure::shell(&copy(
                &self.kept(node),
                &self.list(node),
                &self.cluster.node(node).prefix(),
            ));
        }
        measure::shell("sync");
    }

    fn by_tar(&self) -> Cost {
        let new = self.cluster.node(NEW).prefix();
        std::fs::create_dir_all(&new).unwrap();
        let mut script = String::new();
        for node in 0..self.moving.len() {
            script.push_str(&copy(&self.cluster.node(node).prefix(), &self.list(node), &new));
        }
        writeln!(script, "sync -f '{}'", new.display()).unwrap();
        for node in 0..self.moving.len() {
            let (prefix, list) = (self.cluster.node(node).prefix(), self.list(node));
            writeln!(script, "cd '{}'; xargs -d '\\n' rm < '{}'", prefix.display(), list.display())
                .unwrap();
        }
        measure::shell(&script)
    }

    /// Half of the points of each metric that will move, at the new node.
    fn lay_halves(&self) {
        let half = lay::content(self.retentions, 7, |age| age > 700);
        let prefix = self.cluster.node(NEW).prefix();
        for &number in self.moving.iter().flatten() {
            lay::write(&prefix, &lay::name(number), &half);
        }
        measure::shell("sync");
    }

    fn by_bucky(&mut self, table: &mut Table) -> Cost {
        let (cost, daemons_mib) = self.by_bucky_unmeasured();
        table.add(&format!("{}: client's peak", self.name), "MiB", 48.0, cost.peak_mib);
        table.add(&format!("{}: greatest daemon's peak", self.name), "MiB", 64.0, daemons_mib);
        cost
    }

    /// What a rebalance costs, and the greatest daemon's peak, in MiB.
    fn by_bucky_unmeasured(&mut self) -> (Cost, f64) {
        self.cluster.start();
        let pids: Vec<u32> = self.cluster.nodes().iter().map(bucky_tests::Node::pid).collect();
        let spent =
            |pids: &[u32]| -> Duration { pids.iter().filter_map(|&pid| measure::cpu(pid)).sum() };
        let before = spent(&pids);
        let begun = Instant::now();
        let mut bucky = Command::new(self.cluster.programs().bucky);
        bucky.args(["rebalance", "-w", "100", "-h", &self.cluster.node(0).addr()]);
        bucky.stderr(std::fs::File::create(self.cluster.path("bucky.log")).unwrap());
        let client = measure::run(bucky);
        let nodes = self.cluster.nodes();
        wait::until("all tombstones are gone", || {
            nodes.iter().all(|node| tree::tombstones(&node.prefix()).is_empty())
        });
        let wall = begun.elapsed();
        let cpu = spent(&pids).saturating_sub(before) + client.cpu;
        let new = self.cluster.node(NEW);
        assert_eq!(new.metrics().len(), self.moved(), "not all of it was moved");
        let peaks = pids.iter().filter_map(|&pid| measure::memory_mib(pid, "VmHWM:"));
        let daemons_mib = peaks.fold(0.0, f64::max);
        for node in 0..pids.len() {
            self.cluster.node_mut(node).stop();
        }
        (Cost { wall, cpu, peak_mib: client.peak_mib }, daemons_mib)
    }
}

fn relative(number: usize) -> PathBuf {
    MetricName::relative_path(&lay::name(number))
}

/// Copies the files of a list.
fn copy(from: &Path, list: &Path, to: &Path) -> String {
    format!("tar c -C '{}' -T '{}' | tar x -C '{}'\n", from.display(), list.display(), to.display())
}

fn ratio(ours: Duration, peer: Duration) -> f64 {
    ours.as_secs_f64() / peer.as_secs_f64()
}
