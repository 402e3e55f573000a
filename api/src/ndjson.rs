//! Answers that are one JSON value per line, read as they arrive.
//!
//! An empty line is a sign of life from a daemon that is still at work. A line that is an error body ends the
//! answer: the daemon could not finish.

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use serde::de::DeserializeOwned;

use crate::error::ErrorBody;

/// The longest line that is read. The longest line that a daemon writes, with a name of 4 KiB, its reason and
/// all owners of the largest ring, is a tenth of it.
const LINE_LIMIT_BYTES: usize = 1024 * 1024;

/// Why the lines of an answer ended too early.
#[derive(Debug, thiserror::Error)]
pub enum LinesError<E: std::error::Error + 'static> {
    /// The connection was lost.
    #[error("the connection was lost during the answer")]
    Broken(#[source] E),
    /// The last line has no end.
    #[error("the answer was cut off in the middle of a line")]
    CutOff,
    /// A line that cannot be understood.
    #[error("cannot understand a line of the answer: {line:?}")]
    NotUnderstood {
        /// Its beginning.
        line: String,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A line longer than any that a daemon writes.
    #[error("the answer has a line of more than {LINE_LIMIT_BYTES} bytes")]
    TooLong,
    /// The daemon could not finish.
    #[error("the daemon could not finish: {0}")]
    Daemon(ErrorBody),
}

/// The lines of an answer.
pub struct Lines<S> {
    stream: S,
    buffer: BytesMut,
    searched: usize,
}

impl<S, E> Lines<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::error::Error + 'static,
{
    /// The lines in `stream`.
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new(), searched: 0 }
    }

    /// The next line as bytes without its end; `None` at the end of the answer.
    ///
    /// # Errors
    /// [`LinesError`].
    pub async fn next_line(&mut self) -> Result<Option<Bytes>, LinesError<E>> {
        loop {
            if let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + at).freeze();
                self.buffer.advance(1);
                self.searched = 0;
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.searched > LINE_LIMIT_BYTES {
                return Err(LinesError::TooLong);
            }
            match self.stream.next().await {
                Some(Ok(chunk)) => self.buffer.extend_from_slice(&chunk),
                Some(Err(error)) => return Err(LinesError::Broken(error)),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(LinesError::CutOff),
            }
        }
    }

    /// The next line as a value; `None` at the end of the answer.
    ///
    /// # Errors
    /// [`LinesError`].
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, LinesError<E>> {
        let Some(line) = self.next_line().await? else { return Ok(None) };
        parse_line(&line).map(Some)
    }
}

/// Parses a line.
///
/// # Errors
/// [`LinesError::Daemon`] and [`LinesError::NotUnderstood`].
pub(crate) fn parse_line<T, E>(line: &[u8]) -> Result<T, LinesError<E>>
where
    T: DeserializeOwned,
    E: std::error::Error + 'static,
{
    serde_json::from_slice(line).map_err(|source| match serde_json::from_slice::<ErrorBody>(line) {
        Ok(error) => LinesError::Daemon(error),
        Err(_) => LinesError::NotUnderstood {
            line: String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned(),
            source,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use std::convert::Infallible;

    async fn read(chunks: &[&'static str]) -> (Vec<u32>, Option<String>) {
        let chunks: Vec<Result<Bytes, Infallible>> =
            chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).collect();
        let mut lines = Lines::new(stream::iter(chunks));
        let mut values = Vec::new();
        loop {
            match lines.next().await {
                Ok(Some(value)) => values.push(value),
                Ok(None) => return (values, None),
                Err(error) => return (values, Some(error.to_string())),
            }
        }
    }

    #[tokio::test]
    async fn lines_come_whole_however_they_are_cut_on_the_wire() {
        assert_eq!(read(&["1\n", "\n\n2", "3\n4", "\n"]).await, (vec![1, 23, 4], None));
    }

    #[tokio::test]
    async fn an_answer_without_its_last_line_end_is_cut_off() {
        let (values, error) = read(&["1\n2"]).await;
        assert_eq!(values, [1]);
        assert!(error.unwrap().contains("cut off"));
    }

    #[tokio::test]
    async fn an_error_body_among_the_lines_is_the_daemons_word() {
        let (values, error) =
            read(&["1\n{\"error\":{\"code\":\"storage\",\"message\":\"disk full\"}}\n"]).await;
        assert_eq!(values, [1]);
        assert!(error.unwrap().contains("disk full"));
    }
}
