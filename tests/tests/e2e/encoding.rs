//! How files travel by default: uncompressed, or compressed if the link is the bottleneck.

use std::fs;
use std::time::Duration;

use bucky_tests::{LinkSpec, TestCluster};

use crate::cluster;

/// What the fetching daemon logs when it has found compressed archives to be faster.
const FOUND: &str = "its archives are received in zstd";
/// So slow that the link is the only bottleneck.
const SLOW: LinkSpec =
    LinkSpec { round_trip: Duration::from_millis(4), bytes_per_second: 1_000_000 };

/// How many metrics are written at a time.
const METRICS: usize = 1200;

/// A fourth node that gets its share of the metrics of three nodes, and the link to it.
struct Growing {
    cluster: TestCluster,
    laid_down: usize,
}

impl Growing {
    fn lay(link: Option<LinkSpec>) -> Self {
        let plan = cluster(4);
        let mut cluster = link.map_or(plan.clone(), |link| plan.link(link)).lay();
        cluster.start();
        Self { cluster, laid_down: 0 }
    }

    /// Writes more metrics and moves the fourth node's share. Returns the total length of the files that it
    /// got.
    fn grow(&mut self, args: &[&str]) -> u64 {
        let held = self.held_bytes();
        let next = self.laid_down + METRICS;
        self.cluster.scatter_some(self.laid_down..next, &self.cluster.ring_of_first(3));
        self.laid_down = next;
        let before = self.cluster.ledger();
        let args = [&["rebalance", "-f", "--batch-metrics", "5"], args].concat();
        self.cluster.bucky(&args).assert_code(0).assert_stderr_has("Done.");
        self.cluster.assert_all_in_place(&before);
        self.held_bytes() - held
    }

    fn held_bytes(&self) -> u64 {
        let new = self.cluster.node(3);
        new.metrics().iter().map(|metric| fs::metadata(new.path(metric)).unwrap().len()).sum()
    }

    fn has_found(&self) -> bool {
        self.cluster.node(3).log().contains(FOUND)
    }
}

#[test]
fn over_a_slow_link_archives_come_compressed_once_that_is_found_to_be_faster() {
    let mut growing = Growing::lay(Some(SLOW));
    let mut seen = Vec::new();
    // On a busy machine this takes longer to find; the result then applies to later archives.
    let is_smaller = (0..6).any(|_| {
        let travelled_before = growing.cluster.link().answered_bytes();
        let files = growing.grow(&[]);
        let travelled = growing.cluster.link().answered_bytes() - travelled_before;
        seen.push((travelled, files));
        growing.has_found() && travelled < files
    });
    assert!(is_smaller, "found: {}; (travelled, files): {seen:?}", growing.has_found());
}

#[test]
fn over_a_slow_link_archives_come_plain_where_that_is_asked_for() {
    for args in [["--encoding", "identity"].as_slice(), &["-no-encoding"]] {
        let mut growing = Growing::lay(Some(SLOW));
        let files = growing.grow(args);
        let travelled = growing.cluster.link().answered_bytes();
        assert!(!growing.has_found(), "{args:?}");
        assert!(travelled > files, "{travelled} bytes for {files} bytes of files");
    }
}

#[test]
fn on_one_machine_archives_come_plain() {
    let mut seen = String::new();
    // If the machine is so busy that archives stall, this may look like a slow link, and one kind may be
    // faster by chance. Then it is tried again, with daemons that have measured nothing.
    let is_plain = (0..3).any(|_| {
        let mut growing = Growing::lay(None);
        growing.grow(&[]);
        seen = growing.cluster.node(3).log();
        !growing.has_found()
    });
    assert!(is_plain, "{seen}");
}
