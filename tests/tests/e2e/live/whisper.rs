//! whisper.py writes on every node while the cluster grows.
//!
//! Each round has a ring, a number of copies and a moment at which the relays switch; its writers keep a
//! ledger of every point that whisper.py acknowledged. At the end all of them, and all earlier points, are on
//! their owners.

use std::time::Duration;

use bucky_ring::{Algorithm, Relay};
use bucky_tests::writer::Dropped;
use bucky_tests::written::{Found, Operation};
use bucky_tests::{Route, Schemas, TestCluster, WriterOptions, Writers, Written, metrics, soak};
use bucky_whisper::Point;

use super::{Mix, RINGS, SWITCHES, Switch, move_on, run_until_balanced, wait_for_share};
use crate::cluster;

/// The least number of operations of the writers by the old ring, and by the new one.
const OPERATIONS: usize = 150;

#[test]
fn no_point_is_lost_of_whisper_py_that_locks_whenever_the_relays_switch() {
    let short = [Switch::CopiedFirst, Switch::Before, Switch::During(0.5), Switch::After];
    rounds("live writers: whisper.py with flock", true, &short);
}

#[test]
fn no_point_is_lost_of_whisper_py_that_does_not_lock_whenever_the_relays_switch() {
    let short =
        [Switch::Rested(0.5), Switch::During(0.1), Switch::During(0.9), Switch::OneByOne(0.3)];
    rounds("live writers: whisper.py without flock", false, &short);
}

/// Runs every moment of the switch, each with another ring; in the short form those of `short`.
fn rounds(story: &str, locks: bool, short: &[Switch]) {
    let seed = soak::seed(story);
    let rounds = soak::rounds(1, 10);
    let switches = if rounds == 1 { short.to_vec() } else { SWITCHES.to_vec() };
    for (turn, switch) in switches.into_iter().enumerate() {
        let (mut found, mut dropped) = (Found::default(), Dropped::default());
        for round in 0..rounds {
            let chance = seed.wrapping_add((turn * 1000 + round) as u64);
            let ring = usize::try_from(chance % RINGS.len() as u64).unwrap();
            let (algorithm, copies) = RINGS[ring];
            let manner = WriterOptions { locks, pause: Duration::from_millis(2), seed: chance };
            let mix = Mix::of(round);
            let (more, given_up) = Story { switch, algorithm, copies, mix, manner }.run();
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
    mix: Mix,
    manner: WriterOptions,
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
        // The writers create the others.
        let laid_down = self.switch.laid_down(metrics);
        let mut written = self.mix.lay_down(metrics, laid_down, &cluster, &old);
        cluster.start();
        let writers = Writers::start(&cluster, &written, &old, self.manner);
        writers.wait_for(OPERATIONS);
        let to_come = written.to_move(laid_down, &old, cluster.ring());
        self.move_all(&cluster, to_come, &writers);
        writers.wait_for(OPERATIONS);
        move_on(&cluster, self.switch, self.mix);
        let dropped = writers.stop(&mut written);
        match self.switch {
            Switch::CopiedFirst => {
                assert_eq!(dropped, Dropped::default(), "carbon would have dropped updates");
            }
            Switch::Rested(_) => assert_eq!(dropped.update, 0, "carbon would have dropped updates"),
            _ => {}
        }
        run_until_balanced(&cluster, self.switch, self.mix);
        cluster.wait_until_no_tombstones();
        cluster.assert_nothing_unexpected();
        (written.assert_in_place(&cluster), dropped)
    }

    /// The first run, and the switch at some moment during it.
    fn move_all(&self, cluster: &TestCluster, to_come: usize, writers: &Writers) {
        if self.switch == Switch::Before {
            writers.route(Route::New);
            writers.wait_for(OPERATIONS);
        }
        let mut run = cluster.start_bucky(&self.switch.first_run(self.mix));
        match self.switch {
            Switch::During(share) | Switch::Rested(share) => {
                wait_for_share(cluster, &mut run, to_come, share);
                writers.route(Route::New);
            }
            Switch::OneByOne(share) => {
                wait_for_share(cluster, &mut run, to_come, share);
                writers.route(Route::Both);
            }
            Switch::CopiedFirst | Switch::Before | Switch::After => {}
        }
        let ended = run.finish();
        // 1: some were written to in every attempt of the run; the next run moves them.
        assert!(matches!(ended.code, Some(0 | 1)), "{ended}");
        writers.route(Route::New);
    }
}

/// The other tests rely on this.
#[test]
fn the_ledger_of_the_writers_finds_lost_wrong_and_leftover_points() {
    let cluster = cluster(2).lay();
    let mut written = Written::none(6, &[Schemas::same("m", metrics::MINUTES)]);
    let newest = written.lay_down(5, &cluster, cluster.ring());
    assert_eq!(written.missing(&cluster), 0);
    let [first, second, third] = [0, 1, 2].map(|number| written.metrics()[number].name.to_string());
    let owner = |name: &str| cluster.node(cluster.owners(name)[0]);
    std::fs::remove_file(owner(&first).path(&first)).unwrap();
    let lost = written.missing(&cluster);
    assert!(lost > 500, "{lost}");
    // A point that no process wrote, in a slot that was written, and in one that was not.
    let points = [0, 40].map(|age| Point { timestamp: newest - age * 60, value: -1.0 });
    metrics::update(&owner(&second).path(&second), &points);
    assert_eq!(written.missing(&cluster), lost + 3);
    // Points given to a host that is not an owner must be on the owners.
    let stranger = cluster.node(1 - cluster.owners(&third)[0]);
    let add = |written: &mut Written, host: &str, timestamp| {
        let operation = Operation { at: 0.0, how: "written", host: Some(host.to_owned()) };
        written.add(operation, 2, &[(timestamp, Some(60))]);
    };
    add(&mut written, stranger.host(), newest - 40 * 60);
    assert_eq!(written.missing(&cluster), lost + 4);
    let message = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        written.assert_in_place(&cluster)
    }));
    let message = *message.unwrap_err().downcast::<String>().unwrap();
    for part in [&first, &second, &third, "laid down at", "has no file", "-1 on", "written at"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}
