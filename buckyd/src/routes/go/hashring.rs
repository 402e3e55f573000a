//! `GET /hashring`: the ring of this daemon, in the Go tool's form.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bucky_api::paths;
use bucky_ring::RingDocument;

use super::answer::PlainAnswer;
use crate::app::App;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route(paths::HASHRING, any(answer))
}

async fn answer(State(app): State<Arc<App>>, method: Method) -> Response {
    if method != Method::GET {
        return PlainAnswer::bad_request("Bad Request.").into_response();
    }
    let document = RingDocument::from_spec(&app.node, app.ring.now().spec());
    ([(header::CONTENT_TYPE, "application/json")], document.to_json()).into_response()
}
