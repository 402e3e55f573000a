//! The file that maps old names to new ones.

use std::fs::File;
use std::io::{BufReader, Read};

use anyhow::Context;

use crate::copy::NameMap;
use crate::outcome::UsageError;

/// The map in the file called so; `-` is standard input.
///
/// # Errors
/// [`UsageError`] where there is none; what it has, and why that is none.
pub(crate) fn read_map(file: &str) -> anyhow::Result<NameMap> {
    let (called, source): (&str, Box<dyn Read>) = if file == "-" {
        ("standard input", Box::new(std::io::stdin().lock()))
    } else {
        let opened = File::open(file).with_context(|| format!("cannot open the map {file}"));
        (file, Box::new(opened.map_err(|error| UsageError::because(format!("{error:#}")))?))
    };
    NameMap::read(BufReader::new(source)).map_err(|error| {
        UsageError::because(format!(
            "cannot use the map of names in {called}: {}",
            crate::chain(&error)
        ))
    })
}
