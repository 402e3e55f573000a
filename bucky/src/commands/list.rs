//! `bucky list`: the metrics that the nodes hold.

use std::sync::Arc;

use super::discover;
use crate::cli::ClusterArgs;
use crate::cluster::Cluster;
use crate::inventory::{Detail, Listing, Merged, Query, page_len, refresh, tell_failures};
use crate::names::{Nothing, SelectArgs};
use crate::outcome::Outcome;
use crate::output::{Output, json_string};

/// Arguments of `bucky list`.
#[derive(clap::Args)]
#[command(
    about = "List metrics",
    long_about = "List metrics: all, those named, or with -r those that match. A metric on two nodes stands twice."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    /// Print a JSON array; with -l an object of arrays
    #[arg(short = 'j', long)]
    pub(crate) json: bool,
    /// Tell on which node each metric is
    #[arg(short = 'l', long)]
    pub(crate) location: bool,
}

/// Runs it.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let selection = args.select.selection(Nothing::MeansAll, std::io::stdin())?;
    let cluster = discover(&args.cluster, output).await?;
    cluster.tell_findings(output);
    let query = Query { selection, detail: Detail::Name, workers: 1 };
    let outcome = if args.location {
        by_node(&cluster, query, args.select.force, args.json, output).await?
    } else {
        let merged = Merged::begin(&cluster, query, args.select.force, output).await?;
        by_name(merged, args.json, output).await?
    };
    Ok(outcome.and(cluster.outcome()))
}

async fn by_name(mut merged: Merged, json: bool, output: &Output) -> anyhow::Result<Outcome> {
    let mut is_first = true;
    if json {
        output.data_text("[")?;
    }
    while let Some((_, entry)) = merged.next().await {
        if json {
            let separator = if is_first { "" } else { "," };
            output.data_text(format_args!("{separator}\n\t{}", json_string(&entry.name)))?;
        } else {
            output.data_line(entry.name)?;
        }
        is_first = false;
    }
    if json {
        output.data_line(if is_first { "]" } else { "\n]" })?;
    }
    Ok(merged.tell_failures(output))
}

/// Node after node, sorted by address.
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
    let mut members: Vec<(String, Listing)> = cluster
        .present()
        .map(|member| {
            let listing = Listing::begin(member, Arc::clone(&query), page_len, Arc::clone(output));
            (member.addr().to_string(), listing)
        })
        .collect();
    members.sort_by(|a, b| a.0.cmp(&b.0));
    let mut failures = Vec::new();
    if json {
        output.data_text("{")?;
    }
    for (index, (addr, listing)) in members.iter_mut().enumerate() {
        if json {
            let separator = if index == 0 { "" } else { "," };
            output.data_text(format_args!("{separator}\n\t{}: [", json_string(addr)))?;
        }
        let mut is_first = true;
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
            } else {
                output.data_line(format_args!("{addr}: {}", entry.name))?;
            }
            is_first = false;
        }
        if json {
            output.data_text(if is_first { "]" } else { "\n\t]" })?;
        }
    }
    if json {
        output.data_line(if members.is_empty() { "}" } else { "\n}" })?;
    }
    Ok(tell_failures(&failures, output))
}
