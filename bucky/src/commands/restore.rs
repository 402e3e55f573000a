//! `bucky restore`: metrics out of a tar.

use std::path::PathBuf;
use std::sync::Arc;

use bucky_whisper::MetricName;

use crate::args::cluster::ClusterArgs;
use crate::args::schema::SchemaArgs;
use crate::args::series::SeriesArgs;
use crate::args::units::workers;
use crate::cluster::Scope;
use crate::outcome::Outcome;
use crate::output::Output;
use crate::restore::{self, Order, Place};

/// Arguments of `bucky restore`.
#[derive(clap::Args)]
#[command(
    about = "Restore metrics from a tar",
    long_about = "Restore metrics from a tar, as `bucky tar`, GNU tar or a daemon's /v1/archive makes it, plain or compressed with \
                  gzip or zstd, which its content tells. Each `.wsp` member goes to all its owners by the ring: created \
                  where it is not there, filled where it is. No point that is there is changed.\n\n\
                  What is no metric's file is named and refused, and the rest restored. Refuses unless all nodes are there \
                  and have the same ring; with -s only the node at -h has to, and gets what it owns. May be stopped (Ctrl-C) \
                  and run again at any time.\n\n\
                  Files over 32 MiB lie in temporary files meanwhile, in TMPDIR or else /var/tmp, which needs room for four \
                  of the longest.\n\n\
                  Exit codes: 0 done; 1 some of it was refused or failed, or the archive is cut off or damaged; 2 wrong \
                  usage; 3 the cluster is not healthy."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The archive, or `-` for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Put this before the names of all metrics: `old.site` or `old/site`
    #[arg(short = 'p', long = "prefix", visible_alias = "path", value_name = "PREFIX", value_parser = restore::prefix)]
    pub(crate) prefix: Option<MetricName>,
    #[command(flatten)]
    pub(crate) series: SeriesArgs,
    /// Batches on their way at once
    #[arg(short = 'w', long, value_name = "N", default_value = "5", value_parser = workers)]
    pub(crate) workers: usize,
    #[command(flatten)]
    pub(crate) schema: SchemaArgs,
    /// Write every metric that failed to this file, with node and reason
    #[arg(long, value_name = "FILE")]
    pub(crate) errors: Option<PathBuf>,
}

/// Runs it.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let order = Order {
        seed: args.cluster.host()?,
        scope: if args.cluster.single { Scope::Single } else { Scope::All },
        place: Place::of(&args.file),
        series: args.series.read(output).await?,
        prefix: args.prefix,
        workers: args.workers,
        on_schema_difference: args.schema.confirmed()?,
        errors: args.errors,
        verbose: args.cluster.verbose,
    };
    restore::run(args.cluster.client()?, order, output).await
}
