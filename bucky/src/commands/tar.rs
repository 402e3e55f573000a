//! `bucky tar`: metrics as a tar on standard output.

use std::sync::Arc;

use anyhow::bail;
use bucky_api::Encoding;

use crate::args::each_metric::EachMetricArgs;
use crate::backup::{self, Form, Order};
use crate::cluster::Scope;
use crate::names::Nothing;
use crate::outcome::Outcome;
use crate::output::Output;

/// Arguments of `bucky tar`.
#[derive(clap::Args)]
#[command(
    about = "Write metrics to standard output as a tar",
    long_about = "Write metrics to standard output as a tar that GNU tar lists and unpacks: those named, or with -r those that \
                  match (`-r .` is all), in the order of their names. `bucky restore` brings them back, to any cluster.\n\n\
                  A metric that several nodes have is one member with the points of all copies. What cannot be archived is \
                  named; the rest is. Where a node is away nothing is written, and where one is lost meanwhile the archive \
                  is given up for every reader to see. Only with exit code 0 is everything in it.\n\n\
                  Files that are too long for memory lie in temporary files meanwhile, in TMPDIR or else /var/tmp, which \
                  needs room for all copies of the longest metric.\n\n\
                  Exit codes: 0 done; 1 some of it is not in the archive, or standard output did not take it; 2 wrong usage; \
                  3 the cluster is not healthy or not reachable."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) each: EachMetricArgs,
    /// Compress the archive with gzip
    #[arg(long, conflicts_with = "zstd")]
    pub(crate) gzip: bool,
    /// Compress the archive with zstd
    #[arg(long)]
    pub(crate) zstd: bool,
    /// Leave out what is only zeros, as `tar -S` does: files have holes where GNU tar unpacks them
    #[arg(long)]
    pub(crate) sparse: bool,
}

/// Runs it.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let each = args.each;
    let selection = each.select.selection(Nothing::IsRefused, std::io::stdin())?;
    if output.is_data_terminal() {
        bail!("Refusing to write tar file to terminal.");
    }
    let order = Order {
        seed: each.cluster.host()?,
        scope: if each.cluster.single { Scope::Single } else { Scope::All },
        selection,
        fresh: each.select.force,
        workers: each.workers,
        form: if args.sparse { Form::Sparse } else { Form::Whole },
        encoding: match (args.gzip, args.zstd) {
            (true, _) => Encoding::Gzip,
            (false, true) => Encoding::Zstd,
            (false, false) => Encoding::Identity,
        },
        verbose: each.cluster.verbose,
    };
    backup::run(each.cluster.client()?, order, output).await
}
