//! The lines of a file and their offsets, in bounded memory for any file.

use std::io::{self, BufRead};

/// The longest line that is accepted as a series, in bytes.
pub(super) const LONGEST: usize = 64 * 1024;
/// The mark that some programs write before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads line by line.
pub(super) struct Lines<R> {
    reader: R,
    /// The offset of the next line.
    offset: u64,
    number: u64,
    content: Vec<u8>,
}

/// A line of the file.
pub(super) struct Line<'a> {
    /// Its number, from 1.
    pub(super) number: u64,
    /// The offset of its text.
    pub(super) offset: u64,
    /// Its text, without the end of the line; `None` if it is too long.
    pub(super) text: Option<&'a [u8]>,
}

impl<R: BufRead> Lines<R> {
    /// Reads `reader` from its beginning.
    pub(super) fn new(reader: R) -> Self {
        Self { reader, offset: 0, number: 0, content: Vec::new() }
    }

    /// The next line, or `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.content.clear();
        let begin = self.offset;
        let mut is_whole = true;
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                if self.offset == begin {
                    return Ok(None);
                }
                break;
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
            // Leaves room for the end of the line and a byte-order mark.
            is_whole &= self.content.len() + part.len() <= LONGEST + 8;
            if is_whole {
                self.content.extend_from_slice(part);
            }
            let taken = part.len() + usize::from(end.is_some());
            self.reader.consume(taken);
            self.offset += taken as u64;
            if end.is_some() {
                break;
            }
        }
        self.number += 1;
        let skipped = if self.number == 1 && self.content.starts_with(BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len()
        } else {
            0
        };
        let text = trimmed(self.content.get(skipped..).unwrap_or_default());
        let text = (is_whole && text.len() <= LONGEST).then_some(text);
        Ok(Some(Line { number: self.number, offset: begin + skipped as u64, text }))
    }
}

/// A line without its carriage return.
pub(super) fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    fn read(content: &[u8], capacity: usize) -> Vec<(u64, u64, Option<Vec<u8>>)> {
        let mut lines = Lines::new(BufReader::with_capacity(capacity, content));
        let mut read = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            read.push((line.number, line.offset, line.text.map(<[u8]>::to_vec)));
        }
        read
    }

    #[test]
    fn lines_have_their_numbers_and_offsets_for_any_buffer_size() {
        let content = b"\xef\xbb\xbfone\r\n\ntwo\nthree";
        for capacity in [1, 2, 5, 100] {
            let line = |number, offset, text: &[u8]| (number, offset, Some(text.to_vec()));
            let expected =
                [line(1, 3, b"one"), line(2, 8, b""), line(3, 9, b"two"), line(4, 13, b"three")];
            assert_eq!(read(content, capacity), expected, "{capacity}");
        }
        assert_eq!(read(b"", 10), []);
        assert_eq!(read(b"a\n", 10).len(), 1);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_not_held() {
        let mut content = vec![b'x'; LONGEST + 1];
        content.extend_from_slice(b"\nnext\n");
        let read = read(&content, 4096);
        assert_eq!((read.len(), &read[0].2), (2, &None));
        assert_eq!(read[1], (2, LONGEST as u64 + 2, Some(b"next".to_vec())));
    }
}
