//! The answers of the Go daemon.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bucky_api::go::NOT_READY_BODY;
use percent_encoding::percent_decode_str;

use super::client::frame;
use super::daemon::{DaemonShared, locked};
use super::wire::{Message, chunked};
use super::{files, upload};

/// An answer of unknown length is sent in chunks from this length on.
const CHUNKED_BYTES: usize = 2048;
/// The longest form that is accepted.
const FORM_LIMIT_BYTES: usize = 160 * 1024 * 1024;

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    is_chunked: bool,
    /// Whether the request was one that no client may make.
    pub(super) is_refusal: bool,
}

impl Reply {
    /// A reply with these headers and this body.
    pub(super) fn new(
        status: u16,
        headers: &[(&'static str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { status, headers, body: body.into(), is_chunked: false, is_refusal: false }
    }

    /// A line of text, as in all errors.
    pub(super) fn text(status: u16, line: &str) -> Self {
        let headers =
            [("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")];
        Self::new(status, &headers, format!("{line}\n"))
    }

    /// A line of text for a request that no client may make.
    pub(super) fn refusal(status: u16, line: &str) -> Self {
        Self { is_refusal: true, ..Self::text(status, line) }
    }

    /// A JSON reply; long ones are sent in chunks.
    pub(super) fn json(body: String) -> Self {
        let is_chunked = body.len() > CHUNKED_BYTES;
        let reply = Self::new(200, &[("Content-Type", "application/json")], body);
        Self { is_chunked, ..reply }
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The bytes of the reply on the wire.
    pub(super) fn into_bytes(self, is_head: bool, now: SystemTime) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Date: {}\r\n", httpdate::fmt_http_date(now)));
        let body = if self.is_chunked {
            head.push_str("Transfer-Encoding: chunked\r\n");
            chunked(&self.body)
        } else {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
            self.body
        };
        let mut bytes = (head + "\r\n").into_bytes();
        if !is_head {
            bytes.extend(body);
        }
        bytes
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        301 => "Moved Permanently",
        400 => "Bad Request",
        404 => "Not Found",
        _ => "Internal Server Error",
    }
}

/// The answer to `request`.
pub(super) fn answer(shared: &DaemonShared, request: &Message) -> Reply {
    let [method, target, _] = request.words();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = percent_decode_str(path).decode_utf8_lossy().into_owned();
    let clean = clean(&path);
    if clean != path {
        let moved = Reply { is_refusal: true, ..Reply::new(301, &[], "") };
        return moved.header("Location", clean);
    }
    match path.strip_prefix("/metrics/") {
        _ if path == "/hashring" => hashring(shared, method),
        _ if path == "/metrics" => metrics(shared, method, query, request),
        Some("") => Reply::refusal(400, "Metric name missing."),
        Some(name) => match method {
            "HEAD" => head(shared, name),
            "GET" => get(shared, name, request),
            "DELETE" => delete(shared, name),
            "POST" | "PUT" => upload::take(shared, name, query, request),
            _ => Reply::refusal(400, "Bad method request."),
        },
        // Clients may ask whether a daemon has our routes, and for no other unknown path.
        None if (method, path.as_str()) == ("GET", "/v1/status") => {
            Reply::text(404, "404 page not found")
        }
        None => Reply::refusal(404, "404 page not found"),
    }
}

/// The shortest form of an absolute path; a slash at its end stays.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let end = if path.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    format!("/{}{end}", parts.join("/"))
}

fn hashring(shared: &DaemonShared, method: &str) -> Reply {
    if method == "GET" {
        Reply::json(shared.ring.clone())
    } else {
        Reply::refusal(400, "Bad Request.")
    }
}

fn metrics(shared: &DaemonShared, method: &str, query: &str, request: &Message) -> Reply {
    if !["GET", "POST"].contains(&method) {
        return Reply::refusal(400, "Bad request method.");
    }
    let body = if method == "POST" { request.body.as_slice() } else { &[] };
    if body.len() >= FORM_LIMIT_BYTES {
        return Reply::refusal(400, "Query larger than 160MiB");
    }
    let fields = match fields(query, body, request) {
        Ok(fields) => fields,
        // The real daemon treats it as a request without parameters, and returns the whole list (D1).
        Err(what) => {
            return Reply::refusal(400, &format!("not refused, but taken for none: {what}"));
        }
    };
    let field = |name: &str| fields.get(name).filter(|value| !value.is_empty());
    let names = locked(&shared.list).take(&shared.prefix, field("force").is_some());
    let Some(mut names) = names else {
        return Reply::text(202, NOT_READY_BODY.trim_end());
    };
    if let Some(regex) = field("regex") {
        let Ok(regex) = regex::Regex::new(regex) else {
            return Reply::refusal(400, &format!("error parsing regexp: {regex}"));
        };
        names.retain(|name| regex.is_match(name));
    }
    if let Some(list) = field("list") {
        let wanted: Vec<String> = match serde_json::from_str(list) {
            Ok(wanted) => wanted,
            Err(error) => return Reply::refusal(400, &error.to_string()),
        };
        let wanted: std::collections::HashSet<String> = wanted.into_iter().collect();
        names.retain(|name| wanted.contains(name));
    }
    Reply::json(go_json(&names))
}

/// The parameters: those of the body come before those of the query, and the first value of each is used.
pub(super) fn fields(
    query: &str,
    body: &[u8],
    request: &Message,
) -> Result<HashMap<String, String>, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    if !body.is_empty() {
        let content_type = request.header("content-type").unwrap_or_default();
        if content_type.split(';').next() != Some("application/x-www-form-urlencoded") {
            return Err(format!("a body of type {content_type:?}"));
        }
        pairs.extend(pairs_of(body)?);
    }
    pairs.extend(pairs_of(query.as_bytes())?);
    let mut fields = HashMap::new();
    for (name, value) in pairs {
        fields.entry(name).or_insert(value);
    }
    Ok(fields)
}

