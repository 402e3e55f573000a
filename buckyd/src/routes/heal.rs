//! `POST /v1/heal` and `POST /v1/pull`: metrics from an archive stream, each made complete here.
//!
//! The answer begins once the stream has been read; while the batch is made durable, empty lines show that the
//! daemon is alive. A pull's answer begins when the peer's has.

use std::collections::HashSet;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use bucky_api::archive::{Limits, ReadArchiveError, read_archive};
use bucky_api::{
    ClientError, Encoding, ErrorCode, HealLine, HealOutcome, LeftOut, Problem, PullRequest, chain,
};
use bucky_whisper::MetricName;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::json::JsonBody;
use super::lines;
use super::query::{self, Switch};
use crate::app::App;
use crate::respond::ApiError;
use crate::store::{HealBatch, OnCorrupt, Store};
use crate::transfers::Place;

/// How long the sender of a body may send nothing.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// What a batch came to: its lines, and what kept the stream from being read to its end.
type Healed = (Vec<HealLine>, Option<ApiError>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    #[serde(default)]
    replace_corrupt: Switch,
}

pub(super) async fn post(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Response, ApiError> {
    let query: Query = query::parse(query.as_deref())?;
    let on_corrupt = on_corrupt(query.replace_corrupt.is_on());
    let encoding = content_encoding(&headers)?;
    let place = app.transfers.receive()?;
    let stream = tokio_stream::StreamExt::timeout(body.into_data_stream(), IDLE_LIMIT);
    let stream = stream.map(|piece| match piece {
        Ok(piece) => piece.map_err(std::io::Error::other),
        Err(_) => Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "the sender fell silent")),
    });
    let reader = SyncIoBridge::new(StreamReader::new(Box::pin(stream)));
    let (read, finished) = start(app, place, on_corrupt, encoding, reader, None);
    // Until the stream is read the answer can still be an error of its own.
    match read.await {
        Ok(Err(error)) => Err(error),
        Ok(Ok(())) | Err(_) => Ok(answer(finished)),
    }
}

pub(super) async fn pull(
    State(app): State<Arc<App>>,
    JsonBody { value: request, .. }: JsonBody<PullRequest>,
) -> Result<Response, ApiError> {
    let place = app.transfers.receive()?;
    let peer = app.client.daemon(request.from.clone());
    refuse_itself(&app, &peer).await?;
    let (encoding, stream) =
        peer.archive(request.metrics.clone(), request.encoding).await.map_err(peer_error)?;
    let reader = SyncIoBridge::new(StreamReader::new(stream.map_err(std::io::Error::other)));
    let on_corrupt = on_corrupt(request.replace_corrupt);
    let (_, finished) = start(app, place, on_corrupt, encoding, reader, Some(request.metrics));
    Ok(answer(finished))
}

fn on_corrupt(replaces: bool) -> OnCorrupt {
    if replaces { OnCorrupt::Replace } else { OnCorrupt::Leave }
}

/// A store is never healed from itself: the delete that may follow would remove the only copy.
async fn refuse_itself(app: &App, peer: &bucky_api::Daemon) -> Result<(), ApiError> {
    match peer.status().await.map_err(peer_error)? {
        Some(status) if status.store_id == app.store.id() => Err(ApiError::bad_request(format!(
            "{} is this very store under another address: nothing is moved onto itself",
            peer.addr()
        ))),
        Some(_) => Ok(()),
        None => Err(ApiError::new(
            ErrorCode::Peer,
            format!("{} has no /v1/archive to pull from", peer.addr()),
        )
        .hint("it is a daemon of the Go tool; fetch from it metric by metric")),
    }
}

fn peer_error(error: ClientError) -> ApiError {
    let busy = error.status() == Some(StatusCode::SERVICE_UNAVAILABLE);
    let text = chain(&error);
    if busy {
        return ApiError::new(ErrorCode::Busy, text).retry_after(1);
    }
    ApiError::new(ErrorCode::Peer, text)
}

