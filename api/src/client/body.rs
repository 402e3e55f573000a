//! Bodies of answers. They are read piece by piece, each within a time limit, and never further than needed.

use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use reqwest::Response;

use super::error::NetworkError;
use crate::counted::counted;

/// The bytes of an answer, as they arrive.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// Why the body of an answer is incomplete.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection broke.
    #[error("the connection was lost")]
    Broken(#[source] NetworkError),
    /// The daemon sent nothing for too long.
    #[error("no data for {} s", .0.as_secs())]
    Silent(Duration),
    /// The daemon sends too slowly.
    #[error("only {} in {} s", counted(*bytes as u64, "byte", "bytes"), waited.as_secs())]
    TooSlow {
        /// How many bytes arrived.
        bytes: usize,
        /// In which time.
        waited: Duration,
    },
}

/// How many bytes a body must bring within each idle limit. A slower body would take practically forever, and
/// would keep a permit that others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Files: 16 KiB.
    Files,
    /// Lines: 1 KiB, or an empty line, which is a daemon's sign of life.
    Lines,
}

impl Pace {
    fn least_bytes(self) -> usize {
        match self {
            Self::Files => 16 * 1024,
            Self::Lines => 1024,
        }
    }

    fn is_sign_of_life(self, piece: &[u8]) -> bool {
        self == Self::Lines && piece.iter().all(u8::is_ascii_whitespace)
    }
}

/// A body that is read, and what has arrived since it was last fast enough.
struct Pieces<S> {
    stream: S,
    waited: Duration,
    bytes: usize,
}

/// The pieces of a body. The body must keep its `pace` within each `idle`. Only the time spent waiting for it
/// counts, not what the caller does with the pieces.
pub(super) fn pieces(response: Response, idle: Duration, pace: Pace) -> ByteStream {
    let stream = Box::pin(response.bytes_stream());
    let body = Pieces { stream, waited: Duration::ZERO, bytes: 0 };
    Box::pin(futures_util::stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        let begun = Instant::now();
        let limit = idle.saturating_sub(body.waited);
        match tokio::time::timeout(limit, body.stream.next()).await {
            Ok(Some(Ok(piece))) => {
                body.bytes += piece.len();
                body.waited += begun.elapsed();
                if body.bytes >= pace.least_bytes() || pace.is_sign_of_life(&piece) {
                    (body.bytes, body.waited) = (0, Duration::ZERO);
                }
                Some((Ok(piece), Some(body)))
            }
            Ok(Some(Err(error))) => Some((Err(BodyError::Broken(error.into())), None)),
            Ok(None) => None,
            Err(_) if body.bytes == 0 => Some((Err(BodyError::Silent(idle)), None)),
            Err(_) => {
                let bytes = body.bytes;
                Some((Err(BodyError::TooSlow { bytes, waited: idle }), None))
            }
        }
    }))
}

/// The body, up to and including the piece that makes it longer than `size_bytes`. So a peer cannot fill the
/// memory.
pub(super) async fn read_beyond(
    response: Response,
    size_bytes: usize,
) -> Result<Vec<u8>, reqwest::Error> {
    let mut stream = response.bytes_stream();
    let mut body = Vec::new();
    while body.len() <= size_bytes
        && let Some(piece) = stream.try_next().await?
    {
        body.extend_from_slice(&piece);
    }
    Ok(body)
}
