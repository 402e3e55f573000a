//! Nothing is lost while writers write: relays switch to the new ring before, during and after the move.
//!
//! - `whisper`: whisper.py opens, updates and creates the files, one process a node
//! - `races`: whisper.py stopped at the very moments in which a move and a write can meet

mod races;
mod whisper;
