//! `bucky rebalance`: moves every metric to the nodes that own it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bucky_api::DaemonAddr;

use crate::args::batch::PASSED;
use crate::args::cluster::ClusterArgs;
use crate::args::local::LocalArgs;
use crate::args::series::SeriesArgs;
use crate::args::sync::SyncArgs;
use crate::args::units::time;
use crate::names::checked_regex;
use crate::outcome::{Outcome, UsageError};
use crate::output::Output;
use crate::rebalance;
use crate::transfer::Selected;
use crate::transfer::options::Repairs;
use crate::transfer::options::SourceRules;
use crate::transfer::options::SyncOptions;
use crate::transfer::{Order, Task};

/// Arguments of `bucky rebalance`.
#[derive(clap::Args)]
#[command(
    about = "Move every metric to the nodes that own it",
    long_about = "Move every metric to the nodes that own it: each owner's copy is made complete and durable, and only \
                  then the misplaced one is deleted. Refuses unless all nodes are there and have the same ring. May be \
                  stopped (Ctrl-C) and run again at any time.\n\nHOST:PORT arguments are nodes that are no longer in \
                  the ring: they are drained as well."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) local: LocalArgs,
    #[command(flatten)]
    pub(crate) series: SeriesArgs,
    /// Nodes that are no longer in the ring, to be drained
    #[arg(value_name = "HOST:PORT")]
    pub(crate) drained: Vec<DaemonAddr>,
    /// Replace a corrupt file at an owner by the sound copy that is moved there; the owner keeps the corrupt one aside
    #[arg(long)]
    pub(crate) replace_corrupt: bool,
    /// Take what is left of a source that was cut off, such as by a full disk; its node keeps the file aside
    #[arg(long)]
    pub(crate) salvage: bool,
    /// Delete only sources that nobody has written to for so long, such as 2m: others are copied and left for a
    /// later run. Without it carbon may drop an update for which it looks up a file that is just being moved away
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = time, conflicts_with = "no_delete")]
    pub(crate) rest: Duration,
    /// Only metrics in whose name this is found
    #[arg(short = 'r', long, value_name = "REGEX")]
    pub(crate) regex: Option<String>,
    /// Only to these nodes: HOST:PORT separated by `;` or `,`
    #[arg(long, value_name = "H:P;H:P")]
    pub(crate) allowed_dsts: Option<String>,
    #[command(flatten)]
    pub(crate) sync: SyncArgs,
    /// Wait for a new scan of all nodes' files before planning
    #[arg(short = 'f', long)]
    pub(crate) force: bool,
    /// Note in this file what is finished; a stopped run with the same file goes on from there
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,
}

/// Runs it.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let order = Order {
        task: Task::Rebalance,
        seed: args.cluster.host()?,
        preparation: args.sync.batches.preparation(args.force, args.sync.no_op),
        sources: SourceRules {
            deletes: args.sync.deletes(true),
            rest: args.rest,
            copies_from_owners: false,
        },
        batching: args.sync.batches.batching(&args.cluster, PASSED),
        journal: args.journal,
        sync: SyncOptions {
            repairs: Repairs { replace_corrupt: args.replace_corrupt, salvage: args.salvage },
            ..args.sync.options()
        },
        selected: Selected {
            only_seed: args.cluster.single,
            drained: args.drained,
            regex: args.regex.as_deref().map(checked_regex).transpose()?,
            allowed_destinations: args.allowed_dsts.as_deref().map(addresses).transpose()?,
            local_prefix: args.local.prefix()?,
            series: args.series.read(output).await?,
        },
        verbose: args.cluster.verbose,
    };
    rebalance::run(args.cluster.client()?, order, output).await
}

/// The addresses in a list.
fn addresses(text: &str) -> anyhow::Result<Vec<DaemonAddr>> {
    let parts = text.split([';', ',']).map(str::trim).filter(|part| !part.is_empty());
    let addresses: Result<Vec<DaemonAddr>, _> = parts.map(str::parse).collect();
    let mut addresses =
        addresses.map_err(|error| UsageError::because(format!("--allowed-dsts: {error}")))?;
    if addresses.is_empty() {
        return Err(UsageError::because("--allowed-dsts names no node"));
    }
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let seconds = |text| time(text).map(|time| time.as_secs());
        assert_eq!(["0", "90", "90s", "2m", "1h"].map(seconds), [0, 90, 90, 120, 3600].map(Ok));
        for text in ["", "m", "-1", "1d", "2 m", "99999999999999999999h"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    /// D49: the Go tool splits at `;` although its help shows `,`.
    #[test]
    fn destinations_are_separated_either_way() {
        let two = ["a:1", "b:4242"].map(|text| text.parse::<DaemonAddr>().unwrap());
        for text in ["a:1;b", "b:4242,a:1,", " a:1 ; b;a:1"] {
            assert_eq!(addresses(text).unwrap(), two, "{text}");
        }
        assert!(addresses(";").is_err());
        assert!(addresses("a:x").is_err());
    }
}
