//! `bucky restore`: restores metrics from a tar.

use std::path::PathBuf;
use std::sync::Arc;

use bucky_whisper::MetricName;

use crate::args::cluster::ClusterArgs;
use crate::args::heading;
use crate::args::schema::SchemaArgs;
use crate::args::series::SeriesArgs;
use crate::args::units::workers;
use crate::cluster::Scope;
use crate::outcome::Outcome;
use crate::output::Output;
use crate::restore::{self, ArchiveSource, RestoreOrder};

/// Arguments of `bucky restore`.
#[derive(clap::Args)]
#[command(
    about = "Restore metrics from a tar archive",
    long_about = "Restore metrics from a tar archive made by `bucky tar`, GNU tar or a daemon's /v1/archive. \
                  It may be plain or compressed with gzip or zstd. Each `.wsp` member goes to all of its \
                  owners by the ring: a missing file is created, an existing one is filled. Existing points \
                  never change.\n\n\
                  Files over 32 MiB wait in temporary files, in TMPDIR or else /var/tmp. That needs room for \
                  four of the longest files.\n\n\
                  Members that are not metric files are reported and skipped. All nodes must be up and have \
                  the same ring; with -s only the node at -h must be, and it gets what it owns. You can stop \
                  it (Ctrl-C) at any time and run it again.",
    after_help = "Examples:\n\
        \x20 bucky restore -h graphite-1 backup.tar\n\
        \x20 ssh old-1 cat backup.tar.zst | bucky restore -h graphite-1 -",
    after_long_help = "Exit codes: 0 done, 1 some of it was refused or failed, the archive is damaged,\n\
        or Ctrl-C stopped it, 2 wrong usage, 3 the cluster is not healthy or not\n\
        reachable, 130 stopped at once by Ctrl-C (the second one, or one before the work\n\
        began)."
)]
pub(crate) struct Args {
    /// The archive; - for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Put this before all metric names, such as old.site
    #[arg(short = 'p', long = "prefix", visible_alias = "path", value_name = "PREFIX", value_parser = restore::prefix, help_heading = heading::SELECTION)]
    pub(crate) prefix: Option<MetricName>,
    #[command(flatten)]
    pub(crate) series: SeriesArgs,
    /// Concurrent batches
    #[arg(short = 'w', long, value_name = "N", default_value = "5", value_parser = workers, help_heading = heading::LIMITS)]
    pub(crate) workers: usize,
    #[command(flatten)]
    pub(crate) schema: SchemaArgs,
    /// Write every failed metric to this file, with node and reason
    #[arg(long, value_name = "FILE", help_heading = heading::OUTPUT)]
    pub(crate) errors: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let order = RestoreOrder {
        seed: args.cluster.host()?,
        scope: if args.cluster.single { Scope::Single } else { Scope::All },
        source: ArchiveSource::of(&args.file),
        series: args.series.read(output).await?,
        prefix: args.prefix,
        workers: args.workers,
        on_schema_difference: args.schema.confirmed()?,
        errors: args.errors,
        verbose: args.cluster.verbose,
    };
    restore::run(args.cluster.client()?, order, output).await
}
