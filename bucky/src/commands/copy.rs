//! `bucky copy`: copies everything from one node to another.

use std::sync::Arc;

use bucky_api::DaemonAddr;

use crate::args::cluster::ClusterArgs;
use crate::args::heading;
use crate::args::sync::{SyncArgs, default};
use crate::args::whole::WholeArgs;
use crate::copy;
use crate::outcome::{MOVING_EXIT_CODES, Outcome};
use crate::output::Output;

/// Arguments of `bucky copy`.
#[derive(clap::Args)]
#[command(
    about = "Copy everything from one node to another",
    long_about = "Copy all metrics of one node to another, under the same names. The ring does not matter; -h \
                  and -s have no effect.\n\n\
                  If the destination already has a metric, its gaps are filled: where both have a value, it \
                  keeps its own. The sources stay, unless you give -delete. Then each metric is deleted at the \
                  source once the destination has all of it on disk, and only if nothing wrote to it \
                  meanwhile. If both addresses lead to the same files, nothing is copied. You can stop it \
                  (Ctrl-C) at any time and run it again.",
    after_help = "Examples:\n\
        \x20 bucky copy --src graphite-1 --dst graphite-9 --no-op   print the plan\n\
        \x20 bucky copy --src graphite-1 --dst graphite-9           copy all metrics",
    after_long_help = MOVING_EXIT_CODES,
    mut_arg("no_delete", default),
    mut_arg("host", |arg| arg.hide(true)),
    mut_arg("single", |arg| arg.hide(true))
)]
pub(crate) struct Args {
    /// Node to copy from
    #[arg(long, value_name = "HOST:PORT", help_heading = heading::SELECTION)]
    pub(crate) src: DaemonAddr,
    /// Node to copy to
    #[arg(long, value_name = "HOST:PORT", help_heading = heading::SELECTION)]
    pub(crate) dst: DaemonAddr,
    /// Wait for a new scan of the source first
    #[arg(short = 'f', long, help_heading = heading::SELECTION)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) sync: SyncArgs,
    #[command(flatten)]
    pub(crate) whole: WholeArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let mut order = args.sync.copying(&args.cluster, args.src.clone());
    order.preparation.fresh = args.force;
    let order = args.whole.apply(order)?;
    copy::node_to_node(args.cluster.client()?, args.src, args.dst, order, output).await
}
