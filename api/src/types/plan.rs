//! What a move to another ring would do: `POST /v1/plan`.

use bucky_ring::RingDocument;
use serde::{Deserialize, Serialize};

/// Body of `POST /v1/plan`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRequest {
    /// The ring to plan for.
    pub ring: RingDocument,
    /// This daemon's host in both rings; its `-node` if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// A number of metrics, and the total length of their files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricAmount {
    /// How many metrics.
    pub metrics: u64,
    /// The total length of their files.
    pub bytes: u64,
}

impl MetricAmount {
    /// Adds one metric with a file of this length.
    pub fn add_file(&mut self, bytes: u64) {
        self.metrics += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Adds another amount.
    pub fn add(&mut self, other: Self) {
        self.metrics += other.metrics;
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// This amount less a part of it.
    #[must_use]
    pub fn without(self, part: Self) -> Self {
        Self {
            metrics: self.metrics.saturating_sub(part.metrics),
            bytes: self.bytes.saturating_sub(part.bytes),
        }
    }
}

/// Answer of `POST /v1/plan`: what `rebalance` would do with the metrics of this node by another ring. Its
/// length grows with the nodes of the ring only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanCount {
    /// The fingerprint of the daemon's own ring, which says what the destinations are expected to have.
    pub ring_fingerprint: String,
    /// Everything that is on this node.
    pub held: MetricAmount,
    /// The part of it that does not move: owned by this node, local, or unplaceable.
    pub stays: MetricAmount,
    /// The part of it that moves, each metric once.
    pub leaves: MetricAmount,
    /// The local metrics. They are also in `stays`.
    pub local: u64,
    /// The files named by the hash of an unknown series. They are also in `stays`.
    pub unplaceable: u64,
    /// The metrics that are misplaced by the daemon's own ring too. Where else they are is unknown.
    pub misplaced_now: u64,
    /// The lengths of one in this many of the metrics that stay were read, and their total is an estimate; 1
    /// if all were read. Those of the metrics that move are always read.
    pub one_in: u64,
    /// What each other host of the ring gets from this node, in ring order.
    pub destinations: Vec<PlanDestination>,
}

/// What one host gets from a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanDestination {
    /// The host, as in the ring.
    pub host: String,
    /// What is sent to it.
    pub sent: MetricAmount,
    /// The part of it that the host is not expected to have yet. A metric that several nodes send to the host
    /// is in the answer of one of them.
    pub arrives: MetricAmount,
    /// Metrics that the host will own and is not expected to have, and that `rebalance` does not send, because
    /// no node that has them must give them up. `heal` copies them. Each is in the answer of one node.
    pub lacks: u64,
}
