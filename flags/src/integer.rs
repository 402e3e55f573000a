//! Whole numbers in the notation of Go's command-line flags: decimal, with a prefix `0x`, `0o` or `0b`, octal
//! with a leading `0`, and with `_` between digits.

use std::ops::RangeInclusive;

/// Why a text is not a number for a flag. The message begins with the same words as Go's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadInteger {
    /// It is not a whole number.
    #[error("parse error: not a whole number (try 10, 0x10 or 1_000)")]
    Unreadable,
    /// It is a number, but outside the range of this flag.
    #[error("value out of range: {least} to {most}")]
    OutOfRange {
        /// The smallest number that is accepted.
        least: i64,
        /// The greatest number that is accepted.
        most: i64,
    },
}

/// A value parser for clap: whole numbers in Go's notation and within `range`.
///
/// Numbers that do not fit into `T` are refused too, even if they are within `range`.
pub fn integer<T: TryFrom<i64>>(
    range: RangeInclusive<i64>,
) -> impl Fn(&str) -> Result<T, BadInteger> + Clone {
    move |text| {
        let (least, most) = (*range.start(), *range.end());
        let outside = BadInteger::OutOfRange { least, most };
        let number = read(text)?.and_then(|number| i64::try_from(number).ok()).ok_or(outside)?;
        if !range.contains(&number) {
            return Err(outside);
        }
        T::try_from(number).map_err(|_| outside)
    }
}

/// The number that `text` stands for, or `None` if it is longer than any number that is accepted.
///
/// Source: `strconv.ParseInt` with base 0, and its `underscoreOK`.
fn read(text: &str) -> Result<Option<i128>, BadInteger> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits, is_prefixed) = radix(digits);
    // The base prefix counts as a digit: an underscore may follow it.
    let mut after_digit = is_prefixed;
    let mut number: Option<i128> = Some(0);
    let mut any = false;
    for c in digits.chars() {
        if c == '_' {
            if !std::mem::replace(&mut after_digit, false) {
                return Err(BadInteger::Unreadable);
            }
            continue;
        }
        let digit = c.to_digit(radix).ok_or(BadInteger::Unreadable)?;
        number = number
            .and_then(|number| number.checked_mul(i128::from(radix)))
            .and_then(|number| number.checked_add(i128::from(digit)));
        (after_digit, any) = (true, true);
    }
    if !any || !after_digit {
        return Err(BadInteger::Unreadable);
    }
    Ok(number.map(|number| if negative { -number } else { number }))
}

/// The base of a number without its sign, the digits after the base prefix, and whether there is such a
/// prefix.
fn radix(digits: &str) -> (u32, &str, bool) {
    let Some(rest) = digits.strip_prefix('0').filter(|rest| !rest.is_empty()) else {
        return (10, digits, false);
    };
    for (marks, radix) in [(['x', 'X'], 16), (['o', 'O'], 8), (['b', 'B'], 2)] {
        if let Some(rest) = rest.strip_prefix(marks) {
            return (radix, rest, true);
        }
    }
    (8, rest, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(text: &str) -> Result<i64, BadInteger> {
        integer(i64::MIN..=i64::MAX)(text)
    }

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, number) in [
            ("0", 0),
            ("-0", 0),
            ("42", 42),
            ("+42", 42),
            ("-42", -42),
            ("0x10", 16),
            ("0XfF", 255),
            ("-0x10", -16),
            ("010", 8),
            ("0o10", 8),
            ("0b101", 5),
            ("1_000", 1000),
            ("1_0_0", 100),
            ("0_7", 7),
            ("0x_1", 1),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(any(text), Ok(number), "{text}");
        }
    }

    #[test]
    fn integers_that_go_does_not_read_are_refused() {
        for text in [
            "", "-", "+", "abc", "1.5", "1e3", " 1", "1 ", "09", "0x", "0xg", "0b2", "_1", "1_",
            "1__0", "--1", "0x_", "٣",
        ] {
            assert_eq!(any(text), Err(BadInteger::Unreadable), "{text:?}");
        }
    }

    #[test]
    fn an_error_for_a_number_outside_the_range_names_the_range() {
        let small = integer::<u8>(1..=1000);
        assert_eq!(small("0xff"), Ok(255));
        for text in ["0", "-1", "256", "1001", "9223372036854775808", &"9".repeat(100)] {
            let error = small(text).unwrap_err();
            assert_eq!(error.to_string(), "value out of range: 1 to 1000", "{text}");
        }
    }
}
