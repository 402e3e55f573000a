//! Files that are longer than what a daemon holds in memory are moved, filled and confirmed.

use bucky_tests::metrics::{Layout, MINUTES, minutes, now};
use bucky_tests::{CrashPoint, TestCluster, tree, wait};
use bucky_whisper::{Aggregation, Point};

use crate::cluster;
use crate::crash::assert_nothing_is_half_made;

/// 14.5 MB and 17 KB; with the minimum memory a daemon holds files of up to 12 MiB.
const LONG: Layout =
    Layout { retentions: "1s:14d,1m:16d", aggregation: Aggregation::Last, x_files_factor: 0.0 };

fn seconds(ages: impl IntoIterator<Item = u32>) -> Vec<Point> {
    let now = now();
    let point = |age: u32| Point { timestamp: now - age, value: f64::from(age % 100) };
    ages.into_iter().map(point).collect()
}

/// Such files could be neither moved nor archived, although the plan said that they fit.
#[test]
fn a_long_file_is_moved_or_filled_completely_and_its_tombstone_goes() {
    let mut cluster: TestCluster = cluster(3).flag("--memory", "96").lay();
    let [new, both, short] =
        ["long.new", "long.both", "short"].map(|stem| cluster.name_owned_by(1, stem));
    cluster.node(0).write(&new, &LONG, &seconds(1..900));
    // Both have points of the same times: the owner's stay. Each also has points of its own.
    cluster.node(0).write(&both, &LONG, &seconds((1..900).step_by(2)));
    cluster.node(1).write(&both, &LONG, &seconds((1..900).step_by(3)));
    cluster.node(2).write(&both, &LONG, &seconds(200_000..200_500));
    cluster.node(0).write(&short, &MINUTES, &minutes(now(), [1.0, 2.0]));
    let content = std::fs::read(cluster.node(0).path(&new)).unwrap();
    cluster.start();
    let before = cluster.ledger();
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
    assert!(std::fs::read(cluster.node(1).path(&new)).unwrap() == content);
    cluster.bucky(&["verify"]).assert_code(0);
}

/// The owner's file has changed since, as it does for any metric that is still written: the tombstone is sent
/// again, and is unlinked when the owner has found every point of it in its file.
#[test]
fn a_long_tombstone_goes_although_its_owner_has_been_written_to() {
    let mut cluster = cluster(2).flag("--memory", "96").flag("--tombstone-grace", "5").lay();
    let metric = cluster.name_owned_by(1, "long.tombstone");
    cluster.node(0).write(&metric, &LONG, &seconds(100..900));
    cluster.start();
    let before = cluster.ledger();
    // Without another copy to compare, it is only reported as misplaced.
    let verified = cluster.bucky(&["verify"]).assert_code(1);
    assert!(!verified.stdout.contains("cannot be"), "{verified}");
    cluster.bucky(&["rebalance"]).assert_code(0);
    assert!(!tree::tombstones(&cluster.node(0).prefix()).is_empty());
    // In another minute than the others, because a writer rolls up its own points again.
    cluster.node(1).write(&metric, &LONG, &seconds(1..30));
    cluster.assert_all_in_place(&before);
}

/// The daemons end during the move: no file is half written, nothing is left over, and the next run finishes.
#[test]
fn a_long_move_that_is_cut_off_by_a_crash_loses_nothing() {
    let calls = [(0, "flock", 20), (0, "renameat", 1), (1, "pwrite64", 30), (1, "pwrite64", 2)];
    let mut crashes = 0;
    for (victim, call, number) in calls.into_iter().chain([(1, "linkat", 2), (1, "fsync", 1)]) {
        let mut cluster: TestCluster = cluster(2).flag("--memory", "96").lay();
        let [new, both] = ["long.new", "long.both"].map(|stem| cluster.name_owned_by(1, stem));
        cluster.node(0).write(&new, &LONG, &seconds(1..900));
        cluster.node(0).write(&both, &LONG, &seconds((1..900).step_by(2)));
        cluster.node(1).write(&both, &LONG, &seconds((1..900).step_by(3)));
        cluster.start();
        let before = cluster.ledger();
        let point = CrashPoint::set(cluster.node(victim), call, number);
        let mut run = cluster.start_bucky(&["rebalance", "-w", "1", "--batch-metrics", "1"]);
        let mut has_crashed = false;
        wait::until("a crash, or the end", || {
            has_crashed = cluster.node_mut(victim).has_ended();
            has_crashed || !run.is_running()
        });
        drop(point);
        if has_crashed {
            crashes += 1;
            assert_nothing_is_half_made(&cluster);
            cluster.node_mut(victim).kill();
            cluster.node_mut(victim).start();
        }
        let _ = run.finish();
        cluster.bucky(&["rebalance", "-f"]).assert_code(0);
        cluster.assert_all_in_place(&before);
        for node in cluster.nodes() {
            let left = std::fs::read_dir(node.prefix().join(".bucky/tmp")).unwrap().count();
            assert_eq!(left, 0, "temporary files on {} after {call} {number}", node.host());
        }
    }
    assert!(crashes >= 3, "only {crashes} crashes");
}

#[test]
fn a_long_file_that_is_no_whisper_file_gets_no_place() {
    let mut cluster = cluster(2).flag("--memory", "96").lay();
    let metric = cluster.name_owned_by(1, "long.damaged");
    let mut content = LONG.empty_file();
    content[12..16].fill(0);
    cluster.node(0).put(&metric, &content);
    cluster.start();
    let run = cluster.bucky(&["rebalance"]).assert_code(1);
    run.assert_stderr_has("archive count at byte 12 is 0");
    assert!(cluster.node(0).has(&metric) && !cluster.node(1).has(&metric));
}

/// Another layout: the source's points have no place in the owner's file.
#[test]
fn a_long_source_with_points_that_have_no_place_stays() {
    let mut cluster = cluster(2).flag("--memory", "96").lay();
    let metric = cluster.name_owned_by(1, "long.other");
    cluster.node(0).write(&metric, &LONG, &seconds(1..900));
    cluster.node(1).write(&metric, &MINUTES, &minutes(now(), [1.0]));
    cluster.start();
    cluster.bucky(&["rebalance"]).assert_code(1).assert_stderr_has("899 points have no place");
    assert!(cluster.node(0).has(&metric));
    // Verify does not report it as in place either.
    cluster.bucky(&["verify"]).assert_code(1).assert_stdout_has("has no place for 899 points");
}
