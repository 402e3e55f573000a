//! Bytes from outside, and what must hold whatever they are.
//!
//! Each input is a function that takes any bytes at all and panics where a rule is broken: where the product panics on
//! them, asks for memory by a number that stands in them, or takes what it must refuse. The fuzz targets (`fuzz/`) feed
//! them without end on a nightly toolchain; a plain test feeds them what is kept in `fuzz/corpus`, so that everything
//! that was ever found stays found.

mod archive;
mod coding;
mod file;
mod journal;
mod name;
mod tar;
mod wire;

/// An input: the name of its fuzz target and of its folder of the corpus, and what must hold.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// The name.
    pub name: &'static str,
    /// Panics where the bytes break a rule.
    pub check: fn(&[u8]),
}

/// All inputs.
pub const INPUTS: [Input; 7] = [
    Input { name: "archive", check: archive::check },
    Input { name: "coding", check: coding::check },
    Input { name: "file", check: file::check },
    Input { name: "journal", check: journal::check },
    Input { name: "name", check: name::check },
    Input { name: "tar", check: tar::check },
    Input { name: "wire", check: wire::check },
];

/// Checks one input.
///
/// # Panics
/// Where the bytes break a rule, or there is no such input.
pub fn check(name: &str, bytes: &[u8]) {
    let input = INPUTS.iter().find(|input| input.name == name);
    (input.unwrap_or_else(|| panic!("no input is called {name:?}")).check)(bytes);
}

/// Takes the first byte off `bytes`; 0 where there is none.
fn first(bytes: &mut &[u8]) -> u8 {
    let Some((first, rest)) = bytes.split_first() else { return 0 };
    *bytes = rest;
    *first
}

/// Takes the first `count` bytes off `bytes`, or as many as there are.
fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count.min(bytes.len()));
    *bytes = rest;
    taken
}

/// Takes a big-endian number of 32 bits off `bytes`, as far as it is there.
fn number(bytes: &mut &[u8]) -> u32 {
    take(bytes, 4).iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}
