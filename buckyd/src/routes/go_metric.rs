//! x
use crate::app::App;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
}
/// The Go daemon's form of an error: one line of text.
pub(super) fn plain_error(status: StatusCode, text: &str) -> Response {
    (status, format!("{text}\n")).into_response()
}
