//! `bucky rebalance`: moves every metric to the nodes that own it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bucky_api::DaemonAddr;

use crate::args::batch::PASSED;
use crate::args::cluster::ClusterArgs;
use crate::args::heading;
use crate::args::local::LocalArgs;
use crate::args::relay_file::RelayFileArgs;
use crate::args::series::SeriesArgs;
use crate::args::sync::{SyncArgs, default};
use crate::args::units::time;
use crate::names::checked_regex;
use crate::outcome::{MOVING_EXIT_CODES, Outcome, UsageError};
use crate::output::Output;
use crate::rebalance::{self, Conditions, EarlierPlan};
use crate::transfer::options::{Repairs, SourceRules, SyncOptions};
use crate::transfer::{MoveOrder, MoveSelection, Task};

/// Arguments of `bucky rebalance`.
#[derive(clap::Args)]
#[command(
    about = "Move every metric to the nodes that own it",
    long_about = "Move every metric to the nodes that own it.\n\n\
                  Each owner's copy is created or filled, and written to disk. Only then is the misplaced copy \
                  deleted. All nodes must be up and have the same ring; otherwise nothing is moved. You can \
                  stop it (Ctrl-C) at any time and run it again.\n\n\
                  To drain nodes that are no longer in the ring, name them as arguments.",
    after_help = "Examples:\n\
        \x20 bucky rebalance -h graphite-1 --no-op           print the plan\n\
        \x20 bucky rebalance -h graphite-1 --bandwidth 50M   move at most 50 MiB/s\n\
        \x20 bucky rebalance -h graphite-1 graphite-9        also drain graphite-9",
    after_long_help = MOVING_EXIT_CODES,
    mut_arg("delete", default)
)]
pub(crate) struct Args {
    /// Nodes that are no longer in the ring, to drain
    #[arg(value_name = "HOST:PORT")]
    pub(crate) drained: Vec<DaemonAddr>,
    /// Only metrics whose names match
    ///
    /// The expression may match anywhere in the name.
    #[arg(short = 'r', long, value_name = "REGEX", help_heading = heading::SELECTION)]
    pub(crate) regex: Option<String>,
    /// Only to these nodes, such as a:4242,b:4242
    ///
    /// HOST:PORT, separated by `;` or `,`.
    #[arg(long, value_name = "H:P;H:P", help_heading = heading::SELECTION)]
    pub(crate) allowed_dsts: Option<String>,
    /// Carry out the plan in this file, which `bucky plan -o` wrote
    ///
    /// Nothing is moved unless the daemons have the planned ring, the nodes are those of the plan, and each
    /// has as many metrics as then, give or take 1 %. Nodes that leave the ring are drained.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["regex", "allowed_dsts", "single"], help_heading = heading::SELECTION)]
    pub(crate) plan: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) relay_file: RelayFileArgs,
    /// Also move metrics between nodes that were members before, if the files lie by another ring
    ///
    /// Without this, such a move is refused: usually a word in the rings of the daemons is wrong.
    #[arg(long, help_heading = heading::WHAT_MOVES)]
    pub(crate) expect_shuffle: bool,
    /// Wait for a new scan of all nodes first
    #[arg(short = 'f', long, help_heading = heading::SELECTION)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) local: LocalArgs,
    #[command(flatten)]
    pub(crate) series: SeriesArgs,
    #[command(flatten)]
    pub(crate) sync: SyncArgs,
    /// Delete only sources without a write for this long, such as 2m
    ///
    /// Sources that were written to more recently are copied and stay for a later run. Without --rest, carbon
    /// may lose an update if it looks up a file that is just being moved away.
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = time, conflicts_with = "no_delete", help_heading = heading::WHAT_MOVES)]
    pub(crate) rest: Duration,
    /// Record finished metrics in this file; the next run with it continues there
    #[arg(long, value_name = "FILE", help_heading = heading::WHAT_MOVES)]
    pub(crate) journal: Option<PathBuf>,
    /// Replace a corrupt file at an owner with the valid copy that is moved there
    ///
    /// The owner keeps the corrupt file aside.
    #[arg(long, help_heading = heading::WHAT_MOVES, hide_short_help = true)]
    pub(crate) replace_corrupt: bool,
    /// Move the readable part of a source that was cut off, such as by a full disk
    ///
    /// Its node keeps the file aside.
    #[arg(long, help_heading = heading::WHAT_MOVES, hide_short_help = true)]
    pub(crate) salvage: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let plan = args.plan.as_deref().map(EarlierPlan::read).transpose()?;
    let mut drained = args.drained;
    if let Some(plan) = &plan {
        plan.add_departing(&mut drained);
    }
    let order = MoveOrder {
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
        selected: MoveSelection {
            only_seed: args.cluster.single,
            drained,
            regex: args.regex.as_deref().map(checked_regex).transpose()?,
            allowed_destinations: args.allowed_dsts.as_deref().map(addresses).transpose()?,
            local_prefix: args.local.prefix()?,
            series: args.series.read(output).await?,
        },
        verbose: args.cluster.verbose,
    };
    let conditions = Conditions {
        plan,
        ring_of_relay: args.relay_file.read(output).await?,
        expects_shuffle: args.expect_shuffle,
    };
    rebalance::run(args.cluster.client()?, order, conditions, output).await
}

/// The addresses in a list.
fn addresses(text: &str) -> anyhow::Result<Vec<DaemonAddr>> {
    let parts = text.split([';', ',']).map(str::trim).filter(|part| !part.is_empty());
    let addresses: Result<Vec<DaemonAddr>, _> = parts.map(str::parse).collect();
    let mut addresses =
        addresses.map_err(|error| UsageError::because(format!("--allowed-dsts: {error}")))?;
    if addresses.is_empty() {
        return Err(UsageError::because("--allowed-dsts: give at least one HOST:PORT"));
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
