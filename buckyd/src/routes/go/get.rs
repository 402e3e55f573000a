//! `GET /metrics/NAME`: a metric's file.
//!
//! The file is read completely under a shared lock, which is released before the first byte is sent. So a
//! slow client holds up no writer. A file that is too long to hold in memory is sent as it is read
//! (`get_long`).

use std::io::Write;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use axum::response::Response;
use bucky_api::Encoding;

use super::answer::PlainAnswer;
use super::reply::{FileFacts, Piece, Reply, media_type};
use super::requested::{RequestedMetric, stat_header};
use super::{conditions, get_long};
use crate::app::App;
use crate::blocking::{blocking, bytes_body};
use crate::memory::Share;
use crate::store::StoreError;

/// The body, and what the headers say about it.
struct FoundFile {
    /// The file, encoded.
    content: Vec<u8>,
    facts: FileFacts,
    /// The memory for the content and a copy of it.
    share: Share,
}

pub(super) async fn get(
    app: Arc<App>,
    requested: RequestedMetric,
    headers: &HeaderMap,
) -> Result<Response, PlainAnswer> {
    let permit = app.transfers.send_file().await?;
    let encoding = encoding(headers);
    let finder = Arc::clone(&app);
    let (found, requested) =
        blocking(move || (find(&finder, &requested, encoding), requested)).await?;
    let Some(FoundFile { content, facts, share }) = found? else {
        return get_long::get(app, requested, headers, permit).await;
    };
    match facts.reply(headers) {
        Reply::Bodiless(response) => Ok(response),
        Reply::Sent { head, pieces } => {
            let body = body(content, &pieces);
            // The permit and the memory are returned once the body is sent.
            head.body(bytes_body(body, (permit, share))).map_err(PlainAnswer::internal)
        }
    }
}

/// As in the Go tool: snappy only if nothing but `snappy` is accepted.
fn encoding(headers: &HeaderMap) -> Encoding {
    match headers.get(header::ACCEPT_ENCODING) {
        Some(value) if value.as_bytes() == b"snappy" => Encoding::Snappy,
        _ => Encoding::Identity,
    }
}

/// The file. `None` if it is too long to hold in memory.
fn find(
    app: &App,
    requested: &RequestedMetric,
    encoding: Encoding,
) -> Result<Option<FoundFile>, PlainAnswer> {
    // Encoded, or in parts, it is in memory twice. If it cannot be compressed, each 64 KiB gets a frame.
    let file = match app.store.read_to_copy(&requested.metric) {
        Ok(file) => file,
        Err(StoreError::TooLarge { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
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
    let facts = FileFacts {
        len_bytes: content.len(),
        media_type: media_type(&content),
        encoding,
        stat: stat_header(requested.spelled.clone(), size, file.meta.mode, mtime, encoding)?,
        modified: conditions::modified(mtime),
    };
    Ok(Some(FoundFile { content, facts, share: file.share }))
}

fn body(content: Vec<u8>, pieces: &[Piece]) -> Vec<u8> {
    if pieces == [Piece::File(0..content.len())] {
        return content;
    }
    let mut body = Vec::new();
    for piece in pieces {
        body.extend_from_slice(match piece {
            Piece::Text(text) => text.as_bytes(),
            Piece::File(range) => content.get(range.clone()).unwrap_or_default(),
        });
    }
    body
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

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
