//! Why an exchange with a daemon failed.

use std::time::Duration;

use reqwest::StatusCode;

use super::body::BodyError;
use crate::ndjson::LinesError;
use crate::{DaemonAddr, ErrorCode};

/// What the network said: the innermost cause. The outer layers repeat the address and name the library.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NetworkError(String);

impl From<reqwest::Error> for NetworkError {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Self(cause.to_string())
    }
}

/// Why an exchange with a daemon failed. Every variant names the daemon.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error("cannot reach {addr} (is buckyd running there, and does it listen on that address?)")]
    Unreachable {
        /// The daemon.
        addr: DaemonAddr,
        /// The network's error.
        source: NetworkError,
    },
    /// It did not answer in time.
    #[error("{addr} did not answer {route} within {} s", after.as_secs())]
    TimedOut {
        /// The daemon.
        addr: DaemonAddr,
        /// The route.
        route: &'static str,
        /// The limit.
        after: Duration,
    },
    /// The connection was lost before the head of the answer arrived.
    #[error("the connection to {addr} was lost during {route}")]
    Broken {
        /// The daemon.
        addr: DaemonAddr,
        /// The route.
        route: &'static str,
        /// The network's error.
        source: NetworkError,
    },
    /// It answered with an error.
    #[error("{addr} answered {route} with {status}: {body}")]
    Status {
        /// The daemon.
        addr: DaemonAddr,
        /// The route.
        route: &'static str,
        /// The status.
        status: StatusCode,
        /// The kind of failure, if the daemon named one.
        code: Option<ErrorCode>,
        /// The text of the answer.
        body: String,
    },
    /// It answered with something that cannot be understood.
    #[error("cannot understand the answer of {addr} to {route}: {found}")]
    BadAnswer {
        /// The daemon.
        addr: DaemonAddr,
        /// The route.
        route: &'static str,
        /// What was found.
        found: String,
    },
    /// The lines of its answer ended too early.
    #[error("the answer of {addr} to {route} is not complete")]
    Lines {
        /// The daemon.
        addr: DaemonAddr,
        /// The route.
        route: &'static str,
        /// The reason.
        source: Box<LinesError<BodyError>>,
    },
}

impl ClientError {
    pub(super) fn transport(
        addr: &DaemonAddr,
        route: &'static str,
        source: reqwest::Error,
    ) -> Self {
        let addr = addr.clone();
        if source.is_connect() {
            Self::Unreachable { addr, source: source.into() }
        } else {
            Self::Broken { addr, route, source: source.into() }
        }
    }

    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The kind of failure, if the daemon named one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Status { code, .. } => *code,
            _ => None,
        }
    }

    /// The daemon that the exchange was with.
    pub fn addr(&self) -> &DaemonAddr {
        match self {
            Self::Unreachable { addr, .. }
            | Self::TimedOut { addr, .. }
            | Self::Broken { addr, .. }
            | Self::Status { addr, .. }
            | Self::BadAnswer { addr, .. }
            | Self::Lines { addr, .. } => addr,
        }
    }

    /// Whether the same request may succeed later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Broken { .. } => true,
            // It would send the same lines again.
            Self::Lines { source, .. } => !matches!(**source, LinesError::TooLong),
            Self::Status { status, .. } => {
                status.is_server_error() || matches!(status.as_u16(), 202 | 408 | 429)
            }
            Self::BadAnswer { .. } => false,
        }
    }
}
