//! `POST /v1/heal` and `POST /v1/pull`: metrics from an archive stream, each made complete here.
//!
//! The answer begins once the stream has been read; while the batch is made durable, empty lines show that the
//! daemon is alive. A pull's answer begins when the peer's has.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use bucky_api::archive::{
    LargeMember, Limits, Member, NoRoom, ReadArchiveError, Receiver, receive_archive,
};
use bucky_api::token::Operation;
use bucky_api::{
    ClientError, Encoding, ErrorCode, HealLine, HealOutcome, LeftOut, OnSchemaDifference, Problem,
    PullRequest, chain,
};
use bucky_whisper::MetricName;
use futures_util::TryStreamExt;
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::json::JsonBody;
use super::paced::{awaited, paced};
use super::query::{self, Switch};
use super::renames::{self, Renames};
use super::rights::Rights;
use super::{body, lines};
use crate::app::App;
use crate::auth::Caller;
use crate::clock::SenderTime;
use crate::links::{Coming, Links};
use crate::memory::{Budget, Growing, Share};
use crate::respond::ApiError;
use crate::store::{Coming as ComingFile, HealBatch, HealRules, OnCorrupt, OnCut};
use crate::transfers::Place;

/// What a metric takes until its line is sent, beside its name, and how many times its name is held: in its line and
/// its reason, as a path, and in the answer.
const LINE_BYTES: u64 = 1024;
const NAME_TIMES: u64 = 12;

/// How large a buffer may be that is kept for the next metric. It is beyond the shares: one for each transfer.
const SPARE_LIMIT_BYTES: usize = 512 * 1024;

/// What a batch came to: its lines, what kept the stream from being read to its end, and what they take.
struct Healed {
    lines: Vec<HealLine>,
    error: Option<ApiError>,
    share: Share,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    #[serde(default)]
    replace_corrupt: Switch,
    #[serde(default)]
    on_schema_difference: OnSchemaDifference,
}

pub(super) async fn post(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    SenderTime(sender): SenderTime,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Response, ApiError> {
    let query: Query = query::parse(query.as_deref())?;
    let on_corrupt = on_corrupt(query.replace_corrupt.is_on());
    let on_schema_difference = query.on_schema_difference;
    let rules = HealRules { on_corrupt, on_schema_difference, sender, ..HealRules::default() };
    let rights = Rights::of(caller, on_corrupt)?;
    let encoding = content_encoding(&headers)?;
    let place = app.transfers.receive()?;
    let stream = body::pieces(body).map_err(io::Error::from);
    let reader = SyncIoBridge::new(StreamReader::new(Box::pin(stream)));
    let expected = Expected::Anything(rights);
    let (read, finished) = start(app, place, rules, encoding, reader, expected);
    // Until the stream is read the answer can still be an error of its own.
    match read.await {
        Ok(Err(error)) => Err(error),
        Ok(Ok(())) | Err(_) => Ok(answer(finished)),
    }
}

pub(super) async fn pull(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    JsonBody { value: request, share, .. }: JsonBody<PullRequest>,
) -> Result<Response, ApiError> {
    let (on_corrupt, on_cut) = (on_corrupt(request.replace_corrupt), OnCut::of(request.salvage));
    let rights = Rights::of(caller, on_corrupt)?;
    let place = app.transfers.receive()?;
    let (metrics, renames) = renames::asked_for(request.metrics, request.renamed)?;
    let (metrics, denied) = rights.sorted_out(metrics, &renames)?;
    let peer = app.peers.daemon(&request.from, &[Operation::Read], &metrics);
    let peer = peer.map_err(|error| ApiError::forbidden(chain(&error)))?;
    refuse_itself(&app, &peer, renames.are_all_of(&metrics)).await?;
    let wanted = match request.chooses_encoding {
        true => app.links.encoding_from(&request.from),
        false => request.encoding,
    };
    let answered = peer.archive_of_any_length(metrics.clone(), wanted).await;
    let (encoding, stream) = answered.map_err(peer_error)?;
    let on_schema_difference = request.on_schema_difference;
    let (preview, sender) = (request.preview, peer.clock_offset());
    let rules = HealRules { on_corrupt, on_cut, on_schema_difference, preview, sender };
    let (coming, stream) = Coming::measured(request.from, encoding, stream);
    let (awaited, gone) = awaited();
    let stream = paced(stream, request.bytes_per_second, gone);
    let reader = SyncIoBridge::new(StreamReader::new(stream));
    let expected = Expected::These { metrics, renames, denied, share, coming };
    let (_, finished) = start(app, place, rules, encoding, reader, expected);
    Ok(lines::while_sent(answer(finished), awaited))
}

fn on_corrupt(replaces: bool) -> OnCorrupt {
    if replaces { OnCorrupt::Replace } else { OnCorrupt::Leave }
}

/// A metric is never healed from itself: the delete that may follow would remove the only copy. Under another name it
/// may be.
async fn refuse_itself(
    app: &App,
    peer: &bucky_api::Daemon,
    all_renamed: bool,
) -> Result<(), ApiError> {
    match peer.status().await.map_err(peer_error)? {
        Some(status) if status.store_id == app.store.id() && !all_renamed => {
            Err(ApiError::bad_request(format!(
                "{} is another address of this same store; a metric cannot be moved to itself",
                peer.addr()
            )))
        }
        Some(_) => Ok(()),
        None => Err(ApiError::new(
            ErrorCode::Peer,
            format!("{} has no /v1/archive to pull from", peer.addr()),
        )
        .hint("it is a daemon of the Go tool; fetch its metrics one by one")),
    }
}

fn peer_error(error: ClientError) -> ApiError {
    let text = chain(&error);
    match error.status() {
        Some(StatusCode::SERVICE_UNAVAILABLE) => {
            ApiError::new(ErrorCode::Busy, text).retry_after(1)
        }
        // Asked again it would say the same.
        Some(StatusCode::FORBIDDEN) => ApiError::forbidden(text).hint(
            "both daemons need the same secret, in -auth-jwt-secret-file, and clocks that agree",
        ),
        _ => ApiError::new(ErrorCode::Peer, text),
    }
}

fn content_encoding(headers: &HeaderMap) -> Result<Encoding, ApiError> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(Encoding::Identity) };
    let text = value.to_str().unwrap_or_default();
    text.parse().map_err(|error| ApiError::bad_request(format!("Content-Encoding: {error}")))
}

