//! The routes: each extracts, asks the store or the inventory, and converts.

mod archive;
mod body;
mod confirm;
mod delete;
mod digests;
mod go_answer;
mod go_asked;
mod go_conditions;
mod go_force;
mod go_form;
mod go_get;
mod go_get_long;
mod go_list;
mod go_metric;
mod go_names;
mod go_offload;
mod go_path;
mod go_range;
mod go_reply;
mod go_upload;
mod go_upload_file;
mod go_upload_long;
pub(crate) mod guard;
mod hashring;
mod heal;
mod json;
mod lines;
mod metrics;
mod misplaced;
mod not_served;
mod paced;
mod points;
mod query;
mod renames;
mod rights;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use bucky_api::token::{Denied, TOKEN_HEADER};
use bucky_api::{ErrorBody, ErrorCode, paths};

use self::go_answer::PlainAnswer;
use self::guard::Refusal;
use crate::app::App;
use crate::clock;
use crate::respond::ApiError;

/// All routes of the daemon.
pub(crate) fn router(app: Arc<App>) -> Router {
    let v1 = Router::new()
        .route(paths::V1_STATUS, get(status::get))
        .route(paths::V1_METRICS, get(metrics::get).post(metrics::post))
        .route(paths::V1_NOT_SERVED, get(not_served::get))
        .route(paths::V1_MISPLACED, get(misplaced::get))
        .route(paths::V1_ARCHIVE, post(archive::post).get(archive::get))
        .route(paths::V1_HEAL, post(heal::post))
        .route(paths::V1_PULL, post(heal::pull))
        .route(paths::V1_CONFIRM, post(confirm::post))
        .route(paths::V1_DIGESTS, post(digests::post))
        .route(paths::V1_POINTS, post(points::post))
        .route(paths::V1_DELETE, post(delete::post))
        .route("/v1/{*rest}", any(no_such_route))
        .method_not_allowed_fallback(no_such_method);
    Router::new()
        .merge(v1)
        .merge(hashring::routes())
        .merge(go_list::routes())
        .merge(go_metric::routes())
        .fallback(go_answer::no_such_page)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard::guard))
        // Before all: where it leads is no secret, and the Go daemon tells it everybody.
        .layer(middleware::from_fn(go_path::redirect_unclean))
        // Around that, so that every answer tells the time.
        .layer(middleware::from_fn(clock::told))
        .with_state(app)
}

pub(crate) use self::go_metric::metric_in_path;

/// What a request for `path` is answered with that the guard does not let pass.
pub(crate) fn forbidden(path: &str, refusal: &Refusal) -> Response {
    if path != "/v1" && !path.starts_with("/v1/") {
        return PlainAnswer::new(StatusCode::FORBIDDEN, refusal).into_response();
    }
    let hint = match refusal {
        Refusal::Token(_) => {
            format!("send a token in {TOKEN_HEADER} (bucky -api-token-file FILE); bucky token makes one")
        }
        Refusal::Denied(Denied::Namespace { .. }) => {
            "a list of metrics needs a token with the namespace *, or with a pattern that matches the single \
             character *".into()
        }
        Refusal::Denied(Denied::Operation(operation)) => {
            format!("{path} needs a token whose ops include {operation:?}").to_lowercase()
        }
    };
    ApiError::forbidden(refusal).hint(hint).into_response()
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
