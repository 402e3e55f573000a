//! Runs one batch: heals it at all its owners, then deletes it at its source. What has changed in the
//! meantime is healed again.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use bucky_api::OnSchemaDifference;
use bucky_whisper::MetricName;

use super::batch::{Batch, Stray, Ticket};
use super::batch_end::{BatchEnd, ROUNDS};
use super::delete::{DeleteReport, delete};
use super::go::{Deletes, move_one_by_one, moves_one_by_one};
use super::heal::{HealReport, Healed, heal};
use super::mover::Mover;
use super::renames::Renames;
use crate::fleet::Node;
use crate::fleet::full::full_owner;
use crate::run::failure::Failure;
use crate::run::failure_kind::FailureKind;
use crate::run::tally::Effect;

/// Moves `batch` from `source` to its owners.
pub(super) async fn run_batch(
    mover: &Mover,
    source: &Arc<Node>,
    batch: Batch,
) -> (Ticket, BatchEnd) {
    let Batch { owners, strays, ticket } = batch;
    let owners: Option<Vec<Arc<Node>>> =
        owners.into_iter().map(|owner| mover.fleet.member(owner).cloned()).collect();
    let Some(owners) = owners.filter(|owners| !owners.is_empty()) else {
        return (ticket, BatchEnd::without_owner(source, strays));
    };
    // D29: a metric that is already on one of its owners is not moved onto itself, and nothing is deleted for
    // it.
    let (owners, itself): (Vec<_>, Vec<_>) =
        owners.into_iter().partition(|owner| owner.store != source.store);
    if owners.is_empty() || (!itself.is_empty() && !mover.sources.copies_from_owners) {
        for _ in &strays {
            mover.records.tally.skipped();
        }
        return (ticket, BatchEnd { is_finished: true, ..BatchEnd::default() });
    }
    let deletes = if itself.is_empty() { Deletes::AsOrdered } else { Deletes::Never };
    (ticket, in_portions(mover, source, &owners, strays, deletes).await)
}

/// Moves `strays` in portions that the pace allows.
async fn in_portions(
    mover: &Mover,
    source: &Arc<Node>,
    owners: &[Arc<Node>],
    mut strays: Vec<Stray>,
    deletes: Deletes,
) -> BatchEnd {
    let renames = Renames::default();
    let one_by_one = moves_one_by_one(source, owners);
    let mut all = BatchEnd { is_finished: true, ..BatchEnd::default() };
    if one_by_one && mover.sync.preview.is_some() {
        // A Go daemon cannot say in advance what a heal would do.
        return all;
    }
    while !strays.is_empty() {
        if let Some(failure) = full_owner(owners) {
            let failed = strays.drain(..).map(|stray| (stray.metric, failure.clone()));
            let failed: Vec<_> = failed.collect();
            mover.conclude(source, owners, &[], &[], &failed, &renames);
            all.failed.extend(failed);
            break;
        }
        let addrs = owners.iter().map(|owner| owner.addr());
        let rest = strays.split_off(mover.flow.pace.portion(source.addr(), addrs, &strays));
        let portion = std::mem::replace(&mut strays, rest);
        let end = if one_by_one {
            let end = move_one_by_one(mover, source, owners, portion, deletes, &renames).await;
            end.gone.iter().for_each(|_| mover.records.tally.gone());
            end
        } else {
            Rounds::new(mover, source, owners, deletes).run(portion).await
        };
        mover.conclude(source, owners, &end.done, &end.gone, &end.failed, &renames);
        all.add(end);
        if mover.stop.is_asked() && !strays.is_empty() {
            all.is_finished = false;
            break;
        }
    }
    all
}

struct Rounds<'a> {
    mover: &'a Mover,
    source: &'a Arc<Node>,
    owners: &'a [Arc<Node>],
    deletes: bool,
    effects: HashMap<MetricName, Effect>,
    end: BatchEnd,
    unfinished: bool,
}

impl<'a> Rounds<'a> {
    fn new(
        mover: &'a Mover,
        source: &'a Arc<Node>,
        owners: &'a [Arc<Node>],
        deletes: Deletes,
    ) -> Self {
        let (effects, end) = (HashMap::new(), BatchEnd::default());
        let deletes = mover.sources.deletes && deletes == Deletes::AsOrdered;
        Self { mover, source, owners, deletes, effects, end, unfinished: false }
    }

