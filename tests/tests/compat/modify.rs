//! `bucky modify`: how it changes a file, what it leaves alone, and what happens with concurrent writers.

use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use bucky_tests::metrics::{self, Layout};
use bucky_tests::peer;
use bucky_tests::program::{Finished, Running};
use bucky_whisper::{Aggregation, Image, Point, info, lock_exclusive};

use crate::small_tools::{Tools, points};
use crate::sparsify::Scribbler;

const LAYOUT: Layout =
    Layout { retentions: "1m:4h,5m:1d", aggregation: Aggregation::Average, x_files_factor: 0.0 };

/// A file with ten hours of points.
fn laid(tools: &Tools) -> PathBuf {
    let now = metrics::now();
    let history: Vec<Point> = (0..600)
        .map(|age| Point { timestamp: now - now % 60 - age * 60, value: f64::from(age % 37) })
        .collect();
    let name = "m".parse().unwrap();
    metrics::write(&tools.path(""), &name, &LAYOUT, &history);
    tools.path("m.wsp")
}

fn modify(tools: &Tools, args: &[&str]) -> Finished {
    tools.run("bucky", &[&["modify", "-f", "m.wsp"], args].concat())
}

fn names(tools: &Tools) -> Vec<String> {
    let entries = std::fs::read_dir(tools.path("")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != "bucky").collect();
    names.sort();
    names
}

fn archive_points(path: &Path, archive: usize) -> Vec<Point> {
    archive_points_at(path, archive, metrics::now())
}

fn archive_points_at(path: &Path, archive: usize, now: u32) -> Vec<Point> {
    let bytes = std::fs::read(path).unwrap();
    let image = Image::parse(&bytes).unwrap();
    image.archive(archive).unwrap().points_valid(now).collect()
}

/// D26: the Go tool truncates the file before any check, and in a second run the backup. D36: `-index 5`
/// panics.
#[test]
fn bucky_modify_checks_all_before_it_touches_anything() {
    let tools = Tools::new();
    let path = laid(&tools);
    let before = (std::fs::read(&path).unwrap(), path.metadata().unwrap().mtime_nsec());
    for (args, message) in [
        (&["-agg", "median"][..], "median"),
        (&["-index", "0", "-retention", "never"], "never"),
        (&["-index", "0"], "--retention"),
        (&["-retention", "1m:8h"], "--index"),
        (&["-index", "5", "-retention", "1m:8h"], "archive 5"),
        (&["-index", "0", "-retention", "1m:30d"], "reach farther back"),
        (&["-index", "0", "-retention", "7s:8h"], "not a multiple"),
        (&["-index", "x", "-retention", "1m:8h"], "--index"),
        (&[], "nothing to do"),
    ] {
        modify(&tools, args).assert_code(2).assert_stdout("").assert_stderr_has(message);
        assert_eq!((std::fs::read(&path).unwrap(), path.metadata().unwrap().mtime_nsec()), before);
        assert_eq!(names(&tools), ["m.wsp"], "{args:?}");
    }
    tools.run("bucky", &["modify", "-agg", "sum"]).assert_code(2).assert_stderr_has("--file");
    tools
        .run("bucky", &["modify", "-f", "nope.wsp", "-agg", "sum"])
        .assert_code(1)
        .assert_stderr_has("nope.wsp");
    // A file that is not a Whisper file, or is compressed by go-carbon, is not changed.
    for text in ["text", "whisper_compressed and \u{ff}\u{ff}\u{ff}\u{ff} more"] {
        tools.text("other.wsp", text);
        tools
            .run("bucky", &["modify", "-f", "other.wsp", "-agg", "sum"])
            .assert_code(1)
            .assert_stderr_has("other.wsp");
        assert_eq!(std::fs::read_to_string(tools.path("other.wsp")).unwrap(), text);
    }
}

#[test]
fn bucky_modify_prints_nothing_and_keeps_every_state_before() {
    let tools = Tools::new();
    let path = laid(&tools);
    let file = File::options().write(true).open(&path).unwrap();
    file.set_permissions(Permissions::from_mode(0o664)).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
    drop(file);
    let (first, inode) = (std::fs::read(&path).unwrap(), path.metadata().unwrap().ino());
    // Other methods need no correction and change nothing else; setting the current method changes nothing.
    let done =
        modify(&tools, &["-agg", "average", "-h", "localhost:4242", "-t", "5"]).assert_code(0);
    assert_eq!(
        (done.stdout, done.stderr, names(&tools)),
        (String::new(), String::new(), vec!["m.wsp".to_owned()])
    );
    let done = modify(&tools, &["-agg", "sum"]).assert_code(0);
    assert_eq!((done.stdout, done.stderr), (String::new(), String::new()));
    let second = std::fs::read(&path).unwrap();
    let done = modify(&tools, &["-index", "0", "-retention", "1m:8h"]).assert_code(0);
    assert_eq!((done.stdout, done.stderr), (String::new(), String::new()));
    assert_eq!(names(&tools), ["m.wsp", "m.wsp.bak", "m.wsp.bak.1"]);
    assert_eq!(std::fs::read(tools.path("m.wsp.bak")).unwrap(), second);
    assert_eq!(std::fs::read(tools.path("m.wsp.bak.1")).unwrap(), first);
    assert_eq!(
        tools.path("m.wsp.bak.1").metadata().unwrap().ino(),
        inode,
        "the file itself, no copy"
    );
    let (old, new) = (tools.path("m.wsp.bak.1").metadata().unwrap(), path.metadata().unwrap());
    let attributes =
        |of: &std::fs::Metadata| (of.mode(), of.uid(), of.gid(), of.mtime(), of.nlink());
    assert_eq!(attributes(&new), attributes(&old));
    assert_eq!(info(&path).unwrap().archives[0].points, 480);
}

