//! Brings metrics from one node to one owner, and leaves everything where it is.
//!
//! The receipts for which a source could be deleted end here.

use std::sync::Arc;

use bucky_whisper::MetricName;

use super::super::failure::Failure;
use super::super::nodes::{Kind, Node};
use super::Mover;
use super::batch_run::BatchEnd;
use super::by_hand::{Deletes, move_by_hand};
use super::heal::{HealReport, heal, unmeasured};

/// What bringing metrics to an owner came to.
#[derive(Debug, Default)]
pub(crate) struct Brought {
    /// The owner has all of these; they are counted.
    pub(crate) done: Vec<MetricName>,
    /// Gone at the source; not counted yet.
    pub(crate) gone: Vec<MetricName>,
    /// Did not make it; not counted yet.
    pub(crate) failed: Vec<(MetricName, Failure)>,
}

impl Mover {
    /// Makes `owner`'s copies of these metrics complete by those of `source`. Nothing is deleted, whatever the run
    /// does else. Metrics that the operator's stop kept from being tried are in no list.
    pub(crate) async fn bring(
        &self,
        source: &Arc<Node>,
        owner: &Arc<Node>,
        metrics: Vec<MetricName>,
    ) -> Brought {
        let strays = metrics.into_iter().map(unmeasured).collect();
        let owners = [Arc::clone(owner)];
        if source.kind == Kind::Go || owner.kind == Kind::Go {
            let BatchEnd { mut done, gone, failed, .. } =
                move_by_hand(self, source, &owners, strays, Deletes::Never).await;
            // These are counted already.
            done.extend(gone);
            return Brought { done, gone: Vec::new(), failed };
        }
        let HealReport { healed, again, gone, mut failed, .. } =
            heal(self, source, &owners, strays).await;
        let mut done = Vec::with_capacity(healed.len());
        for (healed, effect) in healed {
            self.tally.moved(effect);
            done.push(healed.into_metric());
        }
        // One owner heals from one content; were it otherwise, it would not be known from which.
        let failure = Failure {
            node: owner.addr().clone(),
            kind: "storage",
            reason: "it gave no digest of what it healed from".into(),
        };
        failed.extend(again.into_iter().map(|stray| (stray.metric, failure.clone())));
        Brought { done, gone, failed }
    }
}
