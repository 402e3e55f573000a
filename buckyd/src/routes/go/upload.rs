//! `POST` and `PUT /metrics/NAME`: a metric's file from the Go tool, which heals or replaces the file here.
//!
//! The Go daemon stores anything, and its PUT removes the old file first. Here everything is checked before
//! any file is changed: the headers, the length, the encoding, and that it is a valid Whisper file. A file
//! that is too long to hold in memory is received by `upload_long`.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bucky_api::Encoding;
use bucky_whisper::MetricName;

use super::answer::PlainAnswer;
use super::upload_file::{
    Announced, FILE_BYTES_MOST, OnExisting, Timings, Upload, nanoseconds, store,
};
use super::{offload, upload_long};
use crate::app::App;
use crate::blocking::blocking;
use crate::http::body::HeldBody;

/// Receives a file, or fetches it if the request names a source.
pub(super) async fn receive(
    app: Arc<App>,
    how: OnExisting,
    metric: MetricName,
    request: Request,
) -> Result<Response, PlainAnswer> {
    if offload::is_requested(request.uri().query())? {
        return offload::fetch(app, how, metric, request).await;
    }
    let started = Instant::now();
    let announced = Announced::of(request.headers(), FILE_BYTES_MOST)?;
    if announced.size as u64 > app.store.file_limit_bytes() {
        return upload_long::receive(app, how, metric, announced, request.into_body()).await;
    }
    let budget = &app.memory.receiving;
    let body = announced.read(request, budget).await?;
    // After the body, so that a slow sender holds no permit.
    let permit = app.transfers.receive_file().await?;
    let plain = match announced.encoding {
        Encoding::Identity => None,
        _ => Some(budget.share(announced.size as u64 + 1).await?),
    };
    let timings = blocking(move || {
        let _permit = permit;
        let HeldBody { bytes, share } = body;
        let content = announced.content(bytes)?;
        // Of an encoded body only the decoded content is still in memory.
        let share = plain.unwrap_or(share);
        let timings = Timings { dump: nanoseconds(started.elapsed()), ..Timings::default() };
        let upload = Upload { metric, content, mod_time: announced.mod_time, share };
        store(&app, how, upload, timings)
    });
    Ok(timings.await??.into_response())
}
