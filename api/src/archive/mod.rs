//! The archive stream: metrics that travel from one store to another, as a tar that GNU tar can list.
//!
//! Each metric is a member, `a/b/c.wsp`, with mode and mtime. A PAX record before it, [`DIGEST_RECORD`], has
//! the xxh3-128 digest of the content. The last member, [`REPORT_NAME`], lists what was left out, and why.
//! **A stream without a report was cut off**, however complete it looks: [`read_archive`] reports that.
//!
//! The reader trusts nothing in the stream. No number from it sizes an allocation. A link, a device or a path
//! that is not a metric's ends the reading with an error.

mod error;
mod pax;
mod reader;
mod receiver;
#[cfg(test)]
mod tests;
mod writer;

pub use self::error::ReadArchiveError;
pub use self::reader::{read_archive, receive_archive};
pub use self::receiver::{LargeMember, Limits, Member, NoRoom, Receiver};
pub use self::writer::{ArchiveWriter, Content};

/// The PAX record with the digest of the member that follows, 32 hex digits.
///
/// It is written as an extended attribute, because GNU tar warns about any other unknown record at each
/// member.
pub const DIGEST_RECORD: &str = "SCHILY.xattr.user.bucky.xxh3";
/// The PAX record with the digest of a path that is itself in a PAX record, which has no checksum.
///
/// It detects a long name that was damaged on the way. A content has its own digest, and a short name is
/// covered by the checksum of the tar header.
pub const PATH_DIGEST_RECORD: &str = "SCHILY.xattr.user.bucky.path-xxh3";
/// The PAX record, with the value `1`, of a member whose file has holes. The file that is made from it gets
/// the same holes.
pub const SPARSE_RECORD: &str = "SCHILY.xattr.user.bucky.sparse";
/// The name of the last member.
pub const REPORT_NAME: &str = ".bucky-report.json";

/// The longest report that is read: a line for each of [`Limits::members`].
const REPORT_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// The block size of a tar.
const BLOCK_BYTES: u64 = 512;

/// How many bytes a member with `content_bytes` of content takes in a stream: header, PAX record, content and
/// padding. A name that does not fit in a header takes some blocks more.
pub fn member_bytes(content_bytes: u64) -> u64 {
    content_bytes.div_ceil(BLOCK_BYTES).saturating_add(3).saturating_mul(BLOCK_BYTES)
}

/// What an archive says about a file besides its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMeta {
    /// Permission bits.
    pub mode: u32,
    /// Last written, in Unix seconds.
    pub mtime: u64,
}
