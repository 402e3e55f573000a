//! `bucky backfill2`: copies from one cluster to another, by a map of names or by an expression.

use std::sync::Arc;

use bucky_api::DaemonAddr;

use crate::args::cluster::ClusterArgs;
use crate::args::heading;
use crate::args::map_file::read_map;
use crate::args::series::SeriesArgs;
use crate::args::sync::{SyncArgs, default};
use crate::args::whole::WholeArgs;
use crate::copy::{self, BackfillOrder};
use crate::names::checked_regex;
use crate::outcome::{MOVING_EXIT_CODES, Outcome, UsageError};
use crate::output::Output;

/// Arguments of `bucky backfill2`.
#[derive(clap::Args)]
#[command(
    about = "Copy metrics from one cluster to another",
    long_about = "Copy metrics from one cluster to another. The rings may differ, and so may the \
                  ports.\n\n\
                  With -r, all matching metrics on any node of the source cluster go to all owners in the \
                  destination cluster. With -metric-map-file, metrics get new names by a map, as with `bucky \
                  backfill`.\n\n\
                  If the destination already has a metric, its gaps are filled: where both have a value, it \
                  keeps its own. The sources stay, unless you give -delete with -r. Then each metric is \
                  deleted at the source once all owners have all of it on disk, and only if nothing wrote to \
                  it meanwhile. Source and destination may be the same cluster or share nodes: a metric is \
                  never deleted on a node that owns it. You can stop it (Ctrl-C) at any time and run it again.",
    after_help = "Examples:\n\
        \x20 bucky backfill2 --src-cluster-seed old-1 --dst-cluster-seed new-1 -r .\n\
        \x20     copy all metrics of the old cluster to the new one",
    after_long_help = MOVING_EXIT_CODES,
    mut_arg("no_delete", default),
    mut_arg("host", |arg| arg.hide(true)),
    mut_arg("single", |arg| arg.hide(true))
)]
pub(crate) struct Args {
    /// A daemon of the cluster to copy from
    #[arg(long, value_name = "HOST:PORT", help_heading = heading::SELECTION)]
    pub(crate) src_cluster_seed: DaemonAddr,
    /// A daemon of the cluster to copy to
    #[arg(long, value_name = "HOST:PORT", help_heading = heading::SELECTION)]
    pub(crate) dst_cluster_seed: DaemonAddr,
    /// JSON object of old names to new names; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "regex", required_unless_present = "regex", help_heading = heading::SELECTION)]
    pub(crate) metric_map_file: Option<String>,
    /// Only metrics whose names match
    ///
    /// The expression may match anywhere in the name.
    #[arg(short = 'r', long, value_name = "REGEX", help_heading = heading::SELECTION)]
    pub(crate) regex: Option<String>,
    /// Wait for a new scan of the source nodes first
    #[arg(short = 'f', long, help_heading = heading::SELECTION)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) series: SeriesArgs,
    #[command(flatten)]
    pub(crate) sync: SyncArgs,
    #[command(flatten)]
    pub(crate) whole: WholeArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    if args.cluster.single {
        return Err(UsageError::because(
            "-s cannot be used with backfill2: it copies whole clusters",
        ));
    }
    let client = args.cluster.client()?;
    let (from, to) = (args.src_cluster_seed, args.dst_cluster_seed);
    let series = args.series.read(output).await?;
    let mut order = args.sync.copying(&args.cluster, from.clone());
    order.selected.series = series;
    order.preparation.fresh = args.force;
    let mut order = args.whole.apply(order)?;
    let Some(file) = args.metric_map_file else {
        order.selected.regex = args.regex.as_deref().map(checked_regex).transpose()?;
        return copy::cluster_to_cluster(client, from, to, order, output).await;
    };
    if order.sources.deletes {
        return Err(UsageError::because(
            "-delete cannot be used with -metric-map-file, because nothing checks a metric under its new name \
             after the old one is deleted; check the new metrics, then run `bucky delete` with the old names",
        ));
    }
    if order.journal.is_some() {
        return Err(UsageError::because(
            "--journal cannot be used with -metric-map-file; give -job-state-file, or run the same map again: \
             a metric that is complete costs only a read",
        ));
    }
    let order = BackfillOrder {
        from,
        to: Some(to),
        map: read_map(&file)?,
        series: order.selected.series,
        preparation: order.preparation,
        batching: order.batching,
        sync: order.sync,
        verbose: order.verbose,
    };
    copy::backfill(client, order, output).await
}
