//! The Go tool's routes answer without data in one form: a status and one line of plain text.

use std::fmt::Display;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bucky_api::chain;
use bucky_api::token::Denied;

use crate::http::body::BodyError;
use crate::http::respond::ApiError;
use crate::memory::NoMemory;
use crate::store::StoreError;
use crate::transfers::NoPermit;

/// A status and its line of text, in the form of the Go daemon's errors.
#[derive(Debug)]
pub(in crate::routes) struct PlainAnswer {
    status: StatusCode,
    text: String,
    retry_after_seconds: Option<u32>,
}

impl PlainAnswer {
    pub(in crate::routes) fn new(status: StatusCode, text: impl Display) -> Self {
        Self { status, text: text.to_string(), retry_after_seconds: None }
    }

    /// A request that cannot succeed as it is.
    pub(super) fn bad_request(text: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// Something failed in this daemon.
    pub(super) fn internal(text: impl Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    /// The same request may succeed in a moment.
    pub(super) fn busy(text: impl Display) -> Self {
        let answer = Self::new(StatusCode::SERVICE_UNAVAILABLE, text);
        Self { retry_after_seconds: Some(1), ..answer }
    }

    /// There is no file for this metric.
    pub(super) fn no_such_metric() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Metric not found.")
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }
}

/// The answer to a path that no route has.
pub(super) async fn no_such_page() -> PlainAnswer {
    PlainAnswer::new(StatusCode::NOT_FOUND, "404 page not found")
}

impl IntoResponse for PlainAnswer {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!(status = self.status.as_u16(), message = self.text, "request failed");
        }
        // A message may quote what was sent. It must stay one line.
        let mut line: String =
            self.text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        line.push('\n');
        let mut response = (self.status, line).into_response();
        let headers = response.headers_mut();
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<BodyError> for PlainAnswer {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::NoMemory(error) => error.into(),
            error => Self::new(error.status(), chain(&error)),
        }
    }
}

impl From<StoreError> for PlainAnswer {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Missing { .. } => Self::no_such_metric(),
            StoreError::NotAFile { .. }
            | StoreError::BadPath { .. }
            | StoreError::Elsewhere { .. } => Self::bad_request(chain(&error)),
            StoreError::Busy { .. }
            | StoreError::Unsteady { .. }
            | StoreError::Deleted { .. }
            | StoreError::NoMemory { .. } => Self::busy(chain(&error)),
            StoreError::TooLarge { .. }
            | StoreError::LatePoints { .. }
            | StoreError::NotWhole { .. }
            | StoreError::PrefixChanged { .. }
            | StoreError::PrefixGone { .. }
            | StoreError::VolumeMissing { .. }
            | StoreError::Hidden { .. }
            | StoreError::Served { .. }
            | StoreError::StateLink { .. }
            | StoreError::Io { .. } => Self::internal(chain(&error)),
        }
    }
}

/// Only a missing permit for a transfer becomes such an error here.
impl From<NoPermit> for PlainAnswer {
    fn from(error: NoPermit) -> Self {
        ApiError::from(error).into()
    }
}

impl From<ApiError> for PlainAnswer {
    fn from(error: ApiError) -> Self {
        Self::busy(error.body())
    }
}

/// The token does not allow it.
impl From<Denied> for PlainAnswer {
    fn from(denied: Denied) -> Self {
        Self::new(StatusCode::FORBIDDEN, denied)
    }
}

/// Other requests use the memory.
impl From<NoMemory> for PlainAnswer {
    fn from(error: NoMemory) -> Self {
        Self::busy(error)
    }
}

/// A file operation failed.
impl From<std::io::Error> for PlainAnswer {
    fn from(error: std::io::Error) -> Self {
        Self::internal(error)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::*;

    #[test]
    fn d42_only_a_missing_file_is_answered_as_missing() {
        let path = || "a/b.wsp".into();
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        for (error, status) in [
            (StoreError::Missing { path: path() }, 404),
            (StoreError::NotAFile { path: path(), what: "a FIFO" }, 400),
            (StoreError::BadPath { path: path() }, 400),
            (StoreError::Busy { path: path(), waited: Duration::ZERO }, 503),
            (StoreError::Unsteady { path: path() }, 503),
            (StoreError::Deleted { path: path() }, 503),
            (StoreError::TooLarge { path: path(), bytes: 2, limit: 1 }, 500),
            (StoreError::Io { action: "open", path: path(), source: denied }, 500),
        ] {
            let shown = chain(&error);
            assert_eq!(PlainAnswer::from(error).status().as_u16(), status, "{shown}");
        }
    }
}
