//! The `Range` header: which bytes of an answer the client wants. Pure.
//!
//! It is read as in Go's `net/http`, with three differences: a suffix of no bytes (`-0`) overlaps nothing, a
//! range of an empty file is ignored, and a request for many ranges gets the whole file.

use std::ops::Range;

/// A request for more ranges gets the whole file: parts would cost more than they save.
const RANGES_MOST: usize = 16;

/// The bytes that a `Range` header selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SelectedBytes {
    /// The whole file.
    Whole,
    /// One part, which is not empty and is inside the file.
    Part(Range<usize>),
    /// Several parts, in the order of the request.
    Parts(Vec<Range<usize>>),
}

/// Why a range cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RangeError {
    /// Not of the form `bytes=FIRST-LAST`.
    #[error("invalid range")]
    Invalid,
    /// All ranges are beyond the end.
    #[error("invalid range: failed to overlap")]
    NoOverlap,
}

/// The bytes of a file of `len_bytes` that the header value `text` selects.
///
/// # Errors
/// [`RangeError`], which becomes a 416.
pub(super) fn parse(text: &str, len_bytes: usize) -> Result<SelectedBytes, RangeError> {
    if len_bytes == 0 {
        return Ok(SelectedBytes::Whole);
    }
    let list = text.strip_prefix("bytes=").ok_or(RangeError::Invalid)?;
    let mut ranges = Vec::new();
    let mut beyond = false;
    for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        match parse_one(item, len_bytes)? {
            Some(range) => ranges.push(range),
            None => beyond = true,
        }
    }
    if ranges.is_empty() {
        return if beyond { Err(RangeError::NoOverlap) } else { Ok(SelectedBytes::Whole) };
    }
    if let [range] = ranges.as_slice() {
        return Ok(SelectedBytes::Part(range.clone()));
    }
    let requested = ranges.iter().map(ExactSizeIterator::len).fold(0, usize::saturating_add);
    if ranges.len() > RANGES_MOST || requested > len_bytes {
        return Ok(SelectedBytes::Whole);
    }
    Ok(SelectedBytes::Parts(ranges))
}

/// One range. `None` if it is beyond the end.
fn parse_one(item: &str, len_bytes: usize) -> Result<Option<Range<usize>>, RangeError> {
    let (first, last) = item.split_once('-').ok_or(RangeError::Invalid)?;
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        let suffix = number(last)?;
        return Ok((suffix > 0).then(|| len_bytes.saturating_sub(suffix)..len_bytes));
    }
    let first = number(first)?;
    let end = if last.is_empty() {
        len_bytes
    } else {
        let last = number(last)?;
        if last < first {
            return Err(RangeError::Invalid);
        }
        last.saturating_add(1).min(len_bytes)
    };
    Ok((first < len_bytes).then_some(first..end))
}

/// A number without a sign. A number that is too large for this machine is beyond any file.
fn number(text: &str) -> Result<usize, RangeError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(RangeError::Invalid);
    }
    Ok(text.parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_means_these_bytes_of_148() {
        for (text, wanted) in [
            ("bytes=0-15", 0..16),
            ("bytes=-5", 143..148),
            ("bytes=-500", 0..148),
            ("bytes=147-", 147..148),
            ("bytes=10-9999999999999999999999", 10..148),
            ("bytes= 1 - 2 ,", 1..3),
            ("bytes=500-,3-3", 3..4),
        ] {
            assert_eq!(parse(text, 148), Ok(SelectedBytes::Part(wanted)), "{text}");
        }
        assert_eq!(parse("bytes=0-1,4-5", 148), Ok(SelectedBytes::Parts(vec![0..2, 4..6])));
    }

    #[test]
    fn an_invalid_range_or_one_beyond_the_end_is_refused() {
        for text in
            ["lines=0-1", "bytes 0-1", "bytes=a-b", "bytes=5-1", "bytes=5", "bytes=-", "bytes=+1-2"]
        {
            assert_eq!(parse(text, 148), Err(RangeError::Invalid), "{text}");
        }
        for text in ["bytes=500-", "bytes=148-148", "bytes=-0"] {
            assert_eq!(parse(text, 148), Err(RangeError::NoOverlap), "{text}");
        }
    }

    #[test]
    fn ranges_that_would_cost_more_than_the_whole_get_the_whole() {
        let many = format!("bytes={}", "0-0,".repeat(17));
        for text in ["bytes=0-100,0-100", "bytes=", many.as_str()] {
            assert_eq!(parse(text, 148), Ok(SelectedBytes::Whole), "{text}");
        }
        assert_eq!(parse("bytes=0-15", 0), Ok(SelectedBytes::Whole));
    }
}
