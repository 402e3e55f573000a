//! Answers that are lines, read as they come.

use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::body::{BodyError, ByteStream};
use super::error::ClientError;
use crate::DaemonAddr;
use crate::counted::counted;
use crate::ndjson::{Lines, LinesError, parse_line};

/// The most that the lines of an answer have together: twice a page of the longest names.
const ANSWER_LIMIT_BYTES: usize = 64 * 1024 * 1024;
/// The most lines that are collected where nothing smaller was asked for; no request names as many metrics.
const LINES_LIMIT: usize = 100_000;

/// The lines of an answer of a given daemon.
pub struct AnswerLines {
    lines: Lines<ByteStream>,
    /// What came so far.
    bytes: usize,
    limit: Duration,
    addr: DaemonAddr,
    route: &'static str,
}

impl AnswerLines {
    /// Those of this body, all of which may take so long together.
    pub(super) fn new(
        body: ByteStream,
        limit: Duration,
        addr: DaemonAddr,
        route: &'static str,
    ) -> Self {
        Self { lines: Lines::new(body), bytes: 0, limit, addr, route }
    }

    /// Lets all of them together take so much longer.
    pub(super) fn take_longer(&mut self, by: Duration) {
        self.limit = self.limit.saturating_add(by);
    }

    /// The next line as a value; none at the end.
    ///
    /// # Errors
    /// [`ClientError::Lines`] where the answer breaks off, is not understood, or says that the daemon failed;
    /// [`ClientError::TimedOut`] where signs of life come for too long, and nothing else; [`ClientError::BadAnswer`]
    /// where the lines are together longer than any answer.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        let Some(line) = self.next_line().await? else { return Ok(None) };
        parse_line(&line).map(Some).map_err(|source| self.error(source))
    }

    /// The next line as it stands, without its end; none at the end.
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

    /// All lines that are left, as values.
    ///
    /// # Errors
    /// As [`AnswerLines::next`]; [`ClientError::BadAnswer`] where there are more than any request asks for.
    pub async fn collect<T: DeserializeOwned>(self) -> Result<Vec<T>, ClientError> {
        self.collect_at_most(LINES_LIMIT).await
    }

    /// All lines that are left, as values, where no more than `limit` were asked for.
    ///
    /// # Errors
    /// As [`AnswerLines::next`]; [`ClientError::BadAnswer`] where there are more.
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

    /// The error of an answer that has more lines than the `limit` that were asked for.
    pub fn too_many(&self, limit: usize) -> ClientError {
        let found = format!(
            "more than {}, which is what was asked for",
            counted(limit as u64, "line", "lines")
        );
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
