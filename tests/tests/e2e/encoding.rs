//! How files travel where nobody says it: plain, and compressed where the link limits.

use std::fs;
use std::time::Duration;

use bucky_tests::{LinkSpec, TestCluster};

use crate::cluster;

/// What the daemon that fetches logs when it has found compressed archives to be faster.
const FOUND: &str = "its archives are received in zstd";
/// So slow that nothing else limits.
const SLOW: LinkSpec =
    LinkSpec { round_trip: Duration::from_millis(4), bytes_per_second: 1_000_000 };

/// So many metrics are laid down at a time.
const METRICS: usize = 1200;

/// A fourth node that takes its share of what three have, and the link to it.
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

    /// Lays down more metrics and moves the share of the fourth; how long the files are that it has got.
    fn grow(&mut self, args: &[&str]) -> u64 {
        let held = self.held_bytes();
        let next = self.laid_down + METRICS;
        self.cluster.scatter_some(self.laid_down..next, &self.cluster.ring_of_first(3));
        self.laid_down = next;
        let before = self.cluster.ledger();
        let args = [&["rebalance", "-f", "--batch-metrics", "5"], args].concat();
        self.cluster.bucky(&args).assert_code(0).assert_tells("Done.");
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
    let mut told = Vec::new();
    // On a busy machine it takes longer to find; what was found holds for what comes after it.
    let is_smaller = (0..6).any(|_| {
        let travelled_before = growing.cluster.link().answered_bytes();
        let files = growing.grow(&[]);
        let travelled = growing.cluster.link().answered_bytes() - travelled_before;
        told.push((travelled, files));
        growing.has_found() && travelled < files
    });
    assert!(is_smaller, "found: {}; (travelled, files): {told:?}", growing.has_found());
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
    let mut told = String::new();
    // Where the machine is so busy that archives stand still for long, they may look as if a link were in their way, and one kind of
    // them may be faster by chance: then it is looked once more, with daemons that have measured nothing.
    let is_plain = (0..3).any(|_| {
        let mut growing = Growing::lay(None);
        growing.grow(&[]);
        told = growing.cluster.node(3).log();
        !growing.has_found()
    });
    assert!(is_plain, "{told}");
}