#[test]
fn bucky_modify_corrects_roll_ups_between_average_and_sum() {
    let tools = Tools::new();
    let path = laid(&tools);
    let averages = archive_points(&path, 1);
    modify(&tools, &["-agg=sum"]).assert_code(0);
    let sums = archive_points(&path, 1);
    assert!(averages.len() > 100);
    for (average, sum) in averages.iter().zip(&sums) {
        assert_eq!((average.timestamp, average.value * 5.0), (sum.timestamp, sum.value));
    }
    let now = metrics::now();
    let before = archive_points_at(&tools.path("m.wsp.bak"), 0, now);
    assert_eq!(archive_points_at(&path, 0, now), before);
    let done = modify(&tools, &["-agg", "max"]).assert_code(0).assert_stdout("");
    done.assert_stderr_has("already rolled up by sum stay as they are");
    assert_eq!(archive_points(&path, 1), sums);
    assert_eq!(info(&path).unwrap().aggregation, Aggregation::Max);
}

/// Readers get the same values for older times from the grown archive as before from the coarser one.
#[test]
fn bucky_modify_resizes_one_archive_and_readers_miss_nothing() {
    let tools = Tools::new();
    let path = laid(&tools);
    let coarse = archive_points(&path, 1);
    let fine = archive_points(&path, 0);
    let done = modify(&tools, &["-dry-run", "-index", "0", "-retention", "1m:8h"]).assert_code(0);
    assert!(
        done.stdout.starts_with("now: average 1m:4h,5m:1d, ")
            && done.stdout.contains("\nthen: average 1m:8h,5m:1d, "),
        "{done}"
    );
    assert_eq!(names(&tools), ["m.wsp"]);
    modify(&tools, &["-index", "0", "-retention", "1m:8h"]).assert_code(0);
    let now = metrics::now();
    let grown = archive_points_at(&path, 0, now);
    // Points that expired in the finer archive when a minute ended may come from either archive.
    let still_fine = archive_points_at(&tools.path("m.wsp.bak"), 0, now);
    let (oldest, oldest_still) = (fine[0].timestamp, still_fine[0].timestamp);
    for point in &grown {
        let slot = point.timestamp - point.timestamp % 300;
        let is_coarse = coarse.contains(&Point { timestamp: slot, ..*point });
        let may_be_coarse = point.timestamp < oldest_still && is_coarse;
        let may_be_fine = point.timestamp >= oldest && fine.contains(point);
        assert!(may_be_coarse || may_be_fine, "{point:?}");
    }
    assert!(grown.len() >= 475, "{} points in 480 slots", grown.len());
    assert!(archive_points(&path, 1).iter().all(|point| coarse.contains(point)));
    let readings = peer::read(std::slice::from_ref(&path), metrics::now());
    assert!(readings[0][&60].len() >= 475, "whisper.py reads it");
    // After shrinking, points without a slot are reported.
    let done = modify(&tools, &["-index", "0", "-retention", "1m:1h"]).assert_code(0);
    done.assert_stderr_has("older than the new retention").assert_stderr_has("m.wsp.bak");
    let now = metrics::now();
    let shrunk = archive_points_at(&path, 0, now);
    assert!(shrunk.iter().all(|point| fine.contains(point)), "{shrunk:?}");
    let is_of_last_hour = |point: &&Point| point.timestamp + 3600 > now;
    let last_hour: Vec<&Point> = fine.iter().filter(is_of_last_hour).collect();
    assert!(!last_hour.is_empty() && last_hour.iter().all(|point| shrunk.contains(point)));
    modify(&tools, &["-index", "0", "-retention", "1m:4h", "-leave-empty"]).assert_code(0);
    assert!(points(&path).len() <= 61);
    modify(&tools, &["-index", "0", "-retention", "1m:6h", "-now"]).assert_code(0);
    let kept = points(&path);
    assert!(
        kept.len() >= 175 && kept.len() <= 185,
        "{} points: an hour, and what lay before four",
        kept.len()
    );
}

