//! `POST /v1/archive` and `GET /v1/archive`: metrics as one tar stream.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bucky_api::archive::{ArchiveWriter, Content};
use bucky_api::token::Operation;
use bucky_api::{ArchiveRequest, Encoding, LeftOut, Problem, chain, paths};
use bucky_whisper::MetricName;
use serde::Deserialize;

use super::json::JsonBody;
use super::metrics;
use crate::app::App;
use crate::auth::Caller;
use crate::blocking::{BodyWriter, body_channel};
use crate::http::lines;
use crate::http::query::{self, FilterText, Switch};
use crate::http::respond::ApiError;
use crate::inventory::walk_metrics;
use crate::memory::GrowingShare;
use crate::store::{FileReader, LargeFile, StoreError};
use crate::transfers::Permit;

/// The memory of a line of the report besides its text, and how often the text is held: as it is, and as
/// JSON, which is longer.
const LINE_BYTES: u64 = 256;
const TEXT_TIMES: u64 = 4;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArchiveQuery {
    regex: Option<String>,
    glob: Option<String>,
    prefix: Option<String>,
    #[serde(default)]
    large: Switch,
}

pub(super) async fn post(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    JsonBody { value: request, share, .. }: JsonBody<ArchiveRequest>,
) -> Result<Response, ApiError> {
    let permit = app.transfers.send()?;
    Ok(stream(app, encoding(&headers), permit, move |app, archive| {
        let _share = share;
        let mut source = Source::of(app, &caller);
        source.sends_large = request.large;
        request.metrics.iter().try_for_each(|metric| source.append(metric, archive))
    }))
}

pub(super) async fn get(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query: ArchiveQuery = query::parse(query.as_deref())?;
    let ArchiveQuery { regex, glob, prefix, large } = query;
    let filter = FilterText { regex, glob, prefix, after: None }.compile(&app.transfers).await?;
    let list = metrics::list(&app, Switch::Off).await?;
    let permit = app.transfers.send()?;
    Ok(stream(app, encoding(&headers), permit, move |app, archive| {
        let mut source = Source::of(app, &caller);
        source.sends_large = large.is_on();
        let ended = walk_metrics(&list, filter.span(), |metric| {
            if !filter.wants(metric.as_str()) {
                return ControlFlow::Continue(());
            }
            source.append(&metric, archive).map_or_else(ControlFlow::Break, ControlFlow::Continue)
        });
        ended.break_value().map_or(Ok(()), Err)
    }))
}

type Archive = ArchiveWriter<bucky_api::encoding::Encoder<BodyWriter>>;

fn encoding(headers: &HeaderMap) -> Encoding {
    Encoding::negotiate(headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()))
}

/// The archive that `fill` writes. The permit is returned when it is written.
fn stream(
    app: Arc<App>,
    encoding: Encoding,
    permit: Permit,
    fill: impl FnOnce(&App, &mut Archive) -> io::Result<()> + Send + 'static,
) -> Response {
    let (writer, body) = body_channel();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        // If it fails, the body ends as broken. Without a report the stream counts as cut off.
        if let Err(error) = write(&app, encoding, writer, fill) {
            tracing::info!(%error, "stopped sending an archive");
        }
    });
    let mut response = lines::answer(paths::TAR, body);
    if encoding != Encoding::Identity {
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.as_str()));
    }
    response
}

fn write(
    app: &App,
    encoding: Encoding,
    writer: BodyWriter,
    fill: impl FnOnce(&App, &mut Archive) -> io::Result<()>,
) -> io::Result<()> {
    let (begun, waited) = (Instant::now(), writer.waited());
    let mut archive = ArchiveWriter::new(encoding.encoder(writer)?);
    fill(app, &mut archive)?;
    archive.worked(begun.elapsed().saturating_sub(waited.so_far()));
    archive.finish()?.finish()?.finish()
}

/// The store that the metrics of an archive are read from, and its limits.
struct Source<'a> {
    app: &'a App,
    caller: &'a Caller,
    files: FileReader<'a>,
    /// The memory for the report.
    report: GrowingShare,
    /// Whether the receiver accepts files that are too long to hold in memory.
    sends_large: bool,
}

impl<'a> Source<'a> {
    fn of(app: &'a App, caller: &'a Caller) -> Self {
        Self {
            app,
            caller,
            files: FileReader::new(&app.store),
            report: GrowingShare::by_steps(),
            sends_large: false,
        }
    }

    /// Adds one metric, or notes why it is left out. An error means that the stream failed.
    fn append(&mut self, metric: &MetricName, archive: &mut Archive) -> io::Result<()> {
        let (problem, reason) = match self.caller.may(Operation::Read, metric) {
            Err(denied) => (Problem::Forbidden, denied.to_string()),
            Ok(()) => match self.files.read(metric) {
                Ok(file) => {
                    let digest = file.digest();
                    self.app.store.remember(&file, digest);
                    let content = Content {
                        digest: Some(digest),
                        len_bytes: file.content.len() as u64,
                        is_sparse: file.is_sparse,
                    };
                    let added = archive.append_as(metric, file.meta, content, &file.content);
                    self.files.give_back(file);
                    return added;
                }
                Err(StoreError::TooLarge { .. }) if self.sends_large => {
                    match self.app.store.open_large(metric) {
                        Ok(file) => return send_large(metric, file, archive),
                        Err(error) => (error.as_source_problem(), chain(&error)),
                    }
                }
                Err(error) => (error.as_source_problem(), chain(&error)),
            },
        };
        let text_bytes = (metric.as_str().len() + reason.len()) as u64;
        let bytes = LINE_BYTES + text_bytes * TEXT_TIMES;
        let added = self.report.add_blocking(&self.app.memory.sending, bytes);
        added.map_err(io::Error::other)?;
        archive.leave_out(LeftOut { metric: metric.clone(), problem, reason })
    }
}

/// Sends a file that is too long to hold in memory, as it is read.
fn send_large(
    metric: &MetricName,
    mut file: LargeFile<'_>,
    archive: &mut Archive,
) -> io::Result<()> {
    let (len_bytes, is_sparse) = (file.len_bytes(), file.is_sparse());
    let content = Content { digest: None, len_bytes, is_sparse };
    let digest = archive.add(metric, file.meta(), content, &mut file)?;
    file.sent(digest);
    Ok(())
}
