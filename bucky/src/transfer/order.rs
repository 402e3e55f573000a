//! What an operator ordered of a command that moves or copies, and the words in which it is reported.

use std::path::PathBuf;
use std::sync::Arc;

use bucky_api::DaemonAddr;
use bucky_ring::Ring;

use super::options::{Batching, Preparation, SourceRules, SyncOptions};
use crate::counted;
use crate::fleet::OwnerIndex;
use crate::placement::Series;
use crate::plan::Plan;
use crate::plan::survey::Selection;

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
    /// Which metrics of which nodes.
    pub(crate) selected: Selected,
    /// What is done first.
    pub(crate) preparation: Preparation,
    /// What becomes of the sources.
    pub(crate) sources: SourceRules,
    /// In which batches, how many at once.
    pub(crate) batching: Batching,
    /// Where it is noted what is finished.
    pub(crate) journal: Option<PathBuf>,
    /// How fast it may go, and where it reports.
    pub(crate) sync: SyncOptions,
    /// Whether every metric that is moved is named.
    pub(crate) verbose: bool,
}

/// Which metrics are moved: those of all members, unless something is said here.
#[derive(Clone, Default)]
pub(crate) struct Selected {
    /// Only those of the node that is asked first.
    pub(crate) only_seed: bool,
    /// Nodes out of the ring that are drained as well.
    pub(crate) drained: Vec<DaemonAddr>,
    /// Only metrics in whose name this is found.
    pub(crate) regex: Option<String>,
    /// Only those that belong to these nodes.
    pub(crate) allowed_destinations: Option<Vec<DaemonAddr>>,
    /// Names that begin with this are each node's own, where this program places them.
    pub(crate) local_prefix: Option<String>,
    /// The series that are known by their hash.
    pub(crate) series: Series,
}

impl Selected {
    /// Whether it is about some metrics or nodes only.
    pub(super) fn is_part(&self) -> bool {
        self.only_seed || self.regex.is_some() || self.allowed_destinations.is_some()
    }

    /// What is read of the sources by this, for `ring`; `allowed` are the members of `allowed_destinations`.
    pub(crate) fn on(&self, ring: Arc<Ring>, allowed: Option<Vec<OwnerIndex>>) -> Selection {
        Selection {
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
