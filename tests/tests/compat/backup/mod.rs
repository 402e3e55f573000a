//! `bucky tar` and `bucky restore`, with GNU tar as the reference for archives.
//!
//! - `archive`: the content of an archive, and how GNU tar reads it
//! - `selection`: selecting metrics, and the meaning of the command line
//! - `trouble`: nodes that go down, damaged files, output that cannot be written
//! - `restored`: from one cluster to another
//! - `foreign`: archives from other tools, and members that are not metrics
//! - `scale`: 100,000 names, and writers that do not wait

mod archive;
mod foreign;
mod restored;
mod scale;
mod selection;
mod trouble;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bucky_tests::{Finished, Running, TestCluster};
use bucky_whisper::{Image, MetricName, Point};
use walkdir::WalkDir;

/// Runs `bucky tar` after a new scan, and returns the file with its output too.
#[track_caller]
fn tar(cluster: &TestCluster, args: &[&str]) -> (Finished, PathBuf) {
    tar_from(cluster, args, Stdio::null())
}

/// Runs `bucky tar` with `input` as its standard input.
#[track_caller]
fn tar_from(cluster: &TestCluster, args: &[&str], input: Stdio) -> (Finished, PathBuf) {
    let path = cluster.path("archive.tar");
    let data = File::create(&path).unwrap();
    let command = cluster.command(&[&["tar", "-f"], args].concat());
    (Running::start_between(command, input, Some(data)).finish(), path)
}

/// Runs `bucky restore` of a file.
#[track_caller]
fn restore(cluster: &TestCluster, args: &[&str], path: &Path) -> Finished {
    let path = path.to_str().unwrap();
    cluster.bucky(&[&["restore", path], args].concat())
}

/// A text as standard input.
fn input(cluster: &TestCluster, text: &[u8]) -> Stdio {
    let path = cluster.path("input");
    std::fs::write(&path, text).unwrap();
    File::open(&path).unwrap().into()
}

/// Runs GNU tar in `folder`.
fn gnu_tar(folder: &Path, args: &[&str]) -> Finished {
    std::fs::create_dir_all(folder).unwrap();
    let mut command = Command::new("tar");
    command.current_dir(folder).args(args).env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
    Running::start(command).finish()
}

/// The members that GNU tar lists; it must print nothing to standard error.
#[track_caller]
fn listed(cluster: &TestCluster, path: &Path) -> Vec<String> {
    let listed = gnu_tar(
        &cluster.path("listing"),
        &["--quoting-style=literal", "-t", "-f", path.to_str().unwrap()],
    );
    let listed = listed.assert_code(0);
    assert_eq!(listed.stderr, "", "{listed}");
    listed.stdout.lines().map(str::to_owned).collect()
}

/// The folder into which GNU tar unpacks; it must print nothing to standard error.
#[track_caller]
fn unpacked(cluster: &TestCluster, path: &Path) -> PathBuf {
    let folder = cluster.path("unpacked");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    let unpacked = gnu_tar(&folder, &["xf", path.to_str().unwrap()]).assert_code(0);
    assert_eq!((unpacked.stdout.as_str(), unpacked.stderr.as_str()), ("", ""), "{unpacked}");
    folder
}

/// The files below a folder, by name.
fn files_below(folder: &Path) -> BTreeMap<String, PathBuf> {
    let entries = WalkDir::new(folder).into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_file());
    let named = files.filter_map(|entry| {
        let path = entry.into_path();
        let metric = MetricName::from_relative_path(path.strip_prefix(folder).unwrap()).ok()?;
        Some((metric.to_string(), path))
    });
    named.collect()
}

/// All valid points of a file's archives.
fn points_in(content: &[u8]) -> Vec<Vec<Point>> {
    let image = Image::parse(content).unwrap();
    let now = bucky_tests::metrics::now();
    image.archives().map(|archive| archive.points_valid(now).collect()).collect()
}
