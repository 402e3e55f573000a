//! The invisible mark that some editors write before a text. It is never a part of the text.

use std::io::{self, BufRead};

/// U+FEFF in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// `bytes` without a mark at the beginning.
pub(crate) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes)
}

/// `text` without a mark at the beginning.
pub(crate) fn text_without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Skips a mark at the beginning of `source`. The first read of a buffered file has more than three bytes, or
/// all of them.
///
/// # Errors
/// Those of the system.
pub(crate) fn skip_mark(source: &mut impl BufRead) -> io::Result<()> {
    if source.fill_buf()?.starts_with(MARK) {
        source.consume(MARK.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mark_at_the_beginning_is_left_out() {
        assert_eq!(without_mark(b"\xef\xbb\xbfa\xef\xbb\xbf"), b"a\xef\xbb\xbf");
        assert_eq!(without_mark(b"\xef\xbb"), b"\xef\xbb");
        assert_eq!(text_without_mark("\u{feff}a"), "a");
        let mut source = &b"\xef\xbb\xbf{}"[..];
        skip_mark(&mut source).unwrap();
        assert_eq!(source, b"{}");
    }
}
