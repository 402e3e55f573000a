//! Answers of one line per metric, written by a blocking thread while the network takes them.

use std::future::Future;
use std::io::{self, Write};
use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bucky_api::paths;
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::blocking::{BodyWriter, body_channel};
use crate::memory::Share;
use crate::transfers::Permit;

/// How often an answer that is not ready sends a sign of life.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long a client may read nothing of the lines.
const STALL_LIMIT: Duration = Duration::from_secs(60);
/// The size of the pieces in which lines are sent.
const PIECE_BYTES: usize = 256 * 1024;

/// An answer whose lines `write` produces. `permit` is returned when the last line is taken.
///
/// If `write` fails, the body ends as broken, so that no client takes a part for the whole.
pub(crate) fn stream(
    permit: Permit,
    media_type: &'static str,
    write: impl FnOnce(&mut BodyWriter) -> io::Result<()> + Send + 'static,
) -> Response {
    let (mut writer, body) = body_channel();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        if let Err(error) = write(&mut writer).and_then(|()| writer.finish()) {
            tracing::info!(%error, "stopped sending an answer");
        }
    });
    answer(media_type, body)
}

/// An answer whose lines are all ready at a later time, with their share of the memory. Until then, empty
/// lines show that the daemon is alive.
pub(crate) fn eventually(
    lines: impl Future<Output = io::Result<(Vec<u8>, Share)>> + Send + 'static,
) -> Response {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(1);
    tokio::spawn(async move {
        let mut lines = std::pin::pin!(lines);
        loop {
            tokio::select! {
                lines = &mut lines => return send(&sender, lines).await,
                () = tokio::time::sleep(HEARTBEAT) => {
                    // If the client is gone, the work is finished anyway.
                    let _ = sender.try_send(Ok(Bytes::from_static(b"\n")));
                }
            }
        }
    });
    answer(paths::NDJSON, Body::from_stream(ReceiverStream::new(receiver)))
}

/// Sends the lines in pieces to a client that reads them. If the client stops reading, the rest is freed.
async fn send(sender: &mpsc::Sender<io::Result<Bytes>>, lines: io::Result<(Vec<u8>, Share)>) {
    let (lines, _share) = match lines {
        Ok(lines) => lines,
        Err(error) => {
            let _ = tokio::time::timeout(STALL_LIMIT, sender.send(Err(error))).await;
            return;
        }
    };
    for piece in lines.chunks(PIECE_BYTES) {
        // A copy, because a piece that a stalled connection holds must not keep the rest in memory.
        let sent = sender.send(Ok(Bytes::copy_from_slice(piece)));
        match tokio::time::timeout(STALL_LIMIT, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                tracing::info!("stopped sending an answer: the client stopped reading");
                // The body is incomplete, and must not look complete.
                let stalled = io::Error::new(io::ErrorKind::TimedOut, "the client stopped reading");
                let _ = tokio::time::timeout(STALL_LIMIT, sender.send(Err(stalled))).await;
                return;
            }
        }
    }
}

/// The same answer, which drops `held` once it is sent or its client is gone.
pub(crate) fn while_sent(answer: Response, held: impl Send + 'static) -> Response {
    answer.map(|body| {
        Body::from_stream(body.into_data_stream().map(move |piece| {
            let _held = &held;
            piece
        }))
    })
}

/// An answer with this body.
pub(crate) fn answer(media_type: &'static str, body: Body) -> Response {
    ([(header::CONTENT_TYPE, media_type)], body).into_response()
}

/// `values` as NDJSON.
///
/// # Errors
/// If a value cannot be JSON.
pub(crate) fn ndjson<T: Serialize>(values: &[T]) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    values.iter().try_for_each(|value| write_line(&mut body, value))?;
    Ok(body)
}

/// Writes one value as a line.
pub(crate) fn write_line(writer: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *writer, value)?;
    writer.write_all(b"\n")
}
