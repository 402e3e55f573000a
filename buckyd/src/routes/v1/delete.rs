//! `POST /v1/delete`: conditional delete.
//!
//! A delete that takes long sends signs of life, as a heal does. Nothing is deleted if one of the metrics may
//! not be deleted, if one of the owners could not be asked later, or if the sender's clock is too far from
//! ours.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use bucky_api::token::Operation;
use bucky_api::{DeleteMetric, DeleteRequest, ErrorCode, chain, paths};

use super::json::JsonBody;
use crate::app::App;
use crate::auth::Caller;
use crate::blocking::bytes_body;
use crate::clock::SenderTime;
use crate::http::lines;
use crate::http::respond::ApiError;
use crate::memory::Share;
use crate::store::{Deleted, OnCut};

pub(super) async fn post(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    sender: SenderTime,
    JsonBody { value: request, permit, share }: JsonBody<DeleteRequest>,
) -> Result<Response, ApiError> {
    check_clock(&app, sender)?;
    if let Some(metric) = request.metrics.iter().find(|metric| metric.owners.is_empty()) {
        return Err(ApiError::bad_request(format!(
            "{} has no owners, so no node could confirm it",
            metric.name
        ))
        .hint("DELETE /metrics/NAME deletes a metric without confirmation"));
    }
    request.metrics.iter().try_for_each(|metric| check(&app, &caller, metric))?;
    let mut deleted = tokio::task::spawn_blocking(move || -> Result<_, ApiError> {
        let _permit = permit;
        let rest = Duration::from_secs(request.rest_seconds);
        let on_cut = OnCut::of(request.salvage);
        let Deleted { lines, batches } = app.store.delete(&request.metrics, rest, on_cut)?;
        for (batch, count) in batches {
            app.sweeper.added(batch, count);
        }
        Ok((lines::ndjson(&lines).map_err(internal)?, share))
    });
    match tokio::time::timeout(lines::HEARTBEAT, &mut deleted).await {
        Ok(done) => {
            let (lines, share) = done.map_err(internal)??;
            Ok(lines::answer(paths::NDJSON, bytes_body(lines, share)))
        }
        // Many locks, one after the other: a failure of the whole can now be reported only in a line.
        Err(_) => Ok(lines::eventually(async move {
            deleted.await.map_err(io::Error::other)?.or_else(|error| {
                let mut line = Vec::new();
                lines::write_line(&mut line, error.body())?;
                Ok((line, Share::default()))
            })
        })),
    }
}

/// Points that were expired for the sender at the heal may be valid here.
fn check_clock(app: &App, SenderTime(offset): SenderTime) -> Result<(), ApiError> {
    app.peers.may_trust(offset).map_err(|doubt| {
        let message = format!("the sender of this request is not trusted: {doubt}");
        ApiError::new(ErrorCode::ClockDiffers, message).hint(
            "nothing was deleted; compare the clocks of both hosts (chronyc tracking), set the wrong one, and run \
             this again",
        )
    })
}

fn check(app: &App, caller: &Caller, metric: &DeleteMetric) -> Result<(), ApiError> {
    caller.may(Operation::Delete, &metric.name).map_err(|denied| {
        ApiError::forbidden(format!("{}: {denied}", metric.name)).hint("nothing was deleted")
    })?;
    metric.owners.iter().try_for_each(|owner| {
        let known = app.peers.check(owner);
        known.map_err(|error| {
            ApiError::forbidden(format!(
                "{} could never be confirmed: {}",
                metric.name,
                chain(&error)
            ))
            .hint("nothing was deleted")
        })
    })
}

fn internal(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::Internal, error)
}
