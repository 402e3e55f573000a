//! `bucky heal`: brings metrics to the owners that lack them.

use std::sync::Arc;

use crate::args::batch::BatchArgs;
use crate::args::cluster::ClusterArgs;
use crate::args::heading;
use crate::args::local::LocalArgs;
use crate::args::select::SelectArgs;
use crate::args::series::SeriesArgs;
use crate::heal::{self, HealOrder};
use crate::names::Nothing;
use crate::outcome::{MOVING_EXIT_CODES, Outcome};
use crate::output::Output;

/// Arguments of `bucky heal`.
#[derive(clap::Args)]
#[command(
    about = "Copy metrics to owners that lack them",
    long_about = "Copy metrics to owners that lack them, from owners that have them, for example after a node \
                  was replaced by an empty one or lost files. It needs a replication factor above 1. It heals \
                  all metrics, the ones that you name, or with -r those that match; with -s only the node at \
                  -h. It deletes nothing, and changes no point that an owner has.\n\n\
                  By default, heal compares only the names that the nodes list after a new scan. With --points \
                  it also compares contents. If only nodes that do not own a metric have it, use `bucky \
                  rebalance`. All nodes must be up and have the same ring. You can stop it (Ctrl-C) at any \
                  time and run it again.",
    after_help = "Examples:\n\
        \x20 bucky heal -h graphite-1 --no-op    print what is missing\n\
        \x20 bucky heal -h graphite-1            copy it\n\
        \x20 bucky heal -h graphite-1 --points   also fill gaps between copies",
    after_long_help = MOVING_EXIT_CODES
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) local: LocalArgs,
    #[command(flatten)]
    pub(crate) series: SeriesArgs,
    /// Print the plan and change nothing
    #[arg(long, visible_alias = "dry-run", help_heading = heading::WHAT_MOVES)]
    pub(crate) no_op: bool,
    /// Also copy between nodes that were members before, if the files lie by another ring
    ///
    /// Without this, such copies are refused: usually a word in the rings of the daemons is wrong.
    #[arg(long, help_heading = heading::WHAT_MOVES)]
    pub(crate) expect_shuffle: bool,
    /// Also fill the gaps between copies of different owners (reads every copy)
    #[arg(long, help_heading = heading::WHAT_MOVES)]
    pub(crate) points: bool,
    /// Use the lists that the nodes already have, however old
    ///
    /// Losses since then are not noticed.
    #[arg(long, conflicts_with = "force", help_heading = heading::SELECTION)]
    pub(crate) no_scan: bool,
    #[command(flatten)]
    pub(crate) batches: BatchArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let order = HealOrder {
        seed: args.cluster.host()?,
        only_seed: args.cluster.single,
        selection: args.select.selection(Nothing::MeansAll, std::io::stdin())?,
        points: args.points,
        local_prefix: args.local.prefix()?,
        series: args.series.read(output).await?,
        expects_shuffle: args.expect_shuffle,
        preparation: args.batches.preparation(!args.no_scan, args.no_op),
        batching: args.batches.batching(&args.cluster, 0),
        sync: args.batches.fill_options()?,
        verbose: args.cluster.verbose,
    };
    heal::run(args.cluster.client()?, order, output).await
}
