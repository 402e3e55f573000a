//! A plan as a file: what `bucky plan -j` prints, and `bucky rebalance --plan` reads.

use std::num::NonZeroU64;
use std::path::Path;

use anyhow::Context;
use bucky_api::{DaemonAddr, DiskStatus, MetricAmount};
use bucky_ring::RingDocument;
use serde::{Deserialize, Serialize};

use crate::args::short_file::read_short_file;
use crate::byte_order_mark::without_mark;
use crate::outcome::UsageError;

/// The version of the format that this build writes and reads.
const PLAN_LEVEL: u32 = 1;
/// The longest plan that is read. One of 200 nodes, each of which sends to all others, has 6 MiB.
const LIMIT_BYTES: usize = 64 << 20;

/// What a move to another ring would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RingPlan {
    /// The version of the format.
    pub(crate) level: u32,
    /// The ring in use when the plan was made.
    pub(crate) ring_before: RingDocument,
    /// The planned ring.
    pub(crate) ring_after: RingDocument,
    /// The nodes of both rings: the members first, in the order of the ring, then the new ones.
    pub(crate) nodes: Vec<PlannedNode>,
    /// What each node sends to each other, in the order of the nodes.
    pub(crate) moves: Vec<PairMove>,
    /// What all nodes send together. A metric with two owners counts twice.
    pub(crate) sent: MetricAmount,
    /// Metrics that leave a node, each once for each node that it leaves.
    pub(crate) leaves: MetricAmount,
    /// The files named by the hash of an unknown series: they stay where they are.
    pub(crate) unplaceable: u64,
    /// Metrics that are misplaced by the ring in use already.
    pub(crate) misplaced_before: u64,
    /// Copies that owners will lack after the move, because no node must give them up: `bucky heal` makes them.
    pub(crate) lacking_after: u64,
    /// How evenly metrics and bytes are spread.
    pub(crate) spread: Spreads,
    /// A ring that spreads bytes more evenly, if one was looked for and found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) suggestion: Option<Suggestion>,
    /// Bytes a second, all nodes together, if they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_per_second: Option<u64>,
    /// How many seconds the move takes at that rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seconds: Option<u64>,
}

/// One node before and after the move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlannedNode {
    /// Its daemon.
    pub(crate) node: DaemonAddr,
    /// Its host in the rings.
    pub(crate) host: String,
    /// Whether the ring in use has it.
    pub(crate) in_ring_before: bool,
    /// Whether the planned ring has it.
    pub(crate) in_ring_after: bool,
    /// Whether it answered. If not, it counts as empty.
    pub(crate) answered: bool,
    /// What it holds.
    pub(crate) before: MetricAmount,
    /// What it will hold.
    pub(crate) after: MetricAmount,
    /// Its share of all metrics, 0 to 1.
    pub(crate) share_before: f64,
    /// Its share of all metrics after the move.
    pub(crate) share_after: f64,
    /// The bytes that stay are an estimate if this is more than 1: the lengths of one in this many files were
    /// read.
    pub(crate) one_in: u64,
    /// What leaves it, each metric once.
    pub(crate) leaves: MetricAmount,
    /// What other nodes send to it.
    pub(crate) gets: MetricAmount,
    /// The part of that for which it gets a new file, each metric once.
    pub(crate) arrives: MetricAmount,
    /// Its room, if it reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) disk: Option<DiskStatus>,
    /// The inodes that will be free: each metric is a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) free_inodes_after: Option<u64>,
    /// Whether what it gets fits, as `bucky rebalance` decides it. `None` if its room is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fits: Option<bool>,
}

/// What one node sends to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PairMove {
    /// The source.
    pub(crate) from: DaemonAddr,
    /// The destination.
    pub(crate) to: DaemonAddr,
    /// How many metrics.
    pub(crate) metrics: u64,
    /// The lengths of their files.
    pub(crate) bytes: u64,
}

/// The largest node divided by the smallest; `None` if one is empty.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    /// By the number of metrics.
    pub(crate) by_metrics: Option<f64>,
    /// By the length of their files.
    pub(crate) by_bytes: Option<f64>,
}

/// How evenly metrics are spread over the nodes of each ring.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spreads {
    /// Over the nodes of the ring in use.
    pub(crate) before: Spread,
    /// Over the nodes of the planned ring.
    pub(crate) after: Spread,
}

/// A ring like the planned one, with other instance names or another order of the new nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Suggestion {
    /// The ring.
    pub(crate) ring: RingDocument,
    /// How evenly its nodes would hold metrics.
    pub(crate) spread: Spread,
}

impl RingPlan {
    /// The level of a new plan.
    pub(super) const LEVEL: u32 = PLAN_LEVEL;

    /// The plan in the file at `path`.
    ///
    /// # Errors
    /// [`UsageError`] if it is not a plan.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = read_short_file(path, LIMIT_BYTES)
            .with_context(|| format!("cannot read the plan {}", path.display()))?;
        let unusable = |reason: String| {
            UsageError::because(format!(
                "{} is not a plan: {reason}; make one with `bucky plan -o FILE`",
                path.display()
            ))
        };
        let plan: Self = serde_json::from_slice(without_mark(&bytes))
            .map_err(|error| unusable(error.to_string()))?;
        if plan.level != PLAN_LEVEL {
            return Err(unusable(format!(
                "it has level {}, and this bucky reads level {PLAN_LEVEL}",
                plan.level
            )));
        }
        Ok(plan)
    }

    /// Sets how long the move takes at this many bytes a second, all nodes together.
    pub(crate) fn set_rate(&mut self, bytes_per_second: NonZeroU64) {
        self.bytes_per_second = Some(bytes_per_second.get());
        self.seconds = Some(self.sent.bytes.div_ceil(bytes_per_second.get()));
    }

    /// The plan as JSON.
    ///
    /// # Errors
    /// None that can happen with these types.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// Writes the plan to a file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let json = self.to_json()?;
        std::fs::write(path, json + "\n")
            .with_context(|| format!("cannot write the plan to {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_a_plan_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        let said = |content: &str| {
            std::fs::write(&path, content).unwrap();
            format!("{:#}", RingPlan::read(&path).unwrap_err())
        };
        for content in ["", "{}", r#"{"Nodes":[],"Algo":"carbon","Replicas":1}"#] {
            let error = said(content);
            assert!(error.contains("is not a plan") && error.contains("bucky plan -o"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        let error = format!("{:#}", RingPlan::read(&path).unwrap_err());
        assert!(error.contains("cannot read the plan"), "{error}");
    }
}
