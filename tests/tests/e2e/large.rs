//! Files about as large as the daemons' memory allows, many at once.

use std::time::{Duration, Instant};

use bucky_tests::metrics::{Layout, now};
use bucky_tests::{Running, TestCluster, wait};
use bucky_whisper::{Aggregation, Point};

use crate::cluster;

/// 10.9 MiB; with the minimum memory a file may have 12 MiB.
const LARGE: Layout =
    Layout { retentions: "1s:11d", aggregation: Aggregation::Last, x_files_factor: 0.0 };
/// How many metrics each node has of each other node.
const EACH: usize = 6;
/// Less than the 20 s that a daemon waits for memory before it gives up on a metric. All metrics together
/// take a second or two, and one metric takes much less, even on a slow machine.
const ROOM_WAIT: Duration = Duration::from_secs(15);

/// Each fill needs the source, the destination and the result in memory. When fills that had the first waited
/// for each other's memory, none continued until one gave up.
#[test]
fn large_files_that_everybody_fills_for_everybody_find_room_one_after_the_other() {
    let mut cluster = cluster(3).flag("--memory", "96").lay();
    let now = now();
    let points = |first: u32| -> Vec<Point> {
        (first..600).step_by(2).map(|age| Point { timestamp: now - age, value: 1.0 }).collect()
    };
    for from in 0..3 {
        for to in (0..3).filter(|to| *to != from) {
            for name in cluster.names_owned_by(to, &format!("large.from{from}"), EACH) {
                cluster.node(from).write(&name, &LARGE, &points(1));
                cluster.node(to).write(&name, &LARGE, &points(2));
            }
        }
    }
    cluster.start();
    let before = cluster.ledger();
    let mut run = cluster.start_bucky(&["rebalance", "-w", "100"]);
    let stood_still = longest_without_progress(&cluster, &mut run);
    let run = run.finish().assert_code(0);
    run.assert_stderr_has(&format!("{} metrics moved: 0 created, {0} filled", 6 * EACH));
    assert!(stood_still < ROOM_WAIT, "{stood_still:?}: they have waited for each other");
    cluster.assert_all_in_place(&before);
}

/// The longest time in which no file was filled or deleted, until the run ended.
fn longest_without_progress(cluster: &TestCluster, run: &mut Running) -> Duration {
    let (mut seen, mut since, mut longest) = (cluster.written(), Instant::now(), Duration::ZERO);
    wait::until("the run has ended", || {
        let now_there = cluster.written();
        longest = longest.max(since.elapsed());
        if now_there != seen {
            (seen, since) = (now_there, Instant::now());
        }
        !run.is_running()
    });
    longest
}
