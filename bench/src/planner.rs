//! What the client itself costs, whatever the size of the store: a real `bucky` against simulated daemons.
//!
//! A plan over 200 nodes of 50 million metrics each; rebalances of growing numbers of strays in a small cluster; and one
//! between 200 nodes, from each to each, which is the hardest for whoever gathers strays into batches. No byte of a file is
//! moved, and a journal is kept.

use std::process::Command;

use crate::Plan;
use crate::fleet::{Fleet, Holding, Moved};
use crate::measure::{self, Cost};
use crate::table::{Table, say};

/// Nodes of a large cluster.
const MANY: usize = 200;
/// Metrics of each of them, all of them astray, that are planned for.
const PLANNED: u64 = 50_000_000;
/// Nodes of a small one.
const FEW: usize = 4;
/// Metrics of a small cluster, of which all but one in `FEW` are strays.
const SIZES: [u32; 3] = [10_000, 100_000, 1_000_000];
/// Metrics of the large one that are moved, from each node to each.
const ALL_TO_ALL: u32 = 1_000_000;

/// Takes the figures.
pub(crate) fn measure(plan: &Plan, table: &mut Table) {
    if !table.wants("planner") {
        return;
    }
    for _ in 0..plan.runs {
        plan_of_many(plan, table);
        sizes(plan, table);
        all_to_all(plan, table);
    }
}

/// The daemons count, each its own: what is measured is what becomes of their answers.
fn plan_of_many(plan: &Plan, table: &mut Table) {
    let fleet = Fleet::start(MANY, Holding::Counted(PLANNED));
    let cost = measure::run(bucky(plan, &fleet, &["--no-op"]));
    let name = format!("planner: {MANY} nodes of {PLANNED} metrics");
    table.add(&name, "s", 2.0, cost.wall.as_secs_f64());
    table.add(&format!("{name}: client's peak"), "MiB", 48.0, cost.peak_mib);
}

fn sizes(plan: &Plan, table: &mut Table) {
    let costs = SIZES.map(|count| {
        let count = plan.scaled(count);
        let (cost, moved) = moved(plan, FEW, count);
        let name = format!("planner: {count} metrics");
        table.tell(&format!("{name}: client's processor a stray"), "us", micros(cost, moved));
        table.add(&format!("{name}: client's peak"), "MiB", 48.0, cost.peak_mib);
        micros(cost, moved)
    });
    let [first, .., last] = costs;
    table.add("planner: processor a stray, largest / smallest", "x", 1.15, last / first);
}

fn all_to_all(plan: &Plan, table: &mut Table) {
    let count = plan.scaled(ALL_TO_ALL);
    let (cost, moved) = moved(plan, MANY, count);
    let name = format!("planner: {count} metrics, {MANY} nodes each to each");
    table.tell(&format!("{name}: client's processor a stray"), "us", micros(cost, moved));
    table.tell(&format!("{name}: strays a batch"), "", ratio(moved.pulled, moved.pulls));
    table.tell(&format!("{name}: client's peak"), "MiB", cost.peak_mib);
}

/// What it costs to move all strays of `count` metrics on so many nodes, and what the daemons did.
fn moved(plan: &Plan, nodes: usize, count: usize) -> (Cost, Moved) {
    say(&format!("planner: {count} metrics on {nodes} nodes"));
    let fleet = Fleet::start(nodes, Holding::Listed((count / nodes) as u64));
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal").to_string_lossy().into_owned();
    let cost = measure::run(bucky(plan, &fleet, &["-w", "100", "--journal", &journal]));
    let moved = fleet.moved();
    assert!(
        moved.listed > 0 && moved.listed == moved.deleted,
        "not all of it was moved: {moved:?}"
    );
    (cost, moved)
}

fn bucky(plan: &Plan, fleet: &Fleet, args: &[&str]) -> Command {
    let mut bucky = Command::new(plan.programs.bucky);
    bucky.args(["rebalance", "-h", &fleet.seed()]).args(args).stderr(std::process::Stdio::null());
    bucky
}

fn micros(cost: Cost, moved: Moved) -> f64 {
    cost.cpu.as_secs_f64() * 1e6 / ratio(moved.pulled, 1)
}

#[expect(clippy::cast_precision_loss, reason = "counts need not be exact")]
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other as f64
}
