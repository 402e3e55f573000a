//! Metric by metric, where a daemon of the Go tool takes part: it has no archives, syncs nothing, and deletes without
//! a condition.
//!
//! So more is looked at here. What came is parsed before it is sent on. What a Go daemon was given is read back, and
//! counts only if no point of it is missing there (its fill leaves out single points, and drops write errors: D2,
//! D8). A source is deleted only if it is still what was copied.

pub(crate) mod owner;
mod rest;
mod setback;

use std::sync::Arc;
use std::time::Duration;

use bucky_api::archive::ArchiveWriter;
use bucky_api::client::Fetched;
use bucky_api::go::MetricStat;
use bucky_api::{DaemonAddr, Encoding, HealLine, HealOrders, HealOutcome};
use bucky_whisper::{Digest, Image, MetricName, is_compressed};
use bytes::Bytes;
use futures_util::stream;

use self::owner::fill_at;
use self::rest::rest;
use self::setback::{Setback, client, lasting, not_deleted, passing};
use super::batch::Stray;
use super::batch_end::{BatchEnd, ROUNDS};
use super::delete::{delete, in_use};
use super::heal::Healed;
use super::mover::Mover;
use super::renames::Renames;
use crate::chain;
use crate::fleet::full::full_owner;
use crate::fleet::{Kind, Node};
use crate::patience::{Next, Patience, Trouble, jitter};
use crate::run::failure::{Failure, NODE_AWAY, NOT_DELETED, kind_of_line};
use crate::run::tally::Effect;

/// A file that was written so shortly before it was copied may have been written again within the second that its time of
/// change tells. It is far more than a second: between the daemon's look at the file and its answer there may be a wait.
const RECENT: Duration = Duration::from_secs(60);
/// What is read so long after a file was written is all that was written within that second: whatever comes later shows.
const SECOND_IS_OVER: Duration = Duration::from_secs(2);

/// Whether the source is deleted once its owners have all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deletes {
    /// As the run is ordered.
    AsOrdered,
    /// Not at all.
    Never,
}

