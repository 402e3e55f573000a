//! Nothing is lost while writers write: relays switch to the new ring before, during and after the move.
//!
//! - `whisper`: whisper.py opens, updates and creates the files, one process a node
//! - `carbon`: a carbon on each node, and carbon-c-relays before them
//! - `races`: whisper.py stopped at the very moments in which a move and a write can meet

mod carbon;
mod races;
mod whisper;

use bucky_ring::Algorithm;
use bucky_tests::{Finished, Running, TestCluster, tree, wait};

/// How often `rebalance` may run until it says that the cluster is balanced, once nobody writes to the wrong node.
const LAST_RUNS: usize = 3;

/// How long nobody has written to a source that a run with `--rest` takes away: longer than these carbons hold a point.
const REST: &str = "3s";

/// When the relays switch to the new ring.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Switch {
    /// The runbook's order, in which not even carbon itself can drop an update: after a first run that copies and deletes
    /// nothing, and all later runs leave sources that are not at rest. Every metric is there when it is copied.
    CopiedFirst,
    /// When this share of the metrics has come to the new node, and no run takes sources away that are not at rest.
    Rested(f64),
    /// Before the move.
    Before,
    /// When this share of the metrics has come to the new node.
    During(f64),
    /// At that moment some of them, and the others when the first run has ended.
    OneByOne(f64),
    /// After the first run.
    After,
}

const SWITCHES: [Switch; 8] = [
    Switch::CopiedFirst,
    Switch::Rested(0.5),
    Switch::Before,
    Switch::During(0.1),
    Switch::During(0.5),
    Switch::During(0.9),
    Switch::OneByOne(0.3),
    Switch::After,
];

impl Switch {
    /// Whether all runs that delete are told to leave sources that are not at rest.
    fn has_rest(self) -> bool {
        matches!(self, Self::CopiedFirst | Self::Rested(_))
    }

    /// How many of `metrics` are there before anybody writes; the others are created while all goes on.
    fn laid_down(self, metrics: usize) -> usize {
        if self == Self::CopiedFirst { metrics } else { metrics * 2 / 3 }
    }

    /// The first run.
    fn first_run(self) -> Vec<&'static str> {
        let mut args = vec!["rebalance", "-f", "-w", "2", "--batch-metrics", "5"];
        match self {
            Self::CopiedFirst => args.push("--no-delete"),
            _ => args.extend(self.rest()),
        }
        args
    }

    /// A later one.
    fn later_run(self) -> Vec<&'static str> {
        let mut args = vec!["rebalance", "-f", "--batch-metrics", "7"];
        args.extend(self.rest());
        args
    }

    fn rest(self) -> impl Iterator<Item = &'static str> {
        ["--rest", REST].into_iter().filter(move |_| self.has_rest())
    }
}

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

/// Moves on while the new nodes are written to, once all relays have switched.
///
/// With `--rest` it is the runbook's last step, until the cluster is balanced; without, one run that meets the writers.
#[track_caller]
fn move_on(cluster: &TestCluster, switch: Switch) {
    if switch.has_rest() {
        run_until_balanced(cluster, switch);
    } else {
        let ended = cluster.bucky(&switch.later_run());
        assert!(matches!(ended.code, Some(0 | 1)), "{ended}");
    }
}

/// Runs `rebalance` as the runbook has it once all relays have switched: until it says that the cluster is balanced.
#[track_caller]
fn run_until_balanced(cluster: &TestCluster, switch: Switch) {
    let mut runs = 0;
    wait::until("the cluster is balanced", || {
        let run = cluster.bucky(&switch.later_run());
        if switch.has_rest() && has_left_written_to(&run) {
            return false;
        }
        let run = run.assert_code(0);
        runs += 1;
        assert!(runs <= LAST_RUNS, "not balanced, though nobody writes to the wrong node: {run}");
        run.stderr.contains("balanced")
    });
}

/// Whether a run with `--rest` has left sources because they were written to.
fn has_left_written_to(run: &Finished) -> bool {
    run.code == Some(1) && run.stderr.contains("still written to")
}
