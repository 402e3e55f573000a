//! Having one owner confirm tombstones by `/v1`: what it did not confirm in so many words waits. Owners that cannot prove what
//! they hold are those of `fetched`.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bucky_api::archive::{ArchiveWriter, Content};
use bucky_api::token::Operation;
use bucky_api::{
    ArchivePoints, ClientError, ConfirmLine, ConfirmMetric, ConfirmOutcome, ConfirmRequest, Daemon,
    DaemonAddr, Encoding, HealLine, HealOrders, HealOutcome, PROOF_LEVEL, Problem, chain,
};
use bucky_whisper::{Clocks, Image, MetricName, PointMap};
use futures_util::TryStreamExt;

use super::Sweeper;
use super::round::{Body, WRITTEN_TO};
use crate::auth::NoDaemon;
use crate::blocking::{BodyWriter, blocking, body_channel};
use crate::store::{BatchId, FileReader, StoreError, Volumes, unix_now};

/// How many bytes of files are sent in one stream.
const STREAM_BYTES: usize = 32 * 1024 * 1024;
/// How long one exchange with an owner may take. A daemon at work shows that it is alive for as long as it likes.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(180);
/// How fast long files are read and sent at least.
const LARGE_BYTES_A_SECOND: u64 = 1024 * 1024;
/// The most bytes of maps in one question.
const MAPS_BYTES: usize = 2 * 1024 * 1024;

/// Why tombstones must wait, by their numbers.
type Waits = Vec<(usize, String)>;

/// Why an exchange gave nothing.
pub(super) struct Trouble {
    reason: String,
    /// Whether the owner is to be left alone for a while.
    silent: bool,
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        let silent = matches!(
            error,
            ClientError::Unreachable { .. }
                | ClientError::TimedOut { .. }
                | ClientError::Broken { .. }
        );
        Self { reason: chain(&error), silent }
    }
}

impl From<NoDaemon> for Trouble {
    fn from(error: NoDaemon) -> Self {
        chain(&error).into()
    }
}

impl From<String> for Trouble {
    fn from(reason: String) -> Self {
        Self { reason, silent: false }
    }
}

/// What one owner has said of some tombstones. Whatever it did not confirm in so many words waits.
#[derive(Default)]
struct Word {
    confirmed: BTreeSet<usize>,
    reasons: BTreeMap<usize, String>,
}

impl Word {
    fn confirm(&mut self, body: &Body) {
        self.confirmed.insert(body.tombstone.seq);
    }

    fn wait(&mut self, body: &Body, reason: String) {
        self.reasons.insert(body.tombstone.seq, reason);
    }

    /// Which of `bodies` must wait; `otherwise` is why, of those that nothing was said of.
    fn waits(mut self, bodies: &[&Body], otherwise: &str) -> Waits {
        let mut waits = Vec::new();
        for seq in bodies.iter().map(|body| body.tombstone.seq) {
            if !self.confirmed.contains(&seq) {
                let reason = self.reasons.remove(&seq);
                waits.push((seq, reason.unwrap_or_else(|| otherwise.to_owned())));
            }
        }
        waits
    }
}

impl Sweeper {
    /// Has `owner` confirm `bodies`; those that it did not confirm, and why.
    pub(super) async fn confirm_at(
        &self,
        batch: &BatchId,
        owner: &DaemonAddr,
        bodies: Vec<&Body>,
    ) -> Waits {
        if let Some(reason) = self.away.reason(owner) {
            return Word::default().waits(&bodies, &reason);
        }
        let mut word = Word::default();
        let Err(Trouble { reason, silent }) =
            self.try_confirm_at(batch, owner, &bodies, &mut word).await
        else {
            self.away.answered(owner);
            return word.waits(&bodies, &format!("{owner} did not confirm it"));
        };
        let waits = word.waits(&bodies, &reason);
        if silent {
            self.away.silent(owner, reason);
        } else {
            self.away.answered(owner);
        }
        waits
    }

