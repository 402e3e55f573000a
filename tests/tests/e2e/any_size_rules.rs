//! What an operator may request beyond a plain move, for files that are longer than what a daemon holds in
//! memory: other schemas, corrupt copies, and sources that were cut off.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bucky_tests::metrics::{Layout, MINUTES, minutes, now};
use bucky_tests::{CrashPoint, Node, TestCluster, tree, wait};
use bucky_whisper::{Aggregation, Image, OpenMode, Point, WhisperFile};

use crate::cluster;
use crate::crash::assert_nothing_is_half_made;

/// 14.5 MB and 276 KB; with the minimum memory a daemon holds files of up to 12 MiB.
const LONG: Layout = layout("1s:14d,1m:16d");
/// 8.3 MB.
const SECONDS: Layout = layout("1s:8d");
const MINUTES_OF_LONG: Layout = layout("1m:16d");
const FIVE_MINUTES: Layout = layout("5m:30d");

const fn layout(retentions: &'static str) -> Layout {
    Layout { retentions, aggregation: Aggregation::Last, x_files_factor: 0.0 }
}

fn seconds(ages: impl IntoIterator<Item = u32>) -> Vec<Point> {
    let now = now();
    let point = |age: u32| Point { timestamp: now - age, value: f64::from(age % 100) };
    ages.into_iter().map(point).collect()
}

/// Points of five minutes for three days. None of them covers a point of the owner, whose roll-ups stay.
fn five_minutes() -> Vec<Point> {
    let now = now();
    minutes(now, (0..4_000).map(f64::from))
        .into_iter()
        .filter(|p| p.timestamp < now - 1_800)
        .collect()
}

fn layout_of(node: &Node, metric: &str) -> String {
    let content = std::fs::read(node.path(metric)).unwrap();
    Image::parse(&content).unwrap().header().layout()
}

/// The files that a node keeps aside.
fn kept(node: &Node) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(node.prefix().join(".bucky/replaced")).unwrap();
    folders.map(|folder| folder.unwrap().path().join("old")).collect()
}

fn temporary_files(node: &Node) -> usize {
    std::fs::read_dir(node.prefix().join(".bucky/tmp")).unwrap().count()
}

/// Every point of both is in the new file, and the old file is unlinked when the metric's file has all of
/// them.
#[test]
fn long_files_are_reshaped_whichever_side_is_long() {
    let mut cluster: TestCluster = cluster(2).flag("--memory", "96").lay();
    let names = ["long.source", "long.owner", "short.both"];
    let [source, owner, both] = names.map(|stem| cluster.name_owned_by(1, stem));
    cluster.node(0).write(&source, &LONG, &seconds((1..900).step_by(2)));
    cluster.node(1).write(&source, &MINUTES, &minutes(now(), [1.0, 2.0, 3.0]));
    cluster.node(0).write(&owner, &FIVE_MINUTES, &five_minutes());
    cluster.node(1).write(&owner, &LONG, &seconds((1..900).step_by(3)));
    cluster.node(0).write(&both, &SECONDS, &seconds(5..400));
    cluster.node(1).write(&both, &FIVE_MINUTES, &minutes(now(), (0..100).map(f64::from)));
    cluster.start();
    let before = cluster.ledger();
    let plan = cluster.bucky(&["rebalance", "--no-op"]).assert_code(0);
    for metric_layouts in ["1s:2w,60s:16d", "60s:1d", "5m:30d", "1s:8d"] {
        assert!(plan.stdout.contains(metric_layouts), "{plan}");
    }
    assert!(cluster.nodes().iter().all(|node| temporary_files(node) == 0));
    cluster.bucky(&["rebalance", "--on-schema-difference", "reshape"]).assert_code(0);
    assert_eq!(layout_of(cluster.node(1), &source), "1s:2w,60s:16d");
    assert_eq!(layout_of(cluster.node(1), &owner), "1s:2w,60s:16d,5m:30d");
    assert_eq!(layout_of(cluster.node(1), &both), "1s:8d,5m:30d");
    cluster.assert_all_in_place(&before);
    assert!(cluster.nodes().iter().all(|node| temporary_files(node) == 0));
}

/// For a file that is longer than all the memory for files.
#[test]
fn a_long_reshape_takes_no_more_memory_than_the_daemon_may() {
    let mut cluster: TestCluster = cluster(2).flag("--memory", "96").lay();
    let metric = cluster.name_owned_by(1, "long.reshaped");
    cluster.node(0).write(&metric, &FIVE_MINUTES, &five_minutes());
    cluster.node(1).write(&metric, &layout("1s:180d"), &seconds((1..100_000).step_by(3)));
    cluster.start();
    cluster.bucky(&["rebalance", "--on-schema-difference", "reshape"]).assert_code(0);
    assert_eq!(layout_of(cluster.node(1), &metric), "1s:180d,5m:259205m");
    let status = format!("/proc/{}/status", cluster.node(1).pid());
    let status = std::fs::read_to_string(status).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let most: u64 = most.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(most < 96 * 1024, "{most} KiB");
}

