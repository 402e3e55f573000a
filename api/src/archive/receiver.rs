//! The receiver of an archive stream: what it is given, and how it limits memory.

use bucky_whisper::{Digest, MetricName};

use super::FileMeta;

/// One metric of an archive stream.
#[derive(Debug)]
pub struct Member {
    /// The metric.
    pub metric: MetricName,
    /// Mode and mtime at the source.
    pub meta: FileMeta,
    /// The whole file.
    pub content: Vec<u8>,
    /// Whether the file has holes at the source.
    pub is_sparse: bool,
    /// The digest of `content` as it arrived.
    pub digest: Digest,
    /// The digest that the sender announced. A tar made by another tool has none.
    pub announced: Option<Digest>,
}

impl Member {
    /// Whether the content is what the sender read. True if the sender announced no digest.
    pub fn is_intact(&self) -> bool {
        self.announced.is_none_or(|announced| announced == self.digest)
    }
}

/// A metric whose file is too long to hold in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LargeMember {
    /// The metric.
    pub metric: MetricName,
    /// Mode and mtime at the source.
    pub meta: FileMeta,
    /// The length of the file.
    pub len_bytes: u64,
    /// Whether it has holes at the source.
    pub is_sparse: bool,
    /// The digest that was announced before the content. If it is `None`, the report has the digest.
    pub announced: Option<Digest>,
}

/// What a reader accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The length of the longest member.
    pub member_bytes: u64,
    /// The most members.
    pub members: u64,
}

impl Default for Limits {
    /// 256 MiB a metric, 65,536 metrics a stream.
    fn default() -> Self {
        Self { member_bytes: 256 * 1024 * 1024, members: 65_536 }
    }
}

/// Takes the metrics of an archive stream.
pub trait Receiver {
    /// Called for a member within the limits before its bytes arrive, with the length that the sender
    /// announced.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    fn announce(&mut self, _metric: &MetricName, _bytes: u64) -> Result<(), NoRoom> {
        Ok(())
    }

    /// Called before `bytes` more of a member, or of the report, are held in memory. The memory is free again
    /// when the next member begins.
    ///
    /// # Errors
    /// If there is no room for them. The reading then ends with [`super::ReadArchiveError::NoRoom`].
    fn reserve(&mut self, bytes: u64) -> Result<(), NoRoom>;

    /// The buffer for the next metric: a new empty one, or one that was used before.
    fn buffer(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// Called before a member that is longer than [`Limits::member_bytes`]. The default, `false`, ends the
    /// reading with [`super::ReadArchiveError::TooLarge`].
    fn begin_large(&mut self, _member: &LargeMember) -> bool {
        false
    }

    /// Takes the next piece of a long member.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    fn take_large_piece(&mut self, _piece: &[u8]) -> Result<(), NoRoom> {
        Ok(())
    }

    /// Called when a long member is complete.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    fn end_large(&mut self) -> Result<(), NoRoom> {
        Ok(())
    }

    /// Takes a metric that is complete.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    fn take(&mut self, member: Member) -> Result<(), NoRoom>;
}

/// A receiver that has room for everything within the limits.
impl<F: FnMut(Member)> Receiver for F {
    fn reserve(&mut self, _bytes: u64) -> Result<(), NoRoom> {
        Ok(())
    }

    fn take(&mut self, member: Member) -> Result<(), NoRoom> {
        self(member);
        Ok(())
    }
}

/// A receiver has no room for more now. The text says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoRoom(pub String);