    async fn try_confirm_at(
        &self,
        batch: &BatchId,
        owner: &DaemonAddr,
        bodies: &[&Body],
        word: &mut Word,
    ) -> Result<(), Trouble> {
        let daemon = &self.peers.daemon(owner, &[], [])?;
        let level = within(daemon, daemon.status()).await?.map(|status| status.api_level);
        self.peers.may_trust(daemon.clock_offset()).map_err(|doubt| format!("{owner}: {doubt}"))?;
        if level.is_none_or(|level| level < PROOF_LEVEL) {
            for body in bodies {
                match self.confirm_by_its_file(batch, owner, body).await? {
                    None => word.confirm(body),
                    Some(reason) => word.wait(body, reason),
                }
            }
            return Ok(());
        }
        let (changed, same): (Vec<&Body>, Vec<&Body>) =
            bodies.iter().partition(|body| body.has_changed());
        let other = self.ask_by_digests(owner, same, word).await?;
        let mut to_heal = self.ask_by_maps(batch, daemon, other, word).await?;
        to_heal.extend(changed);
        to_heal.sort_by_key(|body| body.tombstone.on_schema_difference.name());
        while !to_heal.is_empty() {
            let lines = self.heal(batch, owner, &to_heal).await?;
            let healed: Vec<&Body> = to_heal.drain(..lines.len()).collect();
            for (body, line) in healed.into_iter().zip(&lines) {
                match why_not_healed(daemon, body, line) {
                    None => word.confirm(body),
                    Some(reason) => word.wait(body, reason),
                }
            }
        }
        Ok(())
    }

    /// Asks which of `bodies`, that have not changed since they were healed, the owner has byte for byte; gives the others.
    async fn ask_by_digests<'b>(
        &self,
        owner: &DaemonAddr,
        bodies: Vec<&'b Body>,
        word: &mut Word,
    ) -> Result<Vec<&'b Body>, Trouble> {
        let metrics = bodies.iter().map(|body| question(body, None, None)).collect();
        self.ask(owner, bodies, metrics, word).await
    }

    /// Asks whether the owner's files, which have other contents, hold all points of `bodies`; gives those that they do not
    /// hold.
    async fn ask_by_maps<'b>(
        &self,
        batch: &BatchId,
        daemon: &Daemon,
        bodies: Vec<&'b Body>,
        word: &mut Word,
    ) -> Result<Vec<&'b Body>, Trouble> {
        let (mut open, mut lacking): (Vec<&Body>, Vec<&Body>) =
            bodies.into_iter().partition(|body| body.has_maps());
        let as_of = self.deleted_at(batch);
        while !open.is_empty() {
            let maps = self.maps_of(batch, &open, clocks_with(daemon)).await?;
            let asked: Vec<&Body> = open.drain(..maps.len()).collect();
            let metrics =
                asked.iter().zip(maps).map(|(body, maps)| question(body, Some(maps), as_of));
            let metrics = metrics.collect();
            lacking.extend(self.ask(daemon.addr(), asked, metrics, word).await?);
        }
        Ok(lacking)
    }

    /// The maps of the first of `bodies`, as many as go into one question (at least one).
    async fn maps_of(
        &self,
        batch: &BatchId,
        bodies: &[&Body],
        clocks: Clocks,
    ) -> Result<Vec<Vec<ArchivePoints>>, Trouble> {
        let (store, id) = (Arc::clone(&self.store), batch.clone());
        let seqs: Vec<usize> = bodies.iter().map(|body| body.tombstone.seq).collect();
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

    /// Asks the owner `metrics`, one for each of `asked`; those that it does not hold.
    async fn ask<'b>(
        &self,
        owner: &DaemonAddr,
        asked: Vec<&'b Body>,
        metrics: Vec<ConfirmMetric>,
        word: &mut Word,
    ) -> Result<Vec<&'b Body>, Trouble> {
        if asked.is_empty() {
            return Ok(asked);
        }
        let request = ConfirmRequest { metrics };
        let daemon = &self.peers.daemon(owner, &[Operation::Read], metrics_of(&asked))?;
        let more = time_for(asked.iter().filter_map(|body| body.large_bytes).sum());
        let exchange = async { daemon.confirm(&request).await?.collect().await };
        let lines: Vec<ConfirmLine> = within_longer(daemon, more, exchange).await?;
        check_lines(daemon, &asked, &lines, |line| line.metric.as_str())?;
        let mut lacking = Vec::new();
        for (body, line) in asked.into_iter().zip(lines) {
            match line.outcome {
                ConfirmOutcome::Complete => word.confirm(body),
                ConfirmOutcome::Missing | ConfirmOutcome::Incomplete => lacking.push(body),
                ConfirmOutcome::Unreadable => {
                    word.wait(body, format!("{} cannot read it: {}", daemon.addr(), line.reason));
                }
            }
        }
        Ok(lacking)
    }

    /// Sends the first of `bodies` to their owner once more, as many as fit into one stream and go by the same rules; a line for
    /// each.
    async fn heal(
        &self,
        batch: &BatchId,
        owner: &DaemonAddr,
        bodies: &[&Body],
    ) -> Result<Vec<HealLine>, Trouble> {
        let rule = bodies.first().map(|body| body.tombstone.on_schema_difference);
        let on_schema_difference = rule.unwrap_or_default();
        let alike = bodies
            .iter()
            .take_while(|body| body.tombstone.on_schema_difference == on_schema_difference);
        let bodies = &bodies[..alike.count()];
        let orders = HealOrders { replace_corrupt: false, on_schema_difference };
        let daemon = &self.peers.daemon(owner, &[Operation::Update], metrics_of(bodies))?;
        let (writer, body) = body_channel();
        let wanted: Vec<_> =
            bodies.iter().map(|body| (body.tombstone.seq, body.tombstone.metric.clone())).collect();
        let (store, id) = (Arc::clone(&self.store), batch.clone());
        let written = blocking(move || write_stream(&store, &id, wanted, writer));
        let stream = body.into_data_stream().map_err(io::Error::other);
        let large_bytes = bodies.iter().filter_map(|body| body.large_bytes).sum();
        let exchange = within_longer(daemon, time_for(large_bytes), async {
            daemon.heal_by(orders, Encoding::Identity, stream).await?.collect::<HealLine>().await
        });
        // The writer ends when the exchange has: nobody takes its pieces then.
        let (lines, written) = tokio::join!(exchange, written);
        let taken = match written.map_err(|error| error.to_string())? {
            Ok(taken) => taken,
            // What ended first is told.
            Err(NotWritten::Read(reason)) => return Err(reason.into()),
            Err(NotWritten::Send(reason)) => return Err(lines.err().unwrap_or(reason.into())),
        };
        let lines = lines?;
        check_lines(daemon, &bodies[..taken], &lines, |line| line.metric.as_str())?;
        Ok(lines)
    }
}

