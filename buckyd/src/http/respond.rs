//! Errors as answers: the JSON error body of the `/v1` routes.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bucky_api::archive::ReadArchiveError;
use bucky_api::{ErrorBody, ErrorCode, chain};

use crate::memory::NoMemory;
use crate::store::StoreError;
use crate::transfers::NoPermit;

/// The error of a `/v1` route.
#[derive(Debug)]
pub(crate) struct ApiError {
    body: ErrorBody,
    retry_after_seconds: Option<u32>,
}

impl ApiError {
    pub(crate) fn new(code: ErrorCode, message: impl std::fmt::Display) -> Self {
        Self { body: ErrorBody::new(code, message), retry_after_seconds: None }
    }

    /// A request that cannot be understood.
    pub(crate) fn bad_request(message: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }

    /// The token does not allow it.
    pub(crate) fn forbidden(message: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::Forbidden, message)
    }

    /// There is no list yet.
    pub(crate) fn not_ready(problem: &str) -> Self {
        let error = if problem.is_empty() {
            Self::new(ErrorCode::NotReady, "the first scan of the store has not ended yet")
        } else {
            Self::new(ErrorCode::NotReady, format!("there is no list of metrics: {problem}"))
        };
        error.hint("try again in a moment; GET /v1/status shows the progress").retry_after(2)
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl std::fmt::Display) -> Self {
        self.body = self.body.hint(hint);
        self
    }

    #[must_use]
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// The error body, for an answer that has begun and can only end in a line that says what failed.
    pub(crate) fn body(&self) -> &ErrorBody {
        &self.body
    }

    fn status(&self) -> StatusCode {
        match self.body.error.code {
            ErrorCode::BadRequest | ErrorCode::BadArchive | ErrorCode::CutOff => {
                StatusCode::BAD_REQUEST
            }
            ErrorCode::Forbidden => StatusCode::FORBIDDEN,
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::Busy | ErrorCode::Stopping | ErrorCode::NotReady => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            ErrorCode::ClockDiffers => StatusCode::CONFLICT,
            ErrorCode::Peer => StatusCode::BAD_GATEWAY,
            ErrorCode::Storage | ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::warn!(code = ?self.body.error.code, message = %self.body.error.message, "request failed");
        }
        let retry_after = self.retry_after_seconds;
        let mut response = (status, Json(self.body)).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<NoMemory> for ApiError {
    fn from(error: NoMemory) -> Self {
        Self::new(ErrorCode::Busy, error).hint("try again").retry_after(1)
    }
}

impl From<NoPermit> for ApiError {
    fn from(error: NoPermit) -> Self {
        match error {
            NoPermit::InUse { .. } => Self::new(ErrorCode::Busy, error)
                .hint("try again; --max-transfers of this buckyd sets the limit")
                .retry_after(1),
            NoPermit::NotInTime { .. } => Self::new(ErrorCode::Busy, error).retry_after(1),
            NoPermit::Stopping => Self::new(ErrorCode::Stopping, error).retry_after(5),
            NoPermit::Panicked(error) => Self::new(ErrorCode::Internal, error),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::new(ErrorCode::Storage, chain(&error))
    }
}

impl From<ReadArchiveError> for ApiError {
    fn from(error: ReadArchiveError) -> Self {
        let (code, hint) = match &error {
            ReadArchiveError::NotATar(_)
            | ReadArchiveError::NotAMetric { .. }
            | ReadArchiveError::Miscounted { .. }
            | ReadArchiveError::BadReport(_) => (
                ErrorCode::BadArchive,
                "send an archive such as POST /v1/archive answers; see docs/internals/http-api.md",
            ),
            ReadArchiveError::CutOff { .. }
            | ReadArchiveError::Read { .. }
            | ReadArchiveError::DamagedName { .. } => (
                ErrorCode::CutOff,
                "the metrics that arrived complete were healed; send the stream again",
            ),
            ReadArchiveError::NoRoom { .. } => (
                ErrorCode::Busy,
                "the metrics that arrived complete were healed; send the stream again in a moment",
            ),
            ReadArchiveError::TooLarge { .. } | ReadArchiveError::TooMany { .. } => {
                (ErrorCode::TooLarge, "send fewer or smaller metrics at once")
            }
        };
        Self::new(code, chain(&error)).hint(hint)
    }
}
