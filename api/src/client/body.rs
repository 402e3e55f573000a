//! The bodies of answers: read piece by piece, each within its limit, and never more than is wanted.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use reqwest::Response;

use super::error::NetworkError;

/// The bytes of an answer, as they come.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// Why the body of an answer did not come whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] NetworkError),
    /// The daemon fell silent.
    #[error("nothing came for {} s", .0.as_secs())]
    Silent(Duration),
}

/// The pieces of a body, each within `idle` of the one before.
pub(super) fn pieces(response: Response, idle: Duration) -> ByteStream {
    let stream = Box::pin(response.bytes_stream());
    Box::pin(futures_util::stream::unfold(Some(stream), move |stream| async move {
        let mut stream = stream?;
        match tokio::time::timeout(idle, stream.next()).await {
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some(stream))),
            Ok(Some(Err(error))) => Some((Err(BodyError::Broken(error.into())), None)),
            Ok(None) => None,
            Err(_) => Some((Err(BodyError::Silent(idle)), None)),
        }
    }))
}

/// The body, up to the piece that makes it longer than `size_bytes`: a peer cannot fill the memory.
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
