//! `bucky backfill2`: from one cluster to another, by a map of names or by an expression.

use std::sync::Arc;

use bucky_api::DaemonAddr;

use crate::args::cluster::ClusterArgs;
use crate::args::map_file::read_map;
use crate::args::series::SeriesArgs;
use crate::args::sync::SyncArgs;
use crate::args::whole::WholeArgs;
use crate::copy::{self, BackfillOrder};
use crate::names::checked_regex;
use crate::outcome::{Outcome, UsageError};
use crate::output::Output;

/// Arguments of `bucky backfill2`.
#[derive(clap::Args)]
#[command(
    about = "Copy metrics from one cluster to another, by an expression or by a map of names",
    long_about = "Copy metrics from one cluster to another, whatever their rings are; each is asked on its own port. With -r \
                  all metrics in whose name the expression is found, from wherever they are, to all owners in the \
                  destination cluster. With -metric-map-file those of a map of old names to new ones, as `bucky backfill` \
                  does it.\n\nWhat the destination has already is filled: it keeps its own value where both have one. The \
                  source is left as it is, unless -delete is given with -r: then each metric is deleted there once all \
                  owners durably hold all of it, if nobody has written to it meanwhile. Source and destination may be one \
                  cluster, or have nodes in common: nothing is ever deleted on a node that owns it. May be stopped \
                  (Ctrl-C) and run again at any time."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// A daemon of the cluster to copy from
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) src_cluster_seed: DaemonAddr,
    /// A daemon of the cluster to copy to
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) dst_cluster_seed: DaemonAddr,
    /// A JSON object of old name to new name; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "regex", required_unless_present = "regex")]
    pub(crate) metric_map_file: Option<String>,
    /// Only metrics in whose name this is found
    #[arg(short = 'r', long, value_name = "REGEX")]
    pub(crate) regex: Option<String>,
    /// Wait for a new scan of the source nodes' files
    #[arg(short = 'f', long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) series: SeriesArgs,
    #[command(flatten)]
    pub(crate) sync: SyncArgs,
    #[command(flatten)]
    pub(crate) whole: WholeArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    if args.cluster.single {
        return Err(UsageError::because(
            "-s does not go with backfill2: it is about whole clusters",
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
            "-delete does not go with -metric-map-file: whether a metric is whole under its new name is not looked at \
             again after it is gone under its old one; look at the new ones, then run `bucky delete` with the old names",
        ));
    }
    if order.journal.is_some() {
        return Err(UsageError::because(
            "--journal does not go with -metric-map-file: give -job-state-file, or nothing, as what is complete costs a \
             read and nothing else when the same map is run again",
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
