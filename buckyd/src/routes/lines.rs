//! Answers of one line a metric, written by a blocking thread while the network takes them.

use std::io::{self, Write};

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bucky_api::paths;
use serde::Serialize;

use crate::blocking::{BodyWriter, body_channel};

/// An answer whose lines `write` produces.
///
/// Where `write` fails the body ends as broken, so that nobody takes a part for the whole.
pub(super) fn stream(
    media_type: &'static str,
    write: impl FnOnce(&mut BodyWriter) -> io::Result<()> + Send + 'static,
) -> Response {
    let (mut writer, body) = body_channel();
    tokio::task::spawn_blocking(move || {
        let result = write(&mut writer);
        end(writer, result);
    });
    answer(media_type, body)
}

/// An answer with this body.
pub(super) fn answer(media_type: &'static str, body: Body) -> Response {
    ([(header::CONTENT_TYPE, media_type)], body).into_response()
}

/// Ends a body as whole or as broken.
pub(super) fn end(writer: BodyWriter, result: io::Result<()>) {
    match result {
        Ok(()) => {
            if let Err(error) = writer.finish() {
                tracing::debug!(%error, "an answer was not taken");
            }
        }
        Err(error) => {
            tracing::info!(%error, "an answer was given up");
            writer.fail(error);
        }
    }
}

/// An answer of values that are there already, as NDJSON.
pub(super) fn ndjson<T: Serialize>(values: &[T]) -> Response {
    let mut body = Vec::new();
    for value in values {
        if write_line(&mut body, value).is_err() {
            // Writing to memory: only a value that is no JSON could fail, and these are plain structs.
            tracing::error!("an answer could not be written");
        }
    }
    answer(paths::NDJSON, Body::from(body))
}

/// One value as a line.
pub(super) fn write_line(writer: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *writer, value)?;
    writer.write_all(b"\n")
}