fn content_encoding(headers: &HeaderMap) -> Result<Encoding, ApiError> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(Encoding::Identity) };
    let text = value.to_str().unwrap_or_default();
    text.parse().map_err(|error| ApiError::bad_request(format!("Content-Encoding: {error}")))
}

/// Starts to heal from `reader` on a blocking thread.
///
/// The first receiver gets word when the stream has been read, with the error where nothing can be said of single
/// metrics; the second gets the lines once they are durable. `expected` are the metrics that a peer was asked for.
fn start(
    app: Arc<App>,
    place: Place,
    on_corrupt: OnCorrupt,
    encoding: Encoding,
    reader: impl Read + Send + 'static,
    expected: Option<Vec<MetricName>>,
) -> (oneshot::Receiver<Result<(), ApiError>>, oneshot::Receiver<Healed>) {
    let (read_sender, read) = oneshot::channel();
    let (finished_sender, finished) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let mut batch = HealBatch::new(&app.store).on_corrupt(on_corrupt);
        let end = read_into(&mut batch, &app.store, encoding, reader, expected);
        if batch.is_empty()
            && let Err(error) = end
        {
            let _ = read_sender.send(Err(error));
            return;
        }
        let _ = read_sender.send(Ok(()));
        let lines = batch.finish();
        log(&lines);
        let _ = finished_sender.send((lines, end.err()));
    });
    (read, finished)
}

/// Reads the stream to its end, healing as far as that goes before the sync.
fn read_into(
    batch: &mut HealBatch<'_>,
    store: &Store,
    encoding: Encoding,
    reader: impl Read + Send,
    expected: Option<Vec<MetricName>>,
) -> Result<(), ApiError> {
    let limits = Limits { member_bytes: store.file_limit_bytes(), ..Limits::default() };
    let pulls = expected.is_some();
    let mut missing: HashSet<MetricName> = expected.into_iter().flatten().collect();
    let result = encoding
        .decoder(reader)
        .map_err(|source| ReadArchiveError::Read { members: 0, source })
        .and_then(|reader| {
            read_archive(reader, limits, |member| {
                // A peer's answer holds what was asked for and nothing else.
                if !pulls || missing.remove(&member.metric) {
                    batch.take(&member);
                }
            })
        });
    let (error, left_out) = match result {
        Ok(report) => (None, report.left_out),
        Err(error) => (Some(error), Vec::new()),
    };
    for LeftOut { metric, problem, reason } in left_out {
        if missing.remove(&metric) || !pulls {
            batch.note(not_healed(metric, problem, reason));
        }
    }
    let why =
        error.as_ref().map_or_else(|| "the peer did not send it".to_owned(), |error| chain(error));
    let mut missing: Vec<MetricName> = missing.into_iter().collect();
    missing.sort_unstable();
    for metric in missing {
        batch.note(not_healed(metric, Problem::CutOff, why.clone()));
    }
    // A pull has a line for each metric it was asked for, and those say it all.
    error.filter(|_| !pulls).map_or(Ok(()), |error| Err(ApiError::from(error)))
}

fn not_healed(metric: MetricName, problem: Problem, reason: String) -> HealLine {
    let outcome = if problem.may_pass() { HealOutcome::Failed } else { HealOutcome::Refused };
    HealLine { metric, outcome, points: 0, bytes: 0, digest: None, problem: Some(problem), reason }
}

/// The lines of a batch once they are there.
fn answer(finished: oneshot::Receiver<Healed>) -> Response {
    lines::eventually(async {
        finished.await.map_err(std::io::Error::other).and_then(|healed| body(&healed))
    })
}

fn body((healed, error): &Healed) -> std::io::Result<Bytes> {
    let mut body = lines::ndjson(healed)?;
    if let Some(error) = error {
        lines::write_line(&mut body, error.body())?;
    }
    Ok(Bytes::from(body))
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
