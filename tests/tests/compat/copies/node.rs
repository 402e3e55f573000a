//! `bucky copy`: every metric that one node lists, to another node.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bucky_tests::metrics::{self, MINUTES, minutes, newest_minute, now};
use bucky_tests::{Node, TestCluster, tree, wait};
use bucky_whisper::{OpenMode, Point, WhisperFile};
use rustix::process::Signal;

use super::{assert_kept, marks, minutes_of, values};
use crate::cluster;

/// A file that carbon has named by the hash of its series.
const HASHED: &str =
    "_tagged.abc.def.00000000000000000000000000000000000000000000000000000000000000ff";

/// Two nodes. The first has all metrics, including local ones and hashed ones.
fn full_and_empty() -> (TestCluster, Vec<String>) {
    let cluster = cluster(2).gate(0).gate(1).lay();
    cluster.scatter(60, &cluster.ring_of_first(1));
    for name in [HASHED, "carbon.agents.a.cpuUsage"] {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0, 2.0]));
    }
    let names = cluster.node(0).metrics();
    assert_eq!(names.len(), 62);
    (cluster, names)
}

fn copy<'a>(source: &'a str, destination: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["copy", "-src", source, "-dst", destination], more].concat()
}

#[test]
fn copy_brings_all_that_the_source_lists_and_leaves_the_source() {
    let (mut cluster, names) = full_and_empty();
    // The destination has one of them already, with another value for one point and without the others.
    let known = cluster.name_owned_by(1, "known");
    let now = now();
    cluster.node(0).write(&known, &MINUTES, &minutes(now, [1.0, 1.0, 1.0]));
    cluster.node(1).write(&known, &MINUTES, &minutes(now, [0.0]));
    cluster.start();
    let (source, destination) = (cluster.node(0).addr(), cluster.node(1).addr());
    let before = marks(cluster.node(0));
    let there = marks(cluster.node(1));

    let plan = cluster.bucky(&copy(&source, &destination, &["-no-op"])).assert_code(0);
    plan.assert_stdout_has("63 metrics to copy.").assert_stdout_has(&destination);
    let moved = cluster.bucky(&copy(&source, &destination, &["-no-op", "-delete"])).assert_code(0);
    moved.assert_stdout_has("63 metrics to copy, and then delete them at the source.");
    assert_kept(cluster.node(1), &there);
    assert_eq!(cluster.node(1).metrics(), std::slice::from_ref(&known));

    let run = cluster.bucky(&copy(&source, &destination, &["-offload", "-v", "-w", "3"]));
    run.assert_code(0)
        .assert_stdout("")
        .assert_stderr_has("63 metrics copied (sources kept): 62 created, 1 filled")
        .assert_stderr_has("; 2 points filled")
        .assert_stderr_has(&format!("{source}: {HASHED}"));
    for name in &names {
        let content = |node: usize| std::fs::read(cluster.node(node).path(name)).unwrap();
        assert!(content(0) == content(1), "{name} is not the same");
    }
    let values: Vec<f64> = minutes_of(&cluster, 1, &known).into_values().collect();
    assert_eq!(values, [1.0, 1.0, 0.0], "what the destination knew stays");
    assert_kept(cluster.node(0), &before);
    assert!(tree::tombstones(&cluster.node(0).prefix()).is_empty());

    let again = cluster.bucky(&copy(&source, &destination, &["-delete=false"])).assert_code(0);
    again.assert_stderr_has("0 created, 0 filled, 63 unchanged; 0 points filled");
    assert_kept(cluster.node(0), &before);
    // A metric created after the last scan is in the list after a new scan.
    let late = cluster.name_owned_by(0, "late");
    cluster.node(0).write(&late, &MINUTES, &minutes(now, [5.0]));
    cluster.bucky(&copy(&source, &destination, &["-f"])).assert_code(0);
    assert!(cluster.node(1).has(&late));
}

