//! Files that were cut off, by a full disk or an interrupted copy: `--salvage` recovers the rest of them.

use std::path::PathBuf;

use bucky_tests::metrics::{Layout, minutes, now};
use bucky_tests::{Node, TestCluster};
use bucky_whisper::{Aggregation, Image, Point};

use crate::cluster;

const LAYOUT: Layout =
    Layout { retentions: "1m:1d,5m:7d", aggregation: Aggregation::Average, x_files_factor: 0.5 };

/// Writes a file with these points to a node, without its last bytes.
fn write_cut(node: &Node, metric: &str, points: &[Point]) -> Vec<u8> {
    node.write(metric, &LAYOUT, points);
    let mut content = std::fs::read(node.path(metric)).unwrap();
    content.truncate(content.len() - 100);
    node.put(metric, &content);
    content
}

/// The times of the points of the fine archive.
fn times(node: &Node, metric: &str) -> Vec<u32> {
    let content = std::fs::read(node.path(metric)).unwrap();
    let image = Image::parse(&content).unwrap();
    image.archive(0).unwrap().points_valid(now()).map(|point| point.timestamp).collect()
}

fn kept(node: &Node) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(node.prefix().join(".bucky/replaced")).unwrap();
    folders.map(|folder| folder.unwrap().path().join("old")).collect()
}

fn expected(points: &[Point]) -> Vec<u32> {
    let mut times: Vec<u32> = points.iter().map(|point| point.timestamp).collect();
    times.sort_unstable();
    times
}

#[test]
fn a_cut_source_stays_and_is_salvaged_and_kept_aside_where_that_is_asked_for() {
    let mut cluster: TestCluster = cluster(2).lay();
    let points = minutes(now(), (0..600).map(f64::from));
    let [new, there, hopeless] =
        ["new", "there", "hopeless"].map(|stem| cluster.name_owned_by(1, stem));
    let contents = [&new, &there].map(|metric| write_cut(cluster.node(0), metric, &points[1..]));
    cluster.node(1).write(&there, &LAYOUT, &points[..1]);
    cluster.node(0).put(&hopeless, &contents[0][..200]);
    cluster.start();

    let run = cluster.bucky(&["rebalance"]).assert_code(1);
    run.assert_stderr_has("`bucky rebalance --salvage` takes the points that can be read");
    for (metric, content) in [&new, &there].into_iter().zip(&contents) {
        assert_eq!(&std::fs::read(cluster.node(0).path(metric)).unwrap(), content);
    }
    assert!(!cluster.node(1).has(&new));

    let mut run = cluster.bucky(&["rebalance", "--salvage"]).assert_code(1);
    let kept_files = kept(cluster.node(0));
    assert_eq!(kept_files.len(), 2, "{kept_files:?}");
    for path in &kept_files {
        run = run.assert_stderr_has(&format!("it is kept as {}", path.display()));
        assert!(contents.contains(&std::fs::read(path).unwrap()));
    }
    run.assert_stderr_has("2 sources were cut off").assert_stderr_has(&format!("{hopeless}: "));
    assert!(cluster.node(0).has(&hopeless), "none of its archives is complete");
    assert!(!cluster.node(0).has(&new) && !cluster.node(0).has(&there));
    assert_eq!(times(cluster.node(1), &new), expected(&points[1..]));
    assert_eq!(times(cluster.node(1), &there), expected(&points));
    cluster.wait_until_no_tombstones();
    assert_eq!(kept(cluster.node(0)), kept_files, "they are kept for good");
}

#[test]
fn a_local_fill_salvages_where_that_is_asked_for() {
    let cluster = cluster(1).lay();
    let points = minutes(now(), (0..600).map(f64::from));
    let content = write_cut(cluster.node(0), "cut", &points);
    let (source, copy) = (cluster.node(0).path("cut"), cluster.path("copy.wsp"));
    let files = [source.to_str().unwrap(), copy.to_str().unwrap()];
    let run = |flags: &[&str]| cluster.bucky_alone(&[&["fill"], flags, &files].concat());
    run(&[]).assert_code(1).assert_stderr_has("give --salvage");
    assert!(!copy.exists());
    run(&["--salvage", "-d"]).assert_code(2);
    run(&["--salvage"]).assert_code(0);
    assert_eq!(std::fs::read(&source).unwrap(), content);
    let filled = std::fs::read(&copy).unwrap();
    let image = Image::parse(&filled).unwrap();
    assert_eq!(image.archive(0).unwrap().points_valid(now()).count(), points.len());
    run(&["--salvage"]).assert_code(0);
    assert_eq!(std::fs::read(&copy).unwrap(), filled);
}
