//! Answers that are lines, read as they arrive.

use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::body::{BodyError, ByteStream};
use super::error::ClientError;
use crate::DaemonAddr;
use crate::ndjson::{Lines, LinesError, parse_line};

/// The most bytes that all lines of an answer take: twice a page of the longest names.
const ANSWER_LIMIT_BYTES: usize = 64 * 1024 * 1024;
/// The most lines that are collected if the request sets no smaller limit. No request names as many metrics.
const LINES_LIMIT: usize = 100_000;

/// The lines of one daemon's answer.
pub struct AnswerLines {
    lines: Lines<ByteStream>,
    /// How many bytes have arrived.
    bytes: usize,
    limit: Duration,
    addr: DaemonAddr,
    route: &'static str,
}

impl AnswerLines {
    /// The lines in `body`. Each may take `limit`.
    pub(super) fn new(
        body: ByteStream,
        limit: Duration,
        addr: DaemonAddr,
        route: &'static str,
    ) -> Self {
        Self { lines: Lines::new(body), bytes: 0, limit, addr, route }
    }

    /// Extends the time limit of each line by `by`.
    pub(super) fn extend_limit(&mut self, by: Duration) {
        self.limit = self.limit.saturating_add(by);
    }

    /// The next line as a value; `None` at the end.
    ///
    /// # Errors
    /// [`ClientError::Lines`] if the connection is lost, a line cannot be understood, or the daemon reports a
    /// failure. [`ClientError::TimedOut`] if only signs of life arrive for too long.
    /// [`ClientError::BadAnswer`] if all lines together are longer than any answer.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        let Some(line) = self.next_line().await? else { return Ok(None) };
        parse_line(&line).map(Some).map_err(|source| self.error(source))
    }

    /// The next line as text, without its end; `None` at the end.
    ///
    /// # Errors
    /// As [`AnswerLines::next`].
    pub async fn next_line(&mut self) -> Result<Option<Bytes>, ClientError> {
        let line = match tokio::time::timeout(self.limit, self.lines.next_line()).await {
            Ok(line) => line.map_err(|source| self.error(source))?,
            Err(_) => return Err(self.timed_out()),
        };
        self.bytes += line.as_ref().map_or(0, Bytes::len);
        if self.bytes > ANSWER_LIMIT_BYTES {
            let found = format!("lines of more than {ANSWER_LIMIT_BYTES} bytes together");
            return Err(ClientError::BadAnswer {
                addr: self.addr.clone(),
                route: self.route,
                found,
            });
        }
        Ok(line)
    }

    /// All remaining lines, as values.
    ///
    /// # Errors
    /// As [`AnswerLines::next`]. [`ClientError::BadAnswer`] if there are more lines than any request asks
    /// for.
    pub async fn collect<T: DeserializeOwned>(self) -> Result<Vec<T>, ClientError> {
        self.collect_at_most(LINES_LIMIT).await
    }

    /// All remaining lines, as values. The request asked for at most `limit`.
    ///
    /// # Errors
    /// As [`AnswerLines::next`]. [`ClientError::BadAnswer`] if there are more.
    pub async fn collect_at_most<T: DeserializeOwned>(
        mut self,
        limit: usize,
    ) -> Result<Vec<T>, ClientError> {
        let mut values = Vec::new();
        while let Some(value) = self.next().await? {
            if values.len() == limit {
                return Err(self.too_many(limit));
            }
            values.push(value);
        }
        Ok(values)
    }

    /// The error for an answer with more lines than `limit`, which the request asked for.
    pub fn too_many(&self, limit: usize) -> ClientError {
        let found = format!("more lines than the request's limit of {limit}");
        ClientError::BadAnswer { addr: self.addr.clone(), route: self.route, found }
    }

    fn error(&self, source: LinesError<BodyError>) -> ClientError {
        let source = Box::new(source);
        ClientError::Lines { addr: self.addr.clone(), route: self.route, source }
    }

    fn timed_out(&self) -> ClientError {
        ClientError::TimedOut { addr: self.addr.clone(), route: self.route, after: self.limit }
    }
}
