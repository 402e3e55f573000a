//! One file a command: its arguments, and a short `run`.

pub(crate) mod backfill;
pub(crate) mod backfill2;
mod batch_args;
mod clock_args;
pub(crate) mod copy;
pub(crate) mod delete;
pub(crate) mod du;
mod each_metric_args;
pub(crate) mod fill;
pub(crate) mod findhash;
pub(crate) mod gentestmetrics;
pub(crate) mod heal;
pub(crate) mod inconsistent;
pub(crate) mod info;
pub(crate) mod isempty;
pub(crate) mod json;
pub(crate) mod list;
pub(crate) mod locate;
pub(crate) mod lookup;
pub(crate) mod modify;
pub(crate) mod path;
pub(crate) mod pickle_relay;
pub(crate) mod rebalance;
pub(crate) mod restore;
mod schema_args;
pub(crate) mod series_args;
pub(crate) mod servers;
pub(crate) mod sieve;
pub(crate) mod sparsify;
pub(crate) mod stale;
pub(crate) mod stat;
mod sync_args;
pub(crate) mod tar;
#[cfg(test)]
mod tests;
pub(crate) mod token;
pub(crate) mod verify;

use std::sync::Arc;

use crate::cli::{ClusterArgs, Command};
use crate::cluster::{Cluster, Scope};
use crate::outcome::Outcome;
use crate::output::Output;

/// Runs `command`.
///
/// # Errors
/// What ended it, for [`crate::run_with`] to tell.
pub(crate) async fn run(command: Command, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    match command {
        Command::Servers(args) => servers::run(args, output).await,
        Command::List(args) => list::run(args, output).await,
        Command::Locate(args) => locate::run(args, output).await,
        Command::Inconsistent(args) => inconsistent::run(args, output).await,
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

/// The cluster that `args` mean: all of it, or with `-s` the node at `-h` alone.
///
/// # Errors
/// [`crate::outcome::UnhealthyError`] where `-h` gives no ring.
pub(crate) async fn discover(args: &ClusterArgs, output: &Output) -> anyhow::Result<Cluster> {
    // D7: the Go tool takes -s and asks, or deletes from, all nodes all the same.
    let scope = if args.single { Scope::Single } else { Scope::All };
    let cluster = Cluster::discover(args.client()?, args.host()?, scope).await?;
    if args.verbose {
        cluster.tell_members(output);
    }
    Ok(cluster)
}
