//! `bucky heal`: brings metrics to the owners that lack them.

use std::sync::Arc;

use crate::args::batch::BatchArgs;
use crate::args::cluster::ClusterArgs;
use crate::args::local::LocalArgs;
use crate::args::series::SeriesArgs;
use crate::heal::{self, Order};
use crate::names::{Nothing, SelectArgs};
use crate::outcome::Outcome;
use crate::output::Output;
use crate::transfer::options::SyncOptions;

/// Arguments of `bucky heal`.
#[derive(clap::Args)]
#[command(
    about = "Bring metrics to the owners that lack them, from owners that have them",
    long_about = "Bring metrics to the owners that lack them, from owners that have them: after a node was replaced by an \
                  empty one, or lost files. For clusters with a replication factor above 1. All metrics, those named, or \
                  with -r those that match; with -s only to the node at -h. Deletes nothing, and changes no point that an \
                  owner has.\n\nWho lacks what is told by the names that the nodes list, after a new scan; contents are \
                  not compared unless --points is given. Metrics that none of their owners has, only other nodes, are left \
                  to `bucky rebalance`. Refuses unless all nodes are there and have the same ring. May be stopped (Ctrl-C) \
                  and run again at any time.\n\nExit codes: 0 done, or nothing to do; 1 some of it failed; 2 wrong usage; \
                  3 the cluster is not healthy."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) local: LocalArgs,
    #[command(flatten)]
    pub(crate) series: SeriesArgs,
    /// Print the plan and change nothing
    #[arg(long, visible_alias = "dry-run")]
    pub(crate) no_op: bool,
    /// Also fill the copies of owners from each other: points that one has and another lacks. Reads every copy
    #[arg(long)]
    pub(crate) points: bool,
    /// Go by the lists that the nodes have, however old: what was lost since is not noticed
    #[arg(long, conflicts_with = "force")]
    pub(crate) no_scan: bool,
    #[command(flatten)]
    pub(crate) batches: BatchArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let order = Order {
        seed: args.cluster.host()?,
        only_seed: args.cluster.single,
        selection: args.select.selection(Nothing::MeansAll, std::io::stdin())?,
        points: args.points,
        local_prefix: args.local.prefix()?,
        series: args.series.read(output).await?,
        preparation: args.batches.preparation(!args.no_scan, args.no_op),
        batching: args.batches.batching(&args.cluster, 0),
        sync: SyncOptions {
            pace: args.batches.pace(),
            on_schema_difference: args.batches.schema.confirmed()?,
            errors: args.batches.errors,
            ..SyncOptions::default()
        },
        verbose: args.cluster.verbose,
    };
    heal::run(args.cluster.client()?, order, output).await
}
