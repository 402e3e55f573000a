//! Brings metrics from one node to one owner, and leaves everything in place.
//!
//! The receipts with which a source could be deleted are dropped here.

use std::num::NonZeroU64;
use std::sync::Arc;

use bucky_whisper::MetricName;

use super::batch::Stray;
use super::batch_end::BatchEnd;
use super::go::{Deletes, move_one_by_one, moves_one_by_one};
use super::heal::{HealReport, heal};
use super::mover::Mover;
use super::renames::Renames;
use crate::fleet::Node;
use crate::fleet::full::full_owner;
use crate::run::failure::Failure;
use crate::run::failure_kind::FailureKind;

/// The result of bringing metrics to an owner.
#[derive(Debug, Default)]
pub(crate) struct BringReport {
    /// Metrics that the owner holds; they are counted.
    pub(crate) done: Vec<MetricName>,
    /// Metrics that are gone from the source; not counted yet.
    pub(crate) gone: Vec<MetricName>,
    /// Metrics that failed; not counted yet.
    pub(crate) failed: Vec<(MetricName, Failure)>,
}

impl BringReport {
    fn is_empty(&self) -> bool {
        self.done.is_empty() && self.gone.is_empty() && self.failed.is_empty()
    }

    fn add(&mut self, other: Self) {
        self.done.extend(other.done);
        self.gone.extend(other.gone);
        self.failed.extend(other.failed);
    }
}

impl Mover {
    /// Creates or fills `owner`'s copies of these metrics from those of `source`. Nothing is deleted,
    /// whatever else the run does. Metrics that were not tried because of a stop are in no list.
    pub(crate) async fn bring(
        &self,
        source: &Arc<Node>,
        owner: &Arc<Node>,
        metrics: Vec<MetricName>,
    ) -> BringReport {
        self.bring_as(source, owner, metrics, None, &Renames::default()).await
    }

    /// Brings metrics that the owner stores under the names in `renames`. An owner may be its own source for
    /// those. The files have this length on average, in bytes; `None` if it is not known.
    pub(crate) async fn bring_as(
        &self,
        source: &Arc<Node>,
        owner: &Arc<Node>,
        metrics: Vec<MetricName>,
        bytes: Option<NonZeroU64>,
        renames: &Renames,
    ) -> BringReport {
        let mut strays: Vec<Stray> =
            metrics.into_iter().map(|metric| Stray { metric, bytes }).collect();
        let mut all = BringReport::default();
        let owners = [Arc::clone(owner)];
        while !strays.is_empty() && (all.is_empty() || !self.stop.is_asked()) {
            if let Some(failure) = full_owner(&owners) {
                let failed = strays.drain(..).map(|stray| (stray.metric, failure.clone()));
                let failed: Vec<_> = failed.collect();
                self.conclude(source, &owners, &[], &[], &failed, renames);
                all.failed.extend(failed);
                break;
            }
            let addrs = owners.iter().map(|owner| owner.addr());
            let rest = strays.split_off(self.flow.pace.portion(source.addr(), addrs, &strays));
            let portion = std::mem::replace(&mut strays, rest);
            let report = self.bring_portion(source, &owners, portion, renames).await;
            let BringReport { done, gone, failed } = &report;
            self.conclude(source, &owners, done, gone, failed, renames);
            all.add(report);
        }
        all
    }

    async fn bring_portion(
        &self,
        source: &Arc<Node>,
        owners: &[Arc<Node>; 1],
        strays: Vec<Stray>,
        renames: &Renames,
    ) -> BringReport {
        let [owner] = owners;
        if moves_one_by_one(source, owners) {
            let BatchEnd { done, gone, failed, .. } =
                move_one_by_one(self, source, owners, strays, Deletes::Never, renames).await;
            return BringReport { done, gone, failed };
        }
        let HealReport { healed, again, gone, mut failed, .. } =
            heal(self, source, owners, strays, renames).await;
        let mut done = Vec::with_capacity(healed.len());
        for (healed, effect) in healed {
            self.records.tally.moved(effect);
            done.push(healed.into_metric());
        }
        // The contents of one owner cannot differ, so these had no digest.
        let failure = Failure {
            node: owner.addr().clone(),
            kind: FailureKind::Storage,
            reason: "it sent no digest of the content it received".into(),
        };
        failed.extend(again.into_iter().map(|stray| (stray.metric, failure.clone())));
        BringReport { done, gone, failed }
    }
}