/// Our clock and that of an owner: what counts by either has to be there.
pub(super) fn clocks_with(daemon: &Daemon) -> Clocks {
    let now = unix_now();
    Clocks::new(now, daemon.clock_offset().map_or(now, |offset| offset.seconds_at(now)))
}

/// What an owner is asked about `body`: whether its file is the same, or holds all of `maps`.
fn question(body: &Body, maps: Option<Vec<ArchivePoints>>, as_of: Option<u32>) -> ConfirmMetric {
    ConfirmMetric {
        name: body.tombstone.metric.clone(),
        digest: Some(body.digest),
        archives: maps,
        on_schema_difference: body.tombstone.on_schema_difference,
        points_given_up: body.tombstone.points_given_up,
        as_of,
    }
}

fn metrics_of<'a>(bodies: &'a [&'a Body]) -> impl Iterator<Item = &'a MetricName> + Clone {
    bodies.iter().map(|body| &body.tombstone.metric)
}

/// Why a stream was not written to its end.
enum NotWritten {
    /// A tombstone cannot be read.
    Read(String),
    /// Its receiver takes no more.
    Send(String),
}

impl From<io::Error> for NotWritten {
    fn from(error: io::Error) -> Self {
        Self::Send(error.to_string())
    }
}

/// Writes the first of the tombstones to `writer`, as many as fit into one stream; how many those are (at least one).
/// No more than one is in memory, and that has its share.
fn write_stream(
    store: &Volumes,
    batch: &BatchId,
    wanted: Vec<(usize, MetricName)>,
    writer: BodyWriter,
) -> Result<usize, NotWritten> {
    let mut archive = ArchiveWriter::new(writer);
    let mut files = FileReader::new(store);
    let (mut bytes, mut taken) = (0, 0);
    for (seq, metric) in wanted {
        if bytes >= STREAM_BYTES {
            break;
        }
        let read = |error: StoreError| NotWritten::Read(chain(&error));
        let file = match store.read_tombstone(batch, seq, &mut files) {
            Err(StoreError::TooLarge { .. }) => {
                let mut file = store.open_large_tombstone(batch, seq).map_err(read)?;
                let (len_bytes, is_sparse) = (file.len_bytes(), file.is_sparse());
                let content = Content { digest: None, len_bytes, is_sparse };
                archive.add(&metric, file.meta(), content, &mut file)?;
                bytes = bytes.saturating_add(usize::try_from(len_bytes).unwrap_or(usize::MAX));
                taken += 1;
                continue;
            }
            file => file.map_err(read)?,
        };
        bytes += file.content.len();
        taken += 1;
        let len_bytes = file.content.len() as u64;
        let digest = Some(file.digest());
        let content = Content { digest, len_bytes, is_sparse: file.is_sparse };
        archive.append_as(&metric, file.meta, content, &file.content)?;
        files.give_back(file);
    }
    archive.finish()?.finish()?;
    Ok(taken)
}

/// Why a tombstone must wait after it was healed once more; none where that confirms it: the owner's copy was whole
/// before. What had to be created or filled may have been emptied by carbon in the next moment: that is asked again.
fn why_not_healed(daemon: &Daemon, body: &Body, line: &HealLine) -> Option<String> {
    match line.outcome {
        _ if line.digest.is_some_and(|digest| digest != body.digest) => Some(WRITTEN_TO.into()),
        HealOutcome::Unchanged if lost_place(body, line) => Some(format!(
            "{} has no place for points that had one when the source was deleted: its file was created again with \
             another schema",
            daemon.addr()
        )),
        HealOutcome::Unchanged => None,
        HealOutcome::Created | HealOutcome::Filled | HealOutcome::Replaced => {
            Some(healed_again(daemon))
        }
        HealOutcome::Refused | HealOutcome::Failed if line.problem == Some(Problem::NoPlace) => {
            let schemas = line.difference.as_deref();
            let schemas = schemas.map(|difference| {
                let (source, owner) = (&difference.source.archives, &difference.owner.archives);
                format!(": the deleted file has {source}, the owner's file {owner}")
            });
            let schemas = schemas.unwrap_or_default();
            Some(format!("{} has no place for some of its points{schemas}", daemon.addr()))
        }
        HealOutcome::Refused | HealOutcome::Failed => {
            Some(format!("{} could not heal it: {}", daemon.addr(), line.reason))
        }
    }
}

/// Whether an owner has no place for more points than were given up when the source was healed.
fn lost_place(body: &Body, line: &HealLine) -> bool {
    let without_place = line.difference.as_ref().map_or(0, |found| found.points_without_place());
    without_place > body.tombstone.points_given_up
}

pub(super) fn healed_again(daemon: &Daemon) -> String {
    format!("{} lacked points and was healed again; it is asked again", daemon.addr())
}

/// An answer counts only if it has a line for each of `bodies`, in their order: nothing is taken for confirmed that
/// was not spoken of, and two tombstones of one metric are not mixed up.
fn check_lines<L>(
    daemon: &Daemon,
    bodies: &[&Body],
    lines: &[L],
    metric: impl Fn(&L) -> &str,
) -> Result<(), Trouble> {
    let asked = bodies.iter().map(|body| body.tombstone.metric.as_str());
    if asked.eq(lines.iter().map(metric)) {
        return Ok(());
    }
    let found = format!(
        "{} was asked for {} metrics and answered {} lines that do not match them",
        daemon.addr(),
        bodies.len(),
        lines.len()
    );
    Err(found.into())
}

pub(super) async fn within<T>(
    daemon: &Daemon,
    exchange: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, Trouble> {
    within_longer(daemon, Duration::ZERO, exchange).await
}

/// The same where it may take so much more.
async fn within_longer<T>(
    daemon: &Daemon,
    more: Duration,
    exchange: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, Trouble> {
    let limit = EXCHANGE_LIMIT + more;
    match tokio::time::timeout(limit, exchange).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Trouble {
            reason: format!("{} did not finish within {} s", daemon.addr(), limit.as_secs()),
            silent: true,
        }),
    }
}

/// How much more time an exchange gets for long files.
fn time_for(large_bytes: u64) -> Duration {
    Duration::from_secs(large_bytes / LARGE_BYTES_A_SECOND)
}
