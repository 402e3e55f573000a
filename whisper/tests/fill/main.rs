//! Fill: its rules as pictures, its laws as properties, and a comparison with whisper.py.

#![expect(clippy::unwrap_used, reason = "a test, and all that only tests call, may fail")]

mod coverage;
mod file;
mod laws;
mod model;
mod positions;
mod rules;