#[test]
fn bucky_modify_resizes_as_whispers_own_tool_does() {
    let tools = Tools::new();
    let path = laid(&tools);
    let mut resize = Command::new(peer::python());
    resize.arg(peer::program("whisper-resize.py")).arg(&path).args(["1m:8h", "5m:1d"]);
    resize.arg(format!("--newfile={}", tools.path("theirs.wsp").display()));
    Running::start(resize).finish().assert_code(0);
    let fine = archive_points(&path, 0);
    modify(&tools, &["-index", "0", "-retention", "1m:8h", "-leave-empty"]).assert_code(0);
    let (ours, theirs) = (archive_points(&path, 0), archive_points(&tools.path("theirs.wsp"), 0));
    assert_eq!(info(&path).unwrap(), info(&tools.path("theirs.wsp")).unwrap());
    assert!(ours.len() >= 238, "{}", ours.len());
    // whisper-resize.py takes older slots from the coarser archive too, one in five.
    let of_fine: Vec<Point> =
        theirs.into_iter().filter(|point| point.timestamp > fine[0].timestamp).collect();
    let ours: Vec<Point> =
        ours.into_iter().filter(|point| point.timestamp > fine[0].timestamp).collect();
    assert_eq!(ours, of_fine);
}

#[test]
fn bucky_modify_leaves_what_is_locked_linked_or_half_done() {
    let tools = Tools::new();
    let path = laid(&tools);
    let before = std::fs::read(&path).unwrap();
    let locked = File::open(&path).unwrap();
    lock_exclusive(&locked, Duration::from_secs(10)).unwrap();
    modify(&tools, &["-agg", "sum", "--lock-timeout", "0"])
        .assert_code(1)
        .assert_stderr_has("cannot lock m.wsp");
    drop(locked);
    symlink("m.wsp", tools.path("link.wsp")).unwrap();
    tools
        .run("bucky", &["modify", "-f", "link.wsp", "-agg", "sum"])
        .assert_code(1)
        .assert_stderr_has("symbolic link");
    std::fs::hard_link(&path, tools.path("hard.wsp")).unwrap();
    modify(&tools, &["-agg", "sum"]).assert_code(1).assert_stderr_has("2 names");
    assert_eq!((std::fs::read(&path).unwrap(), names(&tools).len()), (before.clone(), 3));
    std::fs::remove_file(tools.path("hard.wsp")).unwrap();
    std::fs::remove_file(tools.path("link.wsp")).unwrap();
    // What a crash leaves between the backup and the new file: the file under both names.
    std::fs::hard_link(&path, tools.path("m.wsp.bak")).unwrap();
    modify(&tools, &["-agg", "sum"]).assert_code(0);
    assert_eq!(names(&tools), ["m.wsp", "m.wsp.bak"]);
    assert_eq!(std::fs::read(tools.path("m.wsp.bak")).unwrap(), before);
    // A process keeps the old file open and may write to it.
    let open = File::options().write(true).open(&path).unwrap();
    let done = modify(&tools, &["-agg", "average", "--lock-timeout", "0"]).assert_code(1);
    done.assert_stderr_has("another process still has m.wsp.bak open")
        .assert_stderr_has("bucky fill");
    drop(open);
}

/// Resizes a file repeatedly during writes, and looks for every point that was written.
fn no_point_is_lost_beside(manner: &str) {
    let tools = Tools::new();
    let folder = tools.path("w");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("m.wsp");
    crate::sparsify::day_of_seconds(&path);
    let scribbler = Scribbler::start(&tools, &folder, manner, 1);
    let mut round = 0;
    // Until enough was written, even if the writer gets little time on a busy processor.
    while round < 6 || (round < 600 && scribbler.count() < 1_500) {
        let retention = if round % 2 == 0 { "1s:26h" } else { "1s:1d" };
        let args = ["modify", "-f", "w/m.wsp", "-index", "0", "-retention", retention];
        tools.run("bucky", &args).assert_code(0);
        round += 1;
    }
    std::fs::write(folder.join("stop"), "").unwrap();
    let written = scribbler.written();
    let last: std::collections::BTreeMap<u32, f64> =
        written.iter().map(|(_, time, value)| (*time, *value)).collect();
    assert!(last.len() > 1_000, "only {} points were written meanwhile", last.len());
    let bytes = std::fs::read(&path).unwrap();
    let image = Image::parse(&bytes).unwrap();
    let archive = image.archive(0).unwrap();
    let is_lost =
        |&(&time, &value): &(&u32, &f64)| archive.valid(time, metrics::now()) != Some(value);
    let lost: Vec<_> = last.iter().filter(is_lost).collect();
    assert!(lost.is_empty(), "{} of {} points are lost: {lost:?}", lost.len(), last.len());
}

#[test]
fn bucky_modify_loses_no_point_of_a_writer_that_locks() {
    no_point_is_lost_beside("locks");
}

#[test]
fn bucky_modify_loses_no_point_of_a_writer_that_does_not_lock() {
    no_point_is_lost_beside("plain");
}
