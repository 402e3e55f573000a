//! `POST` and `PUT /metrics/NAME`: a metric's file from the Go tool, to be healed here or to replace what is here.
//!
//! Unlike the Go daemon, which stores whatever comes and whose PUT removes the old file first, all is checked before
//! anything is touched: the headers, the length, the coding, and that it is a whole Whisper file. One that is too long to be held
//! is received by `upload_long`.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bucky_api::Encoding;
use bucky_whisper::MetricName;

use super::answer::PlainAnswer;
use super::upload_file::{Announced, FILE_BYTES_MOST, How, Timings, Upload, nanoseconds, store};
use super::{offload, upload_long};
use crate::app::App;
use crate::blocking::blocking;
use crate::http::body::Held;

/// Receives a file, or has it fetched where the request names its source.
pub(super) async fn receive(
    app: Arc<App>,
    how: How,
    metric: MetricName,
    request: Request,
) -> Result<Response, PlainAnswer> {
    if offload::is_asked_for(request.uri().query())? {
        return offload::fetch(app, how, metric, request).await;
    }
    let started = Instant::now();
    let announced = Announced::of(request.headers(), FILE_BYTES_MOST)?;
    if announced.size as u64 > app.store.file_limit_bytes() {
        return upload_long::receive(app, how, metric, announced, request.into_body()).await;
    }
    let budget = &app.memory.receiving;
    let body = announced.read(request, budget).await?;
    // After the body: a sender that takes its time holds up nobody.
    let place = app.transfers.receive_file().await?;
    let plain = match announced.encoding {
        Encoding::Identity => None,
        _ => Some(budget.share(announced.size as u64 + 1).await?),
    };
    let timings = blocking(move || {
        let _place = place;
        let Held { bytes, share } = body;
        let content = announced.content(bytes)?;
        // Of an encoded body only what came out of it is still there.
        let share = plain.unwrap_or(share);
        let timings = Timings { dump: nanoseconds(started.elapsed()), ..Timings::default() };
        let upload = Upload { metric, content, mod_time: announced.mod_time, share };
        store(&app, how, upload, timings)
    });
    Ok(timings.await??.into_response())
}
