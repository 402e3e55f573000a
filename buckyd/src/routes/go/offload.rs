//! `POST` and `PUT /metrics/NAME?fetch_offload=true`: this daemon fetches the file from another one.
//!
//! It asks the source for the plain file, and follows no redirects. The source must be a host that this
//! daemon may contact. It gets only a token that allows reading that metric. A source that is this same store
//! is refused: a delete may follow the copy.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bucky_api::go::MetricStat;
use bucky_api::token::Operation;
use bucky_api::{ClientError, Daemon, DaemonAddr, chain};
use bucky_whisper::MetricName;
use futures_util::TryStreamExt;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::answer::PlainAnswer;
use super::form::Form;
use super::upload_file::{
    FILE_BYTES_MOST, OnExisting, Timings, Upload, WhisperFile, nanoseconds, size, store,
};
use super::upload_long::{self, LongUpload, LongUploadError};
use crate::app::App;
use crate::auth::Caller;
use crate::blocking::blocking;
use crate::transfers::Permit;

/// The longest form: an address and a name.
const FORM_LIMIT_BYTES: usize = 64 * 1024;
/// The port of a source that is given without one: HTTP's, as in the Go tool.
const HTTP_PORT: u16 = 80;

/// Whether the query asks this daemon to fetch the file.
pub(super) fn is_requested(query: Option<&str>) -> Result<bool, PlainAnswer> {
    Ok(Form::of_query(query)?.get("fetch_offload") == Some("true"))
}

pub(super) async fn fetch(
    app: Arc<App>,
    how: OnExisting,
    metric: MetricName,
    request: Request,
) -> Result<Response, PlainAnswer> {
    let caller = request.extensions().get::<Caller>().cloned();
    let caller = caller.ok_or_else(|| PlainAnswer::internal("the request has no caller"))?;
    let form = Form::read(request, FORM_LIMIT_BYTES, &app.memory.receiving).await?;
    let source = source_addr(form.get("server").unwrap_or_default()).map_err(source_error)?;
    let source_metric = form
        .get("metric")
        .filter(|metric| !metric.is_empty())
        .ok_or_else(|| source_error("the request does not name a metric to fetch"))?;
    let source_metric = &may_be_read(&caller, source_metric)?;
    let permit = app.transfers.receive_file().await?;
    let source = match source_metric {
        SourceMetric::AsGiven(_) => app.peers.daemon(&source, &[], []),
        SourceMetric::Checked(metric) => app.peers.daemon(&source, &[Operation::Read], [metric]),
    };
    let source = source.map_err(|error| source_error(chain(&error)))?;
    let source_metric = source_metric.as_str();
    refuse_itself(&app, &source).await?;
    let started = Instant::now();
    let bytes = source_len(&source, source_metric).await?;
    if bytes as u64 > app.store.file_limit_bytes() {
        return fetch_long(app, how, metric, (&source, source_metric), permit).await;
    }
    let share = app.memory.receiving.share(bytes as u64).await?;
    let (stat, content) = get(&source, source_metric, bytes).await?;
    let timings = Timings { download: nanoseconds(started.elapsed()).max(1), ..Timings::default() };
    size(stat.size, app.store.file_limit_bytes())?;
    let stored = blocking(move || {
        let _permit = permit;
        let started = Instant::now();
        let content = WhisperFile::check(content)?;
        let timings = Timings { dump: nanoseconds(started.elapsed()), ..timings };
        let upload = Upload { metric, content, mod_time: stat.mod_time, share };
        store(&app, how, upload, timings)
    });
    Ok(stored.await??.into_response())
}

/// Fetches a file that is too long to hold in memory, and stores it as it arrives.
async fn fetch_long(
    app: Arc<App>,
    how: OnExisting,
    metric: MetricName,
    (source, source_metric): (&Daemon, &str),
    permit: Permit,
) -> Result<Response, PlainAnswer> {
    let started = Instant::now();
    let (stat, stream) = existing(source.go_get_stream(source_metric).await)?;
    let len_bytes = size(stat.size, FILE_BYTES_MOST)? as u64;
    let upload = LongUpload { metric, len_bytes, mod_time: stat.mod_time };
    let reader = SyncIoBridge::new(StreamReader::new(stream.map_err(io::Error::other)));
    let stored = blocking(move || {
        let _permit = permit;
        upload_long::store(&app, how, upload, reader, Timings::default(), started)
    });
    match stored.await? {
        Ok(timings) => {
            // It is checked and written while it is fetched: all of that counts as the download.
            let all = nanoseconds(started.elapsed());
            let download = all.saturating_sub(timings.fill + timings.copy).max(1);
            Ok(Timings { download, ..timings }.into_response())
        }
        Err(LongUploadError::Broken(error)) => Err(source_error(chain(&error))),
        Err(LongUploadError::OtherLength) => Err(source_error(format!(
            "{source_metric} does not have the {len_bytes} bytes that {} announced",
            source.addr()
        ))),
        Err(LongUploadError::Answer(answer)) => Err(answer),
    }
}

