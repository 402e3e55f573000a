//! The requests of the Go `bucky`, each over its own connection.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::routes::go_json;
use super::wire;
use crate::wait;

/// The Go tool's user agent.
const USER_AGENT: &str = "Go-http-client/1.1";
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(120);
/// The pause before it asks again after a 202. The real one has no pause at first.
const AGAIN: Duration = Duration::from_millis(20);

/// A client of the Go tool, for one daemon.
#[derive(Clone, Debug)]
pub struct GoClient {
    addr: String,
}

/// An answer, with its headers in the order in which they arrived.
#[derive(Clone, Debug)]
pub struct GoAnswer {
    /// The status.
    pub status: u16,
    /// The text after the status.
    pub reason: String,
    /// The headers, as name and value.
    pub headers: Vec<(String, String)>,
    /// The body as it was sent, without chunk framing.
    pub body: Vec<u8>,
}

impl GoAnswer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// # Panics
    /// If the status is another one.
    #[track_caller]
    pub fn assert_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}: {}", self.text());
        self
    }
}

impl GoClient {
    /// A client for the daemon at `HOST:PORT`.
    pub fn of(addr: impl Into<String>) -> Self {
        Self { addr: addr.into() }
    }

    /// The daemon's address.
    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// `GET /hashring`.
    #[track_caller]
    pub fn hashring(&self) -> GoAnswer {
        self.ask("GET", "/hashring", &[("Accept-Encoding", "gzip")], None)
    }

    /// The list, as `bucky list` requests it, again until it is ready. With names, only those of them that
    /// the daemon has; they are sent in a form of unknown length.
    #[track_caller]
    pub fn list(&self, names: Option<&[&str]>) -> Vec<String> {
        let answer = wait::until_some("the list is made", || {
            Some(self.list_once(names)).filter(|answer| answer.status != 202)
        });
        serde_json::from_slice(&answer.assert_status(200).body).unwrap()
    }

    /// The list, requested once.
    #[track_caller]
    pub fn list_once(&self, names: Option<&[&str]>) -> GoAnswer {
        let gzip = ("Accept-Encoding", "gzip");
        let Some(names) = names else { return self.ask("GET", "/metrics", &[gzip], None) };
        let list = go_json(names);
        let form = serde_urlencoded::to_string([("list", list)]).unwrap();
        let content_type = ("Content-Type", "application/x-www-form-urlencoded");
        let answer = self.ask("POST", "/metrics", &[content_type, gzip], Some(Body::Chunked(form)));
        if answer.status == 202 {
            std::thread::sleep(AGAIN);
        }
        answer
    }

    /// `HEAD /metrics/NAME`.
    #[track_caller]
    pub fn head(&self, metric: &str) -> GoAnswer {
        self.ask("HEAD", &path(metric), &[], None)
    }

    /// `GET /metrics/NAME`, framed by snappy.
    #[track_caller]
    pub fn get(&self, metric: &str) -> GoAnswer {
        self.ask("GET", &path(metric), &[("Accept-Encoding", "snappy")], None)
    }

    /// `POST /metrics/NAME` of a body framed by snappy, with the stat header that came with it.
    #[track_caller]
    pub fn post(&self, metric: &str, stat: &str, framed: Vec<u8>) -> GoAnswer {
        let headers = [
            ("Content-Encoding", "snappy"),
            ("Content-Type", "application/octet-stream"),
            ("X-Metric-Stat", stat),
            ("Accept-Encoding", "gzip"),
        ];
        self.ask("POST", &path(metric), &headers, Some(Body::Long(framed)))
    }

    /// Makes the daemon fetch the metric from the daemon at `source`.
    #[track_caller]
    pub fn offload(&self, metric: &str, source: &str) -> GoAnswer {
        let fields = [("metric", metric), ("no_encoding", "false"), ("server", source)];
        let form = serde_urlencoded::to_string(fields).unwrap();
        let headers =
            [("Content-Type", "application/x-www-form-urlencoded"), ("Accept-Encoding", "gzip")];
        let target = format!("{}?fetch_offload=true", path(metric));
        self.ask("POST", &target, &headers, Some(Body::Long(form.into_bytes())))
    }

    /// `DELETE /metrics/NAME`.
    #[track_caller]
    pub fn delete(&self, metric: &str) -> GoAnswer {
        self.ask("DELETE", &path(metric), &[("Accept-Encoding", "gzip")], None)
    }

    /// Sends any request, and returns the answer.
    ///
    /// # Panics
    /// If there is no answer, or it is not HTTP.
    #[track_caller]
    pub fn ask(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<Body>,
    ) -> GoAnswer {
        self.try_ask(method, target, headers, body)
            .unwrap_or_else(|error| panic!("{method} {target} at {}: {error}", self.addr))
    }

    /// Sends any request, and returns the answer.
    ///
    /// # Errors
    /// The error of the socket; an answer that is not HTTP is an error too.
    pub fn try_ask(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<Body>,
    ) -> std::io::Result<GoAnswer> {
        let mut stream = TcpStream::connect(&self.addr)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let addr = &self.addr;
        let mut request =
            format!("{method} {target} HTTP/1.1\r\nHost: {addr}\r\nUser-Agent: {USER_AGENT}\r\n");
        match &body {
            Some(Body::Long(body)) => {
                request.push_str(&format!("Content-Length: {}\r\n", body.len()));
            }
            Some(Body::Chunked(_)) => request.push_str("Transfer-Encoding: chunked\r\n"),
            None => {}
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        match body {
            Some(Body::Long(body)) => bytes.extend(body),
            Some(Body::Chunked(body)) => bytes.extend(wire::chunked(body.as_bytes())),
            None => {}
        }
        stream.write_all(&bytes)?;
        let answer = wire::read(&mut BufReader::new(stream), method == "HEAD")?;
        let answer = answer.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let [_, status, reason] = answer.words();
        let status = status.parse().map_err(|_| std::io::ErrorKind::InvalidData)?;
        let reason = reason.to_owned();
        Ok(GoAnswer { status, reason, headers: answer.headers, body: answer.body })
    }
}

/// How a body is sent.
#[derive(Clone, Debug)]
pub enum Body {
    /// With its length.
    Long(Vec<u8>),
    /// In chunks.
    Chunked(String),
}

fn path(metric: &str) -> String {
    let escaped = percent_encoding::utf8_percent_encode(metric, percent_encoding::NON_ALPHANUMERIC);
    // A dot stays a dot, as in Go.
    format!("/metrics/{}", escaped.to_string().replace("%2E", ".").replace("%5F", "_"))
}

/// `content` in snappy's frames.
pub fn frame(content: &[u8]) -> Vec<u8> {
    let mut framed = Vec::new();
    snap::read::FrameEncoder::new(content).read_to_end(&mut framed).unwrap();
    framed
}

/// The content of snappy's frames.
///
/// # Errors
/// If they are not snappy frames.
pub fn unframe(framed: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    snap::read::FrameDecoder::new(framed).read_to_end(&mut content)?;
    Ok(content)
}
