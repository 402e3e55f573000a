//! `bucky ring check`: whether a relay sends a cluster's metrics where the ring of its file has them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bucky_api::counted::counted;
use bucky_flags::integer;
use bucky_relay_config::Program;
use bucky_ring::Ring;
use clap::ValueEnum;

use crate::args::cluster::{ClusterArgs, discover};
use crate::args::heading;
use crate::args::ring_file::{RingChoiceArgs, load, say_warnings};
use crate::args::series::SeriesArgs;
use crate::chain;
use crate::cluster::Cluster;
use crate::counted;
use crate::outcome::{Outcome, UnhealthyError, UsageError};
use crate::output::{Output, Table};
use crate::relay_check::{RelayComparison, RelayQuery, compare};
use crate::ring_fit::{FitQuery, sampled_names};

/// How many names that differ are shown.
const SHOWN: usize = 10;

/// The relays that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Against {
    /// Its test mode, `carbon-c-relay -f FILE -t`.
    CarbonCRelay,
}

/// Arguments of `bucky ring check`.
#[derive(clap::Args)]
#[command(
    about = "Ask the relay itself where it sends a cluster's metrics",
    long_about = "Ask the relay itself where it sends a cluster's metrics, and compare that with the ring of its file \
                  and with the cluster's own. The names are a sample. The relay is started in its test mode: it \
                  reads FILE, sends nothing, and ends. Run this on the relay's host.",
    after_help = "Examples:\n\
        \x20 bucky ring check --against carbon-c-relay -h graphite-1 relay.conf\n\
        \x20 bucky ring check --against carbon-c-relay --cluster old,new relay.conf",
    after_long_help = "Exit codes: 0 the relay, its file and the cluster agree, 1 they do not,\n\
        2 wrong usage, 3 a node did not answer, 130 stopped by Ctrl-C."
)]
pub(crate) struct Args {
    /// The relay to ask
    #[arg(long, value_enum, value_name = "RELAY", help_heading = heading::SELECTION)]
    against: Against,
    /// The relay's program [default: carbon-c-relay]
    #[arg(long, value_name = "PATH", default_value = "carbon-c-relay", hide_default_value = true, help_heading = heading::SELECTION)]
    program: PathBuf,
    #[command(flatten)]
    choice: RingChoiceArgs,
    /// Metrics to compare
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = integer::<u64>(1..=100_000), help_heading = heading::SELECTION)]
    sample: u64,
    #[command(flatten)]
    series: SeriesArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The relay's configuration
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let Against::CarbonCRelay = args.against;
    if args.file == Path::new("-") {
        return Err(UsageError::because("the relay cannot read standard input; name its file"));
    }
    let (ring, name) = ring_in(&args, output).await?;
    let cluster = discover(&args.cluster, output).await?;
    let query = FitQuery {
        sample: Some(args.sample),
        series: args.series.read(output).await?,
        ..FitQuery::default()
    };
    let (names, outcome) = sampled_names(&cluster, &query, output).await;
    let tagged_names = ring.spec().tagged_names;
    let names: BTreeSet<String> = names
        .iter()
        .map(|name| tagged_names.hashed_part(name).to_owned())
        .filter(|name| !name.contains(char::is_whitespace))
        .take(usize::try_from(args.sample).unwrap_or(usize::MAX))
        .collect();
    if names.is_empty() {
        return Err(UnhealthyError::because("no node that answered has a metric to compare"));
    }
    let query = RelayQuery {
        program: args.program,
        file: args.file.clone(),
        clusters: clusters_of(&ring, &name),
    };
    let found = compare(&query, &ring, &names).await?;
    output.data_line(text(&found))?;
    let agrees = say_of_cluster(&cluster, &ring, output)?;
    output.flush()?;
    let same = if found.differ.is_empty() && found.compared > 0 && agrees {
        Outcome::Done
    } else {
        Outcome::SomeFailed
    };
    Ok(same.and(outcome))
}

/// The ring of the file, and the name of its cluster.
async fn ring_in(args: &Args, output: &Output) -> anyhow::Result<(Ring, String)> {
    let shown = args.file.display();
    let loaded = load(args.choice.of(args.file.clone())).await?;
    if loaded.program != Program::CarbonCRelay {
        return Err(UsageError::because(format!(
            "{shown} is a file of {}, and carbon-c-relay reads its own",
            loaded.program
        )));
    }
    say_warnings(&loaded.found.warnings, output);
    let unusable = |reason: String| UsageError::because(format!("{shown}: {reason}"));
    if let Some(need) = loaded.found.needs.first() {
        return Err(unusable(need.to_string()));
    }
    let ring = Ring::new(loaded.found.spec).map_err(|error| unusable(chain(&error)))?;
    Ok((ring, loaded.name))
}

fn clusters_of(ring: &Ring, name: &str) -> Vec<String> {
    match &ring.spec().routes {
        Some(routes) => {
            routes.document().clusters.iter().map(|cluster| cluster.name.clone()).collect()
        }
        None => vec![name.to_owned()],
    }
}

/// Says whether the daemons have the ring of the file.
fn say_of_cluster(cluster: &Cluster, ring: &Ring, output: &Output) -> anyhow::Result<bool> {
    let present = cluster.ring()?;
    let differences = present.spec().differences(ring.spec());
    if differences.is_empty() {
        output.data_line("The cluster has the ring of the file.")?;
        return Ok(true);
    }
    output.data_line("The cluster has another ring than the file:")?;
    for difference in differences {
        output.data_line(format_args!("  {}", difference.told("in the file")))?;
    }
    Ok(false)
}

fn text(found: &RelayComparison) -> String {
    let mut lines = Vec::new();
    let compared = counted::metrics(found.compared);
    if found.differ.is_empty() {
        lines.push(format!(
            "{compared} compared with {}: it sends all of them where the ring has them.",
            found.version
        ));
    } else {
        let mut table = Table::new(&["METRIC", "RING", "RELAY"]);
        for one in found.differ.iter().take(SHOWN) {
            table.row(vec![one.name.clone(), servers(&one.ring), servers(&one.relay)]);
        }
        lines.push(format!("{table}\n"));
        let more = found.differ.len().saturating_sub(SHOWN);
        let shown = if more > 0 { format!("; {SHOWN} are shown") } else { String::new() };
        lines.push(format!(
            "{compared} compared with {}: it sends {} elsewhere{shown}.",
            found.version,
            counted(found.differ.len() as u64, "metric", "metrics"),
        ));
    }
    if found.elsewhere > 0 {
        lines.push(format!(
            "Its rules send {} to none of these clusters.",
            counted::metrics(found.elsewhere)
        ));
    }
    if found.rewritten > 0 {
        lines.push(format!(
            "It rewrites the names of {}, which were not compared.",
            counted::metrics(found.rewritten)
        ));
    }
    lines.join("\n")
}

fn servers(servers: &[String]) -> String {
    if servers.is_empty() { "none".to_owned() } else { servers.join(" ") }
}
