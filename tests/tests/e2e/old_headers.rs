//! Files with a header from whisper before 0.9.9: the first field is a time, and the points are rolled up by
//! average.

use bucky_tests::TestCluster;
use bucky_tests::metrics::{Layout, minutes, now};
use bucky_whisper::{Aggregation, Header, Image, Point};

use crate::cluster;

const LAYOUT: Layout =
    Layout { retentions: "1m:1d,5m:7d", aggregation: Aggregation::Average, x_files_factor: 0.5 };
/// 9 September 2010.
const LAST_UPDATE: u32 = 1_284_000_600;

/// Writes a file with these points to a node, and gives it an old header.
fn write_old(cluster: &TestCluster, node: usize, metric: &str, points: &[Point]) -> Vec<u8> {
    let node = cluster.node(node);
    node.write(metric, &LAYOUT, points);
    let mut content = std::fs::read(node.path(metric)).unwrap();
    content[..4].copy_from_slice(&LAST_UPDATE.to_be_bytes());
    node.put(metric, &content);
    content
}

fn header(content: &[u8]) -> Header {
    Image::parse(content).unwrap().header().clone()
}

#[test]
fn a_file_from_before_whisper_0_9_9_is_moved_byte_for_byte_and_filled_under_its_own_header() {
    let mut cluster = cluster(2).lay();
    let now = now();
    let all = minutes(now, (0..1_000).map(f64::from));
    let [moved, old_owner, old_stray] =
        ["moved", "owner.is.old", "stray.is.old"].map(|stem| cluster.name_owned_by(1, stem));
    let content = write_old(&cluster, 0, &moved, &all);
    // The owner's file is old and the misplaced one is new, and the reverse.
    cluster.node(0).write(&old_owner, &LAYOUT, &all[..3]);
    write_old(&cluster, 1, &old_owner, &all[2..]);
    write_old(&cluster, 0, &old_stray, &all[3..]);
    cluster.node(1).write(&old_stray, &LAYOUT, &all[..5]);
    cluster.start();
    let before = cluster.ledger();

    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
    let at_owner = |metric: &str| std::fs::read(cluster.node(1).path(metric)).unwrap();
    assert_eq!(at_owner(&moved), content);
    assert_eq!(header(&at_owner(&old_owner)).last_update, Some(LAST_UPDATE));
    assert_eq!(header(&at_owner(&old_stray)).last_update, None);
    cluster.bucky(&["verify"]).assert_code(0);
}

/// It was reported as damaged, and the three points of a new misplaced file replaced it.
#[test]
fn an_owners_old_file_is_not_corrupt() {
    let mut cluster = cluster(2).lay();
    let all = minutes(now(), (0..1_000).map(f64::from));
    let metric = cluster.name_owned_by(1, "old");
    write_old(&cluster, 1, &metric, &all[..997]);
    cluster.node(0).write(&metric, &LAYOUT, &all[997..]);
    cluster.start();
    let before = cluster.ledger();
    let run = cluster.bucky(&["rebalance", "--replace-corrupt"]).assert_code(0);
    run.assert_stderr_has("1 metric moved: 0 created, 1 filled");
    cluster.assert_all_in_place(&before);
    assert!(!cluster.node(1).prefix().join(".bucky/replaced").read_dir().unwrap().any(|_| true));
}

#[test]
fn the_local_tools_read_it_and_say_what_it_is() {
    let cluster = cluster(1).lay();
    let content = write_old(&cluster, 0, "old", &minutes(now(), [1.0, 2.0]));
    let path = cluster.node(0).path("old");
    let file = path.to_str().unwrap();
    let run = |args: &[&str]| cluster.bucky_alone(args).assert_code(0);
    run(&["info", file]).assert_stdout_has(
        "lastUpdate: 1284000600 (a file from before whisper 0.9.9, read as average)",
    );
    run(&["isempty", "-d", file]);
    let copy = cluster.path("copy.wsp");
    run(&["fill", file, copy.to_str().unwrap()]);
    assert_eq!(std::fs::read(&copy).unwrap(), content);
    // whisper.py since 1.0 needs this to read it.
    run(&["modify", "--agg", "average", "-f", copy.to_str().unwrap()]);
    let after = std::fs::read(&copy).unwrap();
    assert_eq!((&after[..4], &after[4..]), (&1u32.to_be_bytes()[..], &content[4..]));
}
