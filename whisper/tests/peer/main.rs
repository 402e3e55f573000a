//! Compares the crate with whisper.py 1.1.10 in both directions, bit for bit: what we write must equal what
//! it writes, and what it reads must equal what we read.
//!
//! Each test collects the operations of all its cases, lets one Python process apply them to its own files
//! (`driver.py`), and compares the answers with the results of this crate. Random cases come from a fixed
//! list of seeds.

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
