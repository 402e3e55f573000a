//! Files that are longer than what a daemon holds in memory are archived, restored, compared, and sent and
//! received on the Go tool's routes, with every point, and no process holds a whole file.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bucky_tests::metrics::{Layout, MINUTES, minutes, now};
use bucky_tests::{Finished, Running, TestCluster, wait};
use bucky_whisper::{Aggregation, Image, Point};

use crate::cluster;

/// 104 MB. With the minimum memory a daemon holds files of up to 12 MiB, and the client up to 32 MiB.
const LONG: Layout =
    Layout { retentions: "1s:100d", aggregation: Aggregation::Last, x_files_factor: 0.0 };
/// 14.5 MB: too long for a daemon, but not for the client.
const LONGISH: Layout =
    Layout { retentions: "1s:14d,1m:16d", aggregation: Aggregation::Last, x_files_factor: 0.0 };
/// The limit for the memory of a client or a daemon.
const PEAK_MIB: u64 = 150;

/// Points with these ages before `now`, in seconds.
fn seconds(now: u32, ages: impl IntoIterator<Item = u32>, value: f64) -> Vec<Point> {
    ages.into_iter().map(|age| Point { timestamp: now - age, value }).collect()
}

/// The values of the finest archive of a file, by time.
fn values(path: &Path, now: u32) -> BTreeMap<u32, f64> {
    let content = std::fs::read(path).unwrap();
    let image = Image::parse(&content).unwrap();
    let points = image.archive(0).unwrap().points_valid(now);
    points.map(|point| (point.timestamp, point.value)).collect()
}

/// Waits for its end, and checks that its memory stayed within the limit.
#[track_caller]
fn in_little_memory(mut run: Running) -> Finished {
    let mut peak = 0;
    wait::until("the run has ended", || {
        peak = peak.max(run.peak_mib().unwrap_or(0));
        !run.is_running()
    });
    assert!((1..PEAK_MIB).contains(&peak), "the client had {peak} MiB");
    run.finish()
}

#[track_caller]
fn assert_daemons_are_small(cluster: &TestCluster) {
    for node in cluster.nodes() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kib / 1024 < PEAK_MIB, "{} had {} MiB", node.host(), kib / 1024);
    }
}

fn tar(cluster: &TestCluster, args: &[&str]) -> (Running, PathBuf) {
    let path = cluster.path("archive.tar");
    let command = cluster.command(&[&["tar", "-f"], args].concat());
    let data = File::create(&path).unwrap();
    (Running::start_between(command, Stdio::null(), Some(data)), path)
}

/// Such files were left out of the archive, and a restore refused them.
#[test]
fn long_files_are_archived_with_the_points_of_all_copies_and_restored() {
    let mut cluster = cluster(3).flag("--memory", "96").lay();
    let [merged, longish, short] =
        ["long.merged", "long.longish", "short"].map(|stem| cluster.name_owned_by(1, stem));
    let now = now();
    cluster.node(0).write(&merged, &LONG, &seconds(now, (1..900).step_by(2), 1.0));
    cluster.node(1).write(&merged, &LONG, &seconds(now, (1..900).step_by(3), 2.0));
    cluster.node(2).write(&merged, &LONG, &seconds(now, 8_000_000..8_000_100, 3.0));
    cluster.node(0).write(&longish, &LONGISH, &seconds(now, 1..100, 4.0));
    cluster.node(1).write(&longish, &LONGISH, &seconds(now, 100..200, 5.0));
    cluster.node(1).write(&short, &MINUTES, &minutes(now, [1.0, 2.0]));
    cluster.start();
    let (run, plain) = tar(&cluster, &["-r", "."]);
    let run = in_little_memory(run).assert_code(0);
    run.assert_stderr_has("3 metrics in 3 files")
        .assert_stderr_has("2 metrics are on several nodes");
    assert_daemons_are_small(&cluster);
    let folder = cluster.path("unpacked");
    std::fs::create_dir_all(&folder).unwrap();
    let mut unpack = Command::new("tar");
    unpack.current_dir(&folder).args(["-x", "-f"]).arg(&plain);
    let unpacked = Running::start(unpack).finish().assert_code(0);
    assert_eq!(unpacked.stderr, "", "{unpacked}");
    let of = |name: &str| folder.join(format!("{}.wsp", name.replace('.', "/")));
    // The owner's values are kept.
    let age = |t: &u32| now - t;
    let expected = |t: u32| match age(&t) {
        8_000_000.. => 3.0,
        age if age % 3 == 1 => 2.0,
        _ => 1.0,
    };
    let found = values(&of(&merged), now);
    let ages: Vec<u32> =
        (1..900).filter(|age| age % 2 == 1 || age % 3 == 1).chain(8_000_000..8_000_100).collect();
    assert_eq!(found.keys().rev().map(age).collect::<Vec<u32>>(), ages);
    assert!(found.iter().all(|(t, value)| *value == expected(*t)));
    let found_longish = values(&of(&longish), now);
    assert_eq!(found_longish.keys().rev().map(age).collect::<Vec<u32>>(), Vec::from_iter(1..200));

    let sparse = cluster.path("sparse.tar");
    std::fs::rename(&plain, cluster.path("plain.tar")).unwrap();
    let (run, path) = tar(&cluster, &["--sparse", "--zstd", "-r", "."]);
    in_little_memory(run).assert_code(0);
    std::fs::rename(path, &sparse).unwrap();
    assert!(std::fs::metadata(&sparse).unwrap().len() < 2_000_000);
    for archive in [cluster.path("plain.tar"), sparse] {
        restored(&archive, &merged, &found, now);
    }
}

