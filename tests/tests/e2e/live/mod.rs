//! Nothing is lost while writers write: relays switch to the new ring before, during and after the move. All
//! nodes create equal files, or the new node has other schemas and the runs reshape.
//!
//! - `whisper`: whisper.py opens, updates and creates the files, one process for each node
//! - `carbon`: a carbon on each node, and carbon-c-relays before them
//! - `races`: whisper.py stopped at the moments when a move and a write can collide

mod carbon;
mod races;
mod whisper;

use bucky_ring::{Algorithm, Ring};
use bucky_tests::layout_account::SchemaPolicy;
use bucky_tests::schema::MIXED;
use bucky_tests::{Finished, Running, Schemas, TestCluster, Written, metrics, tree, wait};
use bucky_whisper::Aggregation;

/// How many times `rebalance` may run until it says that the cluster is balanced, when no more points go to
/// the wrong node.
const LAST_RUNS: usize = 3;

/// How long a source must rest before a run with `--rest` deletes it: longer than these carbons hold a point
/// in memory.
const REST: &str = "3s";

/// One in this many metrics is on the new node already, if its schemas differ: both nodes have some points of
/// it.
const ALREADY_THERE: usize = 3;

/// Whether all nodes create equal files.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mix {
    /// They do: some files with one archive and some with two.
    Alike,
    /// The new node has other schemas, and the runs reshape its files.
    Reshaped,
}

/// A day of minutes, alone and with a coarser archive.
const ALIKE: [Schemas; 2] = [
    Schemas::same("one", metrics::MINUTES),
    Schemas::same(
        "two",
        metrics::Layout {
            retentions: "1m:1d,10m:4d",
            aggregation: Aggregation::Average,
            x_files_factor: 0.5,
        },
    ),
];

impl Mix {
    /// The mix of a round, counted from 0.
    fn of(round: usize) -> Self {
        if round.is_multiple_of(2) { Self::Reshaped } else { Self::Alike }
    }

    fn schemas(self) -> &'static [Schemas] {
        match self {
            Self::Alike => &ALIKE,
            Self::Reshaped => &MIXED,
        }
    }

    /// The flags of the runs.
    fn args(self) -> &'static [&'static str] {
        match self {
            Self::Alike => &[],
            Self::Reshaped => SchemaPolicy::Reshape.args(),
        }
    }

    /// Metrics that have only the points written to the nodes before the writers begin: `laid_down` of them
    /// on the nodes of the ring `old`, and some of these on the new node too.
    fn lay_down(
        self,
        metrics: usize,
        laid_down: usize,
        cluster: &TestCluster,
        old: &Ring,
    ) -> Written {
        let mut written = Written::none(u32::try_from(metrics).unwrap(), self.schemas());
        written.lay_down(laid_down, cluster, old);
        if self == Self::Reshaped {
            written.lay_down_at(cluster.node(3), ALREADY_THERE, cluster);
        }
        written
    }
}

/// When the relays switch to the new ring.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Switch {
    /// The runbook's order, in which not even carbon can drop an update: after a first run that copies and
    /// deletes nothing. All later runs leave sources that are not at rest. Every metric exists when it is
    /// copied.
    CopiedFirst,
    /// When this share of the metrics is on the new node; no run deletes sources that are not at rest.
    Rested(f64),
    /// Before the move.
    Before,
    /// When this share of the metrics is on the new node.
    During(f64),
    /// Some relays when this share has moved, and the others when the first run has ended.
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
    /// Whether all runs that delete leave sources that are not at rest.
    fn has_rest(self) -> bool {
        matches!(self, Self::CopiedFirst | Self::Rested(_))
    }

    /// How many of `metrics` exist before the writers begin; the others are created during the test.
    fn laid_down(self, metrics: usize) -> usize {
        if self == Self::CopiedFirst { metrics } else { metrics * 2 / 3 }
    }

    /// The flags of the first run.
    fn first_run(self, mix: Mix) -> Vec<&'static str> {
        let mut args =
            vec!["rebalance", "-f", "--expect-shuffle", "-w", "2", "--batch-metrics", "5"];
        args.extend(mix.args());
        match self {
            Self::CopiedFirst => args.push("--no-delete"),
            _ => args.extend(self.rest()),
        }
        args
    }

    /// The flags of a later run.
    fn later_run(self, mix: Mix) -> Vec<&'static str> {
        let mut args = vec!["rebalance", "-f", "--expect-shuffle", "--batch-metrics", "7"];
        args.extend(mix.args());
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

/// Waits until this share of `metrics` is on the new node, not counting those that it had before, or until
/// the run ends.
#[track_caller]
fn wait_for_share(cluster: &TestCluster, run: &mut Running, metrics: usize, share: f64) {
    let count = || tree::metrics(&cluster.node(3).prefix()).len();
    let before = count();
    let to_come = metrics.saturating_sub(before);
    #[expect(clippy::cast_precision_loss, reason = "a few hundred metrics")]
    wait::until("a part of the metrics has come", || {
        !run.is_running() || (count() - before) as f64 >= to_come as f64 * share
    });
}

/// Continues the move while the new nodes are written to, after all relays have switched.
///
/// With `--rest` this is the runbook's last step, until the cluster is balanced; without it, a single run
/// during writes.
#[track_caller]
fn move_on(cluster: &TestCluster, switch: Switch, mix: Mix) {
    if switch.has_rest() {
        run_until_balanced(cluster, switch, mix);
    } else {
        let ended = cluster.bucky(&switch.later_run(mix));
        assert!(matches!(ended.code, Some(0 | 1)), "{ended}");
    }
}

/// Runs `rebalance` as in the runbook after all relays have switched, until it says that the cluster is
/// balanced.
#[track_caller]
fn run_until_balanced(cluster: &TestCluster, switch: Switch, mix: Mix) {
    let mut runs = 0;
    wait::until("the cluster is balanced", || {
        let run = cluster.bucky(&switch.later_run(mix));
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
