//! The arguments of a command that moves or copies, and the texts in which it is reported.

use std::path::PathBuf;
use std::sync::Arc;

use bucky_api::DaemonAddr;
use bucky_ring::Ring;

use super::options::{Batching, Preparation, SourceRules, SyncOptions};
use crate::counted;
use crate::fleet::OwnerIndex;
use crate::placement::Series;
use crate::plan::Plan;
use crate::plan::survey::StraySelection;

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// To move misplaced metrics to their owners.
    Rebalance,
    /// To copy the metrics of one node or cluster to another.
    Copy,
}

/// The arguments of a run.
pub(crate) struct MoveOrder {
    /// What the run is for.
    pub(crate) task: Task,
    /// The daemon to ask first.
    pub(crate) seed: DaemonAddr,
    /// Which metrics of which nodes.
    pub(crate) selected: MoveSelection,
    /// What is prepared before the first batch.
    pub(crate) preparation: Preparation,
    /// What is done with the sources.
    pub(crate) sources: SourceRules,
    /// How large batches are, and how many run at once.
    pub(crate) batching: Batching,
    /// The journal that notes what is finished.
    pub(crate) journal: Option<PathBuf>,
    /// How fast it may go, and where it reports.
    pub(crate) sync: SyncOptions,
    /// Whether every metric is named when it is moved.
    pub(crate) verbose: bool,
}

/// Which metrics are moved. By default, all that are misplaced on the members.
#[derive(Clone, Default)]
pub(crate) struct MoveSelection {
    /// Only those of the node at `-h`.
    pub(crate) only_seed: bool,
    /// Drained nodes, whose metrics are moved too.
    pub(crate) drained: Vec<DaemonAddr>,
    /// Only metrics whose name matches this.
    pub(crate) regex: Option<String>,
    /// Only metrics that belong to these nodes.
    pub(crate) allowed_destinations: Option<Vec<DaemonAddr>>,
    /// Names with this prefix are local metrics; used where this program places them.
    pub(crate) local_prefix: Option<String>,
    /// The series that are known by their hash.
    pub(crate) series: Series,
}

impl MoveSelection {
    /// Whether only some metrics or nodes are selected.
    pub(super) fn is_part(&self) -> bool {
        self.only_seed || self.regex.is_some() || self.allowed_destinations.is_some()
    }

    /// The selection for `ring`; `allowed` are the members of `allowed_destinations`.
    pub(crate) fn on(&self, ring: Arc<Ring>, allowed: Option<Vec<OwnerIndex>>) -> StraySelection {
        StraySelection {
            ring,
            regex: self.regex.clone(),
            allowed,
            local_prefix: self.local_prefix.clone(),
            series: self.series.clone(),
        }
    }
}

impl Task {
    pub(super) fn fate_of_unread(self) -> &'static str {
        match self {
            Self::Rebalance => "are not moved",
            Self::Copy => "are not copied",
        }
    }

    /// The message if there is nothing to do.
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
