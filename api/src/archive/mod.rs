//! An archive stream: metrics on their way from one store to another, as a tar that GNU tar lists too.
//!
//! One member a metric, `a/b/c.wsp`, with mode and mtime; before it a PAX record [`DIGEST_RECORD`] with the
//! content's xxh3-128 digest. The last member, [`REPORT_NAME`], says what was left out and why. **A stream without
//! its report was cut off**, whatever else it looks like: [`read_archive`] says so.
//!
//! The reader trusts nothing: no number from the stream sizes an allocation, links, devices and paths that are not
//! a metric's end the reading with an error.

mod error;
mod pax;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use self::error::ReadArchiveError;
pub use self::reader::{
    LargeMember, Limits, Member, NoRoom, Receiver, read_archive, receive_archive,
};
pub use self::writer::{ArchiveWriter, Content};

/// The PAX record that carries the digest of the member that follows, 32 hex digits.
///
/// It is written as an extended attribute: of any other record of our own GNU tar warns at each member.
pub const DIGEST_RECORD: &str = "SCHILY.xattr.user.bucky.xxh3";
/// The PAX record that carries the digest of a path that stands in a PAX record, which no checksum covers.
///
/// With it a long name that was damaged on the way is noticed, as the content is by its own digest and a short name by
/// the checksum of its header.
pub const PATH_DIGEST_RECORD: &str = "SCHILY.xattr.user.bucky.path-xxh3";
/// The PAX record, with the value `1`, of a member whose file has holes: the file made from it gets the same holes.
pub const SPARSE_RECORD: &str = "SCHILY.xattr.user.bucky.sparse";
/// The name of the last member.
pub const REPORT_NAME: &str = ".bucky-report.json";

/// The largest report that is read: a line for each of [`Limits::members`].
const REPORT_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// A tar's unit.
const BLOCK_BYTES: u64 = 512;

/// What a member with so long a content takes in a stream: with its header, its PAX record and what pads it. A name that
/// does not fit in a header takes some blocks more.
pub fn member_bytes(content_bytes: u64) -> u64 {
    content_bytes.div_ceil(BLOCK_BYTES).saturating_add(3).saturating_mul(BLOCK_BYTES)
}

/// What an archive tells of a file beside its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMeta {
    /// Permission bits.
    pub mode: u32,
    /// Last written, in Unix seconds.
    pub mtime: u64,
}
