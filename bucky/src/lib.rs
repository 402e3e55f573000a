//! `bucky`: compares the rings of a Graphite cluster, finds metrics on the wrong node, and moves them.
//!
//! - `cli` reads the command line; each command has a file in `commands`; `programs` knows the names of links to it
//! - `cluster` asks the nodes who they are and whether they agree
//! - `inventory` reads what nodes hold, page by page; `placement` says where it belongs; `holders` puts the two together
//! - `verify` reads every copy and tells what is not in place
//! - `rebalance` plans and moves: heal at the owners, then delete at the source
//! - `copy` copies from node to node, from cluster to cluster, and from old names to new ones
//! - `backup` writes metrics as a tar, `restore` brings those of a tar to their owners
//! - `pickle_relay` takes pickles and sends lines on, far from any cluster
//! - `deletion` deletes metrics that an operator wants gone, wherever they are
//! - `heal` brings metrics to owners that lack them, from owners that have them
//! - [`output`] is the only place that prints, [`outcome`] the exit codes
//!
//! Nothing here grows with the number of metrics, but for the list of a Go daemon, which comes in one piece.

mod args;
mod backup;
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
mod patience;
mod pickle_relay;
mod placement;
mod plan;
mod programs;
mod rebalance;
mod restore;
mod run;
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

/// Runs what `words` (with the program's name) say, on this process's streams. Under the name of one of the Go tool's
/// small programs, such as `bucky-fill`, this is that program.
pub fn run_program(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    run(programs::arguments(words))
}

/// Runs the command that `args` (without the program's name) give, on this process's streams.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    run_with(args, Output::of_process()).into()
}

/// The same, writing to `output`.
pub fn run_with(args: impl IntoIterator<Item = OsString>, output: Output) -> Outcome {
    let output = std::sync::Arc::new(output);
    let result = match cli::parse(args) {
        Ok(command) => run_command(command, &output),
        Err(stop) => return stop.tell(&output),
    };
    // Who has seen enough does not make a success of what has failed.
    let result = result.and_then(|outcome| Ok(while_read(output.flush()).map(|()| outcome)?));
    match result {
        Ok(outcome) => outcome,
        Err(error) => {
            let outcome = outcome_of(&error);
            if outcome != Outcome::Done {
                // What was found before the failure is the reader's.
                let _ = output.flush();
                output.say(format_args!("bucky: {error:#}"));
            }
            outcome
        }
    }
}

/// How much of a journal's `content`, in bytes, is whole lines. A journal is what `bucky rebalance --journal FILE` keeps;
/// it has to be one of a run that deletes its sources, without a selection, on the ring with this fingerprint.
///
/// # Errors
/// What a run would say that cannot go on from it: a line that is none, another level, another ring or selection.
pub fn journal_whole_bytes(
    content: impl std::io::Read,
    ring: &str,
) -> Result<u64, impl std::error::Error> {
    run::journal::whole_bytes(content, ring)
}

fn run_command(command: cli::Command, output: &std::sync::Arc<Output>) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        // It is for moves, while they run; otherwise it means nothing, and must not end the program. Listened to once, it is
        // the process's no more.
        let _ignored = signal(SignalKind::user_defined1())?;
        cli::run(command, output).await
    });
    // Work that an operator stopped for good is not waited for.
    runtime.shutdown_background();
    result
}

/// The exit code of a command that ended with `error`. A reader that went away is no failure.
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

    /// `bucky … | head` may end the reader; what failed has failed all the same.
    #[test]
    fn a_reader_that_has_gone_away_makes_no_success_of_a_failure() {
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