/// Starts to heal from `reader` on a blocking thread.
///
/// The first receiver gets word when the stream has been read, with the error where nothing can be said of single
/// metrics; the second gets the lines once they are durable.
fn start(
    app: Arc<App>,
    place: Place,
    rules: HealRules,
    encoding: Encoding,
    reader: impl Read + Send + 'static,
    expected: Expected,
) -> (oneshot::Receiver<Result<(), ApiError>>, oneshot::Receiver<Healed>) {
    let (read_sender, read) = oneshot::channel();
    let (finished_sender, finished) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let mut incoming = Incoming::new(&app, rules, expected);
        let end = incoming.read(encoding, reader);
        let Incoming { batch, lines, renames, .. } = incoming;
        if batch.is_empty()
            && let Err(error) = end
        {
            let _ = read_sender.send(Err(error));
            return;
        }
        let _ = read_sender.send(Ok(()));
        let share = lines.into_share();
        let (mut lines, set_aside) = batch.finish();
        for (batch, count) in set_aside {
            app.sweeper.added(batch, count);
        }
        renames.tell(&mut lines);
        log(&lines);
        let _ = finished_sender.send(Healed { lines, error: end.err(), share });
    });
    (read, finished)
}

/// What a stream may bring.
enum Expected {
    /// Whatever may be brought.
    Anything(Rights),
    /// A peer's answer: these metrics, and nothing else. The list's share comes with it, and the lines of those that
    /// were not asked for.
    These {
        metrics: Vec<MetricName>,
        renames: Renames,
        denied: Vec<HealLine>,
        share: Share,
        coming: Coming,
    },
}

/// What bounds the memory of a batch.
#[derive(Clone, Copy)]
struct Bounds<'a> {
    /// What all that is received may take.
    budget: &'a Budget,
    /// The longest file that is held.
    file_limit_bytes: u64,
}

/// A batch that is being read.
struct Incoming<'a> {
    batch: HealBatch<'a>,
    bounds: Bounds<'a>,
    /// What may be brought; of a pull, all that was asked for.
    rights: Option<Rights>,
    /// Of a pull, what has not come yet.
    missing: HashSet<MetricName>,
    /// Of a pull, what is stored under another name.
    renames: Renames,
    /// Of a pull, how it comes.
    coming: Option<Coming>,
    links: &'a Links,
    /// The length of the files that have come.
    file_bytes: u64,
    /// What the metric that is coming takes.
    member: Growing,
    /// What those take that have come, until their lines are sent.
    lines: Growing,
    /// The long file that is coming, and what it is stored as; none where it may not be stored.
    large: Option<(LargeMember, Option<(ComingFile, MetricName)>)>,
    /// What the next metric is read into: that of the one before, where it is of a usual length.
    spare: Vec<u8>,
}

