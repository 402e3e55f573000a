//! What extension headers say about a member, and whether its content matches the digest there.

use bucky_whisper::Digest;

use super::sparse::SparseRecords;
use crate::spool::Content;
use crate::tar_records::{COMMENT, CommentContent, decimal, read_comment, records};

/// What extension headers say about the next member.
#[derive(Default)]
pub(super) struct Extensions {
    /// Whether there are any.
    pub(super) is_there: bool,
    pub(super) path: Option<Vec<u8>>,
    pub(super) bytes: Option<u64>,
    pub(super) mtime: Option<u64>,
    pub(super) comment: Option<CommentContent>,
    pub(super) sparse: SparseRecords,
}

/// The digest of a file if it matches the archive's record of it. Otherwise the reason. `path` is the digest
/// of a name that comes from a record.
pub(super) fn checked(
    content: &Content,
    comment: Option<CommentContent>,
    path: Option<Digest>,
) -> Result<Digest, String> {
    let digest = match content {
        Content::Held(content) => Digest::of(content),
        Content::Spooled(spool) => spool.digest(),
    };
    match comment {
        Some(CommentContent::Damaged) => Err("it is damaged: cannot read its digest".into()),
        Some(CommentContent::Digests(comment)) if comment.content != digest => {
            Err(format!("it is damaged: its digest is {digest}, but it was {}", comment.content))
        }
        Some(CommentContent::Digests(comment))
            if comment.path.is_some() && comment.path != path =>
        {
            Err("its name is damaged: the digest does not match".into())
        }
        Some(CommentContent::Digests(_) | CommentContent::Nothing) | None => Ok(digest),
    }
}

impl Extensions {
    /// Reads records; `None` if they are damaged: what they would have said about the member is not guessed.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Option<()> {
        for (key, value) in records(bytes)? {
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"size" => self.bytes = Some(decimal(value)?),
                // Fractions of a second, and times before 1970, are not needed.
                b"mtime" => {
                    let seconds = value.split(|byte| *byte == b'.').next();
                    self.mtime = seconds.and_then(decimal);
                }
                key if key == COMMENT.as_bytes() => {
                    let comment = read_comment(value);
                    if comment != CommentContent::Nothing {
                        self.comment = Some(comment);
                    }
                }
                key => {
                    if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                        self.sparse.read(key, value);
                    }
                }
            }
        }
        Some(())
    }
}
