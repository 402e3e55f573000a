//! How files travel where nobody says it: plain, and compressed where the link limits.

use std::time::Duration;

use bucky_tests::LinkSpec;

use crate::cluster;

/// What the daemon that fetches logs when it has found compressed archives to be faster.
const FOUND: &str = "its archives come in zstd";
/// So slow that nothing else limits.
const SLOW: LinkSpec =
    LinkSpec { round_trip: Duration::from_millis(4), bytes_per_second: 1_000_000 };

/// Moves what a fourth node takes from three, and gives that one's log, how long its files are, and what travelled.
fn grow(link: Option<LinkSpec>, args: &[&str]) -> (String, u64, Option<u64>) {
    let plan = cluster(4);
    let mut cluster = link.map_or(plan.clone(), |link| plan.link(link)).lay();
    cluster.scatter(1200, &cluster.ring_of_first(3));
    cluster.start();
    let before = cluster.ledger();
    let args = [&["rebalance", "--batch-metrics", "5"], args].concat();
    cluster.bucky(&args).assert_code(0).assert_tells("Done.");
    let travelled = link.map(|_| cluster.link().answered_bytes());
    cluster.assert_all_in_place(&before);
    let new = cluster.node(3);
    let length = |metric: &String| std::fs::metadata(new.path(metric)).unwrap().len();
    (new.log(), new.metrics().iter().map(length).sum(), travelled)
}

#[test]
fn over_a_slow_link_archives_come_compressed_once_that_is_found_to_be_faster() {
    let (log, files, travelled) = grow(Some(SLOW), &[]);
    assert!(log.contains(FOUND), "the link was not found to limit: {log}");
    assert!(travelled.unwrap() < files, "{travelled:?} bytes for {files} bytes of files");
}

#[test]
fn over_a_slow_link_archives_come_plain_where_that_is_asked_for() {
    for args in [["--encoding", "identity"].as_slice(), &["-no-encoding"]] {
        let (log, files, travelled) = grow(Some(SLOW), args);
        assert!(!log.contains(FOUND), "{args:?}");
        assert!(travelled.unwrap() > files, "{travelled:?} bytes for {files} bytes of files");
    }
}

#[test]
fn on_one_machine_archives_come_plain() {
    let (log, ..) = grow(None, &[]);
    assert!(!log.contains(FOUND), "{log}");
}
