//! Tests against whisper.py 1.1.10, in both directions and bit for bit: what we write must be what it writes, and
//! what it reads must be what we read.
//!
//! Each test gathers the operations of all its cases, lets one Python process carry them out on files of its own
//! (`driver.py`), and compares the answers with what this crate does. Random cases come from a fixed list of seeds.

#![expect(clippy::unwrap_used, reason = "a test, and all that only tests call, may fail")]

mod beside;
mod create;
mod fetch;
mod fill;
mod layouts;
mod python;
mod random;
mod roll_up;
mod update;
