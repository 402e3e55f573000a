//! `bucky`: compares the rings of a Graphite cluster, finds misplaced metrics, and moves them.
//!
//! - `cli` reads the command line; each command has a file in `commands`; `programs` knows the names of links
//!   to it
//! - `cluster` asks the nodes for their rings, and whether they agree
//! - `inventory` reads what nodes hold, page by page; `placement` says where it belongs; `holders` joins the
//!   two
//! - `verify` reads every copy and reports what is not in place
//! - `rebalance` selects what is moved; `transfer` moves it: heal at the owners, then delete at the source
//! - `ring_plan` asks the nodes what another ring would move
//! - `copy` copies from node to node, from cluster to cluster, and from old names to new ones
//! - `backup` writes metrics as a tar; `restore` brings the metrics of a tar to their owners
//! - `pickle_relay` receives pickles and sends lines; it needs no cluster
//! - `deletion` deletes metrics that an operator wants gone, from every node
//! - `heal` brings metrics to owners that lack them, from owners that have them
//! - `ring_fit` finds the ring that explains where the metrics are; `shuffle_guard` refuses to shuffle them by
//!   another; `relay_check` asks the relay itself
//! - [`output`] is the only place that prints, [`outcome`] has the exit codes
//!
//! Memory does not grow with the number of metrics, except for the list of a Go daemon, which comes in one
//! piece.
//!
//! `D1` to `D49` in comments and names of tests are the known defects of the Go tool; the list is in
//! `docs/internals/compatibility.md`.

mod args;
mod backup;
mod byte_order_mark;
mod cli;
mod clocks;
mod cluster;
mod commands;
mod copy;
mod copy_streams;
mod deletion;
#[cfg(test)]
mod fake_daemon;
mod fleet;
mod former;
mod heal;
mod holders;
mod inventory;
mod metric_path;
mod name_pile;
mod name_stream;
mod names;
mod node_text;
pub mod outcome;
pub mod output;
mod pages;
mod patience;
mod pickle_relay;
mod placement;
mod plan;
mod programs;
mod rebalance;
mod relay_check;
mod restore;
mod ring_fit;
mod ring_plan;
mod run;
mod shuffle_guard;
mod sizes;
mod spool;
mod strays;
mod tar_records;
mod terminal;
mod transfer;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use bucky_api::counted;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use bucky_api::chain;
pub use outcome::Outcome;
pub use output::Output;

use crate::outcome::{UnhealthyError, UsageError};
use crate::output::{OutputError, while_read};

/// Runs the command line `words`, which starts with the program's name, on this process's streams. Under the
/// name of one of the Go tool's small programs, such as `bucky-fill`, it runs as that program.
pub fn run_program(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    run(programs::arguments(words))
}

/// Runs the command in `args`, without the program's name, on this process's streams.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    run_with(args, Output::of_process()).into()
}

/// Runs the command in `args`, without the program's name, and writes to `output`.
pub fn run_with(args: impl IntoIterator<Item = OsString>, output: Output) -> Outcome {
    let output = std::sync::Arc::new(output);
    let result = match cli::parse(args) {
        Ok(command) => run_command(command, &output),
        Err(stop) => return stop.print(&output),
    };
    // A reader that has gone away does not turn a failure into a success.
    let result = result.and_then(|outcome| Ok(while_read(output.flush()).map(|()| outcome)?));
    match result {
        Ok(outcome) => outcome,
        Err(error) => {
            let outcome = outcome_of(&error);
            if outcome != Outcome::Done {
                // What was found before the failure is still printed.
                let _ = output.flush();
                output.say(format_args!("bucky: {error:#}"));
            }
            outcome
        }
    }
}

/// How many bytes of a journal's `content` are whole lines. `bucky rebalance --journal FILE` writes journals.
/// This one must be of a run that deletes its sources, without a selection, on the ring with this
/// fingerprint.
///
/// # Errors
/// What a run would report that cannot continue from it: a line that is not valid, another version, another
/// ring or selection.
pub fn journal_whole_bytes(
    content: impl std::io::Read,
    ring: &str,
) -> Result<u64, impl std::error::Error> {
    run::journal::whole_bytes(content, ring)
}

fn run_command(command: cli::Command, output: &std::sync::Arc<Output>) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        // SIGUSR1 asks a move to stop, and how far it is. In other commands it must not end the program. Once
        // it is listened for, the default action is off for the whole process.
        let _ignored = signal(SignalKind::user_defined1())?;
        cli::run(command, output).await
    });
    // Work that an operator stopped at once is not waited for.
    runtime.shutdown_background();
    result
}

/// The exit code of a command that ended with `error`. A reader that went away is not a failure.
fn outcome_of(error: &anyhow::Error) -> Outcome {
    if let Some(output) = error.downcast_ref::<OutputError>() {
        return if output.is_reader_gone() { Outcome::Done } else { Outcome::SomeFailed };
    }
    if error.downcast_ref::<UsageError>().is_some() {
        return Outcome::Usage;
    }
    if error.downcast_ref::<UnhealthyError>().is_some() {
        return Outcome::Unhealthy;
    }
    Outcome::SomeFailed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Captured, Unread};

    fn unread(args: &[&str], unread: Unread) -> Outcome {
        let output = Output::to_writers(Box::new(unread), Box::new(Captured::default()));
        run_with(args.iter().map(OsString::from), output)
    }

    /// `bucky … | head` may end the reader; a failure stays a failure.
    #[test]
    fn a_reader_that_has_gone_away_does_not_hide_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let (source, destination) = (folder.path().join("src"), folder.path().join("dst"));
        std::fs::create_dir(&source).unwrap();
        std::fs::write(source.join("bad.wsp"), b"no Whisper file").unwrap();
        let (source, destination) = (source.to_str().unwrap(), destination.to_str().unwrap());
        for reader in [Unread::AtOnce, Unread::AtTheFlush] {
            let outcome = unread(&["fill", "-r", "-l", source, destination], reader);
            assert_eq!(outcome, Outcome::SomeFailed, "{reader:?}");
        }
        let missing = format!("{source}/missing.wsp");
        assert_eq!(unread(&["isempty", &missing], Unread::AtTheFlush), Outcome::SomeFailed);
        assert_eq!(unread(&["version"], Unread::AtTheFlush), Outcome::Done);
    }
}
