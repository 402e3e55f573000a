//! The Go tool's routes, as its clients expect them: `/hashring`, `/metrics` and `/metrics/NAME`.
//!
//! Each file has one request. Faults of the Go daemon are not copied: `docs/internals/compatibility.md` lists
//! the differences.

pub(super) mod answer;
mod conditions;
mod force;
mod form;
mod get;
mod get_long;
mod hashring;
mod json_array;
mod list;
mod metric;
mod names;
mod offload;
pub(super) mod path;
mod range;
mod reply;
mod requested;
mod upload;
mod upload_file;
mod upload_long;

use std::sync::Arc;

use axum::Router;

pub(super) use self::metric::metric_in_path;
use crate::app::App;

/// The routes of the Go tool, and its answer to any other path.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .merge(hashring::routes())
        .merge(list::routes())
        .merge(metric::routes())
        .fallback(answer::no_such_page)
}
