//! The engine: brings metrics from the nodes that have them to their owners, and deletes the sources if that
//! was ordered.
//!
//! `carry_out` shows a plan, checks whether it fits, and carries it out. `mover` has what all parts of a run
//! share. `drain` reads a source and starts its batches. `batch_run` takes one batch through its rounds.
//! `heal` has the owners create or fill their copies, by `pull`, and is the only place that makes the receipt
//! that `delete` requires. `go` does the same metric by metric if a Go daemon takes part. `bring` heals and
//! leaves the source in place. `batch` and `statistics` are pure. `pace` decides how fast it may go. If the
//! run is interrupted at any point, each metric is at its source, at its owners, or both.

pub(crate) mod batch;
mod batch_end;
mod batch_run;
mod bring;
mod carry_out;
mod clock_watch;
pub(crate) mod conclude;
mod delete;
mod drain;
pub(crate) mod gather;
pub(crate) mod go;
mod heal;
pub(crate) mod left_behind;
mod links;
pub(crate) mod mover;
pub(crate) mod opening;
pub(crate) mod options;
mod order;
pub(crate) mod pace;
mod preview;
mod pull;
pub(crate) mod records;
pub(crate) mod renames;
mod show;
pub(crate) mod statistics;
mod summary;

pub(crate) use self::carry_out::{fits, plan_and_move};
pub(crate) use self::order::{MoveOrder, MoveSelection, Task};

/// The message after a second Ctrl-C.
pub(crate) const STOPPED_AT_ONCE: &str =
    "bucky: stopped at once; run the same command again to continue";
/// How many nodes are asked at once.
pub(crate) const ASKED_AT_ONCE: usize = 32;
