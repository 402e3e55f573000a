//! Nothing is lost while writers write: relays switch to the new ring before, during and after the move. The nodes create
//! their files alike, or the new one has other schemas and the runs reshape.
//!
//! - `whisper`: whisper.py opens, updates and creates the files, one process a node
//! - `carbon`: a carbon on each node, and carbon-c-relays before them
//! - `races`: whisper.py stopped at the very moments in which a move and a write can meet

mod carbon;
mod races;
mod whisper;

use bucky_ring::{Algorithm, Ring};
use bucky_tests::layout_account::SchemaPolicy;
use bucky_tests::schema::MIXED;
use bucky_tests::{Finished, Running, Schemas, TestCluster, Written, metrics, tree, wait};
use bucky_whisper::Aggregation;

/// How often `rebalance` may run until it says that the cluster is balanced, once nobody writes to the wrong node.
const LAST_RUNS: usize = 3;

/// How long nobody has written to a source that a run with `--rest` takes away: longer than these carbons hold a point.
const REST: &str = "3s";

/// Every how many metrics are on the new node already where its schemas are others: both have some points of them.
const ALREADY_THERE: usize = 3;

/// Whether all nodes create the same files.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mix {
    /// They do, some with one archive and some with two.
    Alike,
    /// The new node has other schemas, and the runs re-make its files.
    Reshaped,
}

/// A day of minutes, alone and with a coarser archive behind it.
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
    /// That of a round, from 0.
    fn of(round: usize) -> Self {
        if round.is_multiple_of(2) { Self::Reshaped } else { Self::Alike }
    }

    fn schemas(self) -> &'static [Schemas] {
        match self {
            Self::Alike => &ALIKE,
            Self::Reshaped => &MIXED,
        }
    }

    /// What the runs are told.
    fn args(self) -> &'static [&'static str] {
        match self {
            Self::Alike => &[],
            Self::Reshaped => SchemaPolicy::Reshape.args(),
        }
    }

    /// Metrics of which nothing is written yet but what lies on the nodes before the writers begin: `laid_down` of them on
    /// those of the ring `old`, some of these on the new node too.
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
    fn first_run(self, mix: Mix) -> Vec<&'static str> {
        let mut args = vec!["rebalance", "-f", "-w", "2", "--batch-metrics", "5"];
        args.extend(mix.args());
        match self {
            Self::CopiedFirst => args.push("--no-delete"),
            _ => args.extend(self.rest()),
        }
        args
    }

    /// A later one.
    fn later_run(self, mix: Mix) -> Vec<&'static str> {
        let mut args = vec!["rebalance", "-f", "--batch-metrics", "7"];
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

/// Waits until this share of `metrics` is on the new node, not counting what was there before, or the run is over.
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

/// Moves on while the new nodes are written to, once all relays have switched.
///
/// With `--rest` it is the runbook's last step, until the cluster is balanced; without, one run that meets the writers.
#[track_caller]
fn move_on(cluster: &TestCluster, switch: Switch, mix: Mix) {
    if switch.has_rest() {
        run_until_balanced(cluster, switch, mix);
    } else {
        let ended = cluster.bucky(&switch.later_run(mix));
        assert!(matches!(ended.code, Some(0 | 1)), "{ended}");
    }
}

/// Runs `rebalance` as the runbook has it once all relays have switched: until it says that the cluster is balanced.
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
