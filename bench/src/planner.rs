//! The cost of the client itself, for stores of any size: a real `bucky` with simulated daemons.
//!
//! It measures a plan over 200 nodes of 50 million metrics each, rebalances of growing numbers of misplaced
//! metrics in a small cluster, and a rebalance between 200 nodes, from each node to each other, which is the
//! hardest case for building batches. No file is moved; a journal is kept. There is no peer: the figures must
//! stay the same when the stores grow.

use std::fs::File;
use std::process::Command;

use crate::Plan;
use crate::figure::{Bar, Figure};
use crate::fleet::{Fleet, Holding, Moved};
use crate::measure::{self, Cost};
use crate::table::{Table, say};

/// The number of nodes in a large cluster.
const MANY: usize = 200;
/// How many misplaced metrics each of them counts.
const COUNTED: u64 = 50_000_000;
/// How many metrics the large cluster has; all of them move except one in 200.
const EACH: u32 = 1_000_000;
/// The number of nodes in a small cluster.
const FEW: usize = 4;
/// How many metrics a small cluster has, and how many times it is measured within a run. Three in four are
/// misplaced.
const SIZES: [(u32, u32); 3] = [(10_000, 5), (100_000, 1), (1_000_000, 1)];

const PLAN: [Figure; 2] = [
    Figure {
        name: "planner: a plan for 200 nodes of 50 M strays each",
        unit: "s",
        bar: Bar::AtMost(2.0),
    },
    memory("planner: a plan for 200 nodes of 50 M strays each: client's peak"),
];
const STRAYS: [[Figure; 2]; 3] = [
    [
        micros("planner: 10 k metrics, client's processor a stray"),
        memory("planner: 10 k metrics, client's peak"),
    ],
    [
        micros("planner: 100 k metrics, client's processor a stray"),
        memory("planner: 100 k metrics, client's peak"),
    ],
    [
        micros("planner: 1 M metrics, client's processor a stray"),
        memory("planner: 1 M metrics, client's peak"),
    ],
];
const FLAT: Figure =
    Figure::ratio("planner: client's processor a stray, of 1 M / of 10 k", Bar::AtMost(1.15));
const EACH_TO_EACH: [Figure; 3] = [
    micros("planner: 1 M metrics, 200 nodes each to each: client's processor a stray"),
    Figure {
        name: "planner: 1 M metrics, 200 nodes each to each: strays a batch",
        unit: "",
        bar: Bar::None,
    },
    Figure::memory("planner: 1 M metrics, 200 nodes each to each: client's peak", Bar::None),
];

const fn micros(name: &'static str) -> Figure {
    Figure { name, unit: "us", bar: Bar::None }
}

const fn memory(name: &'static str) -> Figure {
    Figure::memory(name, Bar::AtMost(48.0))
}

/// Measures the figures.
pub(crate) fn measure(plan: &Plan, table: &mut Table) {
    for _ in 0..plan.runs {
        if table.wants_any(&PLAN) {
            plan_of_many(plan, table);
        }
        if table.wants_any(&STRAYS.concat()) || table.wants(&FLAT) {
            sizes(plan, table);
        }
        if table.wants_any(&EACH_TO_EACH) {
            each_to_each(plan, table);
        }
    }
}

/// Each daemon counts its own metrics: this measures what the client does with their answers.
fn plan_of_many(plan: &Plan, table: &mut Table) {
    let fleet = Fleet::start(MANY, Holding::Counted(COUNTED));
    let cost = measure::run(bucky(plan, &fleet, &["--no-op"]));
    table.add(&PLAN[0], cost.wall.as_secs_f64());
    table.add(&PLAN[1], cost.peak_mib);
}

fn sizes(plan: &Plan, table: &mut Table) {
    let mut each = Vec::new();
    for ((metrics, times), [processor, peak]) in SIZES.iter().zip(&STRAYS) {
        let (mut micros, mut mib) = (0.0, 0.0_f64);
        for _ in 0..*times {
            let (cost, moved) = moved(plan, FEW, plan.scaled(*metrics));
            micros += micros_each(cost, moved) / f64::from(*times);
            mib = mib.max(cost.peak_mib);
        }
        table.add(processor, micros);
        table.add(peak, mib);
        each.push(micros);
    }
    table.add(&FLAT, each[SIZES.len() - 1] / each[0]);
}

fn each_to_each(plan: &Plan, table: &mut Table) {
    let (cost, moved) = moved(plan, MANY, plan.scaled(EACH));
    table.add(&EACH_TO_EACH[0], micros_each(cost, moved));
    table.add(&EACH_TO_EACH[1], ratio(moved.pulled, moved.pulls));
    table.add(&EACH_TO_EACH[2], cost.peak_mib);
}

/// Moves all misplaced metrics of `metrics` on `nodes` nodes. Returns the cost, and what the daemons did.
fn moved(plan: &Plan, nodes: usize, metrics: usize) -> (Cost, Moved) {
    say(&format!("planner: {metrics} metrics on {nodes} nodes"));
    let fleet = Fleet::start(nodes, Holding::Listed((metrics / nodes) as u64));
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal").to_string_lossy().into_owned();
    let mut bucky = bucky(plan, &fleet, &["-w", "100", "--journal", &journal]);
    bucky.stderr(File::create(folder.path().join("log")).unwrap());
    let cost = measure::run(bucky);
    let moved = fleet.moved();
    assert!(moved.listed > 0 && moved.listed == moved.deleted, "not all of it: {moved:?}");
    (cost, moved)
}

fn bucky(plan: &Plan, fleet: &Fleet, args: &[&str]) -> Command {
    let mut bucky = Command::new(plan.programs.bucky);
    // The fleet's strays are made up: they lie by no ring, and there is none to compare them with.
    bucky.args(["rebalance", "--expect-shuffle", "-h", &fleet.seed()]).args(args);
    bucky
}

fn micros_each(cost: Cost, moved: Moved) -> f64 {
    cost.cpu.as_secs_f64() * 1e6 / ratio(moved.deleted, 1)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other as f64
}
