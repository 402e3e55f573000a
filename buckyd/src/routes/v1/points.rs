//! `POST /v1/points`: which slots of a part of a file hold points.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use bucky_api::token::Operation;
use bucky_api::{ErrorCode, POINTS_SLOTS_MOST, PointsFound, PointsRequest, Problem, chain};
use bucky_whisper::{ImageError, PointsWindow};

use super::json::JsonBody;
use crate::app::App;
use crate::auth::Caller;
use crate::blocking::blocking;
use crate::http::respond::ApiError;
use crate::store::Slots;

/// The most points in the future in an answer. Only a damaged file has more.
const AHEAD_MOST: usize = 64 * 1024;
/// The most memory for an answer: the slots that are read at once, their bits, and these as text.
const ANSWER_BYTES: u64 = 2 << 20;

pub(super) async fn post(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    JsonBody { value: request, .. }: JsonBody<PointsRequest>,
) -> Result<Json<PointsFound>, ApiError> {
    let PointsRequest { seconds_per_point, first, slots, now, latest, .. } = request;
    if seconds_per_point == 0 || !first.is_multiple_of(seconds_per_point) {
        return Err(ApiError::bad_request("first must be a multiple of seconds_per_point"));
    }
    if slots > POINTS_SLOTS_MOST {
        return Err(ApiError::bad_request(format!("slots must be at most {POINTS_SLOTS_MOST}")));
    }
    if let Err(denied) = caller.may(Operation::Read, &request.metric) {
        let reason = denied.to_string();
        return Ok(Json(PointsFound::Unread { problem: Problem::Forbidden, reason }));
    }
    let permit = app.transfers.send()?;
    let share = app.memory.sending.share(ANSWER_BYTES).await?;
    let window = PointsWindow { first, slots, now, latest };
    let looked = blocking(move || {
        let _held = (permit, share);
        app.store.points(&request.metric, seconds_per_point, window)
    });
    let looked = looked.await.map_err(|error| ApiError::new(ErrorCode::Internal, error))?;
    Ok(Json(match looked {
        Ok(Slots::Points(points)) if points.ahead.len() > AHEAD_MOST => PointsFound::Unread {
            problem: Problem::SourceDamaged,
            reason: format!("more than {AHEAD_MOST} of its points are in the future"),
        },
        Ok(Slots::Points(points)) => points.into(),
        Ok(Slots::NoArchive) => PointsFound::NoArchive,
        Ok(Slots::Unfit(error)) => PointsFound::Unread {
            problem: match error {
                ImageError::Compressed => Problem::Compressed,
                ImageError::Header(_) => Problem::SourceDamaged,
            },
            reason: chain(&error),
        },
        Err(error) => {
            PointsFound::Unread { problem: error.as_source_problem(), reason: chain(&error) }
        }
    }))
}
