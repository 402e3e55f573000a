//! File work off the async workers, and what carries bytes between the two worlds.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// How large the pieces are in which an answer goes out.
const PIECE_BYTES: usize = 256 * 1024;
/// How many pieces may wait for the network: with the one being filled, about 1 MiB an answer.
const PIECES_WAITING: usize = 3;
/// How long the other side may take no byte before the answer is given up.
const STALL_LIMIT: Duration = Duration::from_secs(60);

/// Runs `work` on a thread where blocking is allowed.
///
/// # Errors
/// An [`io::Error`] where the work panicked.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| io::Error::other(format!("a file operation broke down: {error}")))
}

/// The writing end of a body that a blocking thread fills.
pub(crate) struct BodyWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: BytesMut,
    handle: Handle,
}

struct BodyStream(mpsc::Receiver<io::Result<Bytes>>);

/// A body, and the end that fills it from a blocking thread.
pub(crate) fn body_channel() -> (BodyWriter, Body) {
    let (sender, receiver) = mpsc::channel(PIECES_WAITING);
    let writer = BodyWriter { sender, piece: BytesMut::new(), handle: Handle::current() };
    (writer, Body::from_stream(BodyStream(receiver)))
}

impl BodyWriter {
    /// Ends the body as broken: the other side must not take what came for the whole.
    pub(crate) fn fail(self, error: io::Error) {
        let _ = self.send(Err(error));
    }

    /// Sends what is still held back: the body is whole.
    ///
    /// # Errors
    /// Where the other side is gone or takes nothing.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush()
    }

    fn send(&self, piece: io::Result<Bytes>) -> io::Result<()> {
        let sent = self.handle.block_on(tokio::time::timeout(STALL_LIMIT, self.sender.send(piece)));
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => {
                Err(io::Error::new(io::ErrorKind::BrokenPipe, "the other side has gone away"))
            }
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the other side took nothing for {} s", STALL_LIMIT.as_secs()),
            )),
        }
    }
}

impl Write for BodyWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(buf);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = self.piece.split().freeze();
        self.send(Ok(piece))
    }
}

impl Stream for BodyStream {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