/// D30: with the Go tool, points written between the copy and the delete are lost.
#[test]
fn d30_copy_delete_loses_no_point_that_is_written_meanwhile() {
    let (mut cluster, names) = full_and_empty();
    cluster.start();
    let (source, destination) = (cluster.node(0).addr(), cluster.node(1).addr());
    let content = |node: usize, name: &String| std::fs::read(cluster.node(node).path(name));
    let before: Vec<Vec<u8>> = names.iter().map(|name| content(0, name).unwrap()).collect();
    cluster.node(0).gate().hold("POST /v1/delete");
    let run = cluster.start_bucky(&copy(&source, &destination, &["-delete", "-print-deletion"]));
    cluster.node(0).gate().wait_until_held();
    let written: &[&str] = &[HASHED, "carbon.agents.a.cpuUsage"];
    let now = now();
    let late = Point { timestamp: now - now % 60 - 6 * 3600, value: 42.0 };
    for name in written {
        metrics::update(&cluster.node(0).path(name), &[late]);
    }
    cluster.node(0).gate().release();
    run.finish().assert_code(0).assert_stderr_has("62 metrics moved: 62 created");
    cluster.wait_until_no_tombstones();
    assert_eq!(cluster.node(0).metrics(), [""; 0]);
    assert_eq!(cluster.node(1).metrics(), names);
    for name in written {
        let points = minutes_of(&cluster, 1, name);
        assert_eq!(points.get(&late.timestamp), Some(&42.0), "{name}");
        assert_eq!(points.len(), 3);
    }
    for (name, before) in names.iter().zip(before) {
        let is_written = written.contains(&name.as_str());
        assert!(is_written || content(1, name).unwrap() == before, "{name} is not the same");
    }
    cluster.assert_nothing_unexpected();
}

/// The same with a writer that never pauses, as carbon does. It does not touch files that were moved away.
#[test]
fn d30_copy_delete_loses_no_point_of_a_writer_that_never_rests() {
    let mut cluster = cluster(2).flag("--tombstone-grace", "1").lay();
    let names: Vec<String> = (0..100).map(|number| format!("busy.m{number}")).collect();
    for name in &names {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0, 2.0, 3.0]));
    }
    cluster.start();
    let (source, destination) = (cluster.node(0).addr(), cluster.node(1).addr());
    let stop = AtomicBool::new(false);
    let pause_millis = AtomicU64::new(6);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_until(&stop, &pause_millis, &names, cluster.node(0)));
        let more = ["-delete", "--batch-metrics", "10", "-w", "2"];
        // On a slow disk a file may be written to in every attempt of a run. Then the next run tries again,
        // with twice the time between two writes to one file.
        let all_moved = (0..10).any(|run| {
            pause_millis.store(6 << run, Ordering::Relaxed);
            cluster.bucky(&copy(&source, &destination, &more)).code == Some(0)
        });
        stop.store(true, Ordering::Relaxed);
        assert!(all_moved, "ten runs did not move everything");
        writer.join().unwrap()
    });
    assert!(!written.is_empty(), "the writer wrote nothing");
    cluster.wait_until_no_tombstones();
    assert_eq!(cluster.node(0).metrics(), [""; 0]);
    let ledger = cluster.ledger();
    for (name, point) in written {
        let there = values(&ledger, cluster.node(1), &name, 60).unwrap();
        assert_eq!(there.get(&point.timestamp), Some(&point.value), "{name}: {point:?}");
    }
}

/// Writes points to the existing files, one after the other.
fn write_until(
    stop: &AtomicBool,
    pause_millis: &AtomicU64,
    names: &[String],
    node: &Node,
) -> Vec<(String, Point)> {
    let mut written = Vec::new();
    let newest = newest_minute();
    for age in 10..1000 {
        for name in names {
            if stop.load(Ordering::Relaxed) {
                return written;
            }
            std::thread::sleep(Duration::from_millis(pause_millis.load(Ordering::Relaxed)));
            let limit = Duration::from_secs(10);
            let Ok(mut file) = WhisperFile::open(&node.path(name), OpenMode::Update, limit) else {
                continue;
            };
            let point = Point { timestamp: newest - age * 60, value: f64::from(age) };
            file.update_many(&[point], now()).unwrap();
            written.push((name.clone(), point));
        }
    }
    written
}

/// D29: `bucky copy -src A -dst A -delete` deletes everything on A, and exits 0.
#[test]
fn d29_copy_of_a_store_onto_itself_is_refused_by_whatever_name() {
    let (mut cluster, names) = full_and_empty();
    cluster.start();
    let before = marks(cluster.node(0));
    let alias = cluster.alias_of(0);
    let (node, alias) = (cluster.node(0).addr(), alias.addr().to_string());
    for (source, destination) in [(&node, &node), (&node, &alias), (&alias, &node)] {
        let run = cluster.bucky(&copy(source, destination, &["-delete"])).assert_code(2);
        run.assert_stderr_has("are the same node").assert_stderr_has("there is nothing to copy");
    }
    assert_eq!(cluster.node(0).metrics(), names);
    assert_kept(cluster.node(0), &before);
}

