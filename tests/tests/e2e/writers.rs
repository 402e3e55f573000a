//! A carbon that writes while metrics move.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bucky_tests::metrics::{self, MINUTES, minutes, newest_minute, now};
use bucky_tests::{TestCluster, tree, wait};
use bucky_whisper::{OpenError, OpenMode, Point, WhisperFile};

use crate::cluster;

/// Two nodes, the first one behind a gate, with metrics of the second one on it.
fn gated(count: usize) -> (TestCluster, Vec<String>) {
    let mut cluster = cluster(2).gate(0).gate(1).lay();
    let names = cluster.names_owned_by(1, "written", count);
    for name in &names {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0, 2.0, 3.0]));
    }
    cluster.start();
    (cluster, names)
}

/// The value at a time in the file of `metric` on node 1.
fn at_owner(cluster: &TestCluster, metric: &str, timestamp: u32) -> Option<f64> {
    let ledger = cluster.ledger();
    let points = ledger.archive(metric, cluster.node(1).host(), 60)?;
    points.iter().find(|point| point.timestamp == timestamp).map(|point| point.value)
}

/// A point from this morning that no metric has yet.
fn late_point(value: f64) -> Point {
    let now = now();
    Point { timestamp: now - now % 60 - 6 * 3600, value }
}

/// With the Go tool, points written while its answer to the copy is delayed are lost.
#[test]
fn d30_points_written_between_the_copy_and_the_delete_are_moved_too() {
    let (cluster, names) = gated(20);
    let before = cluster.ledger();
    cluster.node(0).gate().hold("POST /v1/delete");
    let run = cluster.start_bucky(&["rebalance"]);
    cluster.node(0).gate().wait_until_held();
    let late = late_point(42.0);
    for name in names.iter().step_by(2) {
        assert!(cluster.node(1).has(name), "{name} was to be deleted before it was at its owner");
        metrics::update(&cluster.node(0).path(name), &[late]);
    }
    cluster.node(0).gate().release();
    run.finish().assert_code(0);
    cluster.assert_all_in_place(&before);
    for (number, name) in names.iter().enumerate() {
        let expected = number.is_multiple_of(2).then_some(42.0);
        assert_eq!(at_owner(&cluster, name, late.timestamp), expected, "{name}");
    }
}

/// The same without a gate: a writer that never pauses, like carbon. It does not touch files that were moved
/// away.
#[test]
fn d30_no_point_of_a_writer_that_never_rests_is_lost() {
    let mut cluster = cluster(2).flag("--tombstone-grace", "1").lay();
    let names = cluster.names_owned_by(1, "busy", 150);
    for name in &names {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0, 2.0, 3.0]));
    }
    cluster.start();
    let before = cluster.ledger();
    let (stop, source) = (AtomicBool::new(false), cluster.node(0));
    // So that each file is written about once a second, however many are left.
    let pause_millis = AtomicU64::new(6);
    let written = std::thread::scope(|scope| {
        let writer =
            scope.spawn(|| write_until(&stop, &pause_millis, &names, |name| source.path(name)));
        let all_moved = (0..10).any(|_| {
            let run = cluster.bucky(&["rebalance", "--batch-metrics", "10", "-w", "2"]);
            // On a slow disk a file may be written to in every attempt of every run: so the writer is slower
            // in the next run.
            pause_millis.store(pause_millis.load(Ordering::Relaxed) * 2, Ordering::Relaxed);
            run.code == Some(0)
        });
        stop.store(true, Ordering::Relaxed);
        assert!(all_moved, "ten runs did not move everything");
        writer.join().unwrap()
    });
    assert!(!written.is_empty(), "the writer wrote nothing");
    cluster.assert_all_in_place(&before);
    let after = cluster.ledger();
    for (name, point) in written {
        let points = after.archive(&name, cluster.node(1).host(), 60).unwrap();
        assert!(points.contains(&point), "{name}: {point:?} was acknowledged and is gone");
    }
}

