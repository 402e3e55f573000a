//! Reading a request's body into memory. Its length is limited, and bytes that have arrived take a share of
//! the memory budget. A sender that stops, or sends next to nothing, is not waited for.

use std::io;
use std::time::{Duration, Instant};

use axum::body::{Body, BodyDataStream};
use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};

use crate::memory::{Budget, NoMemory, Share};

/// How long a sender may send nothing.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// How many bytes must arrive while the daemon waits that long. A byte now and then is not a sign of life:
/// such a sender would keep a permit that others wait for.
const LEAST_BYTES: usize = 64 * 1024;
/// The first step in which memory for a body is reserved. Later steps double it.
const STEP_BYTES: usize = 64 * 1024;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// It is too long. The rest of it was not read.
    #[error("the body has more than {limit_bytes} bytes")]
    TooLong {
        /// The limit.
        limit_bytes: usize,
    },
    /// The connection was lost, or the chunks of the body are malformed.
    #[error("the body ended early")]
    Broken(#[source] axum::Error),
    /// Nothing arrived for too long.
    #[error("no byte of the body arrived for {} s", IDLE_LIMIT.as_secs())]
    Silent,
    /// Too little arrived for too long.
    #[error("fewer than {LEAST_BYTES} bytes of the body arrived in {} s of waiting", IDLE_LIMIT.as_secs())]
    Slow,
    /// Other requests use the memory.
    #[error("cannot receive the body")]
    NoMemory(#[source] NoMemory),
}

impl BodyError {
    /// The HTTP status for it, unless the route's contract has another one.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
            Self::Silent | Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::NoMemory(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<BodyError> for io::Error {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Silent | BodyError::Slow => Self::new(io::ErrorKind::TimedOut, error),
            error => Self::other(error),
        }
    }
}

/// A body in memory, and its share of the memory budget.
#[derive(Debug)]
pub(crate) struct HeldBody {
    pub(crate) bytes: Vec<u8>,
    pub(crate) share: Share,
}

/// Reads the whole of `body`, at most `limit_bytes`. Memory is reserved only for bytes that have arrived.
///
/// # Errors
/// [`BodyError`].
pub(crate) async fn read(
    body: Body,
    limit_bytes: usize,
    budget: &Budget,
) -> Result<HeldBody, BodyError> {
    let mut pieces = Box::pin(pieces(body));
    let mut held = HeldBody { bytes: Vec::new(), share: Share::default() };
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        let HeldBody { bytes, share } = &mut held;
        if piece.len() > limit_bytes - bytes.len() {
            return Err(BodyError::TooLong { limit_bytes });
        }
        let free = bytes.capacity() - bytes.len();
        if piece.len() > free {
            let step = bytes.len().max(STEP_BYTES).max(piece.len()).min(limit_bytes - bytes.len());
            let more = (step - free.min(step)) as u64;
            share.add(budget.share(more).await.map_err(BodyError::NoMemory)?);
            bytes.reserve_exact(step);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(held)
}

/// The pieces of `body` as they arrive, until its sender stops or is too slow.
pub(crate) fn pieces(body: Body) -> impl Stream<Item = Result<Bytes, BodyError>> {
    let sender = Sender {
        stream: body.into_data_stream(),
        waited: Duration::ZERO,
        arrived_bytes: 0,
        limit: IDLE_LIMIT,
    };
    stream::unfold(Some(sender), |sender| async move {
        let mut sender = sender?;
        let piece = sender.next().await?;
        let rest = if piece.is_ok() { Some(sender) } else { None };
        Some((piece, rest))
    })
}

/// The sender of a body.
struct Sender {
    stream: BodyDataStream,
    /// How long it was waited for since it was last fast enough. Time that the daemon uses between pieces
    /// does not count.
    waited: Duration,
    arrived_bytes: usize,
    limit: Duration,
}

impl Sender {
    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        let began = Instant::now();
        let left = self.limit.saturating_sub(self.waited);
        let piece = match tokio::time::timeout(left, self.stream.next()).await {
            Ok(None) => return None,
            Ok(Some(Err(error))) => return Some(Err(BodyError::Broken(error))),
            Ok(Some(Ok(piece))) => piece,
            Err(_) if self.arrived_bytes == 0 => return Some(Err(BodyError::Silent)),
            Err(_) => return Some(Err(BodyError::Slow)),
        };
        self.waited += began.elapsed();
        self.arrived_bytes += piece.len();
        if self.arrived_bytes >= LEAST_BYTES {
            (self.waited, self.arrived_bytes) = (Duration::ZERO, 0);
        }
        Some(Ok(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    /// A body of pieces, each after a pause.
    fn body(pause: Duration, pieces: Vec<Vec<u8>>) -> Body {
        Body::from_stream(stream::iter(pieces).then(move |piece| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, std::convert::Infallible>(piece)
        }))
    }

    fn sender(body: Body, limit: Duration) -> Sender {
        let stream = body.into_data_stream();
        Sender { stream, waited: Duration::ZERO, arrived_bytes: 0, limit }
    }

    #[tokio::test]
    async fn a_body_that_comes_byte_by_byte_is_too_slow() {
        let limit = Duration::from_millis(100);
        let pause = Duration::from_millis(10);
        let mut slow = sender(body(pause, vec![b"x".to_vec(); 1000]), limit);
        let mut arrived = 0;
        let error = loop {
            match slow.next().await.unwrap() {
                Ok(_) => arrived += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, BodyError::Slow) && arrived < 20, "{error} after {arrived}");
        let mut enough = sender(body(pause, vec![vec![0; 32 * 1024]; 30]), limit);
        while let Some(piece) = enough.next().await {
            piece.unwrap();
        }
        let mut silent = sender(body(limit * 10_000, vec![vec![0; 10]]), limit);
        assert!(matches!(silent.next().await, Some(Err(BodyError::Silent))));
    }

    #[tokio::test]
    async fn a_body_takes_its_share_as_it_comes_and_no_more_than_it_has() {
        let budget = Memory::new(3 << 20).receiving;
        let all = budget.free_bytes();
        let pieces = vec![vec![7; 10_000]; 100];
        let held = read(body(Duration::ZERO, pieces), 1_000_000, &budget).await.unwrap();
        assert_eq!(held.bytes, vec![7; 1_000_000]);
        assert!(held.bytes.capacity() <= 1_000_000, "{}", held.bytes.capacity());
        let taken = all - budget.free_bytes();
        assert!((1_000_000..1_200_000).contains(&taken), "{taken}");
        let rest = budget.share(budget.free_bytes()).await.unwrap();
        drop(held);
        let pieces = vec![vec![7; 10_000]; 101];
        let error = read(body(Duration::ZERO, pieces), 1_000_000, &budget).await.unwrap_err();
        assert!(matches!(error, BodyError::TooLong { .. }), "{error}");
        drop(rest);
        assert_eq!(budget.free_bytes(), all);
    }
}
