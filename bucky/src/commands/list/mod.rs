//! `bucky list`: the metrics that the nodes hold.

mod not_served;

use std::sync::Arc;

use crate::args::cluster::{ClusterArgs, discover};
use crate::args::heading;
use crate::args::select::SelectArgs;
use crate::cluster::{Cluster, Member};
use crate::inventory::{
    ListDetail, Listing, MergedLists, Query, page_len, refresh, report_failures, report_returned,
};
use crate::names::Nothing;
use crate::outcome::Outcome;
use crate::output::{Output, fits_a_line, json_string};

/// Arguments of `bucky list`.
#[derive(clap::Args)]
#[command(
    about = "List metrics",
    long_about = "List all metrics, the ones that you name, or with -r those that match. A metric on two nodes \
                  is listed twice.",
    after_help = "Examples:\n\
        \x20 bucky list -h graphite-1\n\
        \x20 bucky list -h graphite-1 -r '^app\\.'   names that begin with app.\n\
        \x20 bucky list -h graphite-1 -s            what this node has"
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    /// Print a JSON array; with -l an object of arrays
    #[arg(short = 'j', long, help_heading = heading::OUTPUT)]
    pub(crate) json: bool,
    /// Print the node of each metric
    #[arg(short = 'l', long, help_heading = heading::OUTPUT)]
    pub(crate) location: bool,
    /// List what the nodes do not serve instead, and why
    ///
    /// That is: links, folders that cannot be read, files whose path is not a metric name, and tagged files
    /// named by a hash.
    #[arg(long, conflicts_with = "location", help_heading = heading::SELECTION)]
    pub(crate) not_served: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    if args.not_served {
        return not_served::run(&args, output).await;
    }
    let selection = args.select.selection(Nothing::MeansAll, std::io::stdin())?;
    let cluster = discover(&args.cluster, output).await?;
    cluster.print_findings(output);
    cluster.report_not_served(output);
    let query = Query { selection, detail: ListDetail::Name, workers: 1 };
    let outcome = if args.location {
        by_node(&cluster, query, args.select.force, args.json, output).await?
    } else {
        let merged = MergedLists::begin(&cluster, query, args.select.force, output).await?;
        by_name(&cluster, merged, args.json, output).await?
    };
    Ok(outcome.and(cluster.outcome()))
}

async fn by_name(
    cluster: &Cluster,
    mut merged: MergedLists,
    json: bool,
    output: &Output,
) -> anyhow::Result<Outcome> {
    let mut is_first = true;
    if json {
        output.data_text("[")?;
    }
    while let Some((node, entry)) = merged.next().await {
        if json {
            let separator = if is_first { "" } else { "," };
            output.data_text(format_args!("{separator}\n\t{}", json_string(&entry.name)))?;
        } else if fits_a_line(&entry.name) {
            output.data_line(entry.name)?;
        } else {
            let member = cluster.members.get(node).map(|member| member.addr().to_string());
            report_left_out(&member.unwrap_or_default(), &entry.name, output);
        }
        is_first = false;
    }
    if json {
        output.data_line(if is_first { "]" } else { "\n]" })?;
    }
    output.flush()?;
    merged.report_returned(cluster, output);
    Ok(merged.report_failures(output))
}

/// Reports a name that cannot be printed on one line: half of it would be another metric's name.
fn report_left_out(addr: &str, name: &str, output: &Output) {
    output.say(format_args!(
        "bucky: {addr} lists {name:?}, which does not fit on a line and is left out; give -j to see it"
    ));
}

/// Prints node after node, sorted by address.
async fn by_node(
    cluster: &Cluster,
    query: Query,
    fresh: bool,
    json: bool,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    if fresh {
        refresh(cluster.present(), output).await?;
    }
    let query = Arc::new(query);
    let page_len = page_len(cluster.members.len());
    let begin =
        |member| (member, Listing::begin(member, Arc::clone(&query), page_len, Arc::clone(output)));
    let mut members: Vec<(&Member, Listing)> = cluster.present().map(begin).collect();
    members.sort_by_key(|(member, _)| member.addr().to_string());
    let mut failures = Vec::new();
    if json {
        output.data_text("{")?;
    }
    for (index, (member, listing)) in members.iter_mut().enumerate() {
        let addr = member.addr().to_string();
        if json {
            let separator = if index == 0 { "" } else { "," };
            output.data_text(format_args!("{separator}\n\t{}: [", json_string(&addr)))?;
        }
        let (mut is_first, mut count) = (true, 0);
        loop {
            let entry = match listing.next().await {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(error) => {
                    failures.push(error);
                    break;
                }
            };
            if json {
                let separator = if is_first { "" } else { "," };
                output.data_text(format_args!("{separator}\n\t\t{}", json_string(&entry.name)))?;
            } else if fits_a_line(&entry.name) {
                output.data_line(format_args!("{addr}: {}", entry.name))?;
            } else {
                report_left_out(&addr, &entry.name, output);
            }
            (is_first, count) = (false, count + 1);
        }
        if json {
            output.data_text(if is_first { "]" } else { "\n\t]" })?;
        }
        output.flush()?;
        report_returned(member, count, output);
    }
    if json {
        output.data_line(if members.is_empty() { "}" } else { "\n}" })?;
    }
    Ok(report_failures(&failures, output))
}