/// Writes new points to the files of `names` in rotation until it is stopped, and returns the points. If a
/// file is moved away after it was opened, it is written to anyway, as carbon does.
fn write_until(
    stop: &AtomicBool,
    pause_millis: &AtomicU64,
    names: &[String],
    path: impl Fn(&str) -> std::path::PathBuf,
) -> Vec<(String, Point)> {
    let mut written = Vec::new();
    let newest = newest_minute();
    for age in 10..1000 {
        for name in names {
            if stop.load(Ordering::Relaxed) {
                return written;
            }
            std::thread::sleep(Duration::from_millis(pause_millis.load(Ordering::Relaxed)));
            let mut file =
                match WhisperFile::open(&path(name), OpenMode::Update, Duration::from_secs(10)) {
                    Ok(file) => file,
                    Err(OpenError::Open { .. }) => continue,
                    Err(error) => panic!("{error}"),
                };
            let point = Point { timestamp: newest - age * 60, value: f64::from(age) };
            file.update_many(&[point], now()).unwrap();
            written.push((name.clone(), point));
        }
    }
    written
}

/// Relays that still have the old ring create the file again at its old place.
#[test]
fn a_file_that_a_carbon_creates_again_at_the_old_node_is_merged_by_the_next_run() {
    let (cluster, names) = gated(10);
    let before = cluster.ledger();
    cluster.bucky(&["rebalance"]).assert_code(0);
    let late = late_point(3.0);
    for name in &names {
        cluster.node(0).write(name, &MINUTES, &[late]);
    }
    cluster.bucky(&["rebalance", "-f"]).assert_code(0);
    cluster.assert_all_in_place(&before);
    assert!(names.iter().all(|name| at_owner(&cluster, name, late.timestamp) == Some(3.0)));
}

/// The tombstone is such a file: it is checked again before it is removed.
#[test]
fn a_point_written_through_a_file_that_was_open_across_the_delete_is_healed() {
    let (mut cluster, names) = gated(5);
    let before = cluster.ledger();
    let path = cluster.node(0).path(&names[0]);
    // A writer that does not lock, or waits for the lock at the moment of the delete.
    let open = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    cluster.node(1).gate().hold("POST /v1/confirm");
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.node(1).gate().wait_until_held();
    assert!(!path.exists());
    let late = late_point(17.0);
    metrics::update(&std::path::PathBuf::from(format!("/proc/self/fd/{}", raw(&open))), &[late]);
    drop(open);
    cluster.node(1).gate().release();
    cluster.assert_all_in_place(&before);
    assert_eq!(at_owner(&cluster, &names[0], late.timestamp), Some(17.0));
    assert!(cluster.node_mut(0).stop().success());
}

fn raw(file: &std::fs::File) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(file)
}

/// carbon checks for a file and then creates one, which empties a file that was put there in between.
#[test]
fn a_destination_that_carbon_emptied_right_after_it_was_put_in_place_is_healed_again() {
    let (cluster, names) = gated(10);
    let before = cluster.ledger();
    cluster.node(0).gate().hold("POST /v1/delete");
    let run = cluster.start_bucky(&["rebalance"]);
    cluster.node(0).gate().wait_until_held();
    // As in whisper.create: truncated, and written again in the same file.
    for name in names.iter().take(3) {
        std::fs::write(cluster.node(1).path(name), MINUTES.empty_file()).unwrap();
    }
    // And one that has disappeared.
    std::fs::remove_file(cluster.node(1).path(&names[3])).unwrap();
    cluster.node(0).gate().release();
    run.finish().assert_code(0);
    cluster.assert_all_in_place(&before);
}

/// A file that carbon creates while ours is on its way is filled, never replaced.
#[test]
fn a_file_that_carbon_creates_during_the_move_keeps_its_points_and_its_inode() {
    let (cluster, names) = gated(10);
    let before = cluster.ledger();
    cluster.node(0).gate().hold("POST /v1/archive");
    let run = cluster.start_bucky(&["rebalance"]);
    cluster.node(0).gate().wait_until_held();
    let late = late_point(5.0);
    cluster.node(1).write(&names[0], &MINUTES, &[late]);
    let inode = || {
        std::os::unix::fs::MetadataExt::ino(&cluster.node(1).path(&names[0]).metadata().unwrap())
    };
    let made_by_carbon = inode();
    cluster.node(0).gate().release();
    run.finish().assert_code(0);
    cluster.assert_all_in_place(&before);
    assert_eq!(at_owner(&cluster, &names[0], late.timestamp), Some(5.0));
    assert_eq!(inode(), made_by_carbon, "a carbon that has it open would write into nothing");
}

