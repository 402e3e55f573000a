//! Files that hold a secret or a token.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The name that means standard input.
pub(crate) const STDIN: &str = "-";

/// The content of a file of at most `limit_bytes`.
pub(crate) fn read_short_file(path: &Path, limit_bytes: usize) -> io::Result<Vec<u8>> {
    let source: Box<dyn Read> =
        if path == Path::new(STDIN) { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    let mut content = Vec::new();
    source.take(limit_bytes as u64 + 1).read_to_end(&mut content)?;
    if content.len() > limit_bytes {
        return Err(io::Error::other(format!("longer than {limit_bytes} bytes")));
    }
    Ok(content)
}
