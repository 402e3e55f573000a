//! `GET /metrics/NAME`: a metric's file.
//!
//! The file is read whole under a shared lock, which is released before the first byte is sent: a client that reads
//! slowly, or not at all, holds up nobody.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use axum::http::response::Builder;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bucky_api::Encoding;
use bucky_api::go::{METRIC_STAT_HEADER, OCTET_STREAM};

use super::go_answer::PlainAnswer;
use super::go_conditions::{self, Verdict};
use super::go_metric::{Asked, stat_header};
use super::go_range::{self, RangeError, Wanted};
use crate::app::App;
use crate::blocking::{blocking, bytes_body};
use crate::memory::Share;
use crate::transfers::Place;

const TEXT: &str = "text/plain; charset=utf-8";
/// How many bytes tell the media type.
const SNIFFED_BYTES: usize = 512;
/// What parts the ranges of a multipart answer. It need not be random: the parts' lengths are told.
const BOUNDARY: &str = "bucky-byteranges-5d2b1f0c7a94";

/// What is sent, and what is told about it.
struct Found {
    /// The file, encoded.
    content: Vec<u8>,
    encoding: Encoding,
    stat: HeaderValue,
    modified: Option<SystemTime>,
    /// What the content takes, and a copy of it.
    share: Share,
}

pub(super) async fn get(
    app: Arc<App>,
    asked: Asked,
    headers: &HeaderMap,
) -> Result<Response, PlainAnswer> {
    let place = app.transfers.send_file().await?;
    let encoding = encoding(headers);
    let found = blocking(move || find(&app, asked, encoding)).await??;
    match go_conditions::verdict(headers, found.modified) {
        Verdict::NotModified => return Ok(found.without_body(StatusCode::NOT_MODIFIED)),
        Verdict::Failed => return Ok(found.without_body(StatusCode::PRECONDITION_FAILED)),
        Verdict::Proceed => {}
    }
    match found.wanted(headers) {
        Ok(Wanted::Whole) => found.whole(place),
        Ok(Wanted::Part(range)) => found.part(&range, place),
        Ok(Wanted::Parts(ranges)) => found.parts(&ranges, place),
        Err(error) => Ok(found.out_of_range(error)),
    }
}

/// As in the Go tool: snappy only where nothing but `snappy` is accepted.
fn encoding(headers: &HeaderMap) -> Encoding {
    match headers.get(header::ACCEPT_ENCODING) {
        Some(value) if value.as_bytes() == b"snappy" => Encoding::Snappy,
        _ => Encoding::Identity,
    }
}

fn find(app: &App, asked: Asked, encoding: Encoding) -> Result<Found, PlainAnswer> {
    // Encoded, or in parts, it is there once more; what cannot be compressed gets frames of 64 KiB around it.
    let file = app.store.read_to_copy(&asked.metric)?;
    if encoding == Encoding::Snappy && file.content.is_empty() {
        return Err(PlainAnswer::internal("Compressed length is 0, no data to transfer"));
    }
    let size = i64::try_from(file.content.len()).unwrap_or(i64::MAX);
    let mtime = i64::try_from(file.meta.mtime).unwrap_or(i64::MAX);
    let content = match encoding {
        Encoding::Identity => file.content,
        encoding => {
            let mut encoder = encoding.encoder(Vec::new())?;
            encoder.write_all(&file.content)?;
            encoder.finish()?
        }
    };
    Ok(Found {
        stat: stat_header(asked.spelled, size, file.meta.mode, mtime, encoding)?,
        modified: go_conditions::modified(mtime),
        content,
        encoding,
        share: file.share,
    })
}

impl Found {
    /// Which of the bytes are asked for. With snappy, positions are those of the encoded stream.
    fn wanted(&self, headers: &HeaderMap) -> Result<Wanted, RangeError> {
        match headers.get(header::RANGE) {
            Some(range) if go_conditions::range_counts(headers, self.modified) => {
                let text = range.to_str().map_err(|_| RangeError::Invalid)?;
                go_range::parse(text, self.content.len())
            }
            _ => Ok(Wanted::Whole),
        }
    }

    fn whole(self, place: Place) -> Result<Response, PlainAnswer> {
        let builder = self.head(StatusCode::OK, media_type(&self.content));
        respond(builder, self.content, (place, self.share))
    }