fn pairs_of(form: &[u8]) -> Result<Vec<(String, String)>, String> {
    let text = std::str::from_utf8(form).map_err(|error| error.to_string())?;
    let is_escape =
        |at: usize| text.get(at + 1..at + 3).is_some_and(|hex| u8::from_str_radix(hex, 16).is_ok());
    let broken = text.match_indices('%').find(|(at, _)| !is_escape(*at));
    if broken.is_some() || text.contains(';') {
        return Err(format!("a form that cannot be read: {text:?}"));
    }
    serde_urlencoded::from_str(text).map_err(|error| error.to_string())
}

/// An array in Go's JSON.
pub(super) fn go_json(names: &[impl serde::Serialize]) -> String {
    let text = serde_json::to_string(names).unwrap();
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn head(shared: &DaemonShared, name: &str) -> Reply {
    let path = files::path_of(&shared.prefix, name);
    match files::stat(name, &path, 0) {
        Some(stat) => Reply::new(200, &[], "").header("X-Metric-Stat", stat.to_header()),
        None => Reply::new(404, &[("X-Metric-Stat", "null")], ""),
    }
}

fn get(shared: &DaemonShared, name: &str, request: &Message) -> Reply {
    assert!(request.header("range").is_none(), "this daemon knows no ranges");
    let path = files::path_of(&shared.prefix, name);
    let is_snappy = request.header("accept-encoding") == Some("snappy");
    let Some(stat) = files::stat(name, &path, i64::from(is_snappy)) else {
        return Reply::text(404, "Metric not found.");
    };
    let content = match fs::read(&path) {
        Ok(content) => content,
        Err(error) => return Reply::text(500, &files::go_error("read", &path, &error)),
    };
    if is_snappy && content.is_empty() {
        return Reply::text(500, "Compressed length is 0, no data to transfer");
    }
    let changed = UNIX_EPOCH + Duration::from_secs(u64::try_from(stat.mod_time).unwrap());
    let mut reply = Reply::new(200, &[("Accept-Ranges", "bytes")], "");
    if is_snappy {
        reply = reply.header("Content-Encoding", "snappy");
    }
    // The content type is guessed: the beginning of a Whisper file is not text.
    let is_text = content.iter().take(512).all(|byte| *byte >= 0x20 || b"\t\n\r".contains(byte));
    let kind = if is_text { "text/plain; charset=utf-8" } else { "application/octet-stream" };
    let mut reply = reply
        .header("Content-Type", kind)
        .header("Last-Modified", httpdate::fmt_http_date(changed))
        .header("X-Metric-Stat", stat.to_header());
    reply.body = if is_snappy { frame(&content) } else { content };
    reply.is_chunked = is_snappy && reply.body.len() > CHUNKED_BYTES;
    reply
}

fn delete(shared: &DaemonShared, name: &str) -> Reply {
    let path = files::path_of(&shared.prefix, name);
    match files::remove(&shared.prefix, &path) {
        Ok(()) => Reply::new(200, &[], ""),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Reply::text(404, "Metric not found.")
        }
        Err(error) => Reply::text(500, &files::go_error("remove", &path, &error)),
    }
}