/// Restores an archive into a new cluster, once to an empty place and once to an existing file.
fn restored(archive: &Path, metric: &str, expected: &BTreeMap<u32, f64>, now: u32) {
    let mut other = cluster(2).flag("--memory", "96").lay();
    let owner = other.owners(metric)[0];
    other.start();
    let restore = || other.start_bucky(&["restore", archive.to_str().unwrap()]);
    let run = in_little_memory(restore()).assert_code(0);
    run.assert_stderr_has("3 metrics restored: 3 created");
    assert!(values(&other.node(owner).path(metric), now) == *expected);
    // The owner's own points stay.
    let own = seconds(now, 50..60, 9.0);
    std::fs::remove_file(other.node(owner).path(metric)).unwrap();
    other.node(owner).write(metric, &LONG, &own);
    let run = in_little_memory(restore()).assert_code(0);
    run.assert_stderr_has("1 filled, 2 unchanged");
    let mut all = expected.clone();
    all.extend(own.iter().map(|point| (point.timestamp, point.value)));
    assert!(values(&other.node(owner).path(metric), now) == all);
    assert_daemons_are_small(&other);
    for node in other.nodes() {
        assert_eq!(std::fs::read_dir(node.prefix().join(".bucky/tmp")).unwrap().count(), 0);
    }
}

/// Files without enough space are named with the remedy, and the others are archived and restored.
#[test]
fn long_files_without_space_for_their_copies_are_named_and_the_others_continue() {
    let mut cluster = cluster(1).flag("--memory", "96").lay();
    cluster.node(0).write("a.long", &LONG, &seconds(now(), 1..10, 1.0));
    cluster.node(0).write("b.short", &MINUTES, &minutes(now(), [1.0]));
    cluster.start();
    let whole = {
        let (run, path) = tar(&cluster, &["-r", "."]);
        run.finish().assert_code(0);
        let whole = cluster.path("whole.tar");
        std::fs::rename(path, &whole).unwrap();
        whole
    };
    let mut command = cluster.command(&["tar", "-f", "-r", "."]);
    command.env("TMPDIR", "/nonexistent");
    let data = File::create(cluster.path("archive.tar")).unwrap();
    let run = Running::start_between(command, Stdio::null(), Some(data)).finish().assert_code(1);
    run.assert_stderr_has("a.long")
        .assert_stderr_has("set TMPDIR")
        .assert_stderr_has("1 metric in 1 file");
    let mut command = cluster.command(&["restore", whole.to_str().unwrap()]);
    command.env("TMPDIR", "/nonexistent");
    let run = Running::start(command).finish().assert_code(1);
    run.assert_stderr_has("a/long.wsp")
        .assert_stderr_has("set TMPDIR")
        .assert_stderr_has("1 metric restored");
}

