//! `bucky sieve`: prints those metrics of a list that a node owns, or those that it does not own.

use std::sync::Arc;

use bucky_ring::{Node, Ring};

use crate::args::cluster::ClusterArgs;
use crate::args::heading;
use crate::args::ring::RingArgs;
use crate::args::series::SeriesArgs;
use crate::chain;
use crate::name_stream::ListArgs;
use crate::node_text::{host, long};
use crate::outcome::{Outcome, UsageError};
use crate::output::Output;
use crate::placement::owners;

/// Arguments of `bucky sieve`.
#[derive(clap::Args)]
#[command(
    about = "From a list of metrics, print those that a node owns",
    long_about = "From a list of metrics, print those that a node owns, in the order of the list. A metric that no \
                  ring can place (a tagged file named by a hash) is reported on standard error and never \
                  printed.",
    after_help = "Examples:\n\
        \x20 bucky sieve -h graphite-1 -n graphite-2 -f names.txt"
)]
pub(crate) struct Args {
    #[command(flatten)]
    ring: RingArgs,
    #[command(flatten)]
    series: SeriesArgs,
    /// Node, as HOST, HOST:PORT:INSTANCE or as the ring writes it [default: the node at --host]
    ///
    /// Repeatable.
    #[arg(short = 'n', long = "node", value_name = "NODE", help_heading = heading::SELECTION)]
    nodes: Vec<String>,
    /// Print the metrics that the node does not own
    #[arg(short = 'I', long, help_heading = heading::SELECTION)]
    invert: bool,
    /// Accept a node that is not in the ring: it owns nothing
    #[arg(long, help_heading = heading::SELECTION)]
    unknown_node: bool,
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    args.list.refuse_stdin_twice("--ring", args.ring.path())?;
    let (ring, own_name) = args.ring.ring_of(&args.cluster, output).await?;
    let nodes = match (args.nodes.is_empty(), own_name) {
        (false, _) => args.nodes,
        (true, Some(name)) => vec![name],
        (true, None) => {
            return Err(UsageError::because("--ring needs -n NODE"));
        }
    };
    let is_selected = selected_nodes(&ring, &nodes, args.unknown_node)?;
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
        match owners(&ring, &series, &name) {
            Ok(owners) => {
                let belongs = owners.iter().any(|owner| is_selected.get(*owner) == Some(&true));
                if belongs != args.invert {
                    output.data_line(name)?;
                }
            }
            Err(error) => {
                output.say(format_args!("bucky: {error}"));
                outcome = Outcome::SomeFailed;
            }
        }
    }
    Ok(outcome)
}

/// Which nodes of the ring the names mean. A name without a node is a mistake: with `--invert`, every metric
/// would be printed.
fn selected_nodes(ring: &Ring, names: &[String], unknown: bool) -> anyhow::Result<Vec<bool>> {
    let is_called = |node: &Node, name: &str| {
        [node.host().to_owned(), host(node), long(node), node.to_string()].iter().any(|n| n == name)
    };
    for name in names.iter().filter(|_| !unknown) {
        if !ring.nodes().iter().any(|node| is_called(node, name)) {
            let nodes: Vec<String> = ring.nodes().iter().take(20).map(long).collect();
            return Err(UsageError::because(format!(
                "{name:?} is not a node of the ring ({}); if it was removed from the ring, give --unknown-node",
                nodes.join(", ")
            )));
        }
    }
    let is_selected = |node: &Node| names.iter().any(|name| is_called(node, name));
    Ok(ring.nodes().iter().map(is_selected).collect())
}
