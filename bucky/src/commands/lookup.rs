//! `bucky lookup`: the nodes that own a metric, as carbonate's `carbon-lookup` prints them.

use std::sync::Arc;

use crate::args::cluster::ClusterArgs;
use crate::args::heading;
use crate::args::ring::RingArgs;
use crate::args::series::SeriesArgs;
use crate::chain;
use crate::name_stream::ListArgs;
use crate::node_text::{host, long};
use crate::outcome::Outcome;
use crate::output::Output;
use crate::placement::owners;

/// Arguments of `bucky lookup`.
#[derive(clap::Args)]
#[command(
    about = "Print the nodes that own metrics, as carbon-lookup does",
    long_about = "Print the nodes that own metrics as HOST:PORT:INSTANCE, one line for each copy, the first \
                  copy first. For several metrics use `bucky locate`, which also prints the names.",
    after_help = "Examples:\n\
        \x20 bucky lookup -h graphite-1 app.requests.count"
)]
pub(crate) struct Args {
    #[command(flatten)]
    ring: RingArgs,
    #[command(flatten)]
    series: SeriesArgs,
    /// Print only hosts
    #[arg(long, help_heading = heading::OUTPUT)]
    short: bool,
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    args.list.refuse_stdin_twice("--ring", args.ring.path())?;
    let (ring, _) = args.ring.ring_of(&args.cluster, output).await?;
    let series = args.series.read(output).await?;
    let mut outcome = Outcome::Done;
    for name in args.list.open()? {
        let name = match name {
            Ok(name) => name,
            Err(error) if error.is_of_that_line() => {
                output.say(format_args!("bucky: {}", chain(&error)));
                outcome = Outcome::SomeFailed;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let owners = match owners(&ring, &series, &name) {
            Ok(owners) => owners,
            Err(error) => {
                output.say(format_args!("bucky: {error}"));
                outcome = Outcome::SomeFailed;
                continue;
            }
        };
        for node in owners.into_iter().filter_map(|owner| ring.nodes().get(owner)) {
            let text = if args.short { host(node) } else { long(node) };
            output.data_line(text)?;
        }
    }
    Ok(outcome)
}