/// Such files were reported as unreadable.
#[test]
fn long_copies_that_differ_are_compared_point_by_point() {
    let mut cluster = cluster(3).replication_factor(2).flag("--memory", "96").lay();
    let metric = "long.compared";
    let owners = cluster.owners(metric);
    let stranger = (0..3).find(|node| !owners.contains(node)).unwrap();
    let now = now();
    // At least 100 seconds old during the whole test, and older than what is on its way between owners.
    let write = |node: usize, ages: Vec<u32>| {
        cluster.node(node).write(metric, &LONG, &seconds(now, ages, 1.0));
    };
    write(owners[0], (5_000..5_100).chain(8_000_000..8_000_010).collect());
    write(owners[1], (5_010..5_100).chain([6_000]).collect());
    write(stranger, (5_000..5_003).chain([7_000, 7_100]).collect());
    cluster.start();
    let run = in_little_memory(cluster.start_bucky(&["verify", "--strict"])).assert_code(1);
    let host = |node: usize| cluster.node(node).addr();
    let (one, two) = (owners[0], owners[1]);
    for (node, other, points) in [(one, two, 1), (two, one, 20)] {
        let points_text = if points == 1 { "point" } else { "points" };
        let text = format!("lacks {points} {points_text} that the owner {} has", host(other));
        let is_there =
            run.stdout.lines().any(|line| line.contains(&text) && line.contains(&host(node)));
        assert!(is_there, "{text}\n{run}");
    }
    for (node, points) in [(one, 2), (two, 5)] {
        let text = format!("lacks {points} points that {} has", host(stranger));
        let is_there =
            run.stdout.lines().any(|line| line.contains(&text) && line.contains(&host(node)));
        assert!(is_there, "{text}\n{run}");
    }
    assert!(!run.stdout.contains("cannot be read"), "{run}");
    assert_daemons_are_small(&cluster);
    cluster.bucky(&["rebalance", "-f"]).assert_code(0);
    cluster.bucky(&["heal", "--points"]).assert_code(0);
    cluster.bucky(&["verify", "-f", "--strict"]).assert_code(0);
}

#[test]
fn the_go_tools_routes_send_and_take_long_files_in_little_memory() {
    let mut cluster = cluster(2).flag("--memory", "96").lay();
    let now = now();
    cluster.node(0).write("a.long", &LONG, &seconds(now, 1..1_000, 1.0));
    cluster.node(1).write("a.long", &LONG, &seconds(now, 500..600, 2.0));
    cluster.start();
    let content = std::fs::read(cluster.node(0).path("a.long")).unwrap();
    let sent = cluster.path("sent.wsp");
    let curl = |args: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-s", "-S", "-f"]).args(args);
        Running::start(command).finish().assert_code(0)
    };
    curl(&["-o", sent.to_str().unwrap(), &cluster.url(0, "/metrics/a.long")]);
    assert!(std::fs::read(&sent).unwrap() == content);
    let stat = format!("X-Metric-Stat: {{\"Size\":{},\"ModTime\":7}}", content.len());
    let upload = format!("@{}", sent.display());
    let post = |metric: &str| {
        let url = cluster.url(1, &format!("/metrics/{metric}"));
        let octets = "Content-Type: application/octet-stream";
        curl(&["--data-binary", &upload, "-H", octets, "-H", &stat, &url]);
    };
    post("b.new");
    assert!(std::fs::read(cluster.node(1).path("b.new")).unwrap() == content);
    let source = cluster.node(0).addr();
    let query = format!("fetch_offload=true&metric=a.long&server={source}");
    curl(&["-X", "POST", &cluster.url(1, &format!("/metrics/a.long?{query}"))]);
    let filled = values(&cluster.node(1).path("a.long"), now);
    assert_eq!(filled.len(), 999);
    for (t, value) in filled {
        assert_eq!(value, if (500..600).contains(&(now - t)) { 2.0 } else { 1.0 });
    }
    post("a.long");
    assert_daemons_are_small(&cluster);
}
