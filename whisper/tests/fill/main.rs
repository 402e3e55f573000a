//! Fill: its rules as pictures, its laws as properties, and whisper.py as the judge.

mod file;
mod laws;
mod model;
mod positions;
mod rules;
