//! What an operator ordered of a command that moves or copies, and the words in which it is reported.

use std::path::PathBuf;
use std::time::Duration;

use bucky_api::DaemonAddr;

use super::batch::BatchLimits;
use super::options::{SyncOptions, Travel};
use crate::counted;
use crate::placement::Series;
use crate::plan::Plan;
use crate::plan::room::Reserve;

/// What metrics are carried for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// To bring what lies astray to its owners.
    Rebalance,
    /// To copy what one node or cluster has to another.
    Copy,
}

/// What the operator ordered.
pub(crate) struct Order {
    /// What for.
    pub(crate) task: Task,
    /// The daemon to ask first.
    pub(crate) seed: DaemonAddr,
    /// Only that node's strays are moved.
    pub(crate) only_seed: bool,
    /// Nodes out of the ring that are drained.
    pub(crate) drained: Vec<DaemonAddr>,
    /// Only metrics in whose name this is found.
    pub(crate) regex: Option<String>,
    /// Only to these.
    pub(crate) allowed_destinations: Option<Vec<DaemonAddr>>,
    /// What begins with this is each node's own, where we place.
    pub(crate) local_prefix: Option<String>,
    /// The series that are known by their hash.
    pub(crate) series: Series,
    /// Whether sources are deleted.
    pub(crate) deletes: bool,
    /// How long nobody may have written to a source that is deleted.
    pub(crate) rest: Duration,
    /// Whether owners' corrupt files are replaced by sound misplaced copies, and kept aside.
    pub(crate) replace_corrupt: bool,
    /// Whether the nodes scan anew first.
    pub(crate) fresh: bool,
    /// Print the plan and move nothing.
    pub(crate) dry_run: bool,
    /// Begin although it does not fit.
    pub(crate) ignore_free_space: bool,
    /// What is left free at each destination.
    pub(crate) reserve: Reserve,
    /// Batches at once.
    pub(crate) workers: usize,
    /// How files travel.
    pub(crate) travel: Travel,
    /// How large batches are.
    pub(crate) limits: BatchLimits,
    /// Where it is noted what is finished.
    pub(crate) journal: Option<PathBuf>,
    /// How fast it may go, and where it tells of itself.
    pub(crate) sync: SyncOptions,
    /// Whether every metric that is moved is named.
    pub(crate) verbose: bool,
}

impl Order {
    /// Whether it is about some metrics or nodes only.
    pub(super) fn is_selection(&self) -> bool {
        self.only_seed || self.regex.is_some() || self.allowed_destinations.is_some()
    }
}

impl Task {
    pub(super) fn fate_of_unread(self) -> &'static str {
        match self {
            Self::Rebalance => "are not moved",
            Self::Copy => "are not copied",
        }
    }

    /// What is said where there is nothing to do.
    pub(super) fn nothing(self, is_selection: bool) -> &'static str {
        match (self, is_selection) {
            (Self::Rebalance, true) => "None of the selected metrics is misplaced",
            (Self::Rebalance, false) => "Cluster is balanced",
            (Self::Copy, true) => "None of the selected metrics needs copying",
            (Self::Copy, false) => "There is nothing to copy",
        }
    }

    pub(super) fn shown(self, plan: &Plan, deletes: bool) -> String {
        let then = if deletes { ", and then delete them at the source" } else { "" };
        match self {
            Self::Rebalance => plan.to_string(),
            Self::Copy => {
                format!("{}\n\n{} to copy{then}.", plan.tables(), counted::metrics(plan.metrics))
            }
        }
    }
}
