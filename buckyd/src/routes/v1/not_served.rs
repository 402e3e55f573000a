//! `GET /v1/not-served`: what is below the prefix and is not in the list, or cannot be placed.

use std::io;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use bucky_api::{NotServedLine, paths};
use serde::Deserialize;

use crate::app::App;
use crate::blocking::BodyWriter;
use crate::http::respond::ApiError;
use crate::http::{lines, query};

/// How many lines are sent if the request does not say.
const LIMIT: u64 = 100_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NotServedQuery {
    limit: Option<u64>,
}

pub(super) async fn get(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query: NotServedQuery = query::parse(query.as_deref())?;
    let limit = query.limit.unwrap_or(LIMIT);
    let permit = app.transfers.answer().await?;
    Ok(lines::stream(permit, paths::NDJSON, move |writer| write(&app, limit, writer)))
}

/// Writes the lines of a separate walk, in the order of the walk.
fn write(app: &App, limit: u64, writer: &mut BodyWriter) -> io::Result<()> {
    let (mut written, mut left) = (Ok(()), limit);
    let scanned = app.inventory.not_served(|kind, path, detail| {
        if written.is_ok() && left > 0 {
            left -= 1;
            let path = path.display().to_string().escape_debug().to_string();
            let line = NotServedLine { kind, path, detail: detail.to_owned() };
            written = lines::write_line(writer, &line);
        }
    });
    written?;
    scanned.map_err(io::Error::other)
}
