//! Having one owner confirm tombstones: by `/v1` where it has that, by the Go tool's routes where it has not.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bucky_api::archive::ArchiveWriter;
use bucky_api::client::Fetched;
use bucky_api::go::MetricStat;
use bucky_api::token::Operation;
use bucky_api::{
    ClientError, ConfirmLine, ConfirmMetric, ConfirmOutcome, ConfirmRequest, Daemon, DaemonAddr,
    Encoding, HealLine, HealOutcome, chain,
};
use bucky_whisper::{AggregationSix, Clocks, FillOptions, Image, MetricName, is_compressed};
use futures_util::TryStreamExt;

use super::Sweeper;
use super::round::Body;
use crate::auth::NoDaemon;
use crate::blocking::{BodyWriter, blocking, body_channel};
use crate::slots::{self, Verdict};
use crate::store::{BatchId, FileReader, Snapshot, Store, unix_now};

/// How many bytes of files are sent in one stream.
const STREAM_BYTES: usize = 32 * 1024 * 1024;
/// How many times its length an owner's file takes while it is looked at: as it is, and as a fill would make it.
const LOOK_TIMES: u64 = 3;
/// How long one exchange with an owner may take. A daemon at work shows that it is alive for as long as it likes.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(180);
/// From which `api_level` on a daemon looks at the digest that it is asked for.
const DIGEST_LEVEL: u32 = 2;
/// Why a tombstone waits whose content is not what was confirmed.
pub(super) const WRITTEN_TO: &str = "a writer still writes to it";

/// Why tombstones must wait, by their numbers.
type Waits = Vec<(usize, String)>;

/// Why an exchange gave nothing.
struct Trouble {
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

impl Sweeper {
    /// Has `owner` confirm `bodies`; those that it did not confirm, and why.
    pub(super) async fn confirm_at(
        &self,
        batch: &BatchId,
        owner: &DaemonAddr,
        bodies: Vec<&Body>,
    ) -> Waits {
        if let Some(reason) = self.away.reason(owner) {
            return all_wait(&bodies, &reason);
        }
        let mut waits = Vec::new();
        let mut open = bodies;
        if let Err(Trouble { reason, silent }) =
            self.try_confirm_at(batch, owner, &mut open, &mut waits).await
        {
            waits.extend(all_wait(&open, &reason));
            if silent {
                self.away.silent(owner, reason);
                return waits;
            }
        }
        self.away.answered(owner);
        waits
    }

    /// Takes out of `open` what was settled: confirmed, or in `waits`.
    async fn try_confirm_at(
        &self,
        batch: &BatchId,
        owner: &DaemonAddr,
        open: &mut Vec<&Body>,
        waits: &mut Waits,
    ) -> Result<(), Trouble> {
        let daemon = &self.peers.daemon(owner, &[], [])?;
        let level = within(daemon, daemon.status()).await?.map(|status| status.api_level);
        open.sort_by_key(|body| is_by_hand(level, body));
        while let Some(body) = open.last().filter(|body| is_by_hand(level, body)) {
            let settled = self.confirm_by_hand(batch, owner, body).await?;
            waits.extend(settled.map(|reason| (body.tombstone.seq, reason)));
            open.pop();
        }
        self.ask(owner, open, waits).await?;
        while !open.is_empty() {
            let lines = self.heal(batch, owner, open).await?;
            let settled: Vec<&Body> = open.drain(..lines.len()).collect();
            for (body, line) in settled.into_iter().zip(&lines) {
                if let Some(reason) = why_not_healed(daemon, body, line) {
                    waits.push((body.tombstone.seq, reason));
                }
            }
        }
        Ok(())
    }

