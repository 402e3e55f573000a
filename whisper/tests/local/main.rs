//! Local files: what creating, opening, locking, updating and filling does to a folder, and what it refuses.

#![expect(clippy::unwrap_used, reason = "a test, and all that only tests call, may fail")]

mod create;
mod damage;
mod diff;
mod fill;
mod folder;
mod old_header;
mod open;
mod sparsify;
