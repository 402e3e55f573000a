//! `bucky backfill`: old names into new ones, by a map.

use std::sync::Arc;

use crate::args::batch::BatchArgs;
use crate::args::cluster::ClusterArgs;
use crate::args::map_file::read_map;
use crate::args::series::SeriesArgs;
use crate::copy::{self, BackfillOrder};
use crate::outcome::{Outcome, UsageError};
use crate::output::Output;
use crate::transfer::options::SyncOptions;

/// Arguments of `bucky backfill`.
#[derive(clap::Args)]
#[command(
    about = "Fill metrics into metrics of other names, by a map of old names to new ones",
    long_about = "Fill metrics into metrics of other names. FILE, or - for standard input, is a JSON object of old name to \
                  new name. Every copy of an old name, on whatever node it lies, is filled into the new name at all owners \
                  of that; a new name that is there already keeps its own values. Old metrics are left as they are. Old \
                  names that no node has are told, and the exit code is 1.\n\nIn new names a `/` is a dot, dots in a row \
                  are one, and one at the beginning is dropped. Several old names may have one new name: they are filled \
                  in one after the other, as the map has them. A new name must not be an old one of another entry. May be \
                  stopped (Ctrl-C) and run again at any time."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// A JSON object of old name to new name; - for standard input
    #[arg(value_name = "FILE")]
    pub(crate) map: String,
    /// Wait for a new scan of all nodes' files
    #[arg(short = 'f', long)]
    pub(crate) force: bool,
    /// Print the plan and do nothing
    #[arg(long, visible_alias = "dry-run")]
    pub(crate) no_op: bool,
    #[command(flatten)]
    pub(crate) series: SeriesArgs,
    #[command(flatten)]
    pub(crate) batches: BatchArgs,
    /// Accepted for the Go tool's sake: destinations always fetch for themselves
    #[arg(long, hide = true)]
    pub(crate) offload: bool,
}

/// Runs it.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    if args.cluster.single {
        // D7: the Go tool takes -s and asks all nodes all the same.
        return Err(UsageError::because(
            "-s does not go with backfill: copies on other nodes would be left out",
        ));
    }
    let order = BackfillOrder {
        from: args.cluster.host()?,
        to: None,
        map: read_map(&args.map)?,
        series: args.series.read(output).await?,
        preparation: args.batches.preparation(args.force, args.no_op),
        batching: args.batches.batching(&args.cluster, 1),
        sync: SyncOptions {
            errors: args.batches.errors,
            on_schema_difference: args.batches.schema.confirmed()?,
            ..SyncOptions::default()
        },
        verbose: args.cluster.verbose,
    };
    copy::backfill(args.cluster.client()?, order, output).await
}
