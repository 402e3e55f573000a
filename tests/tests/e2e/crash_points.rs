//! A daemon is killed immediately before a system call: before each call, one after another, with which a
//! destination or a source changes anything or makes it durable. Random kills seldom hit the moment between
//! two calls; this hits all of them.

use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{CrashPoint, Ledger, TestCluster, soak, tree, wait};
use fastrand::Rng;

use crate::cluster;
use crate::crash::assert_nothing_is_half_made;

/// Calls that change what is on a disk, make it durable, or read it before a change.
const CALLS: [&str; 13] = [
    "openat2",
    "write",
    "pwrite64",
    "ftruncate",
    "fsync",
    "fdatasync",
    "syncfs",
    "renameat",
    "renameat2",
    "mkdirat",
    "unlinkat",
    "flock",
    "linkat",
];
/// The largest number of calls that is tried for each kind. If a call is never made, the kind ends before it.
const NUMBERS: u32 = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Source,
    Destination,
}

impl Victim {
    fn node(self) -> usize {
        match self {
            Self::Source => 0,
            Self::Destination => 1,
        }
    }

    /// The most important calls, and how often each is usually made: the short form tries these.
    fn often(self) -> [(&'static str, u32); 8] {
        match self {
            Self::Source => [
                ("openat2", 8),
                ("write", 8),
                ("fsync", 3),
                ("renameat", 8),
                ("renameat", 8),
                ("flock", 8),
                ("unlinkat", 4),
                ("unlinkat", 8),
            ],
            Self::Destination => [
                ("write", 6),
                ("write", 12),
                ("write", 16),
                ("pwrite64", 8),
                ("syncfs", 3),
                ("syncfs", 3),
                ("linkat", 5),
                ("fsync", 3),
            ],
        }
    }
}

#[test]
fn a_source_that_is_killed_before_any_of_its_calls_loses_nothing() {
    crash_everywhere(Victim::Source, "crash points of a source");
}

#[test]
fn a_destination_that_is_killed_before_any_of_its_calls_loses_nothing() {
    crash_everywhere(Victim::Destination, "crash points of a destination");
}

fn crash_everywhere(victim: Victim, story: &str) {
    let mut rng = Rng::with_seed(soak::seed(story));
    let (mut crashes, mut runs, mut points) = (0, 0, 0);
    // The calls that the daemon never made.
    let mut unmet = Vec::new();
    let is_long = soak::rounds(0, 1) == 1;
    let mut try_one = |call: &str, number: u32, batch: u32| {
        let (has_crashed, looked_for) = crash_at(victim, call, number, batch);
        runs += 1;
        crashes += usize::from(has_crashed);
        points += looked_for;
        has_crashed
    };
    if is_long {
        for (call, batch) in CALLS.iter().flat_map(|call| [(call, 1), (call, 100)]) {
            let _ = (1..NUMBERS).take_while(|number| try_one(call, *number, batch)).count();
        }
    } else {
        for (call, below) in victim.often() {
            let number = rng.u32(1..below);
            let [batch, other] = if rng.bool() { [1, 100] } else { [100, 1] };
            // It depends on chance which thread makes how many of the calls: if none makes enough, an earlier
            // call is tried. And some calls are made for single metrics only, others for batches.
            let earlier = std::iter::successors(Some(number), |number| Some(number / 2));
            let mut tries = earlier
                .take_while(|number| *number > 0)
                .map(|number| (number, batch))
                .chain([(1, other)]);
            if !tries.any(|(number, batch)| try_one(call, number, batch)) {
                unmet.push(call);
            }
        }
    }
    let is_enough = if is_long { crashes * 3 >= runs } else { unmet.len() <= 2 };
    assert!(
        is_enough,
        "the daemon was killed in {crashes} of {runs} runs only; never at {unmet:?}"
    );
    soak::record(story, runs, &format!("{crashes} kills before a chosen system call"), points);
}

/// Makes one move with one crash. Returns whether the crash happened, and how many points were checked.
fn crash_at(victim: Victim, call: &str, number: u32, batch: u32) -> (bool, u64) {
    let (mut cluster, before) = small_move();
    let point = CrashPoint::set(cluster.node(victim.node()), call, number);
    let batch = batch.to_string();
    let mut run = cluster.start_bucky(&["rebalance", "-w", "1", "--batch-metrics", &batch]);
    let is_over = |cluster: &mut TestCluster, run: &mut bucky_tests::Running| {
        !run.is_running()
            && cluster.nodes().iter().all(|node| tree::tombstones(&node.prefix()).is_empty())
    };
    let mut has_crashed = false;
    wait::until(&format!("a crash before {call} {number}, or the end"), || {
        has_crashed = cluster.node_mut(victim.node()).has_ended();
        has_crashed || is_over(&mut cluster, &mut run)
    });
    drop(point);
    if has_crashed {
        assert_nothing_is_half_made(&cluster);
        cluster.node_mut(victim.node()).kill();
        cluster.node_mut(victim.node()).start();
        let _ = run.finish();
        cluster.bucky(&["rebalance", "-f"]).assert_code(0);
    } else {
        run.finish().assert_code(0);
    }
    cluster.assert_all_in_place(&before);
    (has_crashed, before.points())
}

/// Metrics in several folders. The owner has none, a part, or all of their points.
fn small_move() -> (TestCluster, Ledger) {
    let mut cluster = cluster(2).lay();
    let now = now();
    for stem in ["new.a", "new.b.c", "part", "same"] {
        for (number, name) in cluster.names_owned_by(1, stem, 2).iter().enumerate() {
            let all = minutes(now, (0..90).map(f64::from));
            let odd = all.iter().enumerate().filter(|(index, _)| index % 7 == number);
            let odd: Vec<_> = odd.map(|(_, point)| *point).collect();
            cluster.node(0).write(name, &MINUTES, &all);
            match stem {
                "part" => cluster.node(1).write(name, &MINUTES, &odd),
                "same" => cluster.node(1).write(name, &MINUTES, &all),
                _ => {}
            }
        }
    }
    cluster.start();
    let before = cluster.ledger();
    (cluster, before)
}
