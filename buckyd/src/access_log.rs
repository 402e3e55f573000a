//! One line per request on stdout, in the common log format, as the Go daemon writes it; or a JSON event.
//!
//! The line is written when the answer has ended. It counts all bytes of the body that were sent, also of an
//! answer that ended early. (The Go daemon does not count the bytes of a metric's file.)

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use crate::config::LogFormat;

/// The target of these events: they go to stdout, all others to stderr.
pub(crate) const TARGET: &str = "access";

const STAMP: &[FormatItem<'_>] = format_description!(
    "[day]/[month repr:short]/[year]:[hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute]"
);

/// `router` with a log line for each request from `peer`.
pub(crate) fn layered(router: Router, peer: SocketAddr, format: LogFormat) -> Router {
    router.layer(middleware::from_fn(move |request, next| log(peer, format, request, next)))
}

async fn log(peer: SocketAddr, format: LogFormat, request: Request<Body>, next: Next) -> Response {
    let started = Instant::now();
    let stamp = OffsetDateTime::now_utc();
    let line = format!("{} {} {:?}", request.method(), request.uri(), request.version());
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let entry =
        LogEntry { peer: peer.ip().to_canonical(), format, started, stamp, line, status, bytes: 0 };
    response.map(|body| Body::new(CountedBody { body, entry }))
}

/// A request that is being answered. Its line is written when nothing more of the answer will be sent.
struct LogEntry {
    peer: IpAddr,
    format: LogFormat,
    started: Instant,
    stamp: OffsetDateTime,
    line: String,
    status: u16,
    /// How many bytes of the body were passed on to be sent.
    bytes: u64,
}

impl Drop for LogEntry {
    fn drop(&mut self) {
        let Self { peer, line, status, bytes, .. } = self;
        match self.format {
            LogFormat::Text => {
                let stamp = self.stamp.format(STAMP).unwrap_or_default();
                tracing::info!(target: TARGET, "{peer} - - [{stamp}] \"{line}\" {status} {bytes}");
            }
            LogFormat::Json => tracing::info!(
                target: TARGET,
                peer = %peer,
                request = line,
                status,
                bytes,
                elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            ),
        }
    }
}

/// A body that counts its bytes as they are taken.
struct CountedBody {
    body: Body,
    entry: LogEntry,
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.entry.bytes += data.len() as u64;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
