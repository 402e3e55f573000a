//! The commands, as clap reads them, and how each is run.

use std::sync::Arc;

use clap::{ArgAction, Parser, Subcommand};

use crate::commands::{
    backfill, backfill2, copy, delete, du, fill, findhash, gentestmetrics, heal, inconsistent,
    info, isempty, json, list, locate, lookup, modify, path, pickle_relay, plan, rebalance,
    restore, ring, servers, sieve, sparsify, stale, stat, tar, token, verify,
};
use crate::outcome::Outcome;
use crate::output::Output;

#[derive(Parser)]
#[command(
    name = "bucky",
    version,
    about = "Cluster administration for Graphite: compare rings, find misplaced metrics, move them",
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true,
    propagate_version = true
)]
pub(super) struct Cli {
    /// Print help
    #[arg(long, action = ArgAction::Help, global = true, hide_short_help = true)]
    help: Option<bool>,
    /// Print the version
    #[arg(long, action = ArgAction::Version, global = true, hide_short_help = true)]
    version: Option<bool>,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// A command and its arguments.
#[derive(Subcommand)]
pub(crate) enum Command {
    Servers(servers::Args),
    List(list::Args),
    Locate(locate::Args),
    Inconsistent(inconsistent::Args),
    Plan(plan::Args),
    Rebalance(Box<rebalance::Args>),
    Copy(Box<copy::Args>),
    Backfill(Box<backfill::Args>),
    Backfill2(Box<backfill2::Args>),
    Heal(Box<heal::Args>),
    Verify(Box<verify::Args>),
    Stat(stat::Args),
    Du(du::Args),
    Tar(tar::Args),
    Restore(restore::Args),
    Ring(ring::Args),
    Fill(fill::Args),
    Info(info::Args),
    Isempty(isempty::Args),
    Findhash(findhash::Args),
    Gentestmetrics(gentestmetrics::Args),
    Modify(Box<modify::Args>),
    Sparsify(sparsify::Args),
    Json(json::Args),
    Token(token::Args),
    PickleRelay(pickle_relay::Args),
    Lookup(lookup::Args),
    Sieve(sieve::Args),
    Path(path::Args),
    Stale(stale::Args),
    Delete(delete::Args),
    /// Print the version
    Version,
}

/// Runs `command`.
///
/// # Errors
/// The error that ended it, for [`crate::run_with`] to print.
pub(crate) async fn run(command: Command, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    match command {
        Command::Servers(args) => servers::run(args, output).await,
        Command::List(args) => list::run(args, output).await,
        Command::Locate(args) => locate::run(args, output).await,
        Command::Inconsistent(args) => inconsistent::run(args, output).await,
        Command::Plan(args) => plan::run(args, output).await,
        Command::Rebalance(args) => rebalance::run(*args, output).await,
        Command::Copy(args) => copy::run(*args, output).await,
        Command::Backfill(args) => backfill::run(*args, output).await,
        Command::Backfill2(args) => backfill2::run(*args, output).await,
        Command::Heal(args) => heal::run(*args, output).await,
        Command::Verify(args) => verify::run(*args, output).await,
        Command::Stat(args) => stat::run(args, output).await,
        Command::Delete(args) => delete::run(args, output).await,
        Command::Du(args) => du::run(args, output).await,
        Command::Tar(args) => tar::run(args, output).await,
        Command::Restore(args) => restore::run(args, output).await,
        Command::Ring(args) => ring::run(args, output).await,
        Command::Fill(args) => fill::run(&args, output),
        Command::Info(args) => info::run(&args, output),
        Command::Isempty(args) => isempty::run(&args, output),
        Command::Findhash(args) => findhash::run(&args, output),
        Command::Gentestmetrics(args) => gentestmetrics::run(&args, output),
        Command::Modify(args) => modify::run(&args, output),
        Command::Sparsify(args) => sparsify::run(&args, output),
        Command::Json(args) => json::run(&args, output),
        Command::Token(args) => token::run(&args, output),
        Command::PickleRelay(args) => pickle_relay::run(args, output).await,
        Command::Lookup(args) => lookup::run(args, output).await,
        Command::Sieve(args) => sieve::run(args, output).await,
        Command::Path(args) => path::run(&args, output),
        Command::Stale(args) => stale::run(&args, output),
        Command::Version => {
            output.data_line(concat!("bucky ", env!("CARGO_PKG_VERSION")))?;
            Ok(Outcome::Done)
        }
    }
}
