//! The Go daemon's routes, row by row of the contract, over a bare socket. All headers of an answer are
//! compared except `Date` and ours, `Bucky-Time`.
//!
//! - `in_general`: paths, methods, redirects, forms, `/hashring`, the access log
//! - `list`: `/metrics`
//! - `metric`: HEAD, GET and DELETE of a metric
//! - `upload`: POST and PUT; `offload`: the same with `fetch_offload=true`
//!
//! A row marked "ours" is one in which the Go daemon answers differently; docs/internals/http-api.md, section
//! 3, says why.

mod in_general;
mod list;
mod metric;
mod offload;
mod upload;

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use bucky_tests::go::{Body, GoAnswer};
use bucky_tests::{GoClient, Layout, TestCluster, metrics};
use bucky_whisper::Aggregation;

use crate::cluster;

/// 148 bytes: one archive, 60 s x 10 points.
const SMALL: Layout =
    Layout { retentions: "60s:10", aggregation: Aggregation::Average, x_files_factor: 0.5 };
const MTIME: u64 = 1_704_164_645;
const DATE: &str = "Tue, 02 Jan 2024 03:04:05 GMT";
/// The beginning of a plain error.
const PLAIN: &str = "Content-Type: text/plain; charset=utf-8\n";

/// A daemon, and a client for it.
struct Daemon {
    cluster: TestCluster,
    client: GoClient,
}

/// A request and its answer: `METHOD TARGET`, headers and body as text, each part ended by a line feed.
struct Row {
    request: &'static str,
    answer: String,
}

/// A row whose answer is one line of plain text.
fn error(request: &'static str, status: &str, text: &str) -> Row {
    Row { request, answer: plain_error(status, text) }
}

fn plain_error(status: &str, text: &str) -> String {
    let len = text.len() + 1;
    format!("{status}\nContent-Length: {len}\n{PLAIN}X-Content-Type-Options: nosniff\n\n{text}\n")
}

/// A row with any answer; headers are sorted by name.
fn row(request: &'static str, answer: impl Into<String>) -> Row {
    Row { request, answer: answer.into() }
}

impl Daemon {
    fn start() -> Self {
        Self::of(cluster(1).start())
    }

    fn of(cluster: TestCluster) -> Self {
        let client = GoClient::of(cluster.node(0).addr());
        Self { cluster, client }
    }

    /// Writes a metric of 148 bytes with the modification time [`MTIME`].
    fn lay(&self, name: &str) -> Vec<u8> {
        let metric = name.parse().unwrap();
        let points = metrics::minutes(metrics::now(), [1.0, 2.5]);
        metrics::write(&self.cluster.node(0).prefix(), &metric, &SMALL, &points);
        self.touch(name);
        std::fs::read(self.path(name)).unwrap()
    }

    fn touch(&self, name: &str) {
        let file = std::fs::File::options().write(true).open(self.path(name)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(MTIME)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.cluster.node(0).path(name)
    }

    /// The answer to a request in the notation of a row.
    #[track_caller]
    fn answer(&self, request: &str) -> GoAnswer {
        let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
        let mut lines = head.lines();
        let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
        let headers: Vec<_> = lines.map(|line| line.split_once(": ").unwrap()).collect();
        let body = match (body, method) {
            ("", "GET" | "HEAD" | "DELETE") => None,
            (body, _) => Some(Body::Long(body.into())),
        };
        self.client.ask(method, target, &headers, body)
    }

    #[track_caller]
    fn assert_rows(&self, rows: &[Row]) {
        for Row { request, answer } in rows {
            assert_eq!(text_of(&self.answer(request)), *answer, "{request}");
        }
    }
}

/// An answer in the notation of the rows: status line, headers sorted by name, and the body if it is text.
fn text_of(answer: &GoAnswer) -> String {
    let headers =
        answer.headers.iter().filter(|(name, _)| !matches!(name.as_str(), "Date" | "Bucky-Time"));
    let mut headers: Vec<String> =
        headers.map(|(name, value)| format!("{name}: {value}\n")).collect();
    headers.sort_unstable();
    let is_binary = answer.header("content-type") == Some("application/octet-stream");
    let body = if is_binary { String::new() } else { answer.text() };
    format!("{} {}\n{}\n{body}", answer.status, answer.reason, headers.concat())
}

/// The stat header's value.
fn stat(name: &str, size: usize, encoding: u8) -> String {
    format!(
        r#"{{"Name":"{name}","Size":{size},"Mode":420,"ModTime":{MTIME},"Encoding":{encoding}}}"#
    )
}
