//! The error body of the `/v1` routes: `{"error": {"code", "message", "hint"}}`.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of failure, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request cannot be understood; sending it again will not help.
    BadRequest,
    /// The token does not allow it, or there is no token; or the request names a host that the daemon may not
    /// fetch from.
    Forbidden,
    /// No such route, or no such metric.
    NotFound,
    /// The archive stream is malformed, or one of its members is not allowed.
    BadArchive,
    /// The archive stream ended before its report.
    CutOff,
    /// A size limit was exceeded.
    TooLarge,
    /// The node runs as many transfers as it may, or a lock is held for too long. Try again.
    Busy,
    /// The daemon is shutting down. Try another node, or try again later.
    Stopping,
    /// There is no inventory yet. Try again.
    NotReady,
    /// The clocks of the two sides differ by more than the node allows. A point may be valid for one and
    /// expired for the other.
    ClockDiffers,
    /// The peer to pull from did not answer as expected.
    Peer,
    /// A file operation failed.
    Storage,
    /// Something else.
    #[serde(other)]
    Internal,
}

/// The error body of a `/v1` route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// The content of [`ErrorBody`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// For programs.
    pub code: ErrorCode,
    /// What was being done, to what, and what was found.
    pub message: String,
    /// What the operator can do; empty if there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

impl ErrorBody {
    /// An error without a hint.
    pub fn new(code: ErrorCode, message: impl fmt::Display) -> Self {
        Self { error: ErrorDetail { code, message: message.to_string(), hint: String::new() } }
    }

    /// Adds what the operator can do.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.error.hint = hint.to_string();
        self
    }
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error.message)?;
        if !self.error.hint.is_empty() {
            write!(f, " ({})", self.error.hint)?;
        }
        Ok(())
    }
}

/// An error with all its sources, joined by `: `, as people see it.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_says_each_source_once_from_the_outside_in() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open /w/a.wsp")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("disk gone"));
        assert_eq!(chain(&error), "cannot open /w/a.wsp: disk gone");
    }

    #[test]
    fn the_body_reads_as_the_contract_has_it() {
        let body = ErrorBody::new(ErrorCode::NotReady, "no list yet").hint("try again");
        let json = r#"{"error":{"code":"not_ready","message":"no list yet","hint":"try again"}}"#;
        assert_eq!(serde_json::to_string(&body).unwrap(), json);
        assert_eq!(serde_json::from_str::<ErrorBody>(json).unwrap(), body);
        assert_eq!(body.to_string(), "no list yet (try again)");
    }
}
