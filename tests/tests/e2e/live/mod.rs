//! Nothing is lost while writers write: relays switch to the new ring before, during and after the move.
//!
//! - `whisper`: whisper.py opens, updates and creates the files, one process a node
//! - `carbon`: a carbon on each node, and carbon-c-relays before them
//! - `races`: whisper.py stopped at the very moments in which a move and a write can meet

mod carbon;
mod races;
mod whisper;

use std::time::Duration;

use bucky_ring::Algorithm;
use bucky_tests::{Node, Running, TestCluster, tree, wait};

/// How often `rebalance` may run until it says that the cluster is balanced, once nobody writes to the wrong node.
const LAST_RUNS: usize = 3;

/// How long nobody has written to any misplaced file when the carbons are taken to have written all that they had.
const REST: Duration = Duration::from_secs(3);

/// When the relays switch to the new ring.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Switch {
    /// After a first run that copies and deletes nothing, and then the next run waits until nobody writes to misplaced
    /// files any more: the order in which not even carbon itself can drop an update.
    CopiedFirst,
    /// Before the move.
    Before,
    /// When this share of the metrics has come to the new node.
    During(f64),
    /// At that moment some of them, and the others when the first run has ended.
    OneByOne(f64),
    /// After the first run.
    After,
}

const SWITCHES: [Switch; 7] = [
    Switch::CopiedFirst,
    Switch::Before,
    Switch::During(0.1),
    Switch::During(0.5),
    Switch::During(0.9),
    Switch::OneByOne(0.3),
    Switch::After,
];
/// The kinds of ring, and the number of copies.
const RINGS: [(Algorithm, usize); 6] = [
    (Algorithm::Carbon, 1),
    (Algorithm::JumpFnv1a, 1),
    (Algorithm::Fnv1a, 1),
    (Algorithm::Carbon, 2),
    (Algorithm::JumpFnv1a, 2),
    (Algorithm::Fnv1a, 2),
];

/// Waits until this share of `metrics` has come to the new node, or the run is over.
#[track_caller]
fn wait_for_share(cluster: &TestCluster, run: &mut Running, metrics: usize, share: f64) {
    #[expect(clippy::cast_precision_loss, reason = "a few hundred metrics")]
    wait::until("a part of the metrics has come", || {
        let there = tree::metrics(&cluster.node(3).prefix()).len();
        !run.is_running() || there as f64 >= metrics as f64 * share
    });
}

/// Waits until nobody has written to a misplaced file for a while.
#[track_caller]
fn wait_for_rest(cluster: &TestCluster) {
    let rests = |node: &Node, name: &String| {
        let is_owner =
            cluster.owners(name).iter().any(|owner| cluster.node(*owner).host() == node.host());
        let age = || node.path(name).metadata().ok()?.modified().ok()?.elapsed().ok();
        is_owner || age().is_some_and(|age| age > REST)
    };
    wait::until("nobody writes to misplaced files", || {
        cluster.nodes().iter().all(|node| node.metrics().iter().all(|name| rests(node, name)))
    });
}

/// Runs `rebalance` as the runbook has it once all relays have switched: until it says that the cluster is balanced.
#[track_caller]
fn run_until_balanced(cluster: &TestCluster) {
    for _ in 0..LAST_RUNS {
        let run = cluster.bucky(&["rebalance", "-f"]).assert_code(0);
        if run.stderr.contains("balanced") {
            return;
        }
    }
    panic!("not balanced after {LAST_RUNS} runs although nobody writes to the wrong node");
}
