//! `bucky tar`: writes metrics as a tar to standard output.

use std::sync::Arc;

use anyhow::bail;
use bucky_api::Encoding;

use crate::args::each_metric::EachMetricArgs;
use crate::args::heading;
use crate::backup::{self, BackupOrder, TarForm};
use crate::cluster::Scope;
use crate::names::Nothing;
use crate::outcome::Outcome;
use crate::output::Output;

/// Arguments of `bucky tar`.
#[derive(clap::Args)]
#[command(
    about = "Write metrics to standard output as a tar archive",
    long_about = "Write metrics to standard output as a tar archive that GNU tar can list and extract. Give \
                  names, or with -r an expression (`-r .` is everything). Members are sorted by name. `bucky \
                  restore` restores the archive, to any cluster.\n\n\
                  If several nodes have a metric, the archive has one member with the points of all copies. \
                  Metrics that cannot be archived are reported; the others are in the archive. If a node is \
                  down, nothing is written. If a node fails later, the archive is cut off there, and every \
                  reader of it reports that. Everything is in it only if the exit code is 0.\n\n\
                  Files that are too long for memory are merged in temporary files, in TMPDIR or else /var/tmp. \
                  That needs room for all copies of the longest metric.",
    after_help = "Examples:\n\
        \x20 bucky tar -h graphite-1 -r . --zstd > backup.tar.zst\n\
        \x20 bucky tar -h graphite-1 -r '^app\\.' > app.tar",
    after_long_help = "Exit codes: 0 done, 1 some of it is not in the archive or could not be written,\n\
        2 wrong usage, 3 the cluster is not healthy or not reachable, 130 stopped by\n\
        Ctrl-C: the archive is cut off.",
    mut_arg("workers", |arg| arg.help("Concurrent batches of metrics")),
    mut_arg("json", |arg| arg.hide(true))
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) each: EachMetricArgs,
    /// Compress the archive with gzip
    #[arg(long, conflicts_with = "zstd", help_heading = heading::OUTPUT)]
    pub(crate) gzip: bool,
    /// Compress the archive with zstd
    #[arg(long, help_heading = heading::OUTPUT)]
    pub(crate) zstd: bool,
    /// Leave out blocks of zeros, as `tar -S` does
    ///
    /// GNU tar creates files with holes from it.
    #[arg(long, help_heading = heading::OUTPUT)]
    pub(crate) sparse: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let each = args.each;
    let selection = each.select.selection(Nothing::IsRefused, std::io::stdin())?;
    if output.is_data_terminal() {
        bail!("Refusing to write tar file to terminal.");
    }
    let order = BackupOrder {
        seed: each.cluster.host()?,
        scope: if each.cluster.single { Scope::Single } else { Scope::All },
        selection,
        fresh: each.select.force,
        workers: each.workers,
        form: if args.sparse { TarForm::Sparse } else { TarForm::Whole },
        encoding: match (args.gzip, args.zstd) {
            (true, _) => Encoding::Gzip,
            (false, true) => Encoding::Zstd,
            (false, false) => Encoding::Identity,
        },
        verbose: each.cluster.verbose,
    };
    backup::run(each.cluster.client()?, order, output).await
}
