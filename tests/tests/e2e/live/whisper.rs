//! whisper.py writes on every node while the cluster grows.
//!
//! Each round has a ring, a number of copies and a moment at which the relays switch; its writers keep a ledger of every
//! point that whisper.py acknowledged. In the end all of them, and all that was there before, are with their owners.

use std::time::Duration;

use bucky_ring::{Algorithm, Relay, Ring};
use bucky_tests::writer::Dropped;
use bucky_tests::written::{Found, Operation};
use bucky_tests::{Layout, Manner, Route, TestCluster, Writers, Written, metrics, soak};
use bucky_whisper::{Aggregation, Point};

use super::{RINGS, SWITCHES, Switch, run_until_balanced, wait_for_rest, wait_for_share};
use crate::cluster;

/// A day of minutes, alone and with a coarser archive behind it.
const LAYOUTS: [Layout; 2] = [
    metrics::MINUTES,
    Layout { retentions: "1m:1d,10m:4d", aggregation: Aggregation::Average, x_files_factor: 0.5 },
];
/// How many operations the writers are given by the old ring, and by the new one, at least.
const OPERATIONS: usize = 150;

#[test]
fn no_point_is_lost_of_whisper_py_that_locks_whenever_the_relays_switch() {
    rounds("live writers: whisper.py with flock", true);
}

#[test]
fn no_point_is_lost_of_whisper_py_that_does_not_lock_whenever_the_relays_switch() {
    rounds("live writers: whisper.py without flock", false);
}

/// Runs every moment of the switch, each with another ring.
fn rounds(story: &str, locks: bool) {
    let seed = soak::seed(story);
    let rounds = soak::rounds(1, 10);
    for (turn, switch) in SWITCHES.into_iter().enumerate() {
        let (mut found, mut dropped) = (Found::default(), Dropped::default());
        for round in 0..rounds {
            let chance = seed.wrapping_add((turn * 1000 + round) as u64);
            let ring = usize::try_from(chance % RINGS.len() as u64).unwrap();
            let (algorithm, copies) = RINGS[ring];
            let manner = Manner { locks, pause: Duration::from_millis(2), seed: chance };
            let layout = LAYOUTS[round % LAYOUTS.len()];
            let (more, given_up) = Story { switch, algorithm, copies, layout, manner }.run();
            found += more;
            dropped += given_up;
        }
        assert!(found.live > 0, "nothing was written in {switch:?}");
        let events = format!(
            "switch {switch:?}: {} points written live, {} laid down before; given up by the writers: {dropped:?}",
            found.live, found.laid_down
        );
        soak::record(story, rounds, &events, found.looked_for);
    }
}

/// One round.
#[derive(Debug)]
struct Story {
    switch: Switch,
    algorithm: Algorithm,
    copies: usize,
    layout: Layout,
    manner: Manner,
}

impl Story {
    fn run(self) -> (Found, Dropped) {
        let metrics = soak::rounds(90, 300);
        let mut cluster = cluster(4)
            .algorithm(self.algorithm)
            .relay(Relay::CarbonCRelay)
            .replication_factor(self.copies)
            .flag("--tombstone-grace", "1")
            .lay();
        let old = cluster.ring_of_first(3);
        let mut written = Written::none(u32::try_from(metrics).unwrap(), self.layout);
        // The others are created by the writers.
        written.lay_down(metrics * 2 / 3, &cluster, &old);
        cluster.start();
        let writers = Writers::start(&cluster, &written, &old, self.manner);
        writers.wait_for(OPERATIONS);
        self.move_all(&cluster, &old, &written, &writers);
        writers.wait_for(OPERATIONS);
        // They go on at the new nodes while the rest is moved.
        let _ = cluster.bucky(&["rebalance", "-f", "--batch-metrics", "7"]);
        let dropped = writers.stop(&mut written);
        if self.switch == Switch::CopiedFirst {
            assert_eq!(dropped, Dropped::default(), "carbon would have dropped updates");
        }
        run_until_balanced(&cluster);
        cluster.wait_until_buried();
        cluster.assert_no_strays();
        (written.assert_in_place(&cluster), dropped)
    }

    /// How many metrics the new node gets.
    fn to_come(&self, cluster: &TestCluster, old: &Ring, written: &Written) -> usize {
        written.to_move(written.metrics().len() * 2 / 3, old, cluster.ring())
    }

    /// The first run, and the switch somewhere beside it.
    fn move_all(&self, cluster: &TestCluster, old: &Ring, written: &Written, writers: &Writers) {
        if self.switch == Switch::Before {
            writers.route(Route::New);
            writers.wait_for(OPERATIONS);
        }
        let mut args = vec!["rebalance", "-f", "-w", "2", "--batch-metrics", "5"];
        if self.switch == Switch::CopiedFirst {
            args.push("--no-delete");
        }
        let mut run = cluster.start_bucky(&args);
        match self.switch {
            Switch::During(share) => {
                wait_for_share(cluster, &mut run, self.to_come(cluster, old, written), share);
                writers.route(Route::New);
            }
            Switch::OneByOne(share) => {
                wait_for_share(cluster, &mut run, self.to_come(cluster, old, written), share);
                writers.route(Route::Both);
            }
            Switch::CopiedFirst | Switch::Before | Switch::After => {}
        }
        let ended = run.finish();
        // 1: some were written to in each of the run's attempts; the next one has its turn.
        assert!(matches!(ended.code, Some(0 | 1)), "{ended}");
        writers.route(Route::New);
        if self.switch == Switch::CopiedFirst {
            wait_for_rest(cluster);
        }
    }
}

/// What the other stories rely on.
#[test]
fn the_ledger_of_the_writers_sees_what_is_lost_what_is_wrong_and_what_is_left_behind() {
    let cluster = cluster(2).lay();
    let mut written = Written::none(6, metrics::MINUTES);
    written.lay_down(5, &cluster, cluster.ring());
    assert_eq!(written.missing(&cluster), 0);
    let [first, second, third] = [0, 1, 2].map(|number| written.metrics()[number].name.to_string());
    let owner = |name: &str| cluster.node(cluster.owners(name)[0]);
    std::fs::remove_file(owner(&first).path(&first)).unwrap();
    let lost = written.missing(&cluster);
    assert!(lost > 500, "{lost}");
    // A point that nobody wrote, in the place of one that was written and in one that nothing was written to.
    let newest = metrics::now() / 60 * 60;
    let points = [0, 40].map(|age| Point { timestamp: newest - age * 60, value: -1.0 });
    metrics::update(&owner(&second).path(&second), &points);
    assert_eq!(written.missing(&cluster), lost + 3);
    // What a host that is no owner was given is wanted from the owners.
    let stranger = cluster.node(1 - cluster.owners(&third)[0]);
    let add = |written: &mut Written, host: &str, timestamp| {
        let operation = Operation { at: 0.0, how: "written", host: Some(host.to_owned()) };
        written.add(operation, 2, &[timestamp]);
    };
    add(&mut written, stranger.host(), newest - 40 * 60);
    assert_eq!(written.missing(&cluster), lost + 4);
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        written.assert_in_place(&cluster)
    }));
    let told = *told.unwrap_err().downcast::<String>().unwrap();
    for part in [&first, &second, &third, "laid down at", "has no file", "-1 on", "written at"] {
        assert!(told.contains(part), "{part} is not in: {told}");
    }
}
