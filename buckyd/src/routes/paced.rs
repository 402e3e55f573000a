//! A peer's answer, read no faster than was asked for.
//!
//! What is not read yet waits at the peer, which sends no faster than it is read. The time in which nothing is asked of
//! the stream does not count as its silence.

use std::num::NonZeroU64;
use std::time::Instant;

use bucky_api::Bucket;
use bucky_api::client::ByteStream;
use futures_util::{StreamExt, stream};

/// The slowest rate, in bytes a second: who asks for less would keep a place that others wait for.
const LEAST: u64 = 16 * 1024;

/// The same pieces, at most so many bytes a second: after each one the next is left unread until its time has passed.
pub(super) fn paced(stream: ByteStream, bytes_per_second: Option<NonZeroU64>) -> ByteStream {
    let Some(bytes_per_second) = bytes_per_second else { return stream };
    #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
    let bucket = Bucket::new(bytes_per_second.get().max(LEAST) as f64, Instant::now());
    Box::pin(stream::unfold((stream, bucket), |(mut stream, mut bucket)| async move {
        let piece = stream.next().await?;
        if let Ok(piece) = &piece {
            #[expect(clippy::cast_precision_loss, reason = "a piece is small")]
            let turn = bucket.take(piece.len() as f64, Instant::now());
            tokio::time::sleep_until(turn.paid.into()).await;
        }
        Some((piece, (stream, bucket)))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::time::Duration;

    async fn time_for(pieces: usize, bytes_per_second: Option<u64>) -> (usize, Duration) {
        let piece = || Ok(Bytes::from_static(&[7; 1000]));
        let whole: ByteStream = Box::pin(stream::iter((0..pieces).map(move |_| piece())));
        let begun = Instant::now();
        let rate = bytes_per_second.and_then(NonZeroU64::new);
        let read =
            paced(whole, rate).fold(0, |sum, piece| async move { sum + piece.unwrap().len() });
        (read.await, begun.elapsed())
    }

    #[tokio::test]
    async fn a_stream_takes_the_time_that_its_rate_gives_it() {
        let (bytes, time) = time_for(20, Some(40_000)).await;
        assert_eq!(bytes, 20_000);
        assert!(time >= Duration::from_millis(490), "{time:?}");
        assert!(time < Duration::from_secs(5), "{time:?}");
        let (bytes, time) = time_for(20, None).await;
        assert!(bytes == 20_000 && time < Duration::from_millis(400), "{time:?}");
        let (bytes, time) = time_for(4, Some(1)).await;
        assert!(bytes == 4_000 && time < Duration::from_secs(10), "nobody is that slow: {time:?}");
    }
}
