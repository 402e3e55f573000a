//! Our own routes, below `/v1`: lists of metrics, answered with one JSON line per metric.

mod archive;
mod confirm;
mod delete;
mod digests;
mod heal;
mod healing;
mod json;
mod metrics;
mod misplaced;
mod not_served;
mod plan;
mod points;
mod pull;
mod sample;
mod status;

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use bucky_api::{ErrorBody, ErrorCode, paths};

use crate::app::App;
use crate::http::respond::ApiError;

/// The routes below `/v1`, and the answer to other paths there.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route(paths::V1_STATUS, get(status::get))
        .route(paths::V1_METRICS, get(metrics::get).post(metrics::post))
        .route(paths::V1_NOT_SERVED, get(not_served::get))
        .route(paths::V1_MISPLACED, get(misplaced::get))
        .route(paths::V1_SAMPLE, get(sample::get))
        .route(paths::V1_PLAN, post(plan::post))
        .route(paths::V1_ARCHIVE, post(archive::post).get(archive::get))
        .route(paths::V1_HEAL, post(heal::post))
        .route(paths::V1_PULL, post(pull::post))
        .route(paths::V1_CONFIRM, post(confirm::post))
        .route(paths::V1_DIGESTS, post(digests::post))
        .route(paths::V1_POINTS, post(points::post))
        .route(paths::V1_DELETE, post(delete::post))
        .route("/v1/{*rest}", any(no_such_route))
        .method_not_allowed_fallback(no_such_method)
}

async fn no_such_method(method: Method) -> Response {
    let message =
        format!("this route does not accept {method}; the Allow header lists what it accepts");
    let body = ErrorBody::new(ErrorCode::BadRequest, message);
    (StatusCode::METHOD_NOT_ALLOWED, Json(body)).into_response()
}

async fn no_such_route() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "there is no such route under /v1")
        .hint("docs/internals/http-api.md lists them")
}
