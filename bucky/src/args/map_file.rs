//! The file that maps old names to new ones.

use std::fs::File;
use std::io::{BufReader, Read};

use anyhow::Context;

use crate::byte_order_mark::skip_mark;
use crate::copy::NameMap;
use crate::outcome::UsageError;

/// Reads the map from this file; `-` is standard input.
///
/// # Errors
/// [`UsageError`] if the file cannot be opened or is not a valid map, with the reason.
pub(crate) fn read_map(file: &str) -> anyhow::Result<NameMap> {
    let (called, source): (&str, Box<dyn Read>) = if file == "-" {
        ("standard input", Box::new(std::io::stdin().lock()))
    } else {
        let opened = File::open(file).with_context(|| format!("cannot open the map {file}"));
        (file, Box::new(opened.map_err(|error| UsageError::because(format!("{error:#}")))?))
    };
    let mut source = BufReader::new(source);
    skip_mark(&mut source)
        .map_err(|error| UsageError::because(format!("cannot read {called}: {error}")))?;
    NameMap::read(source).map_err(|error| {
        UsageError::because(format!(
            "cannot use the map of names in {called}: {}",
            crate::chain(&error)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_may_begin_with_a_byte_order_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.json");
        std::fs::write(&path, "\u{feff}{\"a.old\":\"a.new\"}").unwrap();
        assert!(read_map(path.to_str().unwrap()).is_ok());
    }
}
