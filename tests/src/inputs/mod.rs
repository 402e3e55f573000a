//! Bytes from outside, and what must hold for any of them.
//!
//! Each input is a function that takes any bytes and panics if a rule is broken: if the product panics on
//! them, allocates memory by a number in them, or accepts what it must refuse. The fuzz targets (`fuzz/`) run
//! them without end on a nightly toolchain. A plain test runs them with the files in `fuzz/corpus`, so that
//! everything that was ever found is checked again.

mod aggregation;
mod archive;
mod coding;
mod file;
mod journal;
mod name;
mod relay_config;
mod tar;
mod wire;

/// An input: the name of its fuzz target and of its corpus folder, and its check.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// The name.
    pub name: &'static str,
    /// Panics if the bytes break a rule.
    pub check: fn(&[u8]),
}

/// All inputs.
pub const INPUTS: [Input; 9] = [
    Input { name: "aggregation", check: aggregation::check },
    Input { name: "archive", check: archive::check },
    Input { name: "coding", check: coding::check },
    Input { name: "file", check: file::check },
    Input { name: "journal", check: journal::check },
    Input { name: "name", check: name::check },
    Input { name: "relay_config", check: relay_config::check },
    Input { name: "tar", check: tar::check },
    Input { name: "wire", check: wire::check },
];

/// Checks one input.
///
/// # Panics
/// If the bytes break a rule, or there is no such input.
pub fn check(name: &str, bytes: &[u8]) {
    let input = INPUTS.iter().find(|input| input.name == name);
    (input.unwrap_or_else(|| panic!("no input is called {name:?}")).check)(bytes);
}

/// Takes the first byte off `bytes`; 0 if there is none.
fn first(bytes: &mut &[u8]) -> u8 {
    let Some((first, rest)) = bytes.split_first() else { return 0 };
    *bytes = rest;
    *first
}

/// Takes the first `count` bytes off `bytes`, or all if there are fewer.
fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count.min(bytes.len()));
    *bytes = rest;
    taken
}

/// Takes a big-endian number of up to 32 bits off `bytes`.
fn number(bytes: &mut &[u8]) -> u32 {
    take(bytes, 4).iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}