impl Receiver for &mut Incoming<'_> {
    fn announce(&mut self, metric: &MetricName, bytes: u64) -> Result<(), NoRoom> {
        // Whoever asked for it takes the sender's word; else a sender could hold room that it never fills.
        if self.is_pull() {
            // The line first: what is held of the file must not wait for it.
            let provided = self
                .lines
                .provide_blocking(self.bounds.budget, line_bytes(metric))
                .and_then(|()| self.member.provide_blocking(self.bounds.budget, bytes));
            provided.map_err(|error| NoRoom(error.to_string()))?;
        }
        Ok(())
    }

    fn reserve(&mut self, bytes: u64) -> Result<(), NoRoom> {
        let added = self.member.add_blocking(self.bounds.budget, bytes);
        added.map_err(|error| NoRoom(error.to_string()))
    }

    fn buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }

    fn begin_large(&mut self, member: &LargeMember) -> bool {
        // What nobody asked for is not read to its end, however long that is.
        if self.is_pull() && !self.missing.contains(&member.metric) {
            return false;
        }
        let is_refused =
            self.rights.as_ref().is_some_and(|rights| rights.refusal(&member.metric).is_some());
        let coming = (!is_refused).then(|| {
            let stored_as = self.renames.stored_as(&member.metric).clone();
            (self.batch.begin_large(member, &stored_as), stored_as)
        });
        // What may not be stored is read all the same: others may come after it.
        self.large = Some((member.clone(), coming));
        true
    }

    fn take_large_piece(&mut self, piece: &[u8]) -> Result<(), NoRoom> {
        if let Some((_, Some((coming, _)))) = &mut self.large {
            coming.write(piece);
        }
        Ok(())
    }

    fn end_large(&mut self) -> Result<(), NoRoom> {
        let Some((member, coming)) = self.large.take() else { return Ok(()) };
        self.file_bytes += member.len_bytes;
        let added = self.add_line(&member.metric);
        match coming {
            Some((coming, stored_as)) if added.is_err() => {
                self.batch.give_up_large(coming, &stored_as);
                return added;
            }
            Some((coming, stored_as)) => {
                self.missing.remove(&member.metric);
                let mut metric = member.metric;
                self.renames.apply(&mut metric, self.batch.len());
                self.batch.end_large(coming, stored_as);
            }
            None => {
                if let Some(line) = self.rights.as_ref().and_then(|r| r.refusal(&member.metric)) {
                    self.batch.note(line);
                }
            }
        }
        added
    }

    fn take(&mut self, mut member: Member) -> Result<(), NoRoom> {
        self.file_bytes += member.content.len() as u64;
        // A peer's answer holds what was asked for and nothing else.
        if !self.is_pull() || self.missing.remove(&member.metric) {
            self.add_line(&member.metric)?;
            match self.rights.as_ref().and_then(|rights| rights.refusal(&member.metric)) {
                Some(line) => self.batch.note(line),
                None => {
                    self.renames.apply(&mut member.metric, self.batch.len());
                    self.batch.take(&member);
                }
            }
        }
        self.spare = member.content;
        if self.spare.capacity() > SPARE_LIMIT_BYTES {
            self.spare = Vec::new();
        }
        self.member = Growing::default();
        Ok(())
    }
}

/// A name that it is stored under instead takes its part of [`LINE_BYTES`], or of the share that came with its list.
fn line_bytes(metric: &MetricName) -> u64 {
    LINE_BYTES + metric.as_str().len() as u64 * NAME_TIMES
}