    /// Asks for a sample of what has not changed since it was healed; leaves in `open` what has to be healed.
    async fn ask(
        &self,
        owner: &DaemonAddr,
        open: &mut Vec<&Body>,
        waits: &mut Waits,
    ) -> Result<(), Trouble> {
        let (mut to_heal, asked): (Vec<&Body>, Vec<&Body>) =
            open.iter().partition(|body| body.has_changed());
        if asked.is_empty() {
            return Ok(());
        }
        let metrics = asked.iter().map(|body| ConfirmMetric {
            name: body.tombstone.metric.clone(),
            slots: body.slots.clone(),
            digest: body.is_compressed.then_some(body.digest),
        });
        let request = ConfirmRequest { metrics: metrics.collect() };
        let daemon = &self.peers.daemon(owner, &[Operation::Read], metrics_of(&asked))?;
        let lines: Vec<ConfirmLine> =
            within(daemon, async { daemon.confirm(&request).await?.collect().await }).await?;
        check_lines(daemon, &asked, &lines, |line| line.metric.as_str())?;
        for (body, line) in asked.into_iter().zip(lines) {
            match line.outcome {
                ConfirmOutcome::Complete => {}
                ConfirmOutcome::Missing | ConfirmOutcome::Incomplete => to_heal.push(body),
                ConfirmOutcome::Unreadable => waits.push((
                    body.tombstone.seq,
                    format!("{} cannot read it: {}", daemon.addr(), line.reason),
                )),
            }
        }
        *open = to_heal;
        Ok(())
    }

