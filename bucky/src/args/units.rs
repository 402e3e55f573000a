//! Parsers for arguments with units: times, lengths, rates.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

/// The slowest `--bandwidth`, in bytes a second: a daemon waits for at most a minute until a piece that it
/// sends is taken, and files must not take days.
const LEAST_BANDWIDTH: u64 = 64 * 1024;

/// `-w`: how many pieces of work run at once.
pub(crate) fn workers(text: &str) -> Result<usize, String> {
    // D32: the Go tool hangs with 0 workers, and panics with fewer.
    bucky_flags::integer::<usize>(1..=10_000)(text).map_err(|error| format!("{error}"))
}

/// A time: a number of seconds, or a number and s, m or h.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let (digits, factor) = match text.as_bytes() {
        [.., b's'] => (&text[..text.len() - 1], 1),
        [.., b'm'] => (&text[..text.len() - 1], 60),
        [.., b'h'] => (&text[..text.len() - 1], 3600),
        _ => (text, 1),
    };
    let number: Option<u64> = digits.parse().ok();
    let seconds = number.and_then(|number| number.checked_mul(factor));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| format!("not a valid time: {text} (try 90s or 2m)"))
}

/// Metrics a second.
pub(crate) fn rate(text: &str) -> Result<NonZeroU32, bucky_flags::BadInteger> {
    bucky_flags::integer::<u32>(1..=i64::from(u32::MAX))(text)
        .map(|rate| NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN))
}

/// Bytes a second: as a length, or in bits.
pub(crate) fn bandwidth(text: &str) -> Result<NonZeroU64, String> {
    let bad = || format!("not a valid bandwidth: {text} (try 50M or 400Mbit)");
    let in_bytes = match text.strip_suffix("bit") {
        None => bytes(text).map_err(|_| bad())?,
        Some(bits) => {
            let (digits, factor) = match bits.as_bytes() {
                [.., b'K' | b'k'] => (&bits[..bits.len() - 1], 1_000),
                [.., b'M'] => (&bits[..bits.len() - 1], 1_000_000),
                [.., b'G'] => (&bits[..bits.len() - 1], 1_000_000_000),
                _ => (bits, 1),
            };
            let number: u64 = digits.parse().map_err(|_| bad())?;
            number.checked_mul(factor).ok_or_else(bad)? / 8
        }
    };
    NonZeroU64::new(in_bytes)
        .filter(|bytes| bytes.get() >= LEAST_BANDWIDTH)
        .ok_or_else(|| format!("bandwidth too low: {text} (at least 64K)"))
}

/// A length: a number, and K, M or G.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.trim_end_matches(['B', 'b']).trim_end_matches('i') {
        text if text.ends_with(['K', 'k']) => (&text[..text.len() - 1], 1 << 10),
        text if text.ends_with(['M', 'm']) => (&text[..text.len() - 1], 1 << 20),
        text if text.ends_with(['G', 'g']) => (&text[..text.len() - 1], 1 << 30),
        text => (text, 1),
    };
    let number: u64 = digits.parse().map_err(|_| format!("not a valid size: {text} (try 32M)"))?;
    number
        .checked_mul(factor)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("not a valid size: {text} (try 32M)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bandwidth_is_in_bytes_or_in_bits() {
        let units =
            [("200M", 200 << 20), ("64K", 65_536), ("1G", 1 << 30), ("1600Mbit", 200_000_000)];
        for (text, expected) in units {
            assert_eq!(bandwidth(text).map(NonZeroU64::get), Ok(expected), "{text}");
        }
        assert_eq!(bandwidth("1Gbit").map(NonZeroU64::get), Ok(125_000_000));
        for text in ["", "0", "M", "-1", "1K", "x", "bit", "Mbit", "1.5M", "0Mbit", "Ébit"] {
            assert!(bandwidth(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_have_binary_units() {
        for (text, expected) in [("1", 1), ("32M", 32 << 20), ("8KiB", 8192), ("1g", 1 << 30)] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "0", "M", "-1", "1.5M", "99999999999999G"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
