//! What one owner answers about tombstones, by `/v1`. Owners that cannot prove what they hold are in
//! `fetched`.
//!
//! There are three questions, each only about tombstones that the previous one left open. Does your file have
//! this digest? Does it hold these points? The third is a heal from the tombstone.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bucky_api::token::Operation;
use bucky_api::{
    ArchivePoints, ConfirmLine, ConfirmMetric, ConfirmOutcome, ConfirmRequest, Daemon, DaemonAddr,
    Encoding, HealLine, HealOrders, HealOutcome, PROOF_LEVEL, Problem, chain,
};
use bucky_whisper::{Clocks, Image, MetricName, PointMap};
use futures_util::TryStreamExt;

use super::Sweeper;
use super::exchange::{Trouble, check_lines, clocks_with, time_for, within, within_longer};
use super::fetched::no_place;
use super::round::ReadTombstone;
use super::sending::{NotWritten, write_stream};
use crate::blocking::{blocking, body_channel};
use crate::store::{Answer, BatchId, FileReader};

/// The most bytes of maps in one question.
const MAPS_BYTES: usize = 2 * 1024 * 1024;

/// What one owner answered, by the tombstones' numbers.
#[derive(Default)]
struct OwnerAnswers(BTreeMap<usize, Answer>);

impl OwnerAnswers {
    fn note(&mut self, one: &ReadTombstone, answer: Answer) {
        self.0.insert(one.seq(), answer);
    }

    /// The answers, with `reason` for each of `asked` that has none.
    fn or_else(mut self, asked: &[&ReadTombstone], reason: &str) -> BTreeMap<usize, Answer> {
        for one in asked {
            self.0.entry(one.seq()).or_insert_with(|| Answer::No(reason.to_owned()));
        }
        self.0
    }
}

impl Sweeper {
    /// Asks `owner` about these tombstones. What it said nothing about is not in the result, unless the
    /// exchange failed: then the answer is the reason.
    pub(super) async fn ask_owner(
        &self,
        batch: &BatchId,
        owner: &DaemonAddr,
        asked: Vec<&ReadTombstone>,
    ) -> BTreeMap<usize, Answer> {
        let mut answers = OwnerAnswers::default();
        if let Some(reason) = self.away.reason(owner) {
            return answers.or_else(&asked, &reason);
        }
        let Err(Trouble { reason, silent }) =
            self.try_ask(batch, owner, &asked, &mut answers).await
        else {
            self.away.answered(owner);
            return answers.0;
        };
        let answers = answers.or_else(&asked, &reason);
        if silent {
            self.away.silent(owner, reason);
        } else {
            self.away.answered(owner);
        }
        answers
    }

    async fn try_ask(
        &self,
        batch: &BatchId,
        owner: &DaemonAddr,
        asked: &[&ReadTombstone],
        answers: &mut OwnerAnswers,
    ) -> Result<(), Trouble> {
        let daemon = &self.peers.daemon(owner, &[], [])?;
        let level = within(daemon, daemon.status()).await?.map(|status| status.api_level);
        self.peers.may_trust(daemon.clock_offset()).map_err(|doubt| format!("{owner}: {doubt}"))?;
        if level.is_none_or(|level| level < PROOF_LEVEL) {
            for one in asked {
                answers.note(one, self.ask_by_its_file(batch, owner, one).await?);
            }
            return Ok(());
        }
        let (changed, same): (Vec<&ReadTombstone>, Vec<&ReadTombstone>) =
            asked.iter().partition(|one| one.has_changed());
        let other = self.ask_by_digests(owner, same, answers).await?;
        let mut to_heal = self.ask_by_maps(batch, daemon, other, answers).await?;
        to_heal.extend(changed);
        to_heal.sort_by_key(|one| one.tombstone.on_schema_difference.name());
        while !to_heal.is_empty() {
            let lines = self.heal(batch, owner, &to_heal).await?;
            let healed: Vec<&ReadTombstone> = to_heal.drain(..lines.len()).collect();
            for (one, line) in healed.into_iter().zip(&lines) {
                answers.note(one, answer_of_heal(daemon, line));
            }
        }
        Ok(())
    }

