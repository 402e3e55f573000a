//! The digest that shows whether two copies of a file have the same content.
//!
//! It detects change and damage. It does not protect against a person who forges two files with the same
//! digest.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The most bytes that are read at once for the digest of a stream.
const BUFFER_BYTES: u64 = 256 * 1024;
/// The smallest buffer.
const LEAST_BUFFER_BYTES: u64 = 4096;

/// The 128-bit XXH3 of a file's whole content, written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(u128);

impl Digest {
    /// The digest of `content`.
    pub fn of(content: &[u8]) -> Self {
        Self(xxhash_rust::xxh3::xxh3_128(content))
    }

    /// The digest of everything that `content` yields, and its length in bytes, without holding it in memory.
    /// The expected length is `expected_bytes`: for a short content the buffer is only that long.
    ///
    /// # Errors
    /// The read errors of `content`.
    pub fn read(mut content: impl Read, expected_bytes: u64) -> io::Result<(Self, u64)> {
        let mut digest = xxhash_rust::xxh3::Xxh3::new();
        let buffer_bytes = expected_bytes.saturating_add(1).clamp(LEAST_BUFFER_BYTES, BUFFER_BYTES);
        let mut buffer = vec![0; usize::try_from(buffer_bytes).unwrap_or(4096)];
        let mut len_bytes = 0;
        loop {
            match content.read(&mut buffer) {
                Ok(0) => return Ok((Self(digest.digest128()), len_bytes)),
                Ok(read) => {
                    digest.update(&buffer[..read]);
                    len_bytes += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Digest {
    /// A digest made from a number: the sum of [`Self::of_time`] over a set of times.
    pub(crate) fn of_sum(sum: u128) -> Self {
        Self(sum)
    }

    /// What one time adds to that sum: the digest of its four bytes, big-endian.
    pub(crate) fn of_time(timestamp: u32) -> u128 {
        xxhash_rust::xxh3::xxh3_128(&timestamp.to_be_bytes())
    }
}

/// The digest of a content that arrives in pieces.
#[derive(Default)]
pub(crate) struct ContentDigest(xxhash_rust::xxh3::Xxh3);

impl ContentDigest {
    /// Adds the next piece.
    pub(crate) fn add(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces.
    pub(crate) fn finish(&self) -> Digest {
        Digest(self.0.digest128())
    }
}

impl fmt::Debug for ContentDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ContentDigest({:032x})", self.0.digest128())
    }
}

/// Computes the digest of a content that arrives in pieces.
#[derive(Default)]
pub struct DigestBuilder(xxhash_rust::xxh3::Xxh3);

impl DigestBuilder {
    /// A builder that has no pieces yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces.
    pub fn finish(&self) -> Digest {
        Digest(self.0.digest128())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

/// A text that is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 32 lower-case hexadecimal digits, not {found:?}")]
pub struct DigestParseError {
    /// The text that was found.
    pub found: String,
}

impl FromStr for Digest {
    type Err = DigestParseError;

    fn from_str(text: &str) -> Result<Self, DigestParseError> {
        let well_formed =
            text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let parsed = u128::from_str_radix(text, 16).ok().filter(|_| well_formed);
        parsed.map(Self).ok_or_else(|| DigestParseError { found: text.to_owned() })
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_xxh3_of_128_bits() {
        // The value that the reference implementation's `xxhsum -H128` gives for no input.
        assert_eq!(Digest::of(b"").to_string(), "99aa06d3014798d86001c324468d497f");
        assert_ne!(Digest::of(b"a"), Digest::of(b"b"));
    }

    #[test]
    fn a_stream_has_the_digest_of_its_bytes() {
        let content: Vec<u8> =
            (0..BUFFER_BYTES + 1000).map(|byte| u8::try_from(byte % 251).unwrap()).collect();
        for len_bytes in [0, 1, 300, BUFFER_BYTES, BUFFER_BYTES + 1000] {
            let content = &content[..usize::try_from(len_bytes).unwrap()];
            for expected_bytes in [0, len_bytes, u64::MAX] {
                let read = Digest::read(content.chain(&b""[..]), expected_bytes).unwrap();
                assert_eq!(read, (Digest::of(content), len_bytes));
            }
        }
    }

    #[test]
    fn a_digest_reads_back_from_text_and_json() {
        let digest = Digest::of(b"some content");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{digest}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
    }

    #[test]
    fn anything_but_32_lower_case_hexadecimal_digits_is_refused() {
        let upper = "99AA06D3014798D86001C324468D497F";
        for text in [
            "",
            "99aa",
            upper,
            "+9aa06d3014798d86001c324468d497f",
            &"0".repeat(33),
            &"é".repeat(16),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
