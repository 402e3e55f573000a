//! The routes: each extracts, asks the store or the inventory, and converts.

mod archive;
mod body;
mod confirm;
mod delete;
mod go_answer;
mod go_conditions;
mod go_force;
mod go_form;
mod go_get;
mod go_list;
mod go_metric;
mod go_names;
mod go_offload;
mod go_path;
mod go_range;
mod go_upload;
mod hashring;
mod heal;
mod json;
mod lines;
mod metrics;
mod misplaced;
mod paced;
mod query;
mod renames;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use bucky_api::{ErrorBody, ErrorCode, paths};

use crate::app::App;
use crate::respond::ApiError;

/// All routes of the daemon.
pub(crate) fn router(app: Arc<App>) -> Router {
    let v1 = Router::new()
        .route(paths::V1_STATUS, get(status::get))
        .route(paths::V1_METRICS, get(metrics::get))
        .route(paths::V1_MISPLACED, get(misplaced::get))
        .route(paths::V1_ARCHIVE, post(archive::post).get(archive::get))
        .route(paths::V1_HEAL, post(heal::post))
        .route(paths::V1_PULL, post(heal::pull))
        .route(paths::V1_CONFIRM, post(confirm::post))
        .route(paths::V1_DELETE, post(delete::post))
        .route("/v1/{*rest}", any(no_such_route))
        .method_not_allowed_fallback(no_such_method);
    Router::new()
        .merge(v1)
        .merge(hashring::routes())
        .merge(go_list::routes())
        .merge(go_metric::routes())
        .fallback(go_answer::no_such_page)
        .layer(middleware::from_fn(go_path::redirect_unclean))
        .with_state(app)
}

async fn no_such_method(method: Method) -> Response {
    let message =
        format!("this route does not answer {method}; the Allow header names what it does");
    let body = ErrorBody::new(ErrorCode::BadRequest, message);
    (StatusCode::METHOD_NOT_ALLOWED, Json(body)).into_response()
}

async fn no_such_route() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "there is no such route under /v1")
        .hint("docs/http-api.md lists them")
}
