//! File work off the async workers, and the channels that carry bytes between threads and async code.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// The size of the pieces of an answer.
const PIECE_BYTES: usize = 256 * 1024;
/// The initial capacity of a piece: most answers are short.
const LEAST_PIECE_BYTES: usize = 16 * 1024;
/// How many pieces may wait for the network. With the one that is being filled, that is about 1 MiB per
/// answer.
const PIECES_WAITING: usize = 3;
/// How long the other side may read nothing before the answer ends.
const STALL_LIMIT: Duration = Duration::from_secs(60);

/// Runs `work` on a thread that may block.
///
/// # Errors
/// An [`io::Error`] if the work panicked.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| io::Error::other(format!("a file operation failed: {error}")))
}

/// The writing end of a body that a blocking thread fills.
///
/// The body ends as broken unless [`BodyWriter::finish`] succeeds, because the other side must not take a
/// part for the whole.
pub(crate) struct BodyWriter {
    /// `None` once the other side is gone or has stopped reading. A wrapper may flush again when it is
    /// dropped, and must not wait again.
    sender: Option<mpsc::Sender<Bytes>>,
    is_complete: Arc<AtomicBool>,
    piece: BytesMut,
    stall_limit: Duration,
    waited: Waited,
    handle: Handle,
}

/// For how long a writer has waited for the network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waited(Arc<AtomicU64>);

struct BodyStream {
    pieces: mpsc::Receiver<Bytes>,
    /// Set when everything was sent, before the sender is dropped.
    is_complete: Arc<AtomicBool>,
}

/// A body, and the writer that fills it from a blocking thread.
pub(crate) fn body_channel() -> (BodyWriter, Body) {
    body_channel_within(STALL_LIMIT)
}

fn body_channel_within(stall_limit: Duration) -> (BodyWriter, Body) {
    let (sender, pieces) = mpsc::channel(PIECES_WAITING);
    let is_complete = Arc::new(AtomicBool::new(false));
    let stream = BodyStream { pieces, is_complete: Arc::clone(&is_complete) };
    let writer = BodyWriter {
        sender: Some(sender),
        is_complete,
        piece: BytesMut::new(),
        stall_limit,
        waited: Waited::default(),
        handle: Handle::current(),
    };
    (writer, Body::from_stream(stream))
}

/// A body of bytes that are in memory. `held` is dropped once they are sent, or once the other side stops
/// reading. The rest is freed then.
pub(crate) fn bytes_body<T: Send + 'static>(content: Vec<u8>, held: T) -> Body {
    if content.len() <= PIECE_BYTES {
        return Body::from(content);
    }
    let (sender, pieces) = mpsc::channel(1);
    let is_complete = Arc::new(AtomicBool::new(false));
    let stream = BodyStream { pieces, is_complete: Arc::clone(&is_complete) };
    tokio::spawn(async move {
        let _held = held;
        for piece in content.chunks(PIECE_BYTES) {
            // A copy, because a piece that a stalled connection holds must not keep the rest in memory.
            let sent = sender.send(Bytes::copy_from_slice(piece));
            match tokio::time::timeout(STALL_LIMIT, sent).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => {
                    tracing::info!("stopped sending a file: the client stopped reading");
                    return;
                }
            }
        }
        is_complete.store(true, Ordering::Release);
    });
    Body::from_stream(stream)
}

impl BodyWriter {
    /// Sends buffered bytes. The body is then complete.
    ///
    /// # Errors
    /// If the other side is gone or has stopped reading.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.is_complete.store(true, Ordering::Release);
        Ok(())
    }

    /// How long the writer has waited so far. The value can be read after the writer is gone.
    pub(crate) fn waited(&self) -> Waited {
        self.waited.clone()
    }

    fn send(&mut self, piece: Bytes) -> io::Result<()> {
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the client closed the connection");
        let sender = self.sender.take().ok_or_else(gone)?;
        let limit = self.stall_limit;
        let begun = Instant::now();
        let sent =
            self.handle.block_on(async { tokio::time::timeout(limit, sender.send(piece)).await });
        self.waited.add(begun.elapsed());
        match sent {
            Ok(Ok(())) => {
                self.sender = Some(sender);
                Ok(())
            }
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the client read nothing for {} s", limit.as_secs()),
            )),
        }
    }
}

impl Waited {
    fn add(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_add(micros, Ordering::Relaxed);
    }

    /// The time so far.
    pub(crate) fn so_far(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

impl Write for BodyWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            self.piece.reserve(buf.len().clamp(LEAST_PIECE_BYTES, PIECE_BYTES));
        }
        let taken = buf.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&buf[..taken]);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = self.piece.split().freeze();
        self.send(piece)
    }
}

impl Stream for BodyStream {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match ready!(self.pieces.poll_recv(context)) {
            Some(piece) => Poll::Ready(Some(Ok(piece))),
            None if self.is_complete.load(Ordering::Acquire) => Poll::Ready(None),
            None => Poll::Ready(Some(Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "this answer could not be completed",
            )))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;

    /// What a client receives of a body that `write` fills on a blocking thread.
    async fn received(
        write: impl FnOnce(BodyWriter) + Send + 'static,
    ) -> Result<usize, axum::Error> {
        let (writer, body) = body_channel();
        let writing = tokio::task::spawn_blocking(move || write(writer));
        let received = to_bytes(body, usize::MAX).await.map(|bytes| bytes.len());
        let _ = writing.await;
        received
    }

    #[tokio::test]
    async fn a_body_is_complete_only_if_its_writer_finished() {
        let complete = received(|mut writer| {
            writer.write_all(&[1; 3 * PIECE_BYTES + 7]).unwrap();
            writer.finish().unwrap();
        });
        assert_eq!(complete.await.unwrap(), 3 * PIECE_BYTES + 7);
        assert!(received(|mut writer| writer.write_all(b"a line\n").unwrap()).await.is_err());
        assert!(received(|_| panic!("a bug in what writes")).await.is_err());
        assert!(received(|_| ()).await.is_err());
    }

    #[tokio::test]
    async fn an_answer_whose_client_stops_reading_ends_broken_and_its_writer_waits_once() {
        let limit = Duration::from_millis(200);
        let (mut writer, body) = body_channel_within(limit);
        let waited = tokio::task::spawn_blocking(move || {
            let begun = std::time::Instant::now();
            let first = writer.write_all(&[1; 64 * PIECE_BYTES]).unwrap_err();
            assert_eq!(first.kind(), io::ErrorKind::TimedOut);
            // Wrappers of the writer write and flush again when they are dropped.
            for _ in 0..500 {
                let again = writer.write_all(&[1; PIECE_BYTES]).unwrap_err();
                assert_eq!(again.kind(), io::ErrorKind::BrokenPipe);
            }
            begun.elapsed()
        });
        assert!(waited.await.unwrap() < limit * 100);
        assert!(to_bytes(body, usize::MAX).await.is_err());
    }
}