/// A carbon that takes locks, and one that does not. Each point written while the new file is built or put in
/// place is in the new file when the old one is unlinked.
#[test]
fn a_carbon_that_writes_to_a_long_file_while_it_is_reshaped_loses_nothing() {
    for locks in [true, false] {
        let mut cluster: TestCluster = cluster(2).flag("--memory", "96").lay();
        let metric = cluster.name_owned_by(1, "long.written");
        cluster.node(0).write(&metric, &FIVE_MINUTES, &five_minutes());
        cluster.node(1).write(&metric, &layout("1s:180d"), &seconds((1..1_500).step_by(3)));
        cluster.start();
        let before = cluster.ledger();
        let (path, has_ended) = (cluster.node(1).path(&metric), AtomicBool::new(false));
        let written = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let newest = now() - 400_000;
                let mut written = Vec::new();
                while !has_ended.load(Ordering::Relaxed) || written.len() < 50 {
                    let timestamp = newest - 7 * u32::try_from(written.len()).unwrap();
                    write_one(&path, timestamp, locks);
                    written.push(timestamp);
                    std::thread::sleep(Duration::from_millis(5));
                }
                written
            });
            let run = cluster.bucky(&["rebalance", "--on-schema-difference", "reshape"]);
            has_ended.store(true, Ordering::Relaxed);
            let written = writer.join().unwrap();
            run.assert_code(0);
            written
        });
        cluster.assert_all_in_place(&before);
        assert_eq!(layout_of(cluster.node(1), &metric), "1s:180d,5m:259205m");
        let content = std::fs::read(&path).unwrap();
        let view = Image::parse(&content).unwrap().archive(0).unwrap();
        let lost = written.iter().filter(|t| view.valid(**t, now()).is_none()).count();
        assert_eq!(lost, 0, "of {} points, with locks: {locks}", written.len());
    }
}

fn write_one(path: &Path, timestamp: u32, locks: bool) {
    let mut file = if locks {
        WhisperFile::open(path, OpenMode::Update, Duration::from_secs(20)).unwrap()
    } else {
        let file = File::options().read(true).write(true).open(path).unwrap();
        WhisperFile::of_locked(file, path).unwrap()
    };
    file.update(1.0, timestamp, now()).unwrap();
}

/// The owner's daemon ends during the reshape: there is one complete file under the metric's name, nothing is
/// lost, and the next run finishes.
#[test]
fn a_long_reshape_that_is_cut_off_by_a_crash_loses_nothing() {
    let writes = [("pwrite64", 2), ("pwrite64", 5)];
    let renames = [("renameat2", 2), ("fsync", 4), ("fsync", 6), ("fsync", 7)];
    let mut crashes = 0;
    for (call, number) in writes.into_iter().chain(renames) {
        let mut cluster: TestCluster = cluster(2).flag("--memory", "96").lay();
        let metric = cluster.name_owned_by(1, "long.reshaped");
        cluster.node(0).write(&metric, &FIVE_MINUTES, &five_minutes());
        cluster.node(1).write(&metric, &LONG, &seconds((1..900).step_by(3)));
        cluster.start();
        let before = cluster.ledger();
        let point = CrashPoint::set(cluster.node(1), call, number);
        let reshape = ["rebalance", "-f", "--on-schema-difference", "reshape"];
        let mut run = cluster.start_bucky(&reshape);
        let mut has_crashed = false;
        wait::until("a crash, or the end", || {
            has_crashed = cluster.node_mut(1).has_ended();
            has_crashed || !run.is_running()
        });
        drop(point);
        if has_crashed {
            crashes += 1;
            assert!(cluster.node(1).has(&metric), "{call} {number}");
            assert_nothing_is_half_made(&cluster);
            cluster.node_mut(1).kill();
            cluster.node_mut(1).start();
        }
        let _ = run.finish();
        cluster.bucky(&reshape).assert_code(0);
        assert_eq!(layout_of(cluster.node(1), &metric), "1s:2w,60s:16d,5m:30d");
        cluster.assert_all_in_place(&before);
        assert_eq!(temporary_files(cluster.node(1)), 0, "after {call} {number}");
    }
    assert!(crashes >= 5, "only {crashes} crashes");
}

