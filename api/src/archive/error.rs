//! Why an archive stream could not be read.

use std::io;

use super::REPORT_NAME;
use super::receiver::NoRoom;
use crate::counted::metrics;

/// Why an archive stream could not be read to its end. Members before the error have been handed out.
#[derive(Debug, thiserror::Error)]
pub enum ReadArchiveError {
    /// The bytes are not a tar stream.
    #[error("the body is not a tar stream")]
    NotATar(#[source] io::Error),
    /// The stream ended before its report.
    #[error("the archive stream was cut off after {}: it has no {REPORT_NAME} at its end", metrics(*members))]
    CutOff {
        /// How many complete members arrived.
        members: u64,
    },
    /// A member that is not a metric's regular file.
    #[error("archive member {path:?} is {what}; only regular files named as metrics are accepted")]
    NotAMetric {
        /// Its path.
        path: String,
        /// What it is.
        what: String,
    },
    /// A member that is too long.
    #[error("archive member {path:?} has {bytes} bytes; the limit is {limit}")]
    TooLarge {
        /// Its path.
        path: String,
        /// The length it announces.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Too many members.
    #[error("the archive stream has more than {limit} members; send them in several streams")]
    TooMany {
        /// The limit.
        limit: u64,
    },
    /// The receiver has no room for more.
    #[error("the sender ended the archive stream early, after {}", metrics(*members))]
    NoRoom {
        /// How many complete members arrived.
        members: u64,
        /// What the receiver said.
        source: NoRoom,
    },
    /// The name differs from the one that was sent.
    #[error("the name {path:?} in the archive stream arrived damaged, after {}", metrics(*members))]
    DamagedName {
        /// How many complete members arrived.
        members: u64,
        /// The damaged name.
        path: String,
    },
    /// The number of members is not the one in the report.
    #[error("the archive stream has {}, but its report counts {sent}", metrics(*members))]
    Miscounted {
        /// How many arrived.
        members: u64,
        /// How many were sent.
        sent: u64,
    },
    /// The report is not valid JSON of its type.
    #[error("cannot read the report at the end of the archive stream")]
    BadReport(#[source] serde_json::Error),
    /// The underlying reader failed, or the encoding is damaged.
    #[error("reading the archive stream failed after {}", metrics(*members))]
    Read {
        /// How many complete members arrived.
        members: u64,
        /// The reader's error.
        source: io::Error,
    },
}

pub(super) fn broken(source: io::Error, members: u64, seen: u64) -> ReadArchiveError {
    match source.kind() {
        io::ErrorKind::UnexpectedEof if seen > 0 => ReadArchiveError::CutOff { members },
        _ if seen == 0 && is_parse_error(&source) => ReadArchiveError::NotATar(source),
        _ => ReadArchiveError::Read { members, source },
    }
}

/// Whether `error` is about the bytes, and not about the connection.
fn is_parse_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Other
            | io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::UnexpectedEof
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_failed_says_after_how_many_metrics() {
        let read = |members| ReadArchiveError::Read { members, source: io::Error::other("") };
        for (error, text) in [
            (read(0), "reading the archive stream failed after 0 metrics"),
            (read(1), "reading the archive stream failed after 1 metric"),
            (
                ReadArchiveError::Miscounted { members: 1, sent: 2 },
                "the archive stream has 1 metric, but its report counts 2",
            ),
            (
                ReadArchiveError::CutOff { members: 1 },
                "the archive stream was cut off after 1 metric: it has no .bucky-report.json at its end",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }
}
