//! A metric's file from an upload or an offload: what is announced about it, the checks, and how it is
//! stored.

use std::io::Read;
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bucky_api::archive::{FileMeta, Member};
use bucky_api::go::{METRIC_STAT_HEADER, MetricStat, OCTET_STREAM, SMALLEST_REFUSED_BYTES};
use bucky_api::{Encoding, HealLine, HealOutcome, Problem, chain};
use bucky_whisper::{Digest, Image, ImageError, MetricName};
use serde::Serialize;

use super::answer::PlainAnswer;
use crate::app::App;
use crate::http::body::{self, BodyError, HeldBody};
use crate::memory::{Budget, Share};
use crate::store::HealBatch;

/// The longest file that is accepted: a Whisper file cannot be longer.
pub(super) const FILE_BYTES_MOST: u64 = 13 * u32::MAX as u64;
/// How much longer than its plain content an encoded body may be. Snappy adds a little if it cannot compress.
const ENCODING_OVERHEAD_BYTES: usize = 1024 * 1024;

/// What happens to an existing file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnExisting {
    /// POST: it is filled. If there is none, it is created.
    Heal,
    /// PUT: it is replaced.
    Replace,
}

/// A complete file that is being stored.
pub(super) struct Upload {
    pub(super) metric: MetricName,
    /// A valid Whisper file.
    pub(super) content: WhisperFile,
    /// When it was written at its source, in Unix seconds; 0 if that is unknown.
    pub(super) mod_time: i64,
    /// The memory for the content.
    pub(super) share: Share,
}

/// Bytes that were checked to be a valid Whisper file, plain or compressed.
pub(super) struct WhisperFile(Vec<u8>);

/// How long the parts of an upload took, in nanoseconds; 0 for a part that was not done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Timings {
    /// Fetching from the source.
    pub(super) download: u64,
    /// Receiving and checking it, before a fill.
    pub(super) dump: u64,
    /// Filling the existing file, durably.
    pub(super) fill: u64,
    /// Converting to go-carbon's format, which this daemon never does.
    pub(super) compress: u64,
    /// Writing a new file, durably.
    pub(super) copy: u64,
}

/// What the headers of an upload say about its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) size: usize,
    pub(super) mod_time: i64,
    pub(super) encoding: Encoding,
}

impl Announced {
    /// The checks before the body, in the Go daemon's order.
    pub(super) fn of(headers: &HeaderMap, limit_bytes: u64) -> Result<Self, PlainAnswer> {
        let bytes = |name: &str| headers.get(name).map(|value| value.as_bytes());
        if bytes(header::CONTENT_TYPE.as_str()) != Some(OCTET_STREAM.as_bytes()) {
            return Err(PlainAnswer::bad_request(format!("Content-Type must be {OCTET_STREAM}.")));
        }
        let stat = bytes(METRIC_STAT_HEADER)
            .and_then(|value| std::str::from_utf8(value).ok())
            .and_then(|text| MetricStat::parse(text).ok())
            .ok_or_else(|| PlainAnswer::bad_request("Error decoding X-Metric-Stat header"))?;
        let size = size(stat.size, limit_bytes)?;
        let encoding = match bytes(header::CONTENT_ENCODING.as_str()) {
            None | Some(b"" | b"identity") => Encoding::Identity,
            Some(b"snappy") => Encoding::Snappy,
            Some(other) => {
                return Err(PlainAnswer::bad_request(format!(
                    "Content-Encoding {:?} is not supported; send snappy, or none",
                    String::from_utf8_lossy(other)
                )));
            }
        };
        Ok(Self { size, mod_time: stat.mod_time, encoding })
    }

    pub(super) async fn read(
        self,
        request: Request,
        budget: &Budget,
    ) -> Result<HeldBody, PlainAnswer> {
        let limit = match self.encoding {
            Encoding::Identity => self.size,
            _ => self.size.saturating_add(self.size / 8).saturating_add(ENCODING_OVERHEAD_BYTES),
        };
        body::read(request.into_body(), limit, budget).await.map_err(|error| match error {
            BodyError::TooLong { .. } => malformed(),
            BodyError::Broken(_) => PlainAnswer::internal("Error writing whisper data"),
            BodyError::Silent | BodyError::Slow | BodyError::NoMemory(_) => {
                PlainAnswer::from(error)
            }
        })
    }

