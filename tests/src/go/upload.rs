//! POST (fill) and PUT (replace), including files that the daemon fetches itself.

use std::fs;
use std::path::Path;

use bucky_api::go::{MetricStat, OCTET_STREAM, SMALLEST_REFUSED_BYTES};

use super::client::{GoClient, unframe};
use super::daemon::DaemonShared;
use super::routes::{Reply, fields};
use super::wire::Message;
use super::{files, fill};
use crate::metrics::now;

/// A file that was sent or fetched.
struct Upload {
    stat: MetricStat,
    body: Vec<u8>,
    is_snappy: bool,
    /// How long the fetch took, in nanoseconds; 0 if the file was sent.
    download: u32,
}

/// Stores a metric.
pub(super) fn take(shared: &DaemonShared, name: &str, query: &str, request: &Message) -> Reply {
    let path = files::path_of(&shared.prefix, name);
    if request.start.starts_with("PUT ") {
        // The old file is removed before any check (D3).
        let _ = files::remove(&shared.prefix, &path);
    }
    let upload = if query.split('&').any(|pair| pair == "fetch_offload=true") {
        fetched(query, request)
    } else {
        sent(request)
    };
    match upload.and_then(|upload| store(&path, upload)) {
        Ok(answer) => Reply::json(answer),
        Err(refusal) => refusal,
    }
}

fn sent(request: &Message) -> Result<Upload, Reply> {
    if request.header("content-type") != Some(OCTET_STREAM) {
        return Err(Reply::refusal(400, "Content-Type must be application/octet-stream."));
    }
    let stat = request.header("x-metric-stat").and_then(|text| MetricStat::parse(text).ok());
    let stat = stat.ok_or_else(|| Reply::refusal(400, "Error decoding X-Metric-Stat header"))?;
    let is_snappy = request.header("content-encoding") == Some("snappy");
    Ok(Upload { stat, body: request.body.clone(), is_snappy, download: 0 })
}

/// Fetches from the source as the real daemon does. An error of the source is not a fault of the request.
fn fetched(query: &str, request: &Message) -> Result<Upload, Reply> {
    let fields =
        fields(query, &request.body, request).map_err(|what| Reply::refusal(400, &what))?;
    let fault = |what: &str| Reply::text(400, &format!("Error fetching metric: {what}"));
    let Some(server) = fields.get("server") else {
        return Err(Reply::refusal(400, "Error fetching metric: http: no Host in request URL"));
    };
    let metric = fields.get("metric").map(String::as_str).unwrap_or_default();
    let source = GoClient::of(server);
    let target = format!("/metrics/{metric}");
    let encoding: &[(&str, &str)] = match fields.get("no_encoding").map(String::as_str) {
        Some("true") => &[("Accept-Encoding", "gzip")],
        _ => &[("Accept-Encoding", "snappy")],
    };
    let answer = source.try_ask("GET", &target, encoding, None).map_err(|error| {
        let words = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
            _ => error.to_string(),
        };
        fault(&format!("Get \"http://{server}{target}\": dial tcp {server}: {words}"))
    })?;
    match answer.status {
        200 => {}
        404 => return Err(Reply::text(404, "Error fetching metric: metric not found")),
        status => {
            let reason = &answer.reason;
            return Err(fault(&format!("Fetching metric returned status code: {status} {reason}")));
        }
    }
    let stat = answer.header("x-metric-stat").and_then(|text| MetricStat::parse(text).ok());
    let stat = stat.ok_or_else(|| fault("unexpected end of JSON input"))?;
    let is_snappy = answer.header("content-encoding") == Some("snappy");
    Ok(Upload { stat, body: answer.body, is_snappy, download: 1 })
}

/// Writes the file, or fills an existing one. There is no check that it is a Whisper file.
fn store(path: &Path, upload: Upload) -> Result<String, Reply> {
    let Upload { stat, body, is_snappy, download } = upload;
    let is_fetched = download > 0;
    let refuse = |status, text: &str| {
        if is_fetched { Reply::text(status, text) } else { Reply::refusal(status, text) }
    };
    if stat.size <= SMALLEST_REFUSED_BYTES {
        return Err(refuse(400, "Whisper data in request too small."));
    }
    let is_new = fs::metadata(path).is_err();
    if let Some(folder) = path.parent().filter(|_| is_new) {
        fs::create_dir_all(folder)
            .map_err(|error| Reply::text(500, &files::go_error("mkdir", folder, &error)))?;
    }
    let content = if is_snappy {
        let words = if is_new { "Error writing whisper data" } else { "snappy: corrupt input" };
        unframe(&body).map_err(|_| refuse(500, words))?
    } else {
        body
    };
    if i64::try_from(content.len()).ok() != Some(stat.size) {
        return Err(refuse(400, "Malformed whisper data"));
    }
    if is_new {
        fs::write(path, content)
            .map_err(|error| Reply::text(500, &files::go_error("open", path, &error)))?;
        return Ok(format!(
            "{{\"Download\":{download},\"Dump\":0,\"Fill\":0,\"Compress\":0,\"Copy\":128231}}\n"
        ));
    }
    fill::fill(&content, path, now()).map_err(|error| refuse(500, &error))?;
    Ok(format!(
        "{{\"Download\":{download},\"Dump\":64120,\"Fill\":49524,\"Compress\":0,\"Copy\":0}}\n"
    ))
}
