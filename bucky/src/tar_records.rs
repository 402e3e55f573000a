//! The records that `bucky tar` writes into a tar and `bucky restore` reads: digests of a member's content,
//! and the map of a sparse member's data.
//!
//! A record is `LENGTH SPACE KEY=VALUE LF`; the length includes all of it. Source: `pax`, "pax Extended
//! Header", in POSIX.1-2001. The digest is in a `comment`: readers of a tar must ignore it, and no tool sets
//! it on the file that it unpacks. An extended attribute, as in an archive stream, would stay on the file and
//! be wrong after carbon's next write.

use bucky_whisper::Digest;

/// The key of a record that is for people only.
pub(crate) const COMMENT: &str = "comment";
/// How a comment with digests begins.
const DIGESTS: &str = "bucky xxh3=";
/// What separates the digest of the content from that of the path.
const PATH_DIGEST: &str = " path-xxh3=";

/// The length of a block of a tar, in bytes.
pub(crate) const BLOCK: usize = 512;

/// The most stretches in the map of a sparse file, for reading and writing.
pub(crate) const STRETCHES_MOST: usize = 512 * 1024;

/// The digests of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digests {
    /// Of the whole content.
    pub(crate) content: Digest,
    /// Of a path in a record: no checksum of the tar covers it.
    pub(crate) path: Option<Digest>,
}

/// What a comment contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommentContent {
    /// No digests: another program wrote it.
    Nothing,
    /// Our digests.
    Digests(Digests),
    /// Our digests, damaged.
    Damaged,
}

impl Digests {
    /// The digests as the value of a comment.
    pub(crate) fn to_comment(self) -> String {
        let path = self.path.map(|path| format!("{PATH_DIGEST}{path}")).unwrap_or_default();
        format!("{DIGESTS}{}{path}", self.content)
    }
}

/// Reads the value of a comment.
pub(crate) fn read_comment(comment: &[u8]) -> CommentContent {
    let Some(rest) = comment.strip_prefix(DIGESTS.as_bytes()) else {
        return CommentContent::Nothing;
    };
    let Ok(rest) = std::str::from_utf8(rest) else { return CommentContent::Damaged };
    let (content, path) = match rest.split_once(PATH_DIGEST) {
        Some((content, path)) => (content, Some(path)),
        None => (rest, None),
    };
    match (content.parse(), path.map(str::parse).transpose()) {
        (Ok(content), Ok(path)) => CommentContent::Digests(Digests { content, path }),
        _ => CommentContent::Damaged,
    }
}

/// `key` and `value` as a record.
pub(crate) fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let without_length = key.len() + value.len() + 3;
    let mut length = without_length + 1;
    while without_length + length.to_string().len() > length {
        length = without_length + length.to_string().len();
    }
    let mut record = format!("{length} {key}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

/// The records in `bytes` in order, as key and value, or `None` if one is malformed.
pub(crate) fn records(mut bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ')?;
        let (record, rest) = bytes.split_at_checked(decimal(bytes.get(..space)?)?)?;
        let pair = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        records.push((pair.get(..equals)?, pair.get(equals + 1..)?));
        bytes = rest;
    }
    Some(records)
}

/// `text` as a number, if it is all digits.
pub(crate) fn decimal<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    let digits = std::str::from_utf8(text).ok()?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?
}

/// A stretch of a sparse file that is not a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Where it begins in the file.
    pub(crate) offset: u64,
    /// Its length.
    pub(crate) bytes: u64,
}

/// Places the stretches in a file of `len` bytes. `None` if they do not fit: out of order, past the end, or
/// not the same length as `data` in total.
pub(crate) fn spread(len: usize, stretches: &[Stretch], mut data: &[u8]) -> Option<Vec<u8>> {
    let mut content = vec![0; len];
    let mut end = 0;
    for Stretch { offset, bytes } in stretches {
        let start = usize::try_from(*offset).ok().filter(|start| *start >= end)?;
        let bytes = usize::try_from(*bytes).ok()?;
        let (stretch, rest) = data.split_at_checked(bytes)?;
        end = start.checked_add(bytes)?;
        content.get_mut(start..end)?.copy_from_slice(stretch);
        data = rest;
    }
    data.is_empty().then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        assert_eq!(record("path", b"a"), b"9 path=a\n".to_vec());
        for len in 0..1200 {
            let value = vec![b'v'; len];
            let bytes = record("k", &value);
            assert_eq!(
                decimal(bytes.split(|byte| *byte == b' ').next().unwrap()),
                Some(bytes.len())
            );
            assert_eq!(records(&bytes).unwrap(), [(&b"k"[..], value.as_slice())]);
        }
    }

    #[test]
    fn digests_are_read_from_a_comment_and_damage_is_noticed() {
        let digest = Digest::of(b"x");
        for path in [None, Some(Digest::of(b"a/b.wsp"))] {
            let digests = Digests { content: digest, path };
            let comment = digests.to_comment();
            assert_eq!(read_comment(comment.as_bytes()), CommentContent::Digests(digests));
            let damaged = comment.replace("xxh3=", "xxh3=z");
            assert_eq!(read_comment(damaged.as_bytes()), CommentContent::Damaged);
        }
        assert_eq!(read_comment(b"made on a Sunday"), CommentContent::Nothing);
    }

    #[test]
    fn stretches_that_do_not_fit_are_refused() {
        let at = |offset, bytes| Stretch { offset, bytes };
        assert_eq!(spread(5, &[at(1, 2), at(4, 1), at(5, 0)], b"abc").unwrap(), b"\0ab\0c");
        assert_eq!(spread(3, &[], b"").unwrap(), b"\0\0\0");
        for (len, stretches, data) in [
            (5, vec![at(1, 2)], &b"abc"[..]),
            (5, vec![at(1, 2)], b"a"),
            (5, vec![at(4, 2)], b"ab"),
            (5, vec![at(2, 1), at(1, 1)], b"ab"),
            (5, vec![at(u64::MAX, 2)], b"ab"),
            (5, vec![at(0, u64::MAX)], b"ab"),
            (5, vec![at(6, 0)], b""),
        ] {
            assert_eq!(spread(len, &stretches, data), None, "{stretches:?}");
        }
    }
}
