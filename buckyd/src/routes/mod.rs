//! The daemon's routes: `v1` for our own clients, `go` for those of the Go tool. One guard stands before
//! both.

mod go;
mod guard;
#[cfg(test)]
mod tests;
mod v1;

use std::sync::Arc;

use axum::{Router, middleware};

use crate::app::App;
use crate::clock;

/// All routes of the daemon.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .merge(v1::routes())
        .merge(go::routes())
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard::guard))
        // Before the guard: the target of a redirect is not secret, and the Go daemon sends it to anyone.
        .layer(middleware::from_fn(go::path::redirect_unclean))
        // Around everything, so that every answer has the time.
        .layer(middleware::from_fn(clock::with_time))
        .with_state(app)
}
