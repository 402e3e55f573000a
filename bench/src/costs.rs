//! The cost of a metric by the length of its file. `docs/internals/scale.md` calculates with these figures.
//!
//! Every metric of four nodes is on the wrong node, as in `growth`. The figures are wall and processor
//! time for each metric, and the same for `tar | tar`, `sync` and `rm`. Two lengths show the cost of a metric
//! itself and of each byte.

use std::time::Duration;

use crate::Plan;
use crate::figure::{Bar, Figure};
use crate::growth::MisplacedCluster;
use crate::lay::{LARGE, SMALL};
use crate::measure;
use crate::rebalance;
use crate::table::Table;

struct Length {
    metrics: u32,
    retentions: &'static [&'static str],
    until_end: Figure,
    until_gone: Figure,
    processors: Figure,
    peer: Figure,
    peer_processors: Figure,
}

const LENGTHS: [Length; 3] = [
    Length {
        metrics: 20_000,
        retentions: &["60s:1h"],
        until_end: micros("costs: a metric of 748 B, until the client ends"),
        until_gone: micros("costs: a metric of 748 B, until its source is gone"),
        processors: micros("costs: a metric of 748 B, processors"),
        peer: micros("costs: a file of 748 B, (tar, sync, rm)"),
        peer_processors: micros("costs: a file of 748 B, (tar, sync, rm), processors"),
    },
    Length {
        metrics: 20_000,
        retentions: &SMALL,
        until_end: micros("costs: a metric of 17 KB, until the client ends"),
        until_gone: micros("costs: a metric of 17 KB, until its source is gone"),
        processors: micros("costs: a metric of 17 KB, processors"),
        peer: micros("costs: a file of 17 KB, (tar, sync, rm)"),
        peer_processors: micros("costs: a file of 17 KB, (tar, sync, rm), processors"),
    },
    Length {
        metrics: 5_000,
        retentions: &LARGE,
        until_end: micros("costs: a metric of 147 KB, until the client ends"),
        until_gone: micros("costs: a metric of 147 KB, until its source is gone"),
        processors: micros("costs: a metric of 147 KB, processors"),
        peer: micros("costs: a file of 147 KB, (tar, sync, rm)"),
        peer_processors: micros("costs: a file of 147 KB, (tar, sync, rm), processors"),
    },
];

const fn micros(name: &'static str) -> Figure {
    Figure { name, unit: "us", bar: Bar::None }
}

/// Measures the figures.
pub(crate) fn measure(plan: &Plan, table: &mut Table) {
    for length in &LENGTHS {
        let Length { until_end, until_gone, processors, peer, peer_processors, .. } = length;
        let ours = table.wants_any(&[*until_end, *until_gone, *processors]);
        let peers = table.wants_any(&[*peer, *peer_processors]);
        for _ in 0..plan.runs {
            if peers {
                by_tar(plan, length, table);
            }
            if ours {
                by_bucky(plan, length, table);
            }
        }
    }
}

fn by_tar(plan: &Plan, length: &Length, table: &mut Table) {
    let count = plan.scaled(length.metrics);
    let misplaced = MisplacedCluster::lay(plan, count, length.retentions);
    let cost = measure::shell(&misplaced.script());
    misplaced.assert_moved();
    table.add(&length.peer, each(cost.wall, count));
    table.add(&length.peer_processors, each(cost.cpu, count));
}

fn by_bucky(plan: &Plan, length: &Length, table: &mut Table) {
    let count = plan.scaled(length.metrics);
    let mut misplaced = MisplacedCluster::lay(plan, count, length.retentions);
    let run = rebalance::run(&mut misplaced.cluster);
    misplaced.assert_moved();
    table.add(&length.until_end, each(run.until_end, count));
    table.add(&length.until_gone, each(run.until_gone, count));
    table.add(&length.processors, each(run.cpu, count));
}

/// Microseconds for each of `count`.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn each(spent: Duration, count: usize) -> f64 {
    spent.as_secs_f64() * 1e6 / count as f64
}
