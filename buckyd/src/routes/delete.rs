//! `POST /v1/delete`: conditional delete.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bucky_api::{DeleteOutcome, DeleteRequest, ErrorCode, paths};

use super::json::JsonBody;
use super::lines;
use crate::app::App;
use crate::blocking::blocking;
use crate::respond::ApiError;

pub(super) async fn post(
    State(app): State<Arc<App>>,
    JsonBody { value: request, place }: JsonBody<DeleteRequest>,
) -> Result<Response, ApiError> {
    if let Some(metric) = request.metrics.iter().find(|metric| metric.owners.is_empty()) {
        return Err(ApiError::bad_request(format!(
            "{} has no owners: nobody could confirm it",
            metric.name
        ))
        .hint("DELETE /metrics/NAME removes a metric for good"));
    }
    let deleted = blocking(move || -> Result<_, ApiError> {
        let _place = place;
        let (lines, batch) = app.store.delete(&request.metrics)?;
        if let Some(batch) = batch {
            let deleted = lines.iter().filter(|line| line.outcome == DeleteOutcome::Deleted);
            app.sweeper.added(batch, deleted.count() as u64);
        }
        Ok(lines)
    });
    let internal = |error| ApiError::new(ErrorCode::Internal, error);
    let lines = deleted.await.map_err(internal)??;
    Ok(lines::answer(paths::NDJSON, Body::from(lines::ndjson(&lines).map_err(internal)?)))
}