/// Moves `strays` of `source` to all of `owners`, one after the other.
pub(super) async fn move_by_hand(
    mover: &Mover,
    source: &Arc<Node>,
    owners: &[Arc<Node>],
    strays: Vec<Stray>,
    deletes: Deletes,
    renames: &Renames,
) -> BatchEnd {
    let mut end = BatchEnd { is_finished: true, ..BatchEnd::default() };
    let reckoned = turns(mover, source, owners, &strays).await;
    let mut lengths = Vec::new();
    // In the order in which all batches take their places: owners, source, ours.
    let mut receiving = Vec::with_capacity(owners.len());
    for owner in owners {
        receiving.push(owner.gate.receive().await);
    }
    let _sending = source.gate.send().await;
    let _worker = mover.worker().await;
    let deletes = mover.sources.deletes && deletes == Deletes::AsOrdered;
    let hand = Hand { mover, source, owners, deletes, renames };
    for stray in strays {
        if mover.stop.is_asked() {
            end.is_finished = false;
            break;
        }
        match hand.move_one(&stray.metric).await {
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
    mover.flow.pace.came_to(reckoned, lengths);
    end
}

/// Waits for the turns of `strays` at all owners; gives what they should come to in bytes.
async fn turns(mover: &Mover, source: &Node, owners: &[Arc<Node>], strays: &[Stray]) -> u64 {
    let mut reckoned = 0;
    for owner in owners {
        reckoned += mover.flow.pace.turn(source.addr(), owner.addr(), strays, &mover.stop).await;
    }
    reckoned
}

struct Hand<'a> {
    mover: &'a Mover,
    source: &'a Arc<Node>,
    owners: &'a [Arc<Node>],
    deletes: bool,
    renames: &'a Renames,
}

/// A metric as it was at the source.
struct Copied {
    metric: MetricName,
    /// What it is called at its owners.
    stored_as: MetricName,
    stat: MetricStat,
    content: Bytes,
    digest: Digest,
    /// How long before it was copied it was last written, by its daemon's clock; none where that is not known.
    rest: Option<Duration>,
}

/// What an attempt came to.
enum Attempt {
    Moved(Effect),
    Gone,
    /// The source was written to meanwhile.
    Changed,
}

impl Hand<'_> {
    /// Moves one metric; none where it is gone at the source.
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
                        "keeps changing",
                        format!("it changed during each of {ROUNDS} attempts"),
                    )
                    .failure);
                }
                Err(setback) => setback,
            };
            match patience.after(setback.trouble, jitter()) {
                Next::Wait(pause) if !self.mover.stop.asked_within(pause).await => {}
                Next::Wait(_) | Next::GiveUp => return Err(setback.failure),
            }
        }
    }

    async fn attempt(&self, metric: &MetricName) -> Result<Attempt, Setback> {
        for node in self.owners.iter().chain([self.source]) {
            node.admit().map_err(|reason| lasting(node, NODE_AWAY, reason))?;
        }
        if let Some(failure) = full_owner(self.owners) {
            return Err(Setback { trouble: Trouble::Lasting, failure });
        }
        let Some(copied) = self.fetch(metric).await? else { return Ok(Attempt::Gone) };
        let mut effect: Option<Effect> = None;
        let mut receipt = None;
        let word_of: Arc<[DaemonAddr]> = self
            .owners
            .iter()
            .filter(|owner| owner.kind == Kind::V1)
            .map(|owner| owner.addr().clone())
            .collect();
        for owner in self.owners {
            let here = match owner.kind {
                Kind::V1 => {
                    let line = self.heal_at(owner, &copied).await?;
                    let here =
                        Effect { outcome: line.outcome, points: line.points, bytes: line.bytes };
                    receipt = Healed::by_word(&line, Arc::clone(&word_of));
                    here
                }
                Kind::Go => {
                    let rule = self.mover.sync.on_schema_difference;
                    fill_at(owner, &copied, rule, &self.mover.records.tally).await?
                }
            };
            effect = Some(effect.map_or(here, |effect| effect.and(here)));
        }
        let Some(effect) = effect else {
            return Err(lasting(self.source, "no owner", "no owner was healed".into()));
        };
        if self.deletes && !self.delete(&copied, receipt).await? {
            return Ok(Attempt::Changed);
        }
        Ok(Attempt::Moved(effect))
    }

    /// The metric as it is now; none where it is gone.
    async fn fetch(&self, metric: &MetricName) -> Result<Option<Copied>, Setback> {
        let got = self
            .source
            .daemon
            .go_get(metric.as_str())
            .await
            .map_err(|error| client(self.source, &error))?;
        self.source.answered();
        let Some(Fetched { stat, content, answered_at }) = got else { return Ok(None) };
        if !is_compressed(&content) {
            // Never send on what was not looked at: a Go daemon takes anything (D45).
            Image::parse(&content)
                .map_err(|error| lasting(self.source, "source damaged", chain(&error)))?;
        }
        let digest = Digest::of(&content);
        let stored_as = self.renames.of(metric).unwrap_or(metric).clone();
        let rest = rest(stat.mod_time, answered_at);
        Ok(Some(Copied { metric: metric.clone(), stored_as, stat, content, digest, rest }))
    }

    /// Deletes the source if it is still what was copied, and says whether it did.
    async fn delete(&self, copied: &Copied, receipt: Option<Healed>) -> Result<bool, Setback> {
        self.require_clocks()?;
        if let Some(receipt) = receipt.filter(|_| self.source.kind == Kind::V1) {
            let deleted = delete(self.mover, self.source, vec![receipt]).await;
            return match deleted.failed.into_iter().next() {
                Some((_, failure)) => Err(Setback { trouble: Trouble::Lasting, failure }),
                None if deleted.left > 0 => Err(lasting(
                    self.source,
                    NOT_DELETED,
                    "the run was stopped before it was deleted".into(),
                )),
                None => Ok(deleted.changed.is_empty()),
            };
        }
        if copied.rest.is_none_or(|rest| rest <= RECENT) {
            match self.is_unchanged(copied).await.map_err(not_deleted)? {
                None => return Ok(true),
                Some(false) => return Ok(false),
                Some(true) => {}
            }
        }
        // The last question before the delete, and a short one: what is written after it, nobody can see.
        let name = copied.metric.as_str();
        let found = self.stat_at_rest(name).await?;
        let Some((stat, answered_at)) = found else { return Ok(true) };
        if (stat.size, stat.mod_time) != (copied.stat.size, copied.stat.mod_time) {
            return Ok(false);
        }
        self.require_rest(&stat, answered_at)?;
        // By what the answer just now has told of the source's.
        self.require_clocks()?;
        let deleted = self.source.daemon.go_delete(name).await;
        deleted.map_err(|error| not_deleted(client(self.source, &error)))?;
        self.mover.tell_deleted([&copied.metric]);
        Ok(true)
    }

    fn require_clocks(&self) -> Result<(), Setback> {
        let allowed = self.mover.clocks.allows(&self.mover.fleet, self.source, self.owners);
        allowed.map_err(|failure| Setback { trouble: Trouble::Lasting, failure })
    }

    /// Whether the source's content is what was copied, read when the second in which it was written is over; none where it
    /// is gone.
    async fn is_unchanged(&self, copied: &Copied) -> Result<Option<bool>, Setback> {
        let Some(now) = self.fetch(&copied.metric).await? else { return Ok(None) };
        // Where no clock tells how long ago that was, it may have been now.
        let over_in = SECOND_IS_OVER.saturating_sub(now.rest.unwrap_or_default());
        if now.digest != copied.digest || over_in.is_zero() {
            return Ok(Some(now.digest == copied.digest));
        }
        tokio::time::sleep(over_in).await;
        let then = self.fetch(&copied.metric).await?;
        Ok(then.map(|then| then.digest == copied.digest))
    }

    /// Heals at a daemon with `/v1`, and gives its line.
    async fn heal_at(&self, owner: &Node, copied: &Copied) -> Result<HealLine, Setback> {
        let archive =
            archive(copied).map_err(|error| lasting(owner, "storage", error.to_string()))?;
        let body = stream::iter([Ok(Bytes::from(archive))]);
        let orders = HealOrders {
            replace_corrupt: self.mover.sync.repairs.replace_corrupt,
            on_schema_difference: self.mover.sync.on_schema_difference,
        };
        let answer = owner.daemon.heal_by(orders, Encoding::Identity, body).await;
        let lines: Vec<HealLine> = match answer {
            Ok(lines) => lines.collect_at_most(1).await.map_err(|error| client(owner, &error))?,
            Err(error) => return Err(client(owner, &error)),
        };
        owner.answered();
        let line = lines.into_iter().find(|line| line.metric == copied.stored_as);
        let line = line.ok_or_else(|| {
            passing(owner, "no answer", "the owner's answer does not mention it".into())
        })?;
        if line.outcome == HealOutcome::Replaced {
            self.mover.records.tally.replaced(line.metric.as_str(), owner.addr(), &line.reason);
        }
        self.mover.records.tally.schema(&line);
        if line.outcome.is_healed() && line.digest == Some(copied.digest) {
            return Ok(line);
        }
        let may_pass =
            line.outcome.is_healed() || line.problem.is_some_and(bucky_api::Problem::may_pass);
        let (kind, reason) = (kind_of_line(&line), line.reason);
        let setback =
            if may_pass { passing(owner, kind, reason) } else { lasting(owner, kind, reason) };
        owner.full.note(&setback.failure);
        Err(setback)
    }
}

fn archive(copied: &Copied) -> std::io::Result<Vec<u8>> {
    let meta = copied.stat.file_meta();
    let mut writer = ArchiveWriter::new(Vec::with_capacity(copied.content.len() + 8192));
    writer.append(&copied.stored_as, meta, copied.digest, &copied.content)?;
    writer.finish()
}
