//! `bucky ring fit`: which ring explains what lies on the disks.

use std::sync::Arc;

use bucky_api::SAMPLE_LIMIT;
use bucky_flags::integer;
use bucky_ring::{Explanation, Relay, RingDocument, RingSpec, read_nodes};
use serde_json::{Value, json};

use super::from::{command_line, words_of};
use crate::args::cluster::{ClusterArgs, discover};
use crate::args::heading;
use crate::args::local::LocalArgs;
use crate::args::ring::RingArgs;
use crate::args::series::SeriesArgs;
use crate::chain;
use crate::outcome::{Outcome, UsageError};
use crate::output::{Output, Table, human_count};
use crate::ring_fit::{FitQuery, RingFit, fit};

/// Arguments of `bucky ring fit`.
#[derive(clap::Args)]
#[command(
    about = "Find the ring that explains where the metrics are",
    long_about = "Find the ring that explains where the metrics are. Every relay, hash and number of copies \
                  is tried over the nodes, in their order, sorted, and, for a jump ring, in the order that \
                  the disks show. IN PLACE is the share of the copies \
                  found that are on an owner by that ring. COMPLETE is the share of the copies the ring asks \
                  for that were found. The rank goes by both.\n\n\
                  The names are a sample. It is the same on every node, so copies of a metric meet. Instances \
                  are taken as they are. A metric on a node that is not asked is not seen: give all nodes \
                  that a relay writes to.",
    after_help = "Examples:\n\
        \x20 bucky ring fit -h graphite-1\n\
        \x20 bucky ring fit -h graphite-1 graphite-1:2003 graphite-2:2003 graphite-3:2003\n\
        \x20 bucky ring fit -h graphite-1 --ring /etc/carbon/carbon.conf",
    after_long_help = "Exit codes: 0 the cluster's own ring explains the metrics best, 1 another\n\
        ring does, or none, 2 wrong usage, 3 nothing to compare, or the own ring is\n\
        best but a node did not answer, 130 stopped by Ctrl-C."
)]
pub(crate) struct Args {
    #[command(flatten)]
    ring: RingArgs,
    /// Compare all metrics in place of a sample
    #[arg(long, conflicts_with_all = ["sample", "nodes"], help_heading = heading::SELECTION)]
    all: bool,
    /// Metrics of each node to compare [default: 20000, fewer above 50 nodes]
    #[arg(long, value_name = "N", value_parser = integer::<u64>(1..=100_000), help_heading = heading::SELECTION)]
    sample: Option<u64>,
    /// Try at most this many copies
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = integer::<usize>(1..=20), help_heading = heading::SELECTION)]
    copies_most: usize,
    #[command(flatten)]
    local: LocalArgs,
    #[command(flatten)]
    series: SeriesArgs,
    /// Print this many explanations
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = integer::<usize>(1..=1_000), help_heading = heading::OUTPUT)]
    top: usize,
    /// Print a JSON object
    #[arg(short = 'j', long, help_heading = heading::OUTPUT)]
    json: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The nodes of the rings to try [default: those of the cluster's ring]
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let nodes = read_nodes(&args.nodes).map_err(|error| UsageError::because(chain(&error)))?;
    let mut rings = Vec::new();
    if let Some(ring) = args.ring.read(output).await? {
        rings.push(ring.spec().clone());
    }
    let query = FitQuery {
        rings,
        nodes: (!nodes.is_empty()).then_some(nodes),
        most_copies: args.copies_most,
        sample: args.sample.map(|count| count.min(SAMPLE_LIMIT)),
        all: args.all,
        series: args.series.read(output).await?,
        local_prefix: args.local.prefix()?,
    };
    let cluster = discover(&args.cluster, output).await?;
    let found = fit(&cluster, &query, output).await?;
    if args.json {
        output.data_line(json_of(&found, args.top))?;
    } else {
        output.data_line(table(&found, args.top))?;
        output.data_line(format_args!("\n{}", verdict(&found)))?;
    }
    output.flush()?;
    let outcome = if found.present_is_best() && found.best().is_some_and(Explanation::explains) {
        Outcome::Done
    } else {
        Outcome::SomeFailed
    };
    Ok(outcome.and(found.outcome))
}

/// The explanations that are shown: the best ones, and the cluster's own ring.
fn shown(found: &RingFit, top: usize) -> impl Iterator<Item = (usize, &Explanation)> {
    let is_shown = move |(place, one): &(usize, &Explanation)| {
        *place < top || one.rings.contains(&found.present)
    };
    found.ranked.iter().enumerate().filter(is_shown)
}