/// The owner is down when it should confirm: the last copy of the source stays until the owner is back.
#[test]
fn an_owner_that_is_away_keeps_the_tombstones_waiting_and_the_status_says_why() {
    let (cluster, names) = gated(5);
    let before = cluster.ledger();
    cluster.node(1).gate().hold("POST /v1/confirm");
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.node(1).gate().wait_until_held();
    cluster.node(1).gate().shut();
    cluster.node(1).gate().release();
    let owner = cluster.node(1).addr();
    let held = wait::until_some("the status says why tombstones wait", || {
        let status = cluster.get(0, "/v1/status").json();
        let held = status["tombstones"]["held"].as_array()?.first()?.clone();
        assert_eq!(status["tombstones"]["waiting"], names.len());
        Some(held)
    });
    assert_eq!(held["count"], names.len());
    assert!(held["reason"].as_str().unwrap().contains(&owner), "{held}");
    assert_eq!(
        tree::tombstones(&cluster.node(0).prefix()).len(),
        names.len() + 1,
        "and a manifest"
    );
    // While it is down, `servers` reports the cluster as unhealthy, and shows the reason too.
    cluster
        .bucky(&["servers"])
        .assert_code(3)
        .assert_stderr_has("keeps 5 tombstones that cannot be confirmed");
    cluster.node(1).gate().reopen();
    cluster.assert_all_in_place(&before);
    // The status shows it a moment after the last one is gone.
    wait::until("the status has no tombstone any more", || {
        cluster.get(0, "/v1/status").json()["tombstones"]["waiting"] == 0
    });
}

/// A daemon that is started again finds its tombstones.
#[test]
fn tombstones_survive_a_restart_of_their_daemon() {
    let (mut cluster, names) = gated(5);
    let before = cluster.ledger();
    cluster.node(1).gate().hold("POST /v1/confirm");
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.node(1).gate().wait_until_held();
    cluster.node_mut(0).kill();
    // The metric that the owner should confirm no longer exists there.
    std::fs::remove_file(cluster.node(1).path(&names[2])).unwrap();
    cluster.node(1).gate().release();
    cluster.node_mut(0).start();
    cluster.assert_all_in_place(&before);
}

/// Carbon drops an update if it finds the file and cannot open it later. So sources that it still writes to
/// are not deleted.
#[test]
fn sources_that_are_still_written_to_are_copied_and_left_where_the_operator_wants_so() {
    let (cluster, names) = gated(12);
    let before = cluster.ledger();
    let rested = |name: &String| {
        let file = std::fs::File::options().write(true).open(cluster.node(0).path(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(300)).unwrap();
    };
    names.iter().take(4).for_each(rested);
    let run = cluster.bucky(&["rebalance", "--rest", "2m"]).assert_code(1);
    let run = run.assert_stderr_has(
        "8 were copied, but not deleted at their sources, which are still written to.",
    );
    run.assert_stderr_has("4 metrics moved").assert_stderr_has("When the relays no longer send");
    assert_eq!(cluster.node(1).metrics(), names, "all are at their owner");
    assert_eq!(cluster.node(0).metrics(), names[4..], "and those still written to at the source");
    // A point from before the relays switched.
    let late = late_point(8.0);
    metrics::update(&cluster.node(0).path(&names[5]), &[late]);
    names[4..].iter().for_each(rested);
    cluster.bucky(&["rebalance", "--rest", "2m"]).assert_code(0);
    cluster.assert_all_in_place(&before);
    assert_eq!(at_owner(&cluster, &names[5], late.timestamp), Some(8.0));
}
