//! `GET /metrics/NAME` of a file that is too long to hold in memory: it is sent as it is read, each piece
//! under the lock.
//!
//! It is never encoded, because the contract requires a length, and the encoded length is known only at the
//! end. A client that accepts snappy accepts plain bytes too, and the headers say which it gets.

use std::io::{self, Read, Write};
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::response::Builder;
use axum::response::Response;
use bucky_api::Encoding;
use tokio::sync::oneshot;

use super::answer::PlainAnswer;
use super::conditions;
use super::reply::{FileFacts, Piece, Reply, SNIFFED_BYTES, media_type};
use super::requested::{RequestedMetric, stat_header};
use crate::app::App;
use crate::blocking::{BodyWriter, body_channel};
use crate::store::LargeFile;
use crate::transfers::Permit;

/// How much is read under the lock at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// The beginning of an answer.
enum Head {
    /// The complete answer.
    Whole(Response),
    /// The headers; the body follows.
    Begun(Builder),
}

pub(super) async fn get(
    app: Arc<App>,
    requested: RequestedMetric,
    headers: &HeaderMap,
    permit: Permit,
) -> Result<Response, PlainAnswer> {
    let (writer, body) = body_channel();
    let (head_sender, head) = oneshot::channel();
    let headers = headers.clone();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        // If it fails in the middle, the body ends as broken.
        if let Err(error) = send(&app, requested, &headers, head_sender, writer) {
            tracing::info!(%error, "stopped sending a file");
        }
    });
    match head.await.map_err(PlainAnswer::internal)?? {
        Head::Whole(response) => Ok(response),
        Head::Begun(builder) => builder.body(body).map_err(PlainAnswer::internal),
    }
}

fn send(
    app: &App,
    requested: RequestedMetric,
    headers: &HeaderMap,
    head: oneshot::Sender<Result<Head, PlainAnswer>>,
    mut writer: BodyWriter,
) -> io::Result<()> {
    // If the client is gone, an error here is of no use.
    let (mut file, facts) = match begin(app, requested) {
        Ok(begun) => begun,
        Err(error) => {
            let _ = head.send(Err(error));
            return Ok(());
        }
    };
    match facts.reply(headers) {
        Reply::Bodiless(response) => {
            let _ = head.send(Ok(Head::Whole(response)));
            Ok(())
        }
        Reply::Sent { head: builder, pieces } => {
            let _ = head.send(Ok(Head::Begun(builder)));
            for piece in pieces {
                match piece {
                    Piece::Text(text) => writer.write_all(text.as_bytes())?,
                    Piece::File(range) => copy(&mut file, range.start, range.len(), &mut writer)?,
                }
            }
            writer.finish()
        }
    }
}

fn begin(app: &App, requested: RequestedMetric) -> Result<(LargeFile<'_>, FileFacts), PlainAnswer> {
    let mut file = app.store.open_large(&requested.metric)?;
    let mut first = Vec::new();
    file.by_ref().take(SNIFFED_BYTES as u64).read_to_end(&mut first)?;
    let (meta, size) = (file.meta(), file.len_bytes());
    let mtime = i64::try_from(meta.mtime).unwrap_or(i64::MAX);
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let facts = FileFacts {
        len_bytes: usize::try_from(file.len_bytes()).map_err(PlainAnswer::internal)?,
        media_type: media_type(&first),
        encoding: Encoding::Identity,
        stat: stat_header(requested.spelled, size, meta.mode, mtime, Encoding::Identity)?,
        modified: conditions::modified(mtime),
    };
    Ok((file, facts))
}

fn copy(
    file: &mut LargeFile<'_>,
    start: usize,
    bytes: usize,
    writer: &mut BodyWriter,
) -> io::Result<()> {
    file.go_to(start as u64);
    let mut reader = io::BufReader::with_capacity(PIECE_BYTES, file.take(bytes as u64));
    let copied = io::copy(&mut reader, writer)?;
    if copied < bytes as u64 {
        return Err(io::Error::other("the file became shorter while it was read"));
    }
    Ok(())
}