/// The name of the metric to fetch.
enum SourceMetric<'a> {
    /// Without tokens, the text as the client gave it.
    AsGiven(&'a str),
    /// A metric that the caller may read, in its canonical spelling: so the checked name is the requested
    /// one.
    Checked(MetricName),
}

impl SourceMetric<'_> {
    fn as_str(&self) -> &str {
        match self {
            Self::AsGiven(text) => text,
            Self::Checked(metric) => metric.as_str(),
        }
    }
}

/// D9: a caller who may store a metric from there must be allowed to read it.
fn may_be_read<'a>(caller: &Caller, text: &'a str) -> Result<SourceMetric<'a>, PlainAnswer> {
    let Caller::Holder(_) = caller else { return Ok(SourceMetric::AsGiven(text)) };
    let metric = MetricName::parse(text).map_err(source_error)?;
    caller.may(Operation::Read, &metric)?;
    Ok(SourceMetric::Checked(metric))
}

/// The address of a source. Its port is 80 if the text has none.
fn source_addr(text: &str) -> Result<DaemonAddr, String> {
    if text.is_empty() {
        return Err("http: no Host in request URL".into());
    }
    DaemonAddr::parse_with_port(text, HTTP_PORT).map_err(|error| error.to_string())
}

async fn refuse_itself(app: &App, source: &Daemon) -> Result<(), PlainAnswer> {
    match source.status().await {
        Ok(Some(status)) if status.store_id == app.store.id() => Err(source_error(format!(
            "{} is another address of this same store; a metric cannot be copied to itself",
            source.addr()
        ))),
        // It answers, but not like this daemon.
        Ok(_) | Err(ClientError::Status { .. } | ClientError::BadAnswer { .. }) => Ok(()),
        Err(error) => Err(source_error(chain(&error))),
    }
}

/// The length of the file, as its source reports it.
async fn source_len(source: &Daemon, metric: &str) -> Result<usize, PlainAnswer> {
    let bytes = existing(source.go_stat(metric).await)?.size;
    // A length that is not possible is reported once the file has arrived.
    let len_bytes = usize::try_from(bytes).unwrap_or(0);
    if len_bytes as u64 > FILE_BYTES_MOST {
        return Err(source_error(format!(
            "{metric} has {bytes} bytes; the limit is {FILE_BYTES_MOST}"
        )));
    }
    Ok(len_bytes)
}

async fn get(
    source: &Daemon,
    metric: &str,
    limit_bytes: usize,
) -> Result<(MetricStat, Vec<u8>), PlainAnswer> {
    let file = existing(source.go_get_at_most(metric, limit_bytes).await)?;
    Ok((file.stat, file.content.into()))
}

fn existing<T>(answer: Result<Option<T>, ClientError>) -> Result<T, PlainAnswer> {
    match answer {
        Ok(Some(found)) => Ok(found),
        Ok(None) => {
            Err(PlainAnswer::new(StatusCode::NOT_FOUND, "Error fetching metric: metric not found"))
        }
        Err(ClientError::Status { status, body, .. }) => Err(source_error(format!(
            "Fetching metric returned status code: {status}{}",
            if body.is_empty() { String::new() } else { format!(": {body}") }
        ))),
        Err(error) => Err(source_error(chain(&error))),
    }
}

/// A fault of the source, in the form by which the Go client distinguishes it from the destination's.
fn source_error(text: impl std::fmt::Display) -> PlainAnswer {
    PlainAnswer::bad_request(format!("Error fetching metric: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_without_a_port_listens_on_80() {
        for (text, addr) in [
            ("a", "a:80"),
            ("a:4242", "a:4242"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[::1]", "[::1]:80"),
            ("[::1]:4242", "[::1]:4242"),
            ("fe80::4242", "[fe80::4242]:80"),
        ] {
            assert_eq!(source_addr(text).unwrap().to_string(), addr);
        }
        assert_eq!(source_addr("").unwrap_err(), "http: no Host in request URL");
        for text in ["a:b", "a/b", "u@h:1", "a:0", "a:99999", "a:"] {
            assert!(source_addr(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_offload_is_requested_only_by_the_exact_query() {
        for (query, requested) in [
            (None, false),
            (Some("fetch_offload=true"), true),
            (Some("server=a%3A1&fetch_offload=true"), true),
            (Some("fetch_offload=True"), false),
            (Some("fetch_offload=1"), false),
            (Some("fetch_offload=false&fetch_offload=true"), false),
        ] {
            assert_eq!(is_requested(query).unwrap(), requested, "{query:?}");
        }
        assert!(is_requested(Some("fetch_offload=true;x")).is_err());
    }
}
