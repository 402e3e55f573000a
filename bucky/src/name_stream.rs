//! Lists that are read line by line: names or paths, however many.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use crate::byte_order_mark::skip_mark;
use crate::names::names_from;
use crate::outcome::UsageError;

/// The longest line. No system accepts a longer path.
const LINE_LIMIT_BYTES: u64 = 64 * 1024;

/// The arguments that say where a list is read from.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ListArgs {
    /// File with a name on each line, or a JSON array of names; - for standard input [default: -]
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with = "names")]
    metrics_file: Option<PathBuf>,
    /// Names; without any, a list is read from standard input
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// A list that is being read.
pub(crate) struct NameStream {
    reader: Box<dyn BufRead>,
    number: u64,
}

/// The reason why a line of a list is not usable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    /// The list cannot be read any further.
    #[error("line {number}: cannot read the rest of the list")]
    Unreadable { number: u64, source: io::Error },
    /// The line is too long for a name or a path.
    #[error(
        "line {number} is longer than {LINE_LIMIT_BYTES} bytes; this is not a list of names or paths"
    )]
    TooLong { number: u64 },
    /// The line is not text, and every name is.
    #[error("line {number}: {shown:?} is not UTF-8")]
    NotUtf8 { number: u64, shown: String },
}

impl LineError {
    /// Whether the lines after it can be read all the same.
    pub(crate) fn is_of_that_line(&self) -> bool {
        matches!(self, Self::NotUtf8 { .. })
    }
}

impl ListArgs {
    /// Refuses to read the list from standard input if the file `other` of `flag` is read from there.
    ///
    /// # Errors
    /// [`UsageError`].
    pub(crate) fn refuse_stdin_twice(
        &self,
        flag: &str,
        other: Option<&Path>,
    ) -> anyhow::Result<()> {
        if other.is_some_and(|path| path.as_os_str() == "-") && self.is_stdin() {
            let reason = format!("standard input cannot be both {flag} and the list; give -f FILE");
            return Err(UsageError::because(reason));
        }
        Ok(())
    }

    fn is_stdin(&self) -> bool {
        match (&self.metrics_file, self.names.as_slice()) {
            (Some(path), _) => path.as_os_str() == "-",
            (None, []) => true,
            (None, names) => names.len() == 1 && names.iter().all(|name| name == "-"),
        }
    }

    /// Opens the list.
    ///
    /// # Errors
    /// [`UsageError`] if it cannot be opened, or begins like a JSON array and is not one.
    pub(crate) fn open(&self) -> anyhow::Result<NameStream> {
        match &self.metrics_file {
            _ if self.is_stdin() => NameStream::read(Box::new(BufReader::new(io::stdin()))),
            Some(path) => open_file(path),
            None => Ok(NameStream::of(&self.names)),
        }
    }
}

fn open_file(path: &Path) -> anyhow::Result<NameStream> {
    let file = File::open(path)
        .map_err(|error| UsageError::because(format!("-f {}: {error}", path.display())))?;
    NameStream::read(Box::new(BufReader::new(file)))
}

impl NameStream {
    /// Reads lines, or a JSON array if it begins with `[`, as no name does.
    fn read(mut reader: Box<dyn BufRead>) -> anyhow::Result<Self> {
        // If nothing can be read here, the first line reports it.
        let _ = skip_mark(&mut reader);
        let is_json =
            reader.fill_buf().is_ok_and(|begin| begin.trim_ascii_start().starts_with(b"["));
        if is_json { Ok(Self::of(&names_from(reader)?)) } else { Ok(Self { reader, number: 0 }) }
    }

    fn of(names: &[String]) -> Self {
        let lines = names.iter().map(|name| name.replace(['\n', '\r'], "\u{fffd}") + "\n");
        Self { reader: Box::new(Cursor::new(lines.collect::<String>())), number: 0 }
    }
}

impl Iterator for NameStream {
    type Item = Result<String, LineError>;

    /// The next line that is not empty, without spaces around it.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.number += 1;
            let number = self.number;
            let mut line = Vec::new();
            let read = self.reader.by_ref().take(LINE_LIMIT_BYTES).read_until(b'\n', &mut line);
            match read {
                Err(source) => return Some(Err(LineError::Unreadable { number, source })),
                Ok(0) => return None,
                Ok(len) if len as u64 == LINE_LIMIT_BYTES => {
                    return Some(Err(LineError::TooLong { number }));
                }
                Ok(_) => {}
            }
            let text = match std::str::from_utf8(&line) {
                Ok(text) => text.trim(),
                Err(_) => {
                    let shown = String::from_utf8_lossy(&line).trim().to_owned();
                    return Some(Err(LineError::NotUtf8 { number, shown }));
                }
            };
            if !text.is_empty() {
                return Some(Ok(text.to_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static [u8]) -> Vec<String> {
        let lines = NameStream::read(Box::new(text)).unwrap();
        lines.map(|line| line.unwrap_or_else(|error| error.to_string())).collect()
    }

    #[test]
    fn lists_are_lines_or_a_json_array() {
        assert_eq!(read(b"a.b\n\n  c \r\nd"), ["a.b", "c", "d"]);
        assert_eq!(read(b" [\"a.b\",\n\"c\"]"), ["a.b", "c"]);
        assert_eq!(read(b"\xef\xbb\xbfa.b\n"), ["a.b"]);
        assert_eq!(read(b"\xef\xbb\xbf[\"a.b\"]"), ["a.b"]);
        assert_eq!(read(b""), Vec::<String>::new());
        assert!(NameStream::read(Box::new(&b"[\"a"[..])).is_err());
    }

    #[test]
    fn a_line_that_is_not_text_is_reported_and_the_next_is_read() {
        assert_eq!(read(b"a\nb\xff\nc\n"), ["a", "line 2: \"b\u{fffd}\" is not UTF-8", "c"]);
        let long = vec![b'x'; 70_000].leak();
        assert!(NameStream::read(Box::new(&*long)).unwrap().next().unwrap().is_err());
    }
}