    /// The file in a body.
    pub(super) fn content(self, body: Vec<u8>) -> Result<WhisperFile, PlainAnswer> {
        let content = match self.encoding {
            Encoding::Identity => body,
            encoding => {
                // One byte more than announced shows that it is too long.
                let mut plain = Vec::new();
                let limit = u64::try_from(self.size).unwrap_or(u64::MAX).saturating_add(1);
                encoding
                    .decoder(body.as_slice())
                    .and_then(|decoder| decoder.take(limit).read_to_end(&mut plain))
                    .map_err(|_| PlainAnswer::internal("snappy: corrupt input"))?;
                plain
            }
        };
        if content.len() != self.size {
            return Err(malformed());
        }
        WhisperFile::check(content)
    }
}

/// The length in a stat header, if a file can have it.
pub(super) fn size(size: i64, limit_bytes: u64) -> Result<usize, PlainAnswer> {
    if size <= SMALLEST_REFUSED_BYTES {
        return Err(PlainAnswer::bad_request("Whisper data in request too small."));
    }
    usize::try_from(size).ok().filter(|size| *size as u64 <= limit_bytes).ok_or_else(|| {
        let text = format!("Whisper data of {size} bytes; the limit is {limit_bytes}");
        PlainAnswer::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    })
}

pub(super) fn malformed() -> PlainAnswer {
    PlainAnswer::bad_request("Malformed whisper data")
}

/// The error for content that is not a valid Whisper file.
pub(super) fn malformed_because(reason: String) -> PlainAnswer {
    PlainAnswer::bad_request(format!("Malformed whisper data: {reason}"))
}

impl WhisperFile {
    /// `bytes`, if they are a valid Whisper file.
    pub(super) fn check(bytes: Vec<u8>) -> Result<Self, PlainAnswer> {
        match Image::parse(&bytes) {
            Ok(_) | Err(ImageError::Compressed) => Ok(Self(bytes)),
            Err(error) => Err(malformed_because(chain(&error))),
        }
    }
}

/// Stores an upload durably. `timings` has the parts that are done.
pub(super) fn store(
    app: &App,
    how: OnExisting,
    upload: Upload,
    timings: Timings,
) -> Result<Timings, PlainAnswer> {
    let started = Instant::now();
    let created = match how {
        OnExisting::Heal => heal(app, upload)?,
        OnExisting::Replace => {
            replace(app, upload)?;
            true
        }
    };
    Ok(conclude(timings, started, created))
}

/// The timings of a file that is stored. Storing began at `started`.
pub(super) fn conclude(timings: Timings, started: Instant, created: bool) -> Timings {
    // It took some time, however coarse the clock is.
    let took = nanoseconds(started.elapsed()).max(1);
    if created {
        Timings { copy: took, dump: 0, ..timings }
    } else {
        Timings { fill: took, dump: timings.dump.max(1), ..timings }
    }
}

/// Fills or creates. Returns whether the file was created.
fn heal(app: &App, upload: Upload) -> Result<bool, PlainAnswer> {
    let Upload { metric, content: WhisperFile(content), mod_time, share } = upload;
    let time = app.set_mtime.then_some(mod_time).filter(|time| *time > 0);
    let before = time.and_then(|_| app.store.stat(&metric).ok()).map(|before| before.mtime);
    let meta = meta_of(app, time);
    let digest = Digest::of(&content);
    let mut batch = HealBatch::new(&app.store);
    batch.take(&Member {
        metric: metric.clone(),
        meta,
        content,
        is_sparse: false,
        digest,
        announced: None,
    });
    // The content is in a temporary file now.
    drop(share);
    let (lines, _) = batch.finish();
    outcome_of(app, &metric, lines, time.zip(before))
}

/// Mode and time of a new file. `time` is used if it is set.
pub(super) fn meta_of(app: &App, time: Option<i64>) -> FileMeta {
    let mut meta = app.store.meta_of_new();
    meta.mtime = time.and_then(|time| u64::try_from(time).ok()).unwrap_or(meta.mtime);
    meta
}

/// The result of an upload: whether the file was created. `times` are the time to set, and the time of the
/// file before.
pub(super) fn outcome_of(
    app: &App,
    metric: &MetricName,
    mut lines: Vec<HealLine>,
    times: Option<(i64, i64)>,
) -> Result<bool, PlainAnswer> {
    let line = lines
        .pop()
        .ok_or_else(|| PlainAnswer::internal(format!("there is no result for {metric}")))?;
    match line.outcome {
        HealOutcome::Created | HealOutcome::Replaced => Ok(true),
        HealOutcome::Filled | HealOutcome::Unchanged => {
            if let Some((time, before)) = times
                && time >= before
                && let Err(error) = app.store.set_time(metric, time)
            {
                // The points are in place, which is what the request asked for.
                tracing::warn!(%metric, error = chain(&error), "cannot set the time of a filled file");
            }
            Ok(false)
        }
        HealOutcome::Refused | HealOutcome::Failed => Err(not_healed(line)),
    }
}