#[test]
fn a_stopped_copy_continues_when_it_is_run_again() {
    let (mut cluster, names) = full_and_empty();
    cluster.start();
    let (source, destination) = (cluster.node(0).addr(), cluster.node(1).addr());
    let journal = cluster.path("journal");
    let journal = journal.to_str().unwrap();
    let more = ["-delete", "--batch-metrics", "10", "-w", "1", "--journal", journal];
    cluster.node(1).gate().hold("POST /v1/pull");
    let run = cluster.start_bucky(&copy(&source, &destination, &more));
    cluster.node(1).gate().wait_until_held();
    run.signal(Signal::INT);
    wait::until("the run says that it stops", || run.stderr().contains("finishing what is"));
    cluster.node(1).gate().release();
    run.finish()
        .assert_code(1)
        .assert_stderr_has("Stopped. Run the same command again to continue.");
    let left = cluster.node(0).metrics().len();
    assert!(left > 0 && left < names.len(), "{left} are left");
    // The journal of a copy is not that of a move.
    let other = cluster.bucky(&["rebalance", "--journal", journal]).assert_code(2);
    other.assert_stderr_has("was written for another ring");
    cluster.bucky(&copy(&source, &destination, &more)).assert_code(0).assert_stderr_has("Done.");
    cluster.wait_until_no_tombstones();
    assert_eq!(cluster.node(0).metrics(), [""; 0]);
    assert_eq!(cluster.node(1).metrics(), names);
}

#[test]
fn copy_names_metrics_that_it_cannot_copy_and_continues() {
    let mut cluster = cluster(2).lay();
    let whole = MINUTES.empty_file();
    cluster.node(0).put("bad", &whole[..whole.len() - 7]);
    for name in ["good", "other"] {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0]));
    }
    cluster.start();
    let (source, destination) = (cluster.node(0).addr(), cluster.node(1).addr());
    let files = ["jobs", "errors"].map(|name| cluster.path(name).to_str().unwrap().to_owned());
    let [jobs, errors] = files.each_ref().map(String::as_str);
    let more = ["-delete", "-job-state-file", jobs, "-metric-err-file", errors];
    let run = cluster.bucky(&copy(&source, &destination, &more)).assert_code(1);
    run.assert_stderr_has(&format!("bucky: bad: {source}: "))
        .assert_stderr_has("1 failed: 1 source damaged")
        .assert_stderr_has("2 metrics moved");
    cluster.wait_until_no_tombstones();
    assert_eq!(cluster.node(1).metrics(), ["good", "other"]);
    assert_eq!(cluster.node(0).metrics(), ["bad"], "what was not copied is not deleted");
    let errors = std::fs::read_to_string(errors).unwrap();
    assert!(errors.ends_with(&format!(" src,bad,{source}\n")), "{errors}");
    // D27: failed jobs are not in the list of finished jobs, and the first line is read.
    let done = std::fs::read_to_string(jobs).unwrap();
    assert_eq!(done.lines().count(), 2, "{done}");
    assert!(!done.contains("bad"), "{done}");
    cluster.node(0).write("good", &MINUTES, &minutes(now(), [2.0]));
    cluster.node(0).put("bad", &whole);
    cluster.bucky(&copy(&source, &destination, &["-f", "-job-state-file", jobs])).assert_code(0);
    assert!(cluster.node(1).has("bad"), "after its repair it is copied");
}

/// D36: `copy -dst HOST` without a port makes the Go tool panic.
#[test]
fn d36_copy_names_missing_and_bad_arguments() {
    let cluster = cluster(2).start();
    let node = cluster.node(0);
    let nothing = cluster.bucky(&copy(&node.addr(), &cluster.node(1).addr(), &[])).assert_code(0);
    nothing.assert_stderr_has("There is nothing to copy.");
    for args in [&["copy"][..], &["copy", "-src", &node.addr()], &["copy", "-dst", &node.addr()]] {
        cluster.bucky(args).assert_code(2).assert_stderr_has("required");
    }
    let elsewhere = cluster.bucky(&copy(&node.addr(), node.host(), &[])).assert_code(3);
    elsewhere.assert_stderr_has(&format!("{}:4242 is down", node.host()));
    cluster.bucky(&copy("a:b", &node.addr(), &[])).assert_code(2).assert_stderr_has("a:b");
    let rest = cluster.bucky(&copy(&node.addr(), "x", &["--rest", "2m"])).assert_code(2);
    rest.assert_stderr_has("--rest needs -delete");
}
