//! `POST /v1/heal`: heals metrics from an archive stream in the request.
//!
//! The answer begins once the stream has been read. While the batch is made durable, empty lines show that
//! the daemon is alive.

use std::io;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use bucky_api::{Encoding, OnSchemaDifference};
use futures_util::TryStreamExt;
use serde::Deserialize;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::healing::{answer, start};
use crate::app::App;
use crate::auth::Caller;
use crate::clock::SenderTime;
use crate::http::body;
use crate::http::query::{self, Switch};
use crate::http::respond::ApiError;
use crate::intake::incoming::Expected;
use crate::intake::rights::Rights;
use crate::store::{HealRules, OnCorrupt};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HealQuery {
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
    let query: HealQuery = query::parse(query.as_deref())?;
    let on_corrupt = OnCorrupt::of(query.replace_corrupt.is_on());
    let on_schema_difference = query.on_schema_difference;
    let rules = HealRules { on_corrupt, on_schema_difference, sender, ..HealRules::default() };
    let rights = Rights::of(caller, on_corrupt)?;
    let encoding = content_encoding(&headers)?;
    let permit = app.transfers.receive()?;
    let stream = body::pieces(body).map_err(io::Error::from);
    let reader = SyncIoBridge::new(StreamReader::new(Box::pin(stream)));
    let expected = Expected::Anything(rights);
    let (read, finished) = start(app, permit, rules, encoding, reader, expected);
    // Until the stream is read, the answer can still be an error.
    match read.await {
        Ok(Err(error)) => Err(error),
        Ok(Ok(())) | Err(_) => Ok(answer(finished)),
    }
}

fn content_encoding(headers: &HeaderMap) -> Result<Encoding, ApiError> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(Encoding::Identity) };
    let text = value.to_str().unwrap_or_default();
    text.parse().map_err(|error| ApiError::bad_request(format!("Content-Encoding: {error}")))
}
