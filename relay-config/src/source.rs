//! The text of a configuration file, and places in it.

use std::fmt;
use std::sync::Arc;

/// A file that was read: its name for messages, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// The name under which messages mention it, as the operator gave it.
    pub name: Arc<str>,
    /// Its text, without a byte-order mark.
    pub text: String,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl SourceFile {
    /// The file `name` with the content `text`; a byte-order mark at its beginning is left out.
    pub fn new(name: &str, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect();
        Self { name: name.into(), text: text.to_owned(), lines }
    }

    /// The place of the byte at `offset`, which counts as the end of the text if it is beyond it.
    pub fn place(&self, offset: usize) -> Place {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.lines.partition_point(|begin| *begin <= offset);
        let begin = line.checked_sub(1).and_then(|line| self.lines.get(line)).copied();
        let before = &self.text[begin.unwrap_or_default()..offset];
        Place { file: Arc::clone(&self.name), line, column: before.chars().count() + 1 }
    }

    /// The place at `line` and `column`, both from 1, as another parser counts them; 0 counts as 1.
    pub fn place_of_line(&self, line: usize, column: usize) -> Place {
        Place { file: Arc::clone(&self.name), line: line.max(1), column: column.max(1) }
    }
}

/// A place in a file. Displayed as `FILE:LINE:COLUMN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The name of the file.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Files that a configuration refers to. The caller reads them; this crate does no I/O.
pub trait OtherFiles {
    /// The files that an `include` of carbon-c-relay names: one path, or a glob, in the order of their names.
    /// Relative paths start at the folder in which the relay was started.
    ///
    /// # Errors
    /// Why there are none, in words: no match, or a file that cannot be read.
    fn include(&mut self, pattern: &str) -> Result<Vec<SourceFile>, String>;

    /// The file `name` in the folder of the configuration file, such as `aggregation-rules.conf`; `None` if
    /// there is none.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    fn beside(&mut self, name: &str) -> Result<Option<SourceFile>, String>;
}

/// For a configuration that stands alone, such as a text that was pasted.
#[derive(Clone, Copy, Debug)]
pub struct NoOtherFiles;

impl OtherFiles for NoOtherFiles {
    fn include(&mut self, _pattern: &str) -> Result<Vec<SourceFile>, String> {
        Err("there are no other files".to_owned())
    }

    fn beside(&mut self, _name: &str) -> Result<Option<SourceFile>, String> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let file = SourceFile::new("f", "é=1\nab\n");
        let at = |offset| file.place(offset).to_string();
        assert_eq!(
            [at(0), at(2), at(4), at(5), at(99)],
            ["f:1:1", "f:1:2", "f:1:4", "f:2:1", "f:3:1"]
        );
        assert_eq!(at(1), "f:1:1", "inside of a character");
    }

    #[test]
    fn a_byte_order_mark_is_left_out() {
        assert_eq!(SourceFile::new("f", "\u{feff}[relay]").text, "[relay]");
    }
}
