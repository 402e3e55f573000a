//! What the Go tool's users count on, row by row: command lines, output, exit codes, the wire. `docs/compatibility.md`
//! says which test holds which row.
//!
//! - `document`: every test that the document names is there

#![expect(clippy::unwrap_used, reason = "a test, and all that only tests call, may fail")]

mod document;
