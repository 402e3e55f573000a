//! Reading a request's body into memory, with a limit on its length and on every silence.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use futures_util::StreamExt;

use super::go_answer::PlainAnswer;

/// How long a sender may send nothing.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// Why a body is not there.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// It is longer than it may be. What is behind the limit was not read.
    #[error("the body has more than {limit_bytes} bytes")]
    TooLong {
        /// The limit.
        limit_bytes: usize,
    },
    /// The connection broke, or the body's chunks are malformed.
    #[error("the body broke off")]
    Broken(#[source] axum::Error),
    /// Nothing came for too long.
    #[error("nothing of the body came for {} s", IDLE_LIMIT.as_secs())]
    Silent,
}

impl BodyError {
    /// The status for it where the contract has none of its own.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
            Self::Silent => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

impl From<BodyError> for PlainAnswer {
    fn from(error: BodyError) -> Self {
        Self::new(error.status(), bucky_api::chain(&error))
    }
}

/// The whole of `body`, which may have no more than `limit_bytes`. Nothing is reserved for what has not come yet.
///
/// # Errors
/// [`BodyError`].
pub(super) async fn read(body: Body, limit_bytes: usize) -> Result<Vec<u8>, BodyError> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    loop {
        let piece = match tokio::time::timeout(IDLE_LIMIT, stream.next()).await {
            Ok(None) => return Ok(bytes),
            Ok(Some(piece)) => piece.map_err(BodyError::Broken)?,
            Err(_) => return Err(BodyError::Silent),
        };
        if piece.len() > limit_bytes - bytes.len() {
            return Err(BodyError::TooLong { limit_bytes });
        }
        bytes.extend_from_slice(&piece);
    }
}