    /// Sends the first of `bodies` to their owner once more, as many as fit into one stream; a line for each.
    async fn heal(
        &self,
        batch: &BatchId,
        owner: &DaemonAddr,
        bodies: &[&Body],
    ) -> Result<Vec<HealLine>, Trouble> {
        let daemon = &self.peers.daemon(owner, &[Operation::Update], metrics_of(bodies))?;
        let (writer, body) = body_channel();
        let wanted: Vec<_> =
            bodies.iter().map(|body| (body.tombstone.seq, body.tombstone.metric.clone())).collect();
        let (store, id) = (Arc::clone(&self.store), batch.clone());
        let written = blocking(move || write_stream(&store, &id, wanted, writer));
        let stream = body.into_data_stream().map_err(io::Error::other);
        let exchange = within(daemon, async {
            daemon.heal(Encoding::Identity, stream).await?.collect::<HealLine>().await
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

    /// The same for one tombstone at an owner that has no `/v1`, a daemon of the Go tool: its file is fetched and
    /// looked at here. None where that confirms the tombstone, else why it must wait.
    async fn confirm_by_hand(
        &self,
        batch: &BatchId,
        owner: &DaemonAddr,
        body: &Body,
    ) -> Result<Option<String>, Trouble> {
        let operations = [Operation::Read, Operation::Update];
        let daemon = &self.peers.daemon(owner, &operations, [&body.tombstone.metric])?;
        let metric = body.tombstone.metric.as_str();
        // The owner's file is held, and looked at, before anything else is.
        let stat = within(daemon, daemon.go_stat(metric)).await?;
        let limit_bytes = stat.map_or(0, |stat| usize::try_from(stat.size).unwrap_or(0));
        // What it says need not be a length: one that no memory has room for is refused.
        let bytes = (limit_bytes as u64).saturating_mul(LOOK_TIMES);
        let share = self.store.memory().receiving.share(bytes).await;
        let _share = share.map_err(|error| error.to_string())?;
        let found = within(daemon, daemon.go_get_at_most(metric, limit_bytes)).await?;
        let (store, id, seq) = (Arc::clone(&self.store), batch.clone(), body.tombstone.seq);
        let file = blocking(move || {
            let mut files = FileReader::new(&store);
            store.read_tombstone(&id, seq, &mut files).map_err(|error| chain(&error))
        });
        let file = file.await.map_err(|error| error.to_string())??;
        if file.digest() != body.digest {
            return Ok(Some(WRITTEN_TO.into()));
        }
        if let Some(Fetched { content, .. }) = &found {
            if holds(content, &file, body) {
                return Ok(None);
            }
            if is_compressed(content) || body.is_compressed {
                // What a fill of the Go daemon makes of it could not be looked at.
                return Ok(Some(format!(
                    "{} has another content, and one of the two files is compressed: their points cannot be brought \
                     together",
                    daemon.addr()
                )));
            }
        }
        let stat = MetricStat {
            name: metric.to_owned(),
            size: i64::try_from(file.content.len()).unwrap_or(i64::MAX),
            mode: i64::from(file.meta.mode),
            mod_time: i64::try_from(file.meta.mtime).unwrap_or(0),
            encoding: 0,
        };
        within(daemon, daemon.go_fill(metric, &stat, file.content.into())).await?;
        Ok(Some(healed_again(daemon)))
    }
}

/// Whether an owner of this level confirms `body` by its file alone. One that overlooks the digest in the question would
/// say of any compressed file, and of any emptied one, that it is complete.
fn is_by_hand(level: Option<u32>, body: &Body) -> bool {
    level.is_none_or(|level| body.is_compressed && level < DIGEST_LEVEL)
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
    store: &Store,
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
        let file = store.read_tombstone(batch, seq, &mut files);
        let file = file.map_err(|error| NotWritten::Read(chain(&error)))?;
        bytes += file.content.len();
        taken += 1;
        archive.append(&metric, file.meta, file.digest(), &file.content)?;
        files.give_back(file);
    }
    archive.finish()?.finish()?;
    Ok(taken)
}

/// Whether `content`, the owner's file, has all that a fill from the tombstone could give it; for one that is unchanged
/// since the owner was healed, the sample is enough.
fn holds(content: &[u8], tombstone: &Snapshot, body: &Body) -> bool {
    if content == tombstone.content {
        return true;
    }
    let now = unix_now();
    match (Image::parse(&tombstone.content), Image::parse(content)) {
        (Ok(source), Ok(destination)) => {
            let sampled = !body.has_changed()
                && slots::look(&destination, &body.slots, now) == Verdict::Holds;
            // Which points are filled does not depend on what aggregation 6 means.
            let options =
                FillOptions { clocks: Clocks::at(now), aggregation_six: AggregationSix::AvgZero };
            let plan = bucky_whisper::fill(&source, &destination, options);
            sampled || (plan.points_filled() == 0 && plan.points_left_out() == 0)
        }
        _ => false,
    }
}

/// Why a tombstone must wait after it was healed once more; none where that confirms it: the owner's copy was whole
/// before. What had to be created or filled may have been emptied by carbon in the next moment: that is asked again.
fn why_not_healed(daemon: &Daemon, body: &Body, line: &HealLine) -> Option<String> {
    match line.outcome {
        _ if line.digest.is_some_and(|digest| digest != body.digest) => Some(WRITTEN_TO.into()),
        HealOutcome::Unchanged => None,
        HealOutcome::Created | HealOutcome::Filled | HealOutcome::Replaced => {
            Some(healed_again(daemon))
        }
        HealOutcome::Refused | HealOutcome::Failed => {
            Some(format!("{} could not heal it: {}", daemon.addr(), line.reason))
        }
    }
}

fn healed_again(daemon: &Daemon) -> String {
    format!("{} lacked points and was healed again; it is asked once more", daemon.addr())
}

fn all_wait(bodies: &[&Body], reason: &str) -> Waits {
    bodies.iter().map(|body| (body.tombstone.seq, reason.to_owned())).collect()
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
        "{} was asked for {} metrics and answered {} lines that are not theirs",
        daemon.addr(),
        bodies.len(),
        lines.len()
    );
    Err(found.into())
}

async fn within<T>(
    daemon: &Daemon,
    exchange: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(EXCHANGE_LIMIT, exchange).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Trouble {
            reason: format!("{} was not done within {} s", daemon.addr(), EXCHANGE_LIMIT.as_secs()),
            silent: true,
        }),
    }
}
