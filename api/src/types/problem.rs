//! The kinds of problems that requests and their answers name.

use serde::{Deserialize, Serialize};

/// The problem that kept a metric from being healed or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// The source does not have the file, or no longer.
    SourceMissing,
    /// The source's file is not a Whisper file, or a damaged one.
    SourceDamaged,
    /// The source's file could not be read.
    SourceUnreadable,
    /// The owner's file is damaged; it is not replaced.
    DestinationDamaged,
    /// One of the two files is compressed: points cannot be exchanged.
    Compressed,
    /// Points of the source have no place in the owner's file: it has another schema, or newer timestamps are
    /// in their slots.
    NoPlace,
    /// Another process holds the file's lock.
    Busy,
    /// The content does not have the digest that it was sent with.
    DigestMismatch,
    /// No room, no quota, or a read-only file system at the owner.
    NoSpace,
    /// The path leads through a symbolic link or something that is not a folder, or does not end in a regular
    /// file.
    BadPath,
    /// The stream ended before this metric arrived.
    CutOff,
    /// The file is larger than a transfer may be.
    TooLarge,
    /// The token does not allow it.
    Forbidden,
    /// go-carbon keeps late points of the metric in another file, which is not moved.
    LatePoints,
    /// Another failure of the file system.
    #[serde(other)]
    Storage,
}

impl Problem {
    /// Whether a retry may help.
    pub fn may_pass(self) -> bool {
        matches!(
            self,
            Self::Busy
                | Self::CutOff
                | Self::DigestMismatch
                | Self::Storage
                | Self::SourceUnreadable
        )
    }
}
