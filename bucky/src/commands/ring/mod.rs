//! `bucky ring`: rings, and where they come from.

mod check;
mod diff;
mod fit;
mod from;

use std::sync::Arc;

use clap::Subcommand;

use crate::outcome::Outcome;
use crate::output::Output;

/// Arguments of `bucky ring`.
#[derive(clap::Args)]
#[command(
    about = "Read, compare and check rings",
    after_help = "`bucky help ring COMMAND` explains a command.",
    disable_help_subcommand = true
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: RingCommand,
}

/// What is done with rings.
#[derive(Subcommand)]
enum RingCommand {
    Check(Box<check::Args>),
    Diff(diff::Args),
    From(from::Args),
    Fit(Box<fit::Args>),
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    match args.command {
        RingCommand::Check(args) => check::run(*args, output).await,
        RingCommand::Diff(args) => diff::run(args, output).await,
        RingCommand::From(args) => from::run(args, output).await,
        RingCommand::Fit(args) => fit::run(*args, output).await,
    }
}
