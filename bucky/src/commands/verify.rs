//! `bucky verify`: proves that every metric is where it belongs, with all its points.

use std::path::PathBuf;
use std::sync::Arc;

use bucky_api::{DaemonAddr, Encoding};

use crate::args::cluster::ClusterArgs;
use crate::args::local::LocalArgs;
use crate::args::series::SeriesArgs;
use crate::args::units::workers;
use crate::names::{Nothing, SelectArgs, Selection};
use crate::outcome::{Outcome, UsageError};
use crate::output::Output;
use crate::verify::{self, Order, Sample, Selected, Size};

/// Arguments of `bucky verify`.
#[derive(clap::Args)]
#[command(
    about = "Read every copy of each metric and tell whether all is in place",
    long_about = "Have every copy of each metric read by its node and tell, metric by metric, what is not as it should \
                  be: copies on nodes that do not own them, owners without a copy, points that such a misplaced copy has \
                  and the owner lacks or has no place for, owners that differ from each other, files that are corrupt or \
                  cannot be read. Only copies that may lack something are sent over the network. Changes nothing. All \
                  metrics, those named, with -r those that match, or a sample.\n\nWaits for a new scan of the nodes' files \
                  first. What is found is looked at once more before it is told.\n\nExit codes: 0 every copy is where it \
                  belongs, 1 something is not, 2 wrong usage, 3 the cluster is not healthy, or a node could not be read \
                  to the end."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) local: LocalArgs,
    #[command(flatten)]
    pub(crate) series: SeriesArgs,
    /// Print a JSON object: findings and a summary
    #[arg(short = 'j', long)]
    pub(crate) json: bool,
    /// Look at a sample only: a number of metrics, or a share such as 1%
    #[arg(long, value_name = "N|P%")]
    pub(crate) sample: Option<Size>,
    /// The sample that an earlier run took
    #[arg(long, value_name = "SEED", requires = "sample", value_parser = seed)]
    pub(crate) seed: Option<u64>,
    /// A node that is no longer in the ring and is to have nothing any more; may be given again
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) drained: Vec<DaemonAddr>,
    /// Go by the lists that the nodes have, however old
    #[arg(long, conflicts_with = "force")]
    pub(crate) no_scan: bool,
    /// Copies of a metric that differ from each other are a failure, too
    #[arg(long)]
    pub(crate) strict: bool,
    /// Batches read at once, in the whole cluster
    #[arg(short = 'w', long, value_name = "N", default_value = "8", value_parser = workers)]
    pub(crate) workers: usize,
    /// How files travel: identity, zstd, gzip, snappy
    #[arg(long, default_value = "zstd", value_name = "CODING")]
    pub(crate) encoding: Encoding,
    /// Write every finding to this file, with node and kind
    #[arg(long, value_name = "FILE")]
    pub(crate) errors: Option<PathBuf>,
}

/// A seed as a run has told it, which may be longer than a number of Go's is.
fn seed(text: &str) -> Result<u64, bucky_flags::BadInteger> {
    bucky_flags::integer::<u64>(0..=i64::MAX)(text).or_else(|error| text.parse().map_err(|_| error))
}

/// Runs it.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    if args.cluster.single {
        return Err(UsageError::because(
            "the copies of all nodes are compared; -s cannot be given here",
        ));
    }
    let selection = args.select.selection(Nothing::MeansAll, std::io::stdin())?;
    if args.sample.is_some() && matches!(selection, Selection::Names(_)) {
        return Err(UsageError::because("give names or --sample, not both"));
    }
    let random = || uuid::Uuid::new_v4().as_u64_pair().1 % 1_000_000;
    let sample = args.sample.map(|size| Sample { size, seed: args.seed.unwrap_or_else(random) });
    let order = Order {
        seed: args.cluster.host()?,
        selected: Selected {
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