impl<'a> Incoming<'a> {
    fn new(app: &'a App, rules: HealRules, expected: Expected) -> Self {
        let mut batch = HealBatch::new(&app.store).by(rules);
        let mut lines = Growing::by_steps();
        let (rights, metrics, renames, coming) = match expected {
            Expected::Anything(rights) => (Some(rights), Vec::new(), Renames::default(), None),
            Expected::These { metrics, renames, denied, share, coming } => {
                denied.into_iter().for_each(|line| batch.note(line));
                lines.add(share);
                (None, metrics, renames, Some(coming))
            }
        };
        Self {
            batch,
            bounds: Bounds {
                budget: &app.memory.receiving,
                file_limit_bytes: app.store.file_limit_bytes(),
            },
            rights,
            missing: metrics.into_iter().collect(),
            renames,
            coming,
            links: &app.links,
            file_bytes: 0,
            member: Growing::default(),
            lines,
            large: None,
            spare: Vec::new(),
        }
    }

    fn is_pull(&self) -> bool {
        self.rights.is_none()
    }

    fn add_line(&mut self, metric: &MetricName) -> Result<(), NoRoom> {
        let added = self.lines.add_blocking(self.bounds.budget, line_bytes(metric));
        added.map_err(|error| NoRoom(error.to_string()))
    }

    /// Reads the stream to its end, healing as far as that goes before the sync.
    fn read(&mut self, encoding: Encoding, reader: impl Read + Send) -> Result<(), ApiError> {
        let limits = Limits { member_bytes: self.bounds.file_limit_bytes, ..Limits::default() };
        let result = encoding
            .decoder(reader)
            .map_err(|source| ReadArchiveError::Read { members: 0, source })
            .and_then(|reader| receive_archive(reader, limits, &mut *self));
        let (error, left_out) = match result {
            Ok(report) => {
                if let Some(coming) = &self.coming {
                    let worked = report.worked_ms.map(Duration::from_millis);
                    self.links.came(coming, self.file_bytes, worked);
                }
                self.batch.verify(Some(&report.digests));
                (None, report.left_out)
            }
            Err(error) => {
                self.batch.verify(None);
                (Some(error), Vec::new())
            }
        };
        if let Some((_, Some((coming, stored_as)))) = self.large.take() {
            self.batch.give_up_large(coming, &stored_as);
        }
        for LeftOut { metric, problem, reason } in left_out {
            if self.missing.remove(&metric) || !self.is_pull() {
                self.batch.note(not_healed(metric, problem, reason));
            }
        }
        // What the report took is now with its lines.
        self.lines.add(std::mem::take(&mut self.member).into_share());
        let why = error
            .as_ref()
            .map_or_else(|| "the peer did not send it".to_owned(), |error| chain(error));
        let mut missing: Vec<MetricName> = self.missing.drain().collect();
        missing.sort_unstable();
        for metric in missing {
            self.batch.note(not_healed(metric, Problem::CutOff, why.clone()));
        }
        // A pull has a line for each metric it was asked for, and those say it all.
        error.filter(|_| !self.is_pull()).map_or(Ok(()), |error| Err(ApiError::from(error)))
    }
}

fn not_healed(metric: MetricName, problem: Problem, reason: String) -> HealLine {
    let outcome = if problem.may_pass() { HealOutcome::Failed } else { HealOutcome::Refused };
    HealLine {
        metric,
        stored_as: None,
        outcome,
        points: 0,
        held: None,
        difference: None,
        bytes: 0,
        digest: None,
        problem: Some(problem),
        reason,
    }
}

/// The lines of a batch once they are there.
fn answer(finished: oneshot::Receiver<Healed>) -> Response {
    lines::eventually(async {
        let healed = finished.await.map_err(io::Error::other)?;
        Ok((text(&healed)?, healed.share))
    })
}

fn text(healed: &Healed) -> io::Result<Vec<u8>> {
    let mut body = lines::ndjson(&healed.lines)?;
    if let Some(error) = &healed.error {
        lines::write_line(&mut body, error.body())?;
    }
    Ok(body)
}

fn log(lines: &[HealLine]) {
    let count = |outcome| lines.iter().filter(|line| line.outcome == outcome).count();
    tracing::info!(
        created = count(HealOutcome::Created),
        filled = count(HealOutcome::Filled),
        unchanged = count(HealOutcome::Unchanged),
        replaced = count(HealOutcome::Replaced),
        refused = count(HealOutcome::Refused),
        failed = count(HealOutcome::Failed),
        bytes = lines.iter().map(|line| line.bytes).sum::<u64>(),
        "healed"
    );
    for line in lines.iter().filter(|line| !line.outcome.is_healed()) {
        tracing::warn!(metric = %line.metric, problem = ?line.problem, reason = %line.reason, "not healed");
    }
}
