//! The parts of Python that decide what a configuration means.

/// Whether Python's `str.strip` removes `c`, and its regular expressions call it white space.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

/// `text.strip()`.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `int(text)`, for ASCII digits: white space round it, a sign, and single `_` between digits are taken.
/// `None` for a `ValueError`, and for numbers beyond 64 bits.
pub(crate) fn int(text: &str) -> Option<i64> {
    let text = strip(text);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits.split('_').all(is_part) {
        return None;
    }
    format!("{sign}{}", digits.replace('_', "")).parse().ok()
}

/// What `ConfigParser.getboolean` takes, in any letter case.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Some(true),
        "0" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_python_reads_them() {
        let cases =
            [("2004", 2004), (" 02004 ", 2004), ("+2004", 2004), ("2_004", 2004), ("-1", -1)];
        for (text, number) in cases {
            assert_eq!(int(text), Some(number), "{text}");
        }
        for text in ["", "_1", "1_", "1__0", "0x1", "1.0", "a", "+", "- 1", "99999999999999999999"]
        {
            assert_eq!(int(text), None, "{text}");
        }
    }

    #[test]
    fn truth_and_white_space_are_pythons() {
        assert_eq!(
            ["On", "YES", "0", "maybe"].map(boolean),
            [Some(true), Some(true), Some(false), None]
        );
        assert_eq!(strip("\u{1f} a\u{a0}\n"), "a");
    }
}
