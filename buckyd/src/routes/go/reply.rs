//! How `GET /metrics/NAME` answers the headers of a request: status, headers, and which bytes of the file.
//! Pure.

use std::fmt::Write;
use std::ops::Range;
use std::time::SystemTime;

use axum::http::response::Builder;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bucky_api::Encoding;
use bucky_api::go::{METRIC_STAT_HEADER, OCTET_STREAM};

use super::answer::PlainAnswer;
use super::conditions::{self, Verdict};
use super::range::{self, RangeError, SelectedBytes};

const TEXT: &str = "text/plain; charset=utf-8";
/// How many bytes decide the media type.
pub(super) const SNIFFED_BYTES: usize = 512;
/// The boundary between the parts of a multipart answer. It need not be random, because each part states its
/// length.
const BOUNDARY: &str = "bucky-byteranges-5d2b1f0c7a94";

/// What is known about the requested file.
pub(super) struct FileFacts {
    /// Its length, encoded.
    pub(super) len_bytes: usize,
    pub(super) media_type: &'static str,
    pub(super) encoding: Encoding,
    pub(super) stat: HeaderValue,
    pub(super) modified: Option<SystemTime>,
}

/// The answer.
pub(super) enum Reply {
    /// An answer without bytes of the file.
    Bodiless(Response),
    /// These pieces, with their total length in the headers.
    Sent { head: Builder, pieces: Vec<Piece> },
}

/// A piece of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text between the parts of the file.
    Text(String),
    /// A part of the file.
    File(Range<usize>),
}

impl FileFacts {
    /// The answer to a request with these headers.
    pub(super) fn reply(self, headers: &HeaderMap) -> Reply {
        match conditions::verdict(headers, self.modified) {
            Verdict::NotModified => return self.without_body(StatusCode::NOT_MODIFIED),
            Verdict::Failed => return self.without_body(StatusCode::PRECONDITION_FAILED),
            Verdict::Proceed => {}
        }
        match self.wanted(headers) {
            Ok(SelectedBytes::Whole) => {
                let head = self.head(StatusCode::OK, self.media_type);
                sent(head, vec![Piece::File(0..self.len_bytes)])
            }
            Ok(SelectedBytes::Part(range)) => {
                let head = self.head(StatusCode::PARTIAL_CONTENT, self.media_type);
                let head = head.header(header::CONTENT_RANGE, self.content_range(&range));
                sent(head, vec![Piece::File(range)])
            }
            Ok(SelectedBytes::Parts(ranges)) => self.parts(ranges),
            Err(error) => Reply::Bodiless(self.out_of_range(error)),
        }
    }

    /// Which bytes the request selects. With snappy, positions are those of the encoded stream.
    fn wanted(&self, headers: &HeaderMap) -> Result<SelectedBytes, RangeError> {
        match headers.get(header::RANGE) {
            Some(range) if conditions::range_counts(headers, self.modified) => {
                let text = range.to_str().map_err(|_| RangeError::Invalid)?;
                range::parse(text, self.len_bytes)
            }
            _ => Ok(SelectedBytes::Whole),
        }
    }

    fn parts(&self, ranges: Vec<Range<usize>>) -> Reply {
        let mut pieces = Vec::with_capacity(2 * ranges.len() + 1);
        let mut text = String::new();
        for range in ranges {
            let (media_type, content_range) = (self.media_type, self.content_range(&range));
            // Writing to a `String` cannot fail.
            let _ = write!(
                text,
                "--{BOUNDARY}\r\nContent-Range: {content_range}\r\nContent-Type: {media_type}\r\n\r\n"
            );
            pieces.extend([Piece::Text(std::mem::take(&mut text)), Piece::File(range)]);
            text.push_str("\r\n");
        }
        text.push_str(&format!("--{BOUNDARY}--\r\n"));
        pieces.push(Piece::Text(text));
        let multipart = format!("multipart/byteranges; boundary={BOUNDARY}");
        sent(self.head(StatusCode::PARTIAL_CONTENT, &multipart), pieces)
    }

    fn out_of_range(self, error: RangeError) -> Response {
        let mut response =
            PlainAnswer::new(StatusCode::RANGE_NOT_SATISFIABLE, error).into_response();
        let headers = response.headers_mut();
        if error == RangeError::NoOverlap
            && let Ok(range) = HeaderValue::from_str(&format!("bytes */{}", self.len_bytes))
        {
            headers.insert(header::CONTENT_RANGE, range);
        }
        headers.insert(HeaderName::from_static(METRIC_STAT_HEADER), self.stat);
        response
    }

    fn without_body(self, status: StatusCode) -> Reply {
        let mut response = status.into_response();
        let headers = response.headers_mut();
        headers.insert(HeaderName::from_static(METRIC_STAT_HEADER), self.stat);
        if let Some(modified) = self.modified
            && let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(modified))
        {
            headers.insert(header::LAST_MODIFIED, date);
        }
        Reply::Bodiless(response)
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
        format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), self.len_bytes)
    }
}

fn sent(head: Builder, pieces: Vec<Piece>) -> Reply {
    let bytes = pieces.iter().map(|piece| match piece {
        Piece::Text(text) => text.len(),
        Piece::File(range) => range.len(),
    });
    let len_bytes = bytes.fold(0, usize::saturating_add);
    Reply::Sent { head: head.header(header::CONTENT_LENGTH, len_bytes), pieces }
}

/// `application/octet-stream` if the beginning has bytes that a text does not have, otherwise plain text.
/// Neither is anything that a browser would run.
pub(super) fn media_type(content: &[u8]) -> &'static str {
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
}