    fn part(self, range: &Range<usize>, place: Place) -> Result<Response, PlainAnswer> {
        let builder = self
            .head(StatusCode::PARTIAL_CONTENT, media_type(&self.content))
            .header(header::CONTENT_RANGE, self.content_range(range));
        let part = self.content.get(range.clone()).unwrap_or_default().to_vec();
        respond(builder, part, (place, self.share))
    }

    fn parts(self, ranges: &[Range<usize>], place: Place) -> Result<Response, PlainAnswer> {
        let media_type = media_type(&self.content);
        let mut body = Vec::new();
        for range in ranges {
            write!(
                body,
                "--{BOUNDARY}\r\nContent-Range: {}\r\nContent-Type: {media_type}\r\n\r\n",
                self.content_range(range)
            )?;
            body.extend_from_slice(self.content.get(range.clone()).unwrap_or_default());
            body.extend_from_slice(b"\r\n");
        }
        write!(body, "--{BOUNDARY}--\r\n")?;
        let multipart = format!("multipart/byteranges; boundary={BOUNDARY}");
        respond(self.head(StatusCode::PARTIAL_CONTENT, &multipart), body, (place, self.share))
    }

    fn out_of_range(self, error: RangeError) -> Response {
        let mut response =
            PlainAnswer::new(StatusCode::RANGE_NOT_SATISFIABLE, error).into_response();
        let headers = response.headers_mut();
        if error == RangeError::NoOverlap
            && let Ok(range) = HeaderValue::from_str(&format!("bytes */{}", self.content.len()))
        {
            headers.insert(header::CONTENT_RANGE, range);
        }
        headers.insert(HeaderName::from_static(METRIC_STAT_HEADER), self.stat);
        response
    }

    fn without_body(self, status: StatusCode) -> Response {
        let mut response = status.into_response();
        let headers = response.headers_mut();
        headers.insert(HeaderName::from_static(METRIC_STAT_HEADER), self.stat);
        if let Some(modified) = self.modified
            && let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(modified))
        {
            headers.insert(header::LAST_MODIFIED, date);
        }
        response
    }

    fn head(&self, status: StatusCode, media_type: &str) -> Builder {
        let mut builder = Response::builder()
            .status(status)
            .header(header::ACCEPT_RANGES, "bytes")
            .header(header::CONTENT_TYPE, media_type)
            .header(METRIC_STAT_HEADER, self.stat.clone());
        if self.encoding != Encoding::Identity {
            builder = builder.header(header::CONTENT_ENCODING, self.encoding.as_str());
        }
        match self.modified {
            Some(time) => builder.header(header::LAST_MODIFIED, httpdate::fmt_http_date(time)),
            None => builder,
        }
    }

    fn content_range(&self, range: &Range<usize>) -> String {
        format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), self.content.len())
    }
}

/// `held` is given back once the body is sent.
fn respond(builder: Builder, body: Vec<u8>, held: (Place, Share)) -> Result<Response, PlainAnswer> {
    builder
        .header(header::CONTENT_LENGTH, body.len())
        .body(bytes_body(body, held))
        .map_err(PlainAnswer::internal)
}

/// `application/octet-stream` for bytes that no text has near its beginning, else plain text: nothing that a browser
/// would run.
fn media_type(content: &[u8]) -> &'static str {
    let is_binary = |byte: &u8| matches!(byte, 0x00..=0x08 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f);
    if content.iter().take(SNIFFED_BYTES).any(is_binary) { OCTET_STREAM } else { TEXT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whisper_and_snappy_are_binary_and_all_else_is_plain_text() {
        assert_eq!(media_type(&[0, 0, 0, 1, 0, 0]), OCTET_STREAM);
        assert_eq!(media_type(b"\xff\x06\x00\x00sNaPpY"), OCTET_STREAM);
        for text in [&b""[..], b"hello\n", b"<html><script>", "caf\u{e9}\t\x1b".as_bytes()] {
            assert_eq!(media_type(text), TEXT);
        }
    }

    #[test]
    fn snappy_is_sent_only_where_nothing_else_is_accepted() {
        let accepts = |value| HeaderMap::from_iter([(header::ACCEPT_ENCODING, value)]);
        let snappy = accepts(HeaderValue::from_static("snappy"));
        assert_eq!(encoding(&snappy), Encoding::Snappy);
        for other in ["gzip, snappy", "Snappy", "snappy ", "gzip", "*"] {
            assert_eq!(encoding(&accepts(HeaderValue::from_static(other))), Encoding::Identity);
        }
    }
}
