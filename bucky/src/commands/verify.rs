//! `bucky verify`: checks that every metric is where it belongs, with all its points.

use std::path::PathBuf;
use std::sync::Arc;

use bucky_api::{DaemonAddr, Encoding};

use crate::args::cluster::ClusterArgs;
use crate::args::heading;
use crate::args::local::LocalArgs;
use crate::args::select::SelectArgs;
use crate::args::series::SeriesArgs;
use crate::args::units::workers;
use crate::names::{Nothing, Selection};
use crate::outcome::{Outcome, UsageError};
use crate::output::Output;
use crate::verify::{self, Sample, Size, VerifyOrder, VerifySelection};

/// Arguments of `bucky verify`.
#[derive(clap::Args)]
#[command(
    about = "Check every copy of each metric, and report what is wrong",
    long_about = "Let each node read its copies of every metric, and report what is wrong: misplaced copies, \
                  owners without a copy, points that a misplaced copy has and the owner lacks or has no place \
                  for, owners that differ from each other, and files that are corrupt or cannot be read. Only \
                  copies that may lack something travel over the network. Verify changes nothing. It checks \
                  all metrics, the ones that you name, with -r those that match, or a sample.\n\n\
                  It first waits for a new scan on all nodes. A finding is checked a second time before it is \
                  reported.",
    after_help = "Examples:\n\
        \x20 bucky verify -h graphite-1\n\
        \x20 bucky verify -h graphite-1 --sample 1%   a quick look",
    after_long_help = "Exit codes: 0 every copy is where it belongs, 1 something is wrong, 2 wrong\n\
        usage, 3 the cluster is not healthy or a node could not be read completely,\n\
        130 stopped by Ctrl-C.",
    mut_arg("single", |arg| arg.hide(true))
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) local: LocalArgs,
    #[command(flatten)]
    pub(crate) series: SeriesArgs,
    /// Print a JSON object with findings and a summary
    #[arg(short = 'j', long, help_heading = heading::OUTPUT)]
    pub(crate) json: bool,
    /// Check only a sample: a number of metrics, or a share such as 1%
    #[arg(long, value_name = "N|P%", help_heading = heading::SELECTION)]
    pub(crate) sample: Option<Size>,
    /// Check the same sample as an earlier run, which printed its seed
    #[arg(long, value_name = "SEED", requires = "sample", value_parser = seed, help_heading = heading::SELECTION)]
    pub(crate) seed: Option<u64>,
    /// A node that is no longer in the ring and must be empty; repeatable
    #[arg(long, value_name = "HOST:PORT", help_heading = heading::SELECTION)]
    pub(crate) drained: Vec<DaemonAddr>,
    /// Use the lists that the nodes already have, however old
    #[arg(long, conflicts_with = "force", help_heading = heading::SELECTION)]
    pub(crate) no_scan: bool,
    /// Exit with 1 also if only the copies of owners differ from each other
    #[arg(long, help_heading = heading::OUTPUT)]
    pub(crate) strict: bool,
    /// Concurrent batches in the whole cluster
    #[arg(short = 'w', long, value_name = "N", default_value = "8", value_parser = workers, help_heading = heading::LIMITS)]
    pub(crate) workers: usize,
    /// Compression on the wire: identity, zstd, gzip or snappy
    #[arg(long, default_value = "zstd", value_name = "CODING", help_heading = heading::LIMITS, hide_short_help = true)]
    pub(crate) encoding: Encoding,
    /// Write every finding to this file, with node and kind
    #[arg(long, value_name = "FILE", help_heading = heading::OUTPUT)]
    pub(crate) errors: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// A seed as a run prints it; it may be larger than Go's numbers.
fn seed(text: &str) -> Result<u64, bucky_flags::BadInteger> {
    bucky_flags::integer::<u64>(0..=i64::MAX)(text).or_else(|error| text.parse().map_err(|_| error))
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    if args.cluster.single {
        return Err(UsageError::because(
            "-s cannot be used with verify: it compares the copies of all nodes",
        ));
    }
    let selection = args.select.selection(Nothing::MeansAll, std::io::stdin())?;
    if args.sample.is_some() && matches!(selection, Selection::Names(_)) {
        return Err(UsageError::because("give names or --sample, not both"));
    }
    let random = || uuid::Uuid::new_v4().as_u64_pair().1 % 1_000_000;
    let sample = args.sample.map(|size| Sample { size, seed: args.seed.unwrap_or_else(random) });
    let order = VerifyOrder {
        seed: args.cluster.host()?,
        selected: VerifySelection {
            selection,
            sample,
            drained: args.drained,
            local_prefix: args.local.prefix()?,
            series: args.series.read(output).await?,
        },
        fresh: !args.no_scan,
        strict: args.strict,
        workers: args.workers,
        encoding: if args.cluster.no_encoding { Encoding::Identity } else { args.encoding },
        json: args.json,
        errors: args.errors,
        verbose: args.cluster.verbose,
    };
    verify::run(args.cluster.client()?, order, output).await
}
