//! A carbon on each node and two carbon-c-relays before them, while the cluster grows.
//!
//! Every point that is sent to a relay is in the ledger. At the end the relays have switched, the carbons
//! have written all their points, and `rebalance` says that the cluster is balanced. Then every point must be
//! on its owners.
//!
//! There is one exception: carbon checks for a file, and then opens or creates it. If the file appears or
//! disappears in between, carbon fails, logs that, and drops the update. Such points, and only those in
//! carbon's log, are counted separately. If the cluster is copied before the relays switch there are none. If
//! only sources at rest are deleted, there are none for files that disappeared.

use std::time::{Duration, Instant};

use bucky_ring::{Algorithm, Relay};
use bucky_tests::written::{DroppedUpdate, Found};
use bucky_tests::{Carbons, Feeder, Route, TestCluster, Written, soak, wait};

use super::{Mix, RINGS, SWITCHES, Switch, move_on, run_until_balanced, wait_for_share};
use crate::cluster;

/// The least number of runs of points sent by the old ring, and by the new one.
const RUNS: usize = 300;
/// How long no carbon may write before all are assumed to have written their points: each pauses for a second
/// when idle.
const QUIET: Duration = Duration::from_secs(2);
/// The same if points are missing: a carbon has dropped them, or is slow.
const LONG_QUIET: Duration = Duration::from_secs(15);

#[test]
fn no_point_is_lost_of_carbon_that_locks_whenever_the_relays_switch() {
    let short = [Switch::CopiedFirst, Switch::Before, Switch::OneByOne(0.3)];
    rounds("live writers: carbon with flock", true, &short);
}

#[test]
fn no_point_is_lost_of_carbon_that_does_not_lock_whenever_the_relays_switch() {
    let short = [Switch::Rested(0.5), Switch::During(0.5), Switch::After];
    rounds("live writers: carbon without flock", false, &short);
}

/// Runs every moment of the switch, or in the short form those of `short`.
fn rounds(story: &str, locks: bool, short: &[Switch]) {
    let seed = soak::seed(story);
    let rounds = soak::rounds(1, 5);
    let switches = if rounds == 1 { short.to_vec() } else { SWITCHES.to_vec() };
    for (turn, switch) in switches.into_iter().enumerate() {
        let (mut found, mut drops) = (Found::default(), Drops::default());
        for round in 0..rounds {
            let chance = seed.wrapping_add((turn * 1000 + round) as u64);
            let ring = usize::try_from(chance % RINGS.len() as u64).unwrap();
            let (algorithm, copies) = RINGS[ring];
            let mix = Mix::of(round);
            let (more, dropped) =
                Story { switch, algorithm, copies, mix, locks, seed: chance }.run();
            found += more;
            drops.count(&dropped);
        }
        assert!(found.live > 0, "nothing was sent in {switch:?}");
        let events = format!(
            "switch {switch:?}: {} points sent live, {} laid down before; {drops:?} by carbon, as it has logged, with {} points",
            found.live, found.laid_down, found.dropped
        );
        soak::record(story, rounds, &events, found.looked_for);
    }
}

/// How many updates the carbons have dropped: because a file had disappeared, and because one had appeared.
#[derive(Clone, Copy, Debug, Default)]
struct Drops {
    updates: usize,
    creates: usize,
}

impl Drops {
    fn count(&mut self, dropped: &[DroppedUpdate]) {
        let creates = dropped.iter().filter(|one| one.is_create).count();
        self.creates += creates;
        self.updates += dropped.len() - creates;
    }
}

/// One round.
#[derive(Debug)]
struct Story {
    switch: Switch,
    algorithm: Algorithm,
    copies: usize,
    mix: Mix,
    locks: bool,
    seed: u64,
}

impl Story {
    fn run(self) -> (Found, Vec<DroppedUpdate>) {
        let metrics = soak::rounds(90, 300);
        let mut cluster = cluster(4)
            .algorithm(self.algorithm)
            .relay(Relay::CarbonCRelay)
            .replication_factor(self.copies)
            .flag("--tombstone-grace", "2")
            .lay();
        let old = cluster.ring_of_first(3);
        let laid_down = self.switch.laid_down(metrics);
        let mut written = self.mix.lay_down(metrics, laid_down, &cluster, &old);
        cluster.start();
        let carbons = Carbons::start(&cluster, &old, self.mix.schemas(), self.locks);
        let feeder = carbons.feed(&written, Duration::from_millis(2), self.seed);
        feeder.wait_for(RUNS);
        let to_come = written.to_move(laid_down, &old, cluster.ring());
        self.move_all(&cluster, to_come, &carbons, &feeder);
        feeder.wait_for(RUNS);
        move_on(&cluster, self.switch, self.mix);
        feeder.stop(&mut written);
        // Before that, the last run would be too early.
        wait_until_flushed(&cluster, &written);
        run_until_balanced(&cluster, self.switch, self.mix);
        cluster.wait_until_no_tombstones();
        cluster.assert_nothing_unexpected();
        carbons.assert_relays_dropped_nothing();
        let dropped = carbons.dropped();
        let may_drop = |one: &DroppedUpdate| match self.switch {
            Switch::CopiedFirst => false,
            Switch::Rested(_) => one.is_create,
            _ => true,
        };
        assert!(dropped.iter().all(may_drop), "carbon had to drop updates: {dropped:?}");
        (written.assert_in_place_except(&cluster, &dropped), dropped)
    }

    /// The first run, and the switch at some moment during it.
    fn move_all(&self, cluster: &TestCluster, to_come: usize, carbons: &Carbons, feeder: &Feeder) {
        if self.switch == Switch::Before {
            carbons.route(Route::New);
            feeder.wait_for(RUNS);
        }
        let mut run = cluster.start_bucky(&self.switch.first_run(self.mix));
        match self.switch {
            Switch::During(share) | Switch::Rested(share) => {
                wait_for_share(cluster, &mut run, to_come, share);
                carbons.route(Route::New);
            }
            Switch::OneByOne(share) => {
                wait_for_share(cluster, &mut run, to_come, share);
                carbons.route(Route::Both);
            }
            Switch::CopiedFirst | Switch::Before | Switch::After => {}
        }
        let ended = run.finish();
        assert!(matches!(ended.code, Some(0 | 1)), "{ended}");
        carbons.route(Route::New);
    }
}

/// Waits until the carbons have written all their points. It may take long, as long as they make progress.
#[track_caller]
fn wait_until_flushed(cluster: &TestCluster, written: &Written) {
    let (mut seen, mut since) = (cluster.written(), Instant::now());
    wait::until("the carbons have written what they had", || {
        let now_there = cluster.written();
        if now_there != seen {
            (seen, since) = (now_there, Instant::now());
        }
        let quiet = since.elapsed();
        quiet > LONG_QUIET || (quiet > QUIET && written.lacking_copies(cluster) == 0)
    });
}
