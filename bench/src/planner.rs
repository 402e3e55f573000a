//! What the client itself costs, whatever the size of the store: a real `bucky` against simulated daemons.
//!
//! A plan over 200 nodes of 50 million metrics each, and rebalances of growing numbers of strays between 200 nodes, from each
//! to each, which is the hardest for whoever gathers them into batches. No byte of a file is moved.

use std::process::Command;

use crate::Plan;
use crate::fleet::{Fleet, Holding};
use crate::measure::{self, Cost};
use crate::table::{Table, say};

/// Nodes of the cluster.
const NODES: usize = 200;
/// Metrics of each, all of them astray, that are planned for.
const PLANNED: u64 = 50_000_000;
/// Strays of the whole cluster that are moved.
const MOVED: [u32; 3] = [10_000, 100_000, 1_000_000];

/// Takes the figures.
pub(crate) fn measure(plan: &Plan, table: &mut Table) {
    if !table.wants("planner") {
        return;
    }
    for _ in 0..plan.runs {
        let cost = plan_of(plan, Holding::counted(PLANNED));
        table.add("planner: a plan for 10,000,000,000 metrics", "s", 2.0, cost.wall.as_secs_f64());
        table.add("planner: a plan for 10,000,000,000 metrics: peak", "MiB", 48.0, cost.peak_mib);
        let costs = MOVED.map(|count| moved(plan, count));
        for (cost, count) in costs.iter().zip(MOVED) {
            let count = plan.scaled(count);
            let micros = cost.cpu.as_secs_f64() * 1e6 / count as f64;
            table.add(&format!("planner: {count} strays: processor each"), "us", 50.0, micros);
            table.add(&format!("planner: {count} strays: peak"), "MiB", 48.0, cost.peak_mib);
        }
    }
}

fn plan_of(plan: &Plan, holding: Holding) -> Cost {
    let fleet = Fleet::start(NODES, holding);
    measure::run(bucky(plan, &fleet, &["--no-op"]))
}

fn moved(plan: &Plan, count: u32) -> Cost {
    let count = plan.scaled(count);
    say(&format!("planner: moving {count} strays"));
    let fleet = Fleet::start(NODES, Holding::listed((count / NODES) as u64));
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal").to_string_lossy().into_owned();
    let cost = measure::run(bucky(plan, &fleet, &["-w", "100", "--journal", &journal]));
    let moved = fleet.moved();
    say(&format!("planner: {:.1} metrics a batch", moved.pulled as f64 / moved.pulls as f64));
    assert!(moved.listed == moved.pulled && moved.listed == moved.deleted, "{moved:?}");
    cost
}

fn bucky(plan: &Plan, fleet: &Fleet, args: &[&str]) -> Command {
    let mut bucky = Command::new(plan.programs.bucky);
    bucky.args(["rebalance", "-h", &fleet.seed()]).args(args);
    bucky
}
