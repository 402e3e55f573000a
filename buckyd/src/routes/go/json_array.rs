//! A JSON array of strings, written piece by piece as Go writes it.

use std::io::{self, Write};

use bucky_ring::as_go_writes;

/// A JSON array of strings, written as Go writes it.
pub(super) struct JsonArray<'w, W> {
    writer: &'w mut W,
    is_empty: bool,
    scratch: Vec<u8>,
}

impl<'w, W: Write> JsonArray<'w, W> {
    /// An empty array, to be written to `writer`.
    pub(super) fn new(writer: &'w mut W) -> Self {
        Self { writer, is_empty: true, scratch: Vec::new() }
    }

    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.writer.write_all(b"[")
    }

    pub(super) fn push(&mut self, text: &str) -> io::Result<()> {
        if !std::mem::take(&mut self.is_empty) {
            self.writer.write_all(b",")?;
        }
        self.scratch.clear();
        serde_json::to_writer(&mut self.scratch, text)?;
        let json = String::from_utf8_lossy(&self.scratch);
        self.writer.write_all(as_go_writes(&json).as_bytes())
    }

    pub(super) fn end(&mut self) -> io::Result<()> {
        self.writer.write_all(b"]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(names: &[&str]) -> String {
        let mut bytes = Vec::new();
        let mut array = JsonArray::new(&mut bytes);
        array.begin().unwrap();
        names.iter().for_each(|name| array.push(name).unwrap());
        array.end().unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_array_is_written_as_go_writes_it() {
        assert_eq!(json(&[]), "[]");
        assert_eq!(json(&["a.b"]), r#"["a.b"]"#);
        assert_eq!(
            json(&["a<b>&c", "q\"\\", "é\u{2028}"]),
            r#"["a\u003cb\u003e\u0026c","q\"\\","é\u2028"]"#
        );
    }
}
