//! A peer's answer, read no faster than the request says.
//!
//! The rest waits at the peer, which sends only as fast as it is read. Time in which the stream is not polled
//! does not count as its silence.
//!
//! A slow read may take hours, and keeps a permit that others wait for. So it stops when the client is gone.
//! Metrics that are complete by then are healed.

use std::io;
use std::num::NonZeroU64;
use std::time::Instant;

use bucky_api::Bucket;
use bucky_api::client::ByteStream;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::oneshot;

/// The slowest rate, in bytes per second; bucky asks for no less. A peer stops if nothing is read for a
/// minute. It notices a read only when a third of its socket's buffer of some megabytes is free again.
const LEAST: u64 = 64 * 1024;

/// Held while a client waits for the result of a stream.
pub(crate) struct WaitingClient(
    #[expect(dead_code, reason = "only its drop matters")] oneshot::Sender<()>,
);

/// Resolves when no client waits any more.
pub(crate) struct ClientGone(oneshot::Receiver<()>);

/// A client that waits, and a way to learn that it is gone.
pub(crate) fn waiting_client() -> (WaitingClient, ClientGone) {
    let (sender, receiver) = oneshot::channel();
    (WaitingClient(sender), ClientGone(receiver))
}

/// The pieces of `stream`, at most `bytes_per_second`: after each piece the next is left unread until its
/// time has passed. The stream ends with an error if no client waits for it any more.
pub(crate) fn paced(
    stream: ByteStream,
    bytes_per_second: Option<NonZeroU64>,
    client_gone: ClientGone,
) -> BoxStream<'static, io::Result<Bytes>> {
    let stream = stream.map_err(io::Error::other);
    let Some(bytes_per_second) = bytes_per_second else { return stream.boxed() };
    #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
    let bucket = Bucket::new(bytes_per_second.get().max(LEAST) as f64, Instant::now());
    let begun = Some((stream, bucket, client_gone));
    let pieces = stream::unfold(begun, |state| async move {
        let (mut stream, mut bucket, mut client_gone) = state?;
        let piece = stream.next().await?;
        if let Ok(piece) = &piece {
            #[expect(clippy::cast_precision_loss, reason = "a piece is small")]
            let turn = bucket.take(piece.len() as f64, Instant::now());
            tokio::select! {
                () = tokio::time::sleep_until(turn.paid.into()) => {}
                _ = &mut client_gone.0 => return Some((Err(client_is_gone()), None)),
            }
        }
        Some((piece, Some((stream, bucket, client_gone))))
    });
    pieces.boxed()
}

fn client_is_gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the client closed the connection")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn time_for(pieces: usize, bytes_per_second: Option<u64>) -> (usize, Duration) {
        let piece = || Ok(Bytes::from_static(&[7; 1000]));
        let whole: ByteStream = Box::pin(stream::iter((0..pieces).map(move |_| piece())));
        let begun = Instant::now();
        let rate = bytes_per_second.and_then(NonZeroU64::new);
        let (_awaited, client_gone) = waiting_client();
        let read = paced(whole, rate, client_gone)
            .fold(0, |sum, piece| async move { sum + piece.unwrap().len() });
        (read.await, begun.elapsed())
    }

    #[tokio::test]
    async fn a_stream_takes_the_time_that_its_rate_gives_it() {
        let (bytes, time) = time_for(20, Some(80_000)).await;
        assert_eq!(bytes, 20_000);
        assert!(time >= Duration::from_millis(240), "{time:?}");
        assert!(time < Duration::from_secs(60), "{time:?}");
        // At that rate it would take four minutes.
        let (bytes, time) = time_for(20_000, None).await;
        assert!(bytes == 20_000_000 && time < Duration::from_secs(60), "{time:?}");
        let (bytes, time) = time_for(4, Some(1)).await;
        assert!(
            bytes == 4_000 && time < Duration::from_secs(60),
            "it should not be that slow: {time:?}"
        );
    }

    /// At 16 KiB a second, a peer on the same host stopped within 80 seconds, whatever was left of the file.
    #[test]
    fn the_slowest_rate_shows_a_peer_within_its_patience_that_something_was_taken() {
        let (patience_seconds, socket_buffer_bytes) = (60, 6 << 20);
        assert!(LEAST * patience_seconds > socket_buffer_bytes / 3 + (1 << 20));
    }

    #[tokio::test]
    async fn a_stream_whose_client_is_gone_ends_with_an_error_at_once() {
        // Each takes a minute at the slowest rate.
        let piece = || Ok(Bytes::from_static(&[7; 4 << 20]));
        let whole: ByteStream = Box::pin(stream::iter((0..100).map(move |_| piece())));
        let (waiting_client, client_gone) = waiting_client();
        let begun = Instant::now();
        let mut pieces = paced(whole, NonZeroU64::new(1), client_gone);
        let next = tokio::spawn(async move { (pieces.next().await, pieces.next().await) });
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(waiting_client);
        let (broken, end) = next.await.unwrap();
        assert!(
            broken.unwrap().unwrap_err().to_string().contains("closed the connection")
                && end.is_none()
        );
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    }
}
