//! Series with tags, and the files that carbon and go-carbon name by their hash.
//!
//! Both store `name;tag1=value1;tag2=value2`, with sorted tags, as `_tagged/abc/def/HASH.wsp`. HASH is the
//! SHA-256 of that text in lower-case hexadecimal digits, and the folders are its first six digits. Source:
//! `TaggedSeries.encode` in carbon (TAG_HASH_FILENAMES), `FilePath` of go-carbon's `tags` (`hash-filenames`).

use std::fmt;

use sha2::{Digest, Sha256};

/// The number of bytes of a hash.
const LEN: usize = 32;
/// The beginning of the name of a tagged series' file.
const TAGGED_PREFIX: &str = "_tagged.";

/// The SHA-256 of a series, which is the name of its file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesHash([u8; LEN]);

impl SeriesHash {
    /// The hash of `series`.
    pub fn of(series: &str) -> Self {
        Self::of_bytes(series.as_bytes())
    }

    pub(crate) fn of_bytes(series: &[u8]) -> Self {
        Self(Sha256::digest(series).into())
    }

    /// The hash in the metric's name `name`. `None` if its last component is not 64 lower-case hexadecimal
    /// digits, or if it is not a tagged series.
    pub fn in_name(name: &str) -> Option<Self> {
        let digits = name.strip_prefix(TAGGED_PREFIX)?.rsplit('.').next()?.as_bytes();
        if digits.len() != 2 * LEN {
            return None;
        }
        let mut hash = [0; LEN];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = pair else { return None };
            *byte = (digit(*high)? << 4) | digit(*low)?;
        }
        Some(Self(hash))
    }

    /// The name of the metric as which carbon would store the series: `_tagged.abc.def.HASH`.
    pub fn metric_name(&self) -> String {
        let digits = self.to_string();
        let (first, second) = (digits.get(..3), digits.get(3..6));
        format!(
            "{TAGGED_PREFIX}{}.{}.{digits}",
            first.unwrap_or_default(),
            second.unwrap_or_default()
        )
    }

    /// Its first eight bytes, as a number.
    pub(crate) fn first_bits(&self) -> u64 {
        self.0.iter().take(8).fold(0, |bits, byte| (bits << 8) | u64::from(*byte))
    }
}

impl fmt::Display for SeriesHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SeriesHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SeriesHash({self})")
    }
}

/// Carbon writes lower-case digits; another spelling is another file.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// A series whose SHA-256 equals the name of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedSeries(String);

impl HashedSeries {
    /// `text`, if its hash is `hash`. There is no other constructor: a wrong list can place nothing.
    pub fn checked(text: &str, hash: &SeriesHash) -> Option<Self> {
        (SeriesHash::of(text) == *hash).then(|| Self(text.to_owned()))
    }

    /// The series.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks that `text` is a series with tags, `name;tag=value;tag=value`. The error is the reason.
pub(crate) fn check_form(text: &str) -> Result<(), &'static str> {
    let mut parts = text.split(';');
    if parts.next().is_none_or(str::is_empty) {
        return Err("it has no name before the first `;`");
    }
    let mut tags = 0;
    for tag in parts {
        if tag.find('=').is_none_or(|at| at == 0) {
            return Err("a tag is not written as `tag=value`");
        }
        tags += 1;
    }
    if tags == 0 { Err("it has no tags") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name is from carbon 1.1.10's own test for this series.
    #[test]
    fn a_file_is_named_by_the_hash_of_its_series() {
        let hash = SeriesHash::of("stats.example.counts;tag1=value1");
        let name = hash.metric_name();
        assert!(name.starts_with("_tagged.872.252.872252"), "{name}");
        assert_eq!(SeriesHash::in_name(&name), Some(hash));
        assert_eq!(name.len(), "_tagged.872.252.".len() + 64);
    }

    #[test]
    fn only_64_lower_case_digits_below_the_tagged_folder_are_a_hash() {
        let digits = SeriesHash::of("a;b=c").to_string();
        let name = |last: &str| format!("_tagged.abc.def.{last}");
        assert!(SeriesHash::in_name(&name(&digits)).is_some());
        for other in [
            name(&digits.to_uppercase().replace(|c: char| c.is_ascii_digit(), "A")),
            name(&digits[1..]),
            name(&format!("{digits}0")),
            name(&digits.replace(['0', '1'], "g")),
            digits.clone(),
            format!("tagged.abc.def.{digits}"),
            "_tagged.abc.def.a;b=c".into(),
            "_tagged.".into(),
        ] {
            assert_eq!(SeriesHash::in_name(&other), None, "{other}");
        }
    }

    #[test]
    fn a_series_is_taken_for_that_of_its_own_hash_only() {
        let hash = SeriesHash::of("a;b=c");
        assert_eq!(HashedSeries::checked("a;b=c", &hash).unwrap().as_str(), "a;b=c");
        for other in ["a;b=d", "a;b=c ", "A;b=c", ""] {
            assert_eq!(HashedSeries::checked(other, &hash), None, "{other:?}");
        }
    }

    #[test]
    fn a_series_has_a_name_and_tags() {
        for good in ["a;b=c", "a.b.c;d=e;f=g", "a;b=", "a;b=c=d", "é;b=ü", "#a;b=c"] {
            assert_eq!(check_form(good), Ok(()), "{good}");
        }
        for bad in ["", "path", "a.b.c", ";b=c", "a;", "a;b", "a;=c", "a;b=c;", "a;b=c;;d=e"] {
            assert!(check_form(bad).is_err(), "{bad}");
        }
    }
}
