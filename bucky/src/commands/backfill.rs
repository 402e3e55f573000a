//! `bucky backfill`: fills old names into new ones, by a map.

use std::sync::Arc;

use crate::args::batch::BatchArgs;
use crate::args::cluster::ClusterArgs;
use crate::args::heading;
use crate::args::map_file::read_map;
use crate::args::series::SeriesArgs;
use crate::copy::{self, BackfillOrder};
use crate::outcome::{MOVING_EXIT_CODES, Outcome, UsageError};
use crate::output::Output;

/// Arguments of `bucky backfill`.
#[derive(clap::Args)]
#[command(
    about = "Copy metrics to new names, by a map of old names to new names",
    long_about = "Copy metrics to new names. FILE (or - for standard input) is a JSON object of old names \
                  to new names. Every copy of an old name, on any node, is filled into the new name at all of \
                  its owners. If a new name already has values, it keeps them. The old metrics stay. An old \
                  name that no node has is reported, and the exit code is 1.\n\n\
                  In new names, a `/` counts as a dot, several dots in a row count as one, and a leading dot \
                  is dropped. Several old names may have the same new name; they are filled in the order of \
                  the map. A new name must not be the old name of another entry. You can stop it (Ctrl-C) at \
                  any time and run it again.",
    after_help = "Examples:\n\
        \x20 bucky backfill -h graphite-1 --no-op map.json   print the plan\n\
        \x20 bucky backfill -h graphite-1 map.json           fill the new names",
    after_long_help = MOVING_EXIT_CODES,
    mut_arg("single", |arg| arg.hide(true))
)]
pub(crate) struct Args {
    /// JSON object of old names to new names; - for standard input
    #[arg(value_name = "FILE")]
    pub(crate) map: String,
    /// Wait for a new scan of all nodes first
    #[arg(short = 'f', long, help_heading = heading::SELECTION)]
    pub(crate) force: bool,
    /// Print the plan and change nothing
    #[arg(long, visible_alias = "dry-run", help_heading = heading::WHAT_MOVES)]
    pub(crate) no_op: bool,
    #[command(flatten)]
    pub(crate) series: SeriesArgs,
    #[command(flatten)]
    pub(crate) batches: BatchArgs,
    /// Accepted for compatibility with the Go tool: destinations always fetch by themselves
    #[arg(long, hide = true)]
    pub(crate) offload: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    if args.cluster.single {
        // D7: the Go tool accepts -s and still asks all nodes.
        return Err(UsageError::because(
            "-s cannot be used with backfill: it would leave out the copies on other nodes",
        ));
    }
    let order = BackfillOrder {
        from: args.cluster.host()?,
        to: None,
        map: read_map(&args.map)?,
        series: args.series.read(output).await?,
        preparation: args.batches.preparation(args.force, args.no_op),
        batching: args.batches.batching(&args.cluster, 1),
        sync: args.batches.fill_options()?,
        verbose: args.cluster.verbose,
    };
    copy::backfill(args.cluster.client()?, order, output).await
}