    /// Asks which of these tombstones, none of which has changed since its owners were healed, the owner has
    /// byte for byte. Returns the others.
    async fn ask_by_digests<'t>(
        &self,
        owner: &DaemonAddr,
        asked: Vec<&'t ReadTombstone>,
        answers: &mut OwnerAnswers,
    ) -> Result<Vec<&'t ReadTombstone>, Trouble> {
        let metrics = asked.iter().map(|one| question(one, None, None)).collect();
        self.confirm(owner, asked, metrics, answers).await
    }

    /// Asks whether the owner's files, which have other content, hold all points of these tombstones. Returns
    /// those that they do not hold.
    async fn ask_by_maps<'t>(
        &self,
        batch: &BatchId,
        daemon: &Daemon,
        asked: Vec<&'t ReadTombstone>,
        answers: &mut OwnerAnswers,
    ) -> Result<Vec<&'t ReadTombstone>, Trouble> {
        let (mut open, mut lacking): (Vec<&ReadTombstone>, Vec<&ReadTombstone>) =
            asked.into_iter().partition(|one| one.has_maps());
        let as_of = self.deleted_at(batch);
        while !open.is_empty() {
            let maps = self.maps_of(batch, &open, clocks_with(daemon)).await?;
            let asked: Vec<&ReadTombstone> = open.drain(..maps.len()).collect();
            let metrics =
                asked.iter().zip(maps).map(|(one, maps)| question(one, Some(maps), as_of));
            let metrics = metrics.collect();
            lacking.extend(self.confirm(daemon.addr(), asked, metrics, answers).await?);
        }
        Ok(lacking)
    }

    /// The maps of the first of these tombstones, as many as go into one question (at least one).
    async fn maps_of(
        &self,
        batch: &BatchId,
        wanted: &[&ReadTombstone],
        clocks: Clocks,
    ) -> Result<Vec<Vec<ArchivePoints>>, Trouble> {
        let (store, id) = (Arc::clone(&self.store), batch.clone());
        let seqs: Vec<usize> = wanted.iter().map(|one| one.seq()).collect();
        let read = blocking(move || -> Result<_, String> {
            let mut files = FileReader::new(&store);
            let (mut all, mut bytes) = (Vec::new(), 0);
            for seq in seqs {
                if bytes >= MAPS_BYTES {
                    break;
                }
                let file = store.read_tombstone(&id, seq, &mut files);
                let file = file.map_err(|error| chain(&error))?;
                let image = Image::parse(&file.content).map_err(|error| chain(&error))?;
                let maps = PointMap::of(&image, clocks);
                let maps: Vec<ArchivePoints> = maps.iter().map(ArchivePoints::from).collect();
                bytes += maps.iter().map(|map| map.slots.len() + 128).sum::<usize>();
                all.push(maps);
                files.give_back(file);
            }
            Ok(all)
        });
        Ok(read.await.map_err(|error| error.to_string())??)
    }

    /// Sends one of `metrics` for each of `asked`. Returns the tombstones that the owner does not hold.
    async fn confirm<'t>(
        &self,
        owner: &DaemonAddr,
        asked: Vec<&'t ReadTombstone>,
        metrics: Vec<ConfirmMetric>,
        answers: &mut OwnerAnswers,
    ) -> Result<Vec<&'t ReadTombstone>, Trouble> {
        if asked.is_empty() {
            return Ok(asked);
        }
        let request = ConfirmRequest { metrics };
        let daemon = &self.peers.daemon(owner, &[Operation::Read], metrics_of(&asked))?;
        let more = time_for(asked.iter().filter_map(|one| one.large_bytes).sum());
        let exchange = async { daemon.confirm(&request).await?.collect().await };
        let lines: Vec<ConfirmLine> = within_longer(daemon, more, exchange).await?;
        check_lines(daemon, &asked, &lines, |line| line.metric.as_str())?;
        let mut lacking = Vec::new();
        for (one, line) in asked.into_iter().zip(lines) {
            match line.outcome {
                ConfirmOutcome::Complete => answers.note(one, Answer::Holds),
                ConfirmOutcome::Missing | ConfirmOutcome::Incomplete => lacking.push(one),
                ConfirmOutcome::Unreadable => {
                    let reason = format!("{} cannot read it: {}", daemon.addr(), line.reason);
                    answers.note(one, Answer::No(reason));
                }
            }
        }
        Ok(lacking)
    }

    /// Sends the first of these tombstones to their owner again: as many as fit into one stream and follow
    /// the same rule. Returns a line for each.
    async fn heal(
        &self,
        batch: &BatchId,
        owner: &DaemonAddr,
        to_heal: &[&ReadTombstone],
    ) -> Result<Vec<HealLine>, Trouble> {
        let rule = to_heal.first().map(|one| one.tombstone.on_schema_difference);
        let on_schema_difference = rule.unwrap_or_default();
        let alike = to_heal
            .iter()
            .take_while(|one| one.tombstone.on_schema_difference == on_schema_difference);
        let sent = &to_heal[..alike.count()];
        let orders = HealOrders { replace_corrupt: false, on_schema_difference };
        let daemon = &self.peers.daemon(owner, &[Operation::Update], metrics_of(sent))?;
        let (writer, body) = body_channel();
        let wanted: Vec<_> =
            sent.iter().map(|one| (one.seq(), one.tombstone.metric.clone())).collect();
        let (store, id) = (Arc::clone(&self.store), batch.clone());
        let written = blocking(move || write_stream(&store, &id, wanted, writer));
        let stream = body.into_data_stream().map_err(io::Error::other);
        let large_bytes = sent.iter().filter_map(|one| one.large_bytes).sum();
        let exchange = within_longer(daemon, time_for(large_bytes), async {
            daemon.heal_by(orders, Encoding::Identity, stream).await?.collect::<HealLine>().await
        });
        // The writer ends when the exchange has ended, because its pieces are no longer taken.
        let (lines, written) = tokio::join!(exchange, written);
        let taken = match written.map_err(|error| error.to_string())? {
            Ok(taken) => taken,
            // The first error is the cause.
            Err(NotWritten::Read(reason)) => return Err(reason.into()),
            Err(NotWritten::Send(reason)) => return Err(lines.err().unwrap_or(reason.into())),
        };
        let lines = lines?;
        check_lines(daemon, &sent[..taken], &lines, |line| line.metric.as_str())?;
        Ok(lines)
    }
}