fn not_healed(line: HealLine) -> PlainAnswer {
    match line.problem {
        Some(Problem::Busy) => PlainAnswer::busy(line.reason),
        Some(Problem::BadPath | Problem::SourceDamaged) => PlainAnswer::bad_request(line.reason),
        _ => PlainAnswer::internal(line.reason),
    }
}

fn replace(app: &App, upload: Upload) -> Result<(), PlainAnswer> {
    let Upload { metric, content: WhisperFile(content), mod_time, share: _share } = upload;
    let time = app.set_mtime.then_some(mod_time).filter(|time| *time > 0);
    Ok(app.store.replace(&metric, &content, meta_of(app, time))?)
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl IntoResponse for Timings {
    fn into_response(self) -> Response {
        match serde_json::to_string(&self) {
            Ok(json) => {
                let headers = [(header::CONTENT_TYPE, "application/json")];
                (headers, format!("{json}\n")).into_response()
            }
            Err(error) => PlainAnswer::internal(error).into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(content_type: &str, stat: &str, encoding: &str) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        let stat_header = HeaderName::from_static(METRIC_STAT_HEADER);
        let all = [
            (header::CONTENT_TYPE, content_type),
            (stat_header, stat),
            (header::CONTENT_ENCODING, encoding),
        ];
        all.into_iter()
            .filter(|(_, text)| *text != "-")
            .map(|(name, text)| (name, value(text)))
            .collect()
    }

    fn status_and_text(headers: &HeaderMap) -> (u16, String) {
        let answer = Announced::of(headers, 1000).unwrap_err();
        (answer.status().as_u16(), format!("{answer:?}"))
    }

    #[test]
    fn an_upload_is_checked_in_the_order_of_the_contract() {
        let content_type = "Content-Type must be application/octet-stream.";
        let stat = "Error decoding X-Metric-Stat header";
        let small = "Whisper data in request too small.";
        for (headers, status, said) in [
            (headers("-", "-", "-"), 400, content_type),
            (headers("application/octet-stream; x=y", "-", "gzip"), 400, content_type),
            (headers("Application/Octet-Stream", "-", "-"), 400, content_type),
            (headers(OCTET_STREAM, "-", "gzip"), 400, stat),
            (headers(OCTET_STREAM, "null", "-"), 400, stat),
            (headers(OCTET_STREAM, "[]", "-"), 400, stat),
            (headers(OCTET_STREAM, r#"{"Size":"148"}"#, "-"), 400, stat),
            (headers(OCTET_STREAM, "{}", "gzip"), 400, small),
            (headers(OCTET_STREAM, r#"{"Size":28}"#, "-"), 400, small),
            (headers(OCTET_STREAM, r#"{"Size":-5}"#, "-"), 400, small),
            (headers(OCTET_STREAM, r#"{"Size":1001}"#, "gzip"), 413, "the limit is 1000"),
            (
                headers(OCTET_STREAM, r#"{"Size":9223372036854775807}"#, "-"),
                413,
                "the limit is 1000",
            ),
            (headers(OCTET_STREAM, r#"{"Size":148}"#, "gzip"), 400, "gzip"),
            (headers(OCTET_STREAM, r#"{"Size":148}"#, "Snappy"), 400, "Snappy"),
        ] {
            let (found, text) = status_and_text(&headers);
            assert_eq!(found, status, "{text}");
            assert!(text.contains(said), "{text}");
        }
    }

    #[test]
    fn an_uploads_length_and_encoding_are_read_from_its_headers() {
        let stat = r#"{"size":148,"ModTime":7}"#;
        for (word, encoding) in [
            ("-", Encoding::Identity),
            ("identity", Encoding::Identity),
            ("snappy", Encoding::Snappy),
        ] {
            let announced = Announced::of(&headers(OCTET_STREAM, stat, word), 1000).unwrap();
            assert_eq!(announced, Announced { size: 148, mod_time: 7, encoding });
        }
    }

    #[test]
    fn timings_are_five_integers_and_a_line_end() {
        let timings = Timings { copy: 128_231, ..Timings::default() };
        assert_eq!(
            serde_json::to_string(&timings).unwrap(),
            r#"{"Download":0,"Dump":0,"Fill":0,"Compress":0,"Copy":128231}"#
        );
    }
}