fn table(found: &RingFit, top: usize) -> Table {
    let titles = [">IN PLACE", ">COMPLETE", "RELAY", "HASH", ">COPIES", "NOTE"];
    let mut table = Table::new(&titles);
    for (_, one) in shown(found, top) {
        for (index, ring) in distinct(found, one).into_iter().enumerate() {
            let share = |share: f64| if index == 0 { percent(share) } else { "same".to_owned() };
            let present = if *ring == found.present { "this cluster" } else { "" };
            let diverse = if ring.diverse_replicas { "diverse" } else { "" };
            let rules = if ring.has_rules() { "by rules" } else { "" };
            let nodes = found.lists.name(&ring.nodes);
            let notes =
                [present, diverse, rules, &nodes].into_iter().filter(|note| !note.is_empty());
            table.row(vec![
                share(one.share_in_place()),
                share(one.share_found()),
                ring.relay.to_string(),
                ring.algorithm.to_string(),
                ring.replication_factor.to_string(),
                notes.collect::<Vec<_>>().join(", "),
            ]);
        }
    }
    table
}

/// The rings of an explanation, without those that only sort the nodes or treat tags in another way. The
/// cluster's own comes first, and buckytools last: it writes no metrics.
fn distinct<'a>(found: &RingFit, one: &'a Explanation) -> Vec<&'a RingSpec> {
    let mut rings: Vec<&RingSpec> = one.rings.iter().collect();
    rings.sort_by_key(|ring| {
        let is_own = **ring == found.present;
        (!is_own, ring.relay == Relay::Buckytools, !found.lists.has(&ring.nodes))
    });
    let mut kept: Vec<&RingSpec> = Vec::new();
    let key = |ring: &RingSpec| (ring.relay, ring.algorithm, ring.replication_factor);
    for ring in rings {
        let is_like = |other: &&RingSpec| {
            key(other) == key(ring)
                && other.nodes.len() == ring.nodes.len()
                && other.nodes.iter().all(|node| ring.nodes.contains(node))
        };
        if !kept.iter().any(is_like) {
            kept.push(ring);
        }
    }
    kept
}

/// What the ranking means, and what to type.
fn verdict(found: &RingFit) -> String {
    let compared = format!("{} metrics compared.", human_count(found.names));
    let own = found.of_present().map_or(0.0, Explanation::share_in_place);
    let Some(best) = found.best().filter(|best| best.explains()) else {
        return format!(
            "{compared}\nNo ring that is known explains them; the best has {} of the copies in place.\n\
             Is a node missing, or does the relay have other instances? Name the nodes as the\n\
             relay has them: bucky ring fit NODE...",
            percent(found.best().map_or(0.0, Explanation::share_in_place))
        );
    };
    if found.present_is_best() {
        return format!(
            "{compared}\nThe cluster's own ring explains them best: {} of the copies are in place.",
            percent(own)
        );
    }
    let rings = distinct(found, best);
    let Some(ring) = rings.first() else { return compared };
    let choice = if rings.iter().any(|other| other.relay != ring.relay) {
        "Several relays agree on all of them: name the one that writes your metrics.\n"
    } else {
        ""
    };
    format!(
        "{compared}\nAnother ring explains them better than the cluster's own:\n\
         it has {} of the copies in place, the cluster's has {}.\n{choice}\
         To use it, start every daemon with:\n{}",
        percent(best.share_in_place()),
        percent(own),
        command_line(words_of(ring))
    )
}

/// A share in percent, rounded down: 100 % means all.
fn percent(share: f64) -> String {
    format!("{:.2} %", (share * 10_000.0).floor() / 100.0)
}

fn json_of(found: &RingFit, top: usize) -> Value {
    let document = |ring: &RingSpec| {
        serde_json::to_value(RingDocument::from_spec("", ring)).unwrap_or(Value::Null)
    };
    let explanations: Vec<Value> = shown(found, top)
        .map(|(place, one)| {
            let rings: Vec<Value> = distinct(found, one).into_iter().map(document).collect();
            json!({
                "rank": place + 1,
                "copies": one.copies,
                "in_place": one.in_place,
                "wanted": one.wanted,
                "present": one.rings.contains(&found.present),
                "rings": rings,
            })
        })
        .collect();
    json!({
        "metrics": found.names,
        "present_is_best": found.present_is_best(),
        "explanations": explanations,
    })
}
