//! The pace of a run with a limit.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{GoDaemon, Layout, Running, TestCluster};
use serde_json::json;

use super::misplaced;
use crate::cluster;
use crate::copies::map_file;

/// A measured value of a run, and its time.
struct Sample {
    at: f64,
    count: f64,
}

/// Starts a run, and samples `count` from before the run until it has ended.
fn sampled(
    start: impl FnOnce() -> Running,
    count: impl Fn() -> u64,
) -> (Vec<Sample>, bucky_tests::Finished) {
    let started = Instant::now();
    let sample = || {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let count = count() as f64;
        Sample { at: started.elapsed().as_secs_f64(), count }
    };
    let mut samples = vec![sample()];
    let mut run = start();
    loop {
        let running = run.is_running();
        samples.push(sample());
        if !running {
            return (samples, run.finish());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Checks that at no time there was more than `rate` a second since the start allows, plus `burst`. After a
/// delay on a slow machine, it may catch up.
#[track_caller]
fn assert_never_ahead(samples: &[Sample], rate: f64, burst: f64) {
    let first = &samples[0];
    for Sample { at, count } in samples {
        let (time, count) = (at - first.at, count - first.count);
        assert!(count <= rate * time + burst, "{count} within {time} s");
    }
}

/// The time from the first to the last change.
fn active_seconds(samples: &[Sample]) -> f64 {
    let (first, last) = (&samples[0], &samples[samples.len() - 1]);
    let begun = samples.iter().rfind(|sample| sample.count == first.count).unwrap();
    let ended = samples.iter().find(|sample| sample.count == last.count).unwrap();
    ended.at - begun.at
}

#[test]
fn a_run_keeps_to_its_bandwidth() {
    const RATE: f64 = 1024.0 * 1024.0;
    // A file of 100 KB; with the overhead of the tar, 3 MB in total.
    let layout = Layout { retentions: "1m:6d", ..MINUTES };
    let mut cluster = cluster(2).gate(0).lay();
    for name in cluster.names_owned_by(1, "wide", 30) {
        cluster.node(0).write(&name, &layout, &minutes(now(), [1.0, 2.0]));
    }
    cluster.start();
    let before = cluster.ledger();
    let start = || cluster.start_bucky(&["rebalance", "--bandwidth", "1M"]);
    let (samples, run) = sampled(start, || cluster.node(0).gate().answered_bytes());
    run.assert_code(0);
    // A portion is half a second's worth; the plan and the lists pass the gate too.
    assert_never_ahead(&samples, RATE, RATE * 0.75);
    let bytes = samples[samples.len() - 1].count;
    assert!(bytes > 3e6, "{bytes}");
    // The last portion is still in the owner's buffers for a while after it has passed the gate.
    let seconds = active_seconds(&samples);
    assert!(seconds >= bytes / RATE - 0.7, "{bytes} bytes within {seconds} s");
    // A tenth of the rate would take 30 s. Even a slow machine adds much less than that to a run without a
    // limit.
    assert!(seconds <= bytes / RATE * 2.0 + 20.0, "{bytes} bytes took {seconds} s");
    cluster.assert_all_in_place(&before);
}

/// D34: the Go tool's `-metrics-per-second` needs a health check, and has no effect until the first speed-up.
#[test]
fn metrics_a_second_hold_without_a_health_check_from_the_first_one_on() {
    const RATE: f64 = 20.0;
    let (cluster, before, names) = misplaced(60);
    let start = || cluster.start_bucky(&["rebalance", "-metrics-per-second", "20"]);
    let (samples, run) = sampled(start, || cluster.node(1).metrics().len() as u64);
    run.assert_code(0);
    // A portion is half a second's worth, and waits until its time has come.
    assert_never_ahead(&samples, RATE, RATE * 0.1);
    let seconds = samples[samples.len() - 1].at;
    assert!((2.9..30.0).contains(&seconds), "{} metrics took {seconds} s", names.len());
    cluster.assert_all_in_place(&before);
}

#[test]
fn rates_and_intervals_that_make_no_sense_are_usage_errors() {
    let cluster: TestCluster = cluster(1).lay();
    for (args, message) in [
        (["-metrics-per-second", "0"], "--metrics-per-second"),
        (["-metrics-per-second", "-3"], "--metrics-per-second"),
        (["-go-carbon-health-check-interval", "0"], "--go-carbon-health-check-interval"),
        (["-graphite-stat-interval", "0"], "--graphite-stat-interval"),
        (["-graphite-endpoint", "carbon"], "no port"),
        (["-go-carbon-protocol", "https"], "does not support TLS"),
        (["-bandwidth", "12"], "at least 64K"),
    ] {
        let run = cluster.bucky(&["rebalance", args[0], args[1]]).assert_code(2);
        run.assert_stderr_has(message);
    }
}

/// Lengths are not known here: the first ones are estimated, and the others are based on those that arrived.
#[test]
fn a_heal_keeps_to_its_bandwidth_too() {
    const RATE: f64 = 1024.0 * 1024.0;
    let layout = Layout { retentions: "1m:6d", ..MINUTES };
    let mut cluster = cluster(2).replication_factor(2).gate(0).lay();
    for name in cluster.names_owned_by(1, "healed", 30) {
        cluster.node(0).write(&name, &layout, &minutes(now(), [1.0, 2.0]));
    }
    cluster.start();
    let before = cluster.ledger();
    let start = || cluster.start_bucky(&["heal", "--bandwidth", "1M"]);
    let (samples, run) = sampled(start, || cluster.node(0).gate().answered_bytes());
    run.assert_code(0);
    let bytes = samples[samples.len() - 1].count;
    let seconds = active_seconds(&samples);
    assert!(seconds >= bytes / RATE - 0.7, "{bytes} bytes within {seconds} s");
    cluster.assert_all_in_place(&before);
}

/// A backfill accepted a bandwidth and went as fast as it could.
#[test]
fn a_backfill_keeps_to_its_bandwidth_too() {
    const RATE: f64 = 1024.0 * 1024.0;
    let layout = Layout { retentions: "1m:6d", ..MINUTES };
    let mut cluster = cluster(2).gate(0).lay();
    let old = cluster.names_owned_by(0, "old", 30);
    for name in &old {
        cluster.node(0).write(name, &layout, &minutes(now(), [1.0, 2.0]));
    }
    cluster.start();
    let new = cluster.names_owned_by(1, "new", 30);
    let map: BTreeMap<&String, &String> = old.iter().zip(&new).collect();
    let map = map_file(&cluster, &json!(map));
    let start = || cluster.start_bucky(&["backfill", "--bandwidth", "1M", &map]);
    let (samples, run) = sampled(start, || cluster.node(0).gate().answered_bytes());
    run.assert_code(0);
    let bytes = samples[samples.len() - 1].count;
    let seconds = active_seconds(&samples);
    assert!(
        bytes > 2.0 * RATE && seconds >= bytes / RATE - 0.7,
        "{bytes} bytes within {seconds} s"
    );
    assert!(new.iter().all(|name| cluster.node(1).has(name)));
}

/// With a daemon of the Go tool metrics move one by one, and their lengths are not known.
#[test]
fn a_go_daemons_metrics_keep_to_both_limits() {
    const RATE: f64 = 256.0 * 1024.0;
    let layout = Layout { retentions: "1m:3d", ..MINUTES };
    for (flag, value) in [("--bandwidth", "256K"), ("--metrics-per-second", "10")] {
        let mut cluster = cluster(2).lay();
        for name in cluster.names_owned_by(1, "by.hand", 15) {
            cluster.node(0).write(&name, &layout, &minutes(now(), [1.0, 2.0]));
        }
        let before = cluster.ledger();
        cluster.node_mut(1).start();
        let _go = GoDaemon::instead_of(&cluster, 0);
        let start = || cluster.start_bucky(&["rebalance", flag, value]);
        let (samples, run) = sampled(start, || cluster.node(1).metrics().len() as u64);
        run.assert_code(0);
        let seconds = samples[samples.len() - 1].at;
        // 15 files of 52 KB with the overhead of a tar. The last file is not included: its wait comes after
        // it.
        let least = if flag == "--bandwidth" { 14.0 * 53_000.0 / RATE } else { 1.4 };
        assert!((least..30.0).contains(&seconds), "{flag}: {seconds} s");
        cluster.assert_all_in_place(&before);
    }
}