    async fn run(mut self, mut strays: Vec<Stray>) -> BatchEnd {
        for round in 0..ROUNDS {
            if strays.is_empty() {
                break;
            }
            if round > 0 && self.mover.stop.is_asked() {
                self.unfinished = true;
                strays.clear();
                break;
            }
            let HealReport { healed, again, gone, failed, left } =
                heal(self.mover, self.source, self.owners, strays, &Renames::default()).await;
            self.unfinished |= left > 0;
            self.end.failed.extend(failed);
            for metric in gone {
                self.gone(metric);
            }
            let healed = self.note_effects(healed);
            strays = again;
            let changed = self.settle(healed).await;
            strays.extend(changed.into_iter().map(|metric| self.measured(metric)));
        }
        for stray in strays {
            let reason = format!(
                "it changed during each of {ROUNDS} attempts; its owners have everything except the last changes"
            );
            let failure = Failure {
                node: self.source.addr().clone(),
                kind: FailureKind::KeepsChanging,
                reason,
            };
            self.end.failed.push((stray.metric, failure));
        }
        self.end.is_finished = !self.unfinished;
        self.end
    }

    /// Deletes the sources of the healed metrics, or finishes them if their sources stay. Returns the metrics
    /// that had changed.
    async fn settle(&mut self, healed: Vec<Healed>) -> Vec<MetricName> {
        if !self.deletes {
            for healed in healed {
                self.done(healed.into_metric());
            }
            return Vec::new();
        }
        if let Err(failure) = self.mover.clocks.allows(&self.mover.fleet, self.source, self.owners)
        {
            let kept = healed.into_iter().map(|healed| (healed.into_metric(), failure.clone()));
            self.end.failed.extend(kept);
            return Vec::new();
        }
        let healed = self.allowed(healed);
        let DeleteReport { deleted, changed, failed, left, .. } =
            delete(self.mover, self.source, healed).await;
        self.unfinished |= left > 0;
        self.end.failed.extend(failed);
        for metric in deleted {
            self.done(metric);
        }
        changed
    }

    /// The metrics of `healed` that may lose as many points as they do, by what the operator has allowed.
    fn allowed(&mut self, healed: Vec<Healed>) -> Vec<Healed> {
        let mover = self.mover;
        if mover.sync.on_schema_difference != OnSchemaDifference::Drop {
            return healed;
        }
        let most = mover.sync.give_up_most;
        let (allowed, kept): (Vec<_>, Vec<_>) = healed
            .into_iter()
            .partition(|healed| mover.records.tally.may_give_up(healed.given_up(), most));
        for healed in kept {
            let reason = format!(
                "{} points have no place at the owner, which is more than you confirmed; the source stays",
                healed.given_up()
            );
            let node = self.source.addr().clone();
            let failure = Failure { node, kind: FailureKind::OtherSchema, reason };
            self.end.failed.push((healed.into_metric(), failure));
        }
        allowed
    }

    fn note_effects(&mut self, healed: Vec<(Healed, Effect)>) -> Vec<Healed> {
        let mut receipts = Vec::with_capacity(healed.len());
        for (healed, effect) in healed {
            let sum =
                self.effects.get(healed.metric()).map_or(effect, |earlier| earlier.and(effect));
            self.effects.insert(healed.metric().clone(), sum);
            receipts.push(healed);
        }
        receipts
    }

    /// The metric with its length, or with more if it went to several owners.
    fn measured(&self, metric: MetricName) -> Stray {
        let effect = self.effects.get(&metric);
        let bytes = effect.and_then(|effect| NonZeroU64::new(effect.bytes));
        Stray { metric, bytes }
    }

    fn done(&mut self, metric: MetricName) {
        if let Some(effect) = self.effects.remove(&metric) {
            self.mover.records.tally.moved(effect);
        }
        self.end.done.push(metric);
    }

    /// Counts a metric that is gone from the source. If an earlier round healed it, it counts as moved.
    fn gone(&mut self, metric: MetricName) {
        match self.effects.remove(&metric) {
            Some(effect) => {
                self.mover.records.tally.moved(effect);
                self.end.done.push(metric);
            }
            None => {
                self.mover.records.tally.gone();
                self.end.gone.push(metric);
            }
        }
    }
}
