//! Texts and numbers of protocol 0, which consists of lines.

use super::Value;

/// A decimal integer.
pub(super) fn line_integer(line: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(line).ok()?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let signed = text.parse().map(Value::Int);
    let unsigned = || text.parse().map(Value::Unsigned);
    Some(signed.or_else(|_| unsigned()).unwrap_or(Value::Large))
}

/// Decodes Python's `raw-unicode-escape`: Latin-1, and `\uXXXX` and `\UXXXXXXXX`. What is not a character
/// becomes U+FFFD.
pub(super) fn raw_unicode_escape(line: &[u8], decoded: &mut Vec<u8>) {
    let mut rest = line;
    while let Some((byte, after)) = rest.split_first() {
        let digits = match (byte, after.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => 0,
        };
        match after.get(1..=digits).filter(|_| digits > 0).and_then(hex) {
            Some(code) => {
                push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), decoded);
                rest = after.get(digits + 1..).unwrap_or_default();
            }
            None => {
                push(char::from(*byte), decoded);
                rest = after;
            }
        }
    }
}

/// Decodes the inside of a quoted string of Python 2: bytes and escapes.
pub(super) fn string_escape(quoted: &[u8], decoded: &mut Vec<u8>) {
    let mut rest = quoted;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let Some((kind, after)) = after.split_first().filter(|_| *byte == b'\\') else {
            decoded.push(*byte);
            continue;
        };
        rest = after;
        match kind {
            b'n' => decoded.push(b'\n'),
            b't' => decoded.push(b'\t'),
            b'r' => decoded.push(b'\r'),
            b'\\' | b'\'' | b'"' => decoded.push(*kind),
            b'x' => match after.get(..2).and_then(hex).and_then(|code| u8::try_from(code).ok()) {
                Some(code) => {
                    decoded.push(code);
                    rest = after.get(2..).unwrap_or_default();
                }
                None => decoded.extend(b"\\x"),
            },
            other => decoded.extend([b'\\', *other]),
        }
    }
}

fn push(c: char, decoded: &mut Vec<u8>) {
    decoded.extend(c.encode_utf8(&mut [0; 4]).bytes());
}

fn hex(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'))?;
    u32::from_str_radix(text, 16).ok()
}
