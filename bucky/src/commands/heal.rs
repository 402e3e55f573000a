//! `bucky heal`: brings metrics to the owners that lack them.

use std::path::PathBuf;
use std::sync::Arc;

use bucky_api::Encoding;

use super::inconsistent::LocalArgs;
use super::rebalance::{HELD, bytes};
use crate::cli::{ClusterArgs, workers};
use crate::heal::{self, Order};
use crate::names::{Nothing, SelectArgs};
use crate::outcome::Outcome;
use crate::output::Output;
use crate::rebalance::BatchLimits;

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
    /// Print the plan and change nothing
    #[arg(long, visible_alias = "dry-run")]
    pub(crate) no_op: bool,
    /// Also fill the copies of owners from each other: points that one has and another lacks. Reads every copy
    #[arg(long)]
    pub(crate) points: bool,
    /// Go by the lists that the nodes have, however old: what was lost since is not noticed
    #[arg(long, conflicts_with = "force")]
    pub(crate) no_scan: bool,
    /// Batches on their way at once, in the whole cluster
    #[arg(short = 'w', long, value_name = "N", default_value = "8", value_parser = workers)]
    pub(crate) workers: usize,
    /// Write every metric that did not make it to this file, with node and reason
    #[arg(long, value_name = "FILE")]
    pub(crate) errors: Option<PathBuf>,
    /// How files travel: identity, zstd, gzip, snappy
    #[arg(long, default_value = "identity", value_name = "CODING")]
    pub(crate) encoding: Encoding,
    /// Length of a batch's files together, about; K, M, G are binary
    #[arg(long, default_value = "32M", value_name = "BYTES", value_parser = bytes)]
    pub(crate) batch_bytes: u64,
    /// Metrics in a batch
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) batch_metrics: u64,
    /// Begin although the nodes do not seem to have the room
    #[arg(long)]
    pub(crate) ignore_free_space: bool,
}

/// Runs it.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let order = Order {
        seed: args.cluster.host()?,
        only_seed: args.cluster.single,
        selection: args.select.selection(Nothing::MeansAll, std::io::stdin())?,
        points: args.points,
        local_prefix: args.local.prefix()?,
        fresh: !args.no_scan,
        dry_run: args.no_op,
        ignore_free_space: args.ignore_free_space,
        workers: args.workers,
        encoding: if args.cluster.no_encoding { Encoding::Identity } else { args.encoding },
        limits: BatchLimits {
            bytes: args.batch_bytes,
            metrics: usize::try_from(args.batch_metrics).unwrap_or(usize::MAX),
            held: HELD,
            patience: 0,
        },
        errors: args.errors,
        verbose: args.cluster.verbose,
    };
    heal::run(args.cluster.client()?, order, output).await
}
