//! Metrics that move one by one because a Go daemon takes part: it has no archives, syncs nothing, and
//! deletes without a condition.
//!
//! So more is checked here. The content that arrived is parsed before it is sent on. What a Go daemon was
//! sent is read back, and counts only if no point of it is missing there (its fill leaves out single points,
//! and ignores write errors: D2, D8). A source is deleted only with a receipt, and only if it is still what
//! was copied.

mod copied;
mod delete;
pub(crate) mod owner;
mod receipt;
mod rest;
mod setback;

use std::sync::Arc;

use bucky_whisper::MetricName;

use self::setback::{GoSetback, lasting};
use super::batch::Stray;
use super::batch_end::{BatchEnd, ROUNDS};
use super::mover::Mover;
use super::renames::Renames;
use crate::fleet::Node;
use crate::fleet::full::full_owner;
use crate::patience::{NextStep, Patience, Trouble, jitter};
use crate::run::failure::Failure;
use crate::run::failure_kind::FailureKind;
use crate::run::tally::Effect;

/// Whether the source is deleted once its owners hold all its points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deletes {
    /// If the run deletes sources.
    AsOrdered,
    /// Not at all.
    Never,
}

/// Whether metrics from `source` to `owners` must move one by one.
pub(super) fn moves_one_by_one(source: &Node, owners: &[Arc<Node>]) -> bool {
    !source.kind.exchanges_archives() || owners.iter().any(|owner| !owner.kind.exchanges_archives())
}

/// Moves `strays` of `source` to all of `owners`, one after the other.
pub(super) async fn move_one_by_one(
    mover: &Mover,
    source: &Arc<Node>,
    owners: &[Arc<Node>],
    strays: Vec<Stray>,
    deletes: Deletes,
    renames: &Renames,
) -> BatchEnd {
    let mut end = BatchEnd { is_finished: true, ..BatchEnd::default() };
    let accounted = turns(mover, source, owners, &strays).await;
    let mut lengths = Vec::new();
    // All batches acquire permits in this order: owners, source, ours.
    let mut receiving = Vec::with_capacity(owners.len());
    for owner in owners {
        receiving.push(owner.gate.receive().await);
    }
    let _sending = source.gate.send().await;
    let _worker = mover.worker().await;
    let deletes = mover.sources.deletes && deletes == Deletes::AsOrdered;
    let metrics = GoMove { mover, source, owners, deletes, renames };
    for stray in strays {
        if mover.stop.is_asked() {
            end.is_finished = false;
            break;
        }
        match metrics.move_one(&stray.metric).await {
            Ok(Some(effect)) => {
                mover.records.tally.moved(effect);
                lengths.push(effect.bytes);
                end.done.push(stray.metric);
            }
            Ok(None) => end.gone.push(stray.metric),
            Err(failure) => end.failed.push((stray.metric, failure)),
        }
    }
    drop(receiving);
    mover.flow.pace.correct_to(accounted, lengths);
    end
}

/// Waits until `strays` may be sent to all owners. Returns how many bytes they are expected to have.
async fn turns(mover: &Mover, source: &Node, owners: &[Arc<Node>], strays: &[Stray]) -> u64 {
    let mut accounted = 0;
    for owner in owners {
        accounted += mover.flow.pace.turn(source.addr(), owner.addr(), strays, &mover.stop).await;
    }
    accounted
}

/// A source and the owners of what moves from it.
struct GoMove<'a> {
    mover: &'a Mover,
    source: &'a Arc<Node>,
    owners: &'a [Arc<Node>],
    deletes: bool,
    renames: &'a Renames,
}

/// The result of an attempt to move a metric.
enum Attempt {
    Moved(Effect),
    /// The source does not have it any more.
    Gone,
    /// The source was written to after it was copied.
    Changed,
}

impl GoMove<'_> {
    /// Moves one metric; returns `None` if the source does not have it any more.
    async fn move_one(&self, metric: &MetricName) -> Result<Option<Effect>, Failure> {
        let mut patience = Patience::with(&self.source.daemon);
        let mut rounds = 0;
        loop {
            let setback = match self.attempt(metric).await {
                Ok(Attempt::Moved(effect)) => return Ok(Some(effect)),
                Ok(Attempt::Gone) => return Ok(None),
                Ok(Attempt::Changed) if rounds + 1 < ROUNDS => {
                    rounds += 1;
                    continue;
                }
                Ok(Attempt::Changed) => {
                    return Err(lasting(
                        self.source,
                        FailureKind::KeepsChanging,
                        format!("it changed during each of {ROUNDS} attempts"),
                    )
                    .failure);
                }
                Err(setback) => setback,
            };
            match patience.after(setback.trouble, jitter()) {
                NextStep::Wait(pause) if !self.mover.stop.asked_within(pause).await => {}
                NextStep::Wait(_) | NextStep::GiveUp => return Err(setback.failure),
            }
        }
    }

    async fn attempt(&self, metric: &MetricName) -> Result<Attempt, GoSetback> {
        for node in self.owners.iter().chain([self.source]) {
            node.admit().map_err(|reason| lasting(node, FailureKind::NodeAway, reason))?;
        }
        if let Some(failure) = full_owner(self.owners) {
            return Err(GoSetback { trouble: Trouble::Lasting, failure });
        }
        let Some(copied) = copied::fetch(self.source, metric, self.renames).await? else {
            return Ok(Attempt::Gone);
        };
        let (receipt, effect) =
            receipt::deliver(self.mover, self.source, self.owners, copied).await?;
        if self.deletes && !self.delete(receipt).await? {
            return Ok(Attempt::Changed);
        }
        Ok(Attempt::Moved(effect))
    }
}
