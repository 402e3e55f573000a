//! How a batch ended.

use bucky_whisper::MetricName;

use super::batch::Stray;
use crate::fleet::Node;
use crate::run::failure::Failure;
use crate::run::failure_kind::FailureKind;

/// How often a metric that changes between heal and delete is healed again. Carbon writes each metric a few
/// times a minute, and a batch takes seconds. The owner has everything in any case.
pub(super) const ROUNDS: usize = 5;

/// How a batch ended.
#[derive(Debug, Default)]
pub(super) struct BatchEnd {
    /// Whether every metric is done or failed; `false` if the operator stopped the run.
    pub(super) is_finished: bool,
    /// Metrics that are where they belong.
    pub(super) done: Vec<MetricName>,
    /// Metrics that were gone at their source.
    pub(super) gone: Vec<MetricName>,
    /// Metrics that failed.
    pub(super) failed: Vec<(MetricName, Failure)>,
}

impl BatchEnd {
    pub(super) fn add(&mut self, other: Self) {
        self.is_finished &= other.is_finished;
        self.done.extend(other.done);
        self.gone.extend(other.gone);
        self.failed.extend(other.failed);
    }

    pub(super) fn without_owner(source: &Node, strays: Vec<Stray>) -> Self {
        let failure = Failure {
            node: source.addr().clone(),
            kind: FailureKind::NoOwner,
            reason: "the ring has no owner for it that is a member".into(),
        };
        let failed = strays.into_iter().map(|stray| (stray.metric, failure.clone())).collect();
        Self { is_finished: true, failed, ..Self::default() }
    }
}
