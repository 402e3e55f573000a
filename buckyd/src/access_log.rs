//! One line a request on stdout, in the common log format, as the Go daemon writes it; or a JSON event.

use std::net::SocketAddr;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use crate::config::LogFormat;

/// The target of these events: they go to stdout, all others to stderr.
pub(crate) const TARGET: &str = "access";

const STAMP: &[FormatItem<'_>] = format_description!(
    "[day]/[month repr:short]/[year]:[hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute]"
);

/// `router` with a line for each request of `peer`.
pub(crate) fn layered(router: Router, peer: SocketAddr, format: LogFormat) -> Router {
    router.layer(middleware::from_fn(move |request, next| log(peer, format, request, next)))
}

async fn log(peer: SocketAddr, format: LogFormat, request: Request<Body>, next: Next) -> Response {
    let started = Instant::now();
    let line = format!("{} {} {:?}", request.method(), request.uri(), request.version());
    let response = next.run(request).await;
    // Known only where the body is: a stream that has just begun counts as 0.
    let bytes = response.body().size_hint().exact().unwrap_or(0);
    let stamp = OffsetDateTime::now_utc().format(STAMP).unwrap_or_default();
    let status = response.status().as_u16();
    match format {
        LogFormat::Text => {
            tracing::info!(target: TARGET, "{} - - [{stamp}] \"{line}\" {status} {bytes}", peer.ip());
        }
        LogFormat::Json => tracing::info!(
            target: TARGET,
            peer = %peer.ip(),
            request = line,
            status,
            bytes,
            elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        ),
    }
    response
}
