//! `bucky copy`: all that one node has, to another.

use std::sync::Arc;

use bucky_api::DaemonAddr;

use crate::args::cluster::ClusterArgs;
use crate::args::sync::SyncArgs;
use crate::args::whole::WholeArgs;
use crate::copy;
use crate::outcome::Outcome;
use crate::output::Output;

/// Arguments of `bucky copy`.
#[derive(clap::Args)]
#[command(
    about = "Copy all that one node has to another",
    long_about = "Copy all that one node has to another, under the same names; no ring is asked, and -h and -s count for \
                  nothing. What the destination has already is filled: it keeps its own value where both have one.\n\nThe \
                  source is left as it is, unless -delete is given: then each metric is deleted there once the \
                  destination durably holds all of it, if nobody has written to it meanwhile. Two addresses of one store \
                  are refused. May be stopped (Ctrl-C) and run again at any time."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The node to copy from
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) src: DaemonAddr,
    /// The node to copy to
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) dst: DaemonAddr,
    /// Wait for a new scan of the source's files
    #[arg(short = 'f', long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) sync: SyncArgs,
    #[command(flatten)]
    pub(crate) whole: WholeArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let mut order = args.sync.copying(&args.cluster, args.src.clone());
    order.preparation.fresh = args.force;
    let order = args.whole.apply(order)?;
    copy::node_to_node(args.cluster.client()?, args.src, args.dst, order, output).await
}