/// For `coarsen` a known minute covers its seconds. What `drop` gives up is counted and announced before.
#[test]
fn points_of_long_files_that_have_no_place_are_given_up_where_that_is_allowed() {
    let mut cluster: TestCluster = cluster(2).flag("--memory", "96").lay();
    let [coarser, dropped] = ["coarser", "dropped"].map(|stem| cluster.name_owned_by(1, stem));
    for metric in [&coarser, &dropped] {
        cluster.node(0).write(metric, &LONG, &seconds(1..900));
    }
    cluster.node(1).write(&coarser, &MINUTES_OF_LONG, &minutes(now(), [1.0]));
    cluster.node(1).write(&dropped, &FIVE_MINUTES, &minutes(now(), []));
    let old = SystemTime::now() - Duration::from_secs(3600);
    let file = File::options().write(true).open(cluster.node(1).path(&dropped)).unwrap();
    file.set_modified(old).unwrap();
    cluster.start();
    cluster.bucky(&["rebalance"]).assert_code(1).assert_stderr_has("899 points");
    assert!(cluster.node(0).has(&coarser) && cluster.node(0).has(&dropped));
    // Slots of five minutes come only from a roll-up of the other archives' points; that roll-up exists.
    let coarsen = ["rebalance", "-f", "--on-schema-difference", "coarsen"];
    cluster.bucky(&coarsen).assert_code(0);
    assert!(!cluster.node(0).has(&coarser) && !cluster.node(0).has(&dropped));
    cluster.wait_until_no_tombstones();
    assert_eq!(layout_of(cluster.node(1), &coarser), "60s:16d");
    // Before the owner's retention there is no coarser point.
    let before_that = cluster.name_owned_by(1, "before.that");
    cluster.node(0).write(&before_that, &LONG, &seconds(200_000..200_500));
    cluster.node(1).write(&before_that, &MINUTES, &minutes(now(), [1.0]));
    let drop = ["rebalance", "-f", "--yes", "--on-schema-difference", "drop"];
    cluster.bucky(&coarsen).assert_code(1);
    assert!(cluster.node(0).has(&before_that));
    cluster.bucky(&drop).assert_code(0).assert_stderr_has("will be lost");
    assert!(!cluster.node(0).has(&before_that));
    cluster.wait_until_no_tombstones();
}

#[test]
fn corrupt_copies_and_cut_sources_are_replaced_and_salvaged_where_long_files_take_part() {
    let mut cluster: TestCluster = cluster(2).flag("--memory", "96").lay();
    let stems = ["long.source", "long.corrupt", "long.cut", "long.cut.there"];
    let [source, corrupt, cut, there] = stems.map(|stem| cluster.name_owned_by(1, stem));
    cluster.node(0).write(&source, &LONG, &seconds(1..900));
    cluster.node(0).write(&corrupt, &MINUTES, &minutes(now(), [1.0, 2.0]));
    let damaged = vec![7; 13 << 20];
    for (metric, content) in [(&source, &b"no whisper file"[..]), (&corrupt, &damaged)] {
        cluster.node(1).put(metric, content);
        let file = File::options().write(true).open(cluster.node(1).path(metric)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    }
    for metric in [&cut, &there] {
        cluster.node(0).write(metric, &LONG, &seconds(1..900));
        let file = File::options().write(true).open(cluster.node(0).path(metric)).unwrap();
        file.set_len(file.metadata().unwrap().len() - 100).unwrap();
    }
    cluster.node(1).write(&there, &LONG, &seconds(1_000..1_100));
    let whole = std::fs::read(cluster.node(0).path(&source)).unwrap();
    cluster.start();
    let run = cluster.bucky(&["rebalance"]).assert_code(1);
    run.assert_stderr_has("--replace-corrupt").assert_stderr_has("`bucky rebalance --salvage`");
    cluster.bucky(&["rebalance", "--replace-corrupt", "--salvage"]).assert_code(0);
    assert!(std::fs::read(cluster.node(1).path(&source)).unwrap() == whole);
    assert_eq!(layout_of(cluster.node(1), &corrupt), "60s:1d");
    let content = |node: &Node, metric: &str| std::fs::read(node.path(metric)).unwrap();
    let times = |content: &[u8]| -> Vec<u32> {
        let image = Image::parse(content).unwrap();
        image.archive(0).unwrap().points_valid(now()).map(|point| point.timestamp).collect()
    };
    let all: Vec<u32> = times(&whole);
    assert_eq!(times(&content(cluster.node(1), &cut)).len(), all.len());
    assert_eq!(times(&content(cluster.node(1), &there)).len(), all.len() + 100);
    cluster.wait_until_no_tombstones();
    let lengths = |node: &Node| -> Vec<u64> {
        let mut lengths: Vec<u64> =
            kept(node).iter().map(|old| old.metadata().unwrap().len()).collect();
        lengths.sort_unstable();
        lengths
    };
    assert_eq!(lengths(cluster.node(1)), [15, 13 << 20]);
    assert_eq!(lengths(cluster.node(0)), [whole.len() as u64 - 100; 2]);
    assert!(tree::tombstones(&cluster.node(0).prefix()).is_empty());
}
