//! `bucky sieve`: of a list of metrics those that belong to a node, or those that do not.

use std::path::PathBuf;
use std::sync::Arc;

use bucky_ring::{Node, Ring};

use crate::args::cluster::ClusterArgs;
use crate::args::ring::ring_of;
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
    about = "Of a list of metrics print those that belong to a node",
    long_about = "Of a list of metrics print those that belong to a node, in the order of the list: any of a metric's \
                  owners is the node. A metric that no ring can place (a tagged series' file that is named by a hash) is \
                  told on standard error and printed in neither case."
)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Take the ring from this file (what GET /hashring answers), and ask no node
    #[arg(long, value_name = "FILE")]
    ring: Option<PathBuf>,
    #[command(flatten)]
    series: SeriesArgs,
    /// The node: HOST, HOST:PORT:INSTANCE, or as the ring has it; may be given several times
    /// [default: the one that the daemon at --host is]
    #[arg(short = 'n', long = "node", value_name = "NODE")]
    nodes: Vec<String>,
    /// Print those that do not belong to it
    #[arg(short = 'I', long)]
    invert: bool,
    /// The node need not be in the ring: one that was taken out owns nothing
    #[arg(long)]
    unknown_node: bool,
    #[command(flatten)]
    list: ListArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    args.list.refuse_stdin_twice("--ring", args.ring.as_deref())?;
    let (ring, own_name) = ring_of(args.ring.as_deref(), &args.cluster, output).await?;
    let nodes = match (args.nodes.is_empty(), own_name) {
        (false, _) => args.nodes,
        (true, Some(name)) => vec![name],
        (true, None) => {
            return Err(UsageError::because("whose metrics? give -n NODE with --ring"));
        }
    };
    let is_meant = meant(&ring, &nodes, args.unknown_node)?;
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
                let belongs = owners.iter().any(|owner| is_meant.get(*owner) == Some(&true));
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

/// Which nodes of the ring are meant. A name that means none is a mistake: inverted, every metric would not belong there.
fn meant(ring: &Ring, names: &[String], unknown: bool) -> anyhow::Result<Vec<bool>> {
    let is_called = |node: &Node, name: &str| {
        [node.host().to_owned(), host(node), long(node), node.to_string()].iter().any(|n| n == name)
    };
    for name in names.iter().filter(|_| !unknown) {
        if !ring.nodes().iter().any(|node| is_called(node, name)) {
            let nodes: Vec<String> = ring.nodes().iter().take(20).map(long).collect();
            return Err(UsageError::because(format!(
                "{name:?} is no node of the ring, which has {}; --unknown-node takes one that was taken out",
                nodes.join(", ")
            )));
        }
    }
    let is_meant = |node: &Node| names.iter().any(|name| is_called(node, name));
    Ok(ring.nodes().iter().map(is_meant).collect())
}