/// What an owner is asked about a tombstone: whether its file has the same digest, or holds all points of
/// `maps`.
fn question(
    one: &ReadTombstone,
    maps: Option<Vec<ArchivePoints>>,
    as_of: Option<u32>,
) -> ConfirmMetric {
    ConfirmMetric {
        name: one.tombstone.metric.clone(),
        digest: Some(one.digest()),
        archives: maps,
        on_schema_difference: one.tombstone.on_schema_difference,
        points_given_up: one.tombstone.points_given_up,
        as_of,
    }
}

fn metrics_of<'a>(
    tombstones: &'a [&'a ReadTombstone],
) -> impl Iterator<Item = &'a MetricName> + Clone {
    tombstones.iter().map(|one| &one.tombstone.metric)
}

/// What an owner's line of a heal says of the tombstone that it was healed from.
fn answer_of_heal(daemon: &Daemon, line: &HealLine) -> Answer {
    let owner = daemon.addr();
    match (line.outcome, line.digest) {
        (HealOutcome::Unchanged, Some(from)) => {
            Answer::NothingMissing { from, without_place: line.points_without_place() }
        }
        (HealOutcome::Unchanged, None) => {
            Answer::No(format!("{owner} did not say which content it compared"))
        }
        (HealOutcome::Created | HealOutcome::Filled | HealOutcome::Replaced, _) => {
            Answer::HealedAgain
        }
        (HealOutcome::Refused | HealOutcome::Failed, _)
            if line.problem == Some(Problem::NoPlace) =>
        {
            Answer::No(no_place(owner, line.difference.as_deref()))
        }
        (HealOutcome::Refused | HealOutcome::Failed, _) => {
            Answer::No(format!("{owner} could not heal it: {}", line.reason))
        }
    }
}
