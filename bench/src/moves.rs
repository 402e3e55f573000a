//! A cluster grows from three nodes to four, compared with `tar | tar`, `sync` and `rm` of the same files.
//!
//! Both begin with the same files in the page cache and with nothing left to write. Both end with the files
//! durable at the new node and removed from the old ones. Which one is first changes from run to run. Ours is
//! measured until the last tombstone is confirmed and removed, with no grace time; the time until the client
//! ends is reported too. The work of the kernel's own threads is in neither processor time.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use bucky_tests::{ClusterPlan, TestCluster};
use bucky_whisper::MetricName;

use crate::Plan;
use crate::figure::{Bar, Figure};
use crate::lay::{self, LARGE, SMALL};
use crate::measure::{self, Cost};
use crate::rebalance::{self, Run};
use crate::table::{Table, say};
use crate::turns::ratio;

/// How long the files rest unwritten before they are moved.
const REST: Duration = Duration::from_millis(2500);
/// The new node.
const NEW: usize = 3;

struct Size {
    name: &'static str,
    metrics: u32,
    retentions: &'static [&'static str],
    wall: Figure,
    until_end: Figure,
    cpu: Figure,
    client: Figure,
    daemon: Figure,
    fills: Option<Figure>,
}

const SIZES: [Size; 2] = [
    Size {
        name: "rebalance, 147 KB",
        metrics: 20_000,
        retentions: &LARGE,
        wall: Figure::ratio("rebalance, 147 KB: wall / (tar, sync, rm)", Bar::AtMost(1.1)),
        until_end: Figure::ratio(
            "rebalance, 147 KB: wall until the client ends / (tar, sync, rm)",
            Bar::None,
        ),
        cpu: Figure::ratio("rebalance, 147 KB: processors / (tar, sync, rm)", Bar::AtMost(1.3)),
        client: Figure::memory("rebalance, 147 KB: client's peak", Bar::AtMost(48.0)),
        daemon: Figure::memory("rebalance, 147 KB: greatest daemon's peak", Bar::AtMost(64.0)),
        fills: Some(Figure::ratio("rebalance, 147 KB: all fills / all creates", Bar::AtMost(1.5))),
    },
    Size {
        name: "rebalance, 17 KB",
        metrics: 40_000,
        retentions: &SMALL,
        wall: Figure::ratio("rebalance, 17 KB: wall / (tar, sync, rm)", Bar::AtMost(1.1)),
        until_end: Figure::ratio(
            "rebalance, 17 KB: wall until the client ends / (tar, sync, rm)",
            Bar::None,
        ),
        cpu: Figure::ratio("rebalance, 17 KB: processors / (tar, sync, rm)", Bar::AtMost(1.3)),
        client: Figure::memory("rebalance, 17 KB: client's peak", Bar::AtMost(48.0)),
        daemon: Figure::memory("rebalance, 17 KB: greatest daemon's peak", Bar::AtMost(64.0)),
        fills: None,
    },
];

/// Measures the figures.
pub(crate) fn measure(plan: &Plan, table: &mut Table) {
    for size in &SIZES {
        if size.wants_moves(table) || size.wants_fills(table) {
            Moves::lay(plan, size).take(plan, table);
        }
    }
}

impl Size {
    fn wants_moves(&self, table: &Table) -> bool {
        table.wants_any(&[self.wall, self.until_end, self.cpu, self.client, self.daemon])
    }

    fn wants_fills(&self, table: &Table) -> bool {
        self.fills.is_some_and(|fills| table.wants(&fills))
    }
}

struct Moves {
    size: &'static Size,
    cluster: TestCluster,
    /// The numbers of the metrics that move from each of the old nodes.
    moving: Vec<Vec<usize>>,
}

impl Moves {
    fn lay(plan: &Plan, size: &'static Size) -> Self {
        let count = plan.scaled(size.metrics);
        let cluster = ClusterPlan::of(plan.programs, 4).flag("--tombstone-grace", "0").lay();
        let old = cluster.ring_of_first(3);
        let mut moving = vec![Vec::new(); 3];
        for number in 0..count {
            let metric = lay::name(number);
            let key = metric.as_str();
            if cluster.ring().owner(key) == NEW {
                moving[old.owner(key)].push(number);
            }
        }
        let moves = Self { size, cluster, moving };
        say(&format!("{}: laying {count} metrics, {} move", size.name, moves.moved()));
        lay::scatter(&moves.cluster, 3, count, size.retentions);
        moves
    }

    fn take(mut self, plan: &Plan, table: &mut Table) {
        self.keep();
        for run in 0..plan.runs {
            let peer_is_first = run % 2 == 0;
            let peer_before =
                (peer_is_first && self.size.wants_moves(table)).then(|| self.by_tar());
            self.restore();
            let ours = self.by_bucky();
            if self.size.wants_moves(table) {
                let peer = peer_before.unwrap_or_else(|| self.by_tar());
                self.report(table, ours, peer);
            }
            if let Some(figure) = &self.size.fills
                && table.wants(figure)
            {
                self.restore();
                self.lay_halves();
                let fills = self.by_bucky();
                table.add(figure, ratio(fills.until_gone, ours.until_gone));
            }
        }
    }

    fn report(&self, table: &mut Table, ours: Run, peer: Cost) {
        let size = self.size;
        let [gone, end, cpu] =
            [ours.until_gone, ours.until_end, ours.cpu].map(|took| took.as_secs_f64());
        say(&format!(
            "{}: ours {gone:.2} s (the client {end:.2} s), processors {cpu:.2} s; the peer's {:.2} s, {:.2} s",
            size.name,
            peer.wall.as_secs_f64(),
            peer.cpu.as_secs_f64()
        ));
        table.add(&size.wall, ratio(ours.until_gone, peer.wall));
        table.add(&size.until_end, ratio(ours.until_end, peer.wall));
        table.add(&size.cpu, ratio(ours.cpu, peer.cpu));
        table.add(&size.client, ours.client_mib);
        table.add(&size.daemon, ours.daemon_mib);
    }

    fn moved(&self) -> usize {
        self.moving.iter().map(Vec::len).sum()
    }

    fn prefix(&self, node: usize) -> PathBuf {
        self.cluster.node(node).prefix()
    }

    fn kept(&self, node: usize) -> PathBuf {
        self.cluster.path(&format!("kept-{node}"))
    }

    fn list(&self, node: usize) -> PathBuf {
        self.cluster.path(&format!("list-{node}"))
    }

    /// Keeps a copy of the files that will move.
    fn keep(&self) {
        for (node, moving) in self.moving.iter().enumerate() {
            let mut list = String::new();
            for &number in moving {
                writeln!(list, "{}", relative(number).display()).unwrap();
            }
            std::fs::write(self.list(node), list).unwrap();
            std::fs::create_dir_all(self.kept(node)).unwrap();
            let (prefix, list, kept) = (self.prefix(node), self.list(node), self.kept(node));
            measure::shell(&format!(
                "tar c -C '{}' -T '{}' | tar x -C '{}'",
                prefix.display(),
                list.display(),
                kept.display()
            ));
        }
    }

    /// Restores all files, also on the disk. They are in the page cache, and were written some seconds ago: a
    /// carbon writes to a file once in ten or sixty seconds.
    fn restore(&self) {
        let new = self.prefix(NEW);
        let _ = std::fs::remove_dir_all(&new);
        std::fs::create_dir_all(&new).unwrap();
        for node in 0..self.moving.len() {
            let (kept, prefix) = (self.kept(node), self.prefix(node));
            measure::shell(&format!("cp -a '{}/.' '{}'", kept.display(), prefix.display()));
        }
        measure::shell("sync");
        std::thread::sleep(REST);
    }

    /// Writes half of the points of each metric that will move to the new node.
    fn lay_halves(&self) {
        let half = lay::content(self.size.retentions, 7, |age, points| age >= points / 2);
        for &number in self.moving.iter().flatten() {
            lay::write(&self.prefix(NEW), &lay::name(number), &half);
        }
        measure::shell("sync");
    }

    fn by_tar(&self) -> Cost {
        self.restore();
        let new = self.prefix(NEW);
        let (mut sources, mut removals) = (String::new(), String::new());
        for node in 0..self.moving.len() {
            let (prefix, list) = (self.prefix(node), self.list(node));
            let (prefix, list) = (prefix.display(), list.display());
            write!(sources, " -C '{prefix}' -T '{list}'").unwrap();
            writeln!(removals, "cd '{prefix}'; xargs -d '\\n' rm < '{list}'").unwrap();
        }
        let new = new.display();
        let cost = measure::shell(&format!("tar c{sources} | tar x -C '{new}'\nsync\n{removals}"));
        self.assert_moved();
        cost
    }

    /// Runs a rebalance, after [`Self::restore`].
    fn by_bucky(&mut self) -> Run {
        let run = rebalance::run(&mut self.cluster);
        self.assert_moved();
        run
    }

    fn assert_moved(&self) {
        let new = self.cluster.node(NEW).metrics().len();
        assert_eq!(new, self.moved(), "not all of it was moved");
        for (node, moving) in self.moving.iter().enumerate() {
            let left =
                moving.iter().filter(|&&number| self.prefix(node).join(relative(number)).exists());
            assert_eq!(left.count(), 0, "metrics are left at node {node}");
        }
    }
}

fn relative(number: usize) -> PathBuf {
    MetricName::relative_path(&lay::name(number))
}
