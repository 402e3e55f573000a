//! `bucky ring diff`: what differs between two rings, and what moves from one to the other.

use std::path::PathBuf;
use std::sync::Arc;

use bucky_ring::{Ring, RingSpec};

use crate::args::cluster::ClusterArgs;
use crate::args::heading;
use crate::args::ring_file::{RingChoiceArgs, load, say_warnings};
use crate::chain;
use crate::cluster::{Cluster, Scope};
use crate::outcome::{Outcome, UsageError};
use crate::output::{Output, Table};
use crate::plan::room::Reserve;
use crate::ring_plan::{self, PairsShown};

/// How many made-up names are compared if no cluster is asked. A share of 1 % is known to a twentieth of it.
const NAMES: usize = 100_000;

/// Arguments of `bucky ring diff`.
#[derive(clap::Args)]
#[command(
    about = "Show what differs between two rings, and what would move",
    long_about = "Show what differs between two rings, and what would move from the first to the second. With two \
                  files, made-up names are compared and no node is asked. With one file, the first ring is \
                  that of the cluster, and its metrics and bytes are counted as by `bucky plan`.",
    after_help = "Examples:\n\
        \x20 bucky ring diff old.conf new.conf\n\
        \x20 bucky ring diff -h graphite-1 /etc/carbon/carbon.conf",
    after_long_help = "Exit codes: 0 nothing moves, 1 something moves, 2 wrong usage, 3 the cluster is\n\
        not healthy or not reachable, 130 stopped by Ctrl-C."
)]
pub(crate) struct Args {
    #[command(flatten)]
    choice: RingChoiceArgs,
    /// Relays' configurations or ring documents
    #[arg(value_name = "FILE", required = true, num_args = 1..=2)]
    files: Vec<PathBuf>,
    /// With one file: show all pairs of nodes, not only those that send most
    #[arg(long, help_heading = heading::OUTPUT)]
    all: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let mut rings = Vec::new();
    for file in &args.files {
        rings.push(ring_in(&args.choice, file.clone(), output).await?);
    }
    match rings.as_slice() {
        [first, second] => two_files(first, second, output),
        [planned] => with_cluster(&args, planned, output).await,
        _ => Err(UsageError::because("give one file or two")),
    }
}

async fn ring_in(choice: &RingChoiceArgs, file: PathBuf, output: &Output) -> anyhow::Result<Ring> {
    let shown = file.display().to_string();
    let found = load(choice.of(file)).await?.found;
    say_warnings(&found.warnings, output);
    let unusable = |reason: String| UsageError::because(format!("{shown}: {reason}"));
    if let Some(need) = found.needs.first() {
        return Err(unusable(need.to_string()));
    }
    Ring::new(found.spec).map_err(|error| unusable(chain(&error)))
}

fn two_files(first: &Ring, second: &Ring, output: &Output) -> anyhow::Result<Outcome> {
    print_differences(first.spec(), second.spec(), output)?;
    if first.spec().has_rules() || second.spec().has_rules() {
        return by_rules(first, second, output);
    }
    let moves = Moves::count(first, second);
    output.data_line(moves.text())?;
    Ok(if moves.moved == 0 { Outcome::Done } else { Outcome::SomeFailed })
}

/// Made-up names say nothing about rules, which go by the names that there are.
fn by_rules(first: &Ring, second: &Ring, output: &Output) -> anyhow::Result<Outcome> {
    if first.spec() == second.spec() {
        output.data_line("Nothing moves.")?;
        return Ok(Outcome::Done);
    }
    output.data_line(
        "What moves depends on the names: these rings have rules. `bucky ring diff -h NODE FILE` counts the\n\
         metrics and bytes of a cluster.",
    )?;
    Ok(Outcome::SomeFailed)
}

async fn with_cluster(
    args: &Args,
    planned: &Ring,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let (client, seed) = (args.cluster.client()?, args.cluster.host()?);
    let verbose = args.cluster.verbose;
    let cluster = Cluster::discover_healthy(client, seed, Scope::All, verbose, output).await?;
    let present = cluster.ring()?;
    print_differences(present.spec(), planned.spec(), output)?;
    let rings = [present.spec(), planned.spec()];
    let is_known = rings[0] == rings[1] || rings.iter().all(|ring| !ring.has_rules());
    if is_known && Moves::count(&present, planned).moved == 0 {
        output.data_line("Nothing moves.")?;
        return Ok(Outcome::Done);
    }
    let counted = ring_plan::plan(&cluster, planned, Reserve::Percent(5.0), false, output).await?;
    let shown = if args.all { PairsShown::All } else { PairsShown::Most };
    output.data_line(ring_plan::text(&counted, shown))?;
    Ok(Outcome::SomeFailed)
}

fn print_differences(first: &RingSpec, second: &RingSpec, output: &Output) -> anyhow::Result<()> {
    output.data_line(format_args!("first:  {}", first.summary()))?;
    output.data_line(format_args!("second: {}\n", second.summary()))?;
    for difference in first.differences(second) {
        output.data_line(difference.told("in the second"))?;
    }
    if first != second {
        output.data_line("")?;
    }
    Ok(())
}

/// What moves from one ring to another, of [`NAMES`] made-up names.
struct Moves {
    /// Each node of either ring, with its copies in the first, in the second, those that come, and that go.
    nodes: Vec<(String, [usize; 4])>,
    moved: usize,
}

impl Moves {
    fn count(first: &Ring, second: &Ring) -> Self {
        let (in_first, in_second, names) = numbered(first.spec(), second.spec());
        let mut nodes: Vec<(String, [usize; 4])> =
            names.into_iter().map(|name| (name, [0; 4])).collect();
        let mut moved = 0;
        for number in 0..NAMES {
            let name = format!("diff.{number}.count");
            let before: Vec<usize> = first.owners(&name).map(|owner| in_first[owner]).collect();
            let after: Vec<usize> = second.owners(&name).map(|owner| in_second[owner]).collect();
            before.iter().for_each(|node| nodes[*node].1[0] += 1);
            after.iter().for_each(|node| nodes[*node].1[1] += 1);
            for node in after.iter().filter(|node| !before.contains(node)) {
                nodes[*node].1[2] += 1;
                moved += 1;
            }
            for node in before.iter().filter(|node| !after.contains(node)) {
                nodes[*node].1[3] += 1;
                moved += 1;
            }
        }
        Self { nodes, moved }
    }

    fn text(&self) -> String {
        if self.moved == 0 {
            return "Nothing moves.".to_owned();
        }
        let mut table = Table::new(&["NODE", ">FIRST", ">SECOND", ">COMES", ">GOES"]);
        for (name, counts) in &self.nodes {
            let mut cells = vec![name.clone()];
            cells.extend(counts.iter().map(|count| percent(*count)));
            table.row(cells);
        }
        format!(
            "{table}\n\nShares are of {NAMES} made-up names. `bucky ring diff -h NODE FILE` counts the metrics and\n\
             bytes of a cluster."
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of at most some millions")]
fn percent(count: usize) -> String {
    format!("{:.2} %", count as f64 * 100.0 / NAMES as f64)
}

/// For the nodes of each ring, its number over both rings; and the names of all. Nodes are the same if host and
/// instance are. Of the others, those on one position are the same node under a new name, if both rings have as
/// many nodes.
fn numbered(first: &RingSpec, second: &RingSpec) -> (Vec<usize>, Vec<usize>, Vec<String>) {
    let mut names: Vec<String> = first.nodes.iter().map(ToString::to_string).collect();
    let is_same = |a: &bucky_ring::Node, b: &bucky_ring::Node| {
        a.host() == b.host() && a.instance() == b.instance()
    };
    let mut in_second = Vec::new();
    for (position, node) in second.nodes.iter().enumerate() {
        let same = first.nodes.iter().position(|other| is_same(other, node));
        let renamed = first.nodes.get(position).filter(|other| {
            first.nodes.len() == second.nodes.len()
                && !second.nodes.iter().any(|node| is_same(other, node))
        });
        let number = same.or_else(|| renamed.map(|_| position)).unwrap_or_else(|| {
            names.push(node.to_string());
            names.len() - 1
        });
        in_second.push(number);
    }
    ((0..first.nodes.len()).collect(), in_second, names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::test_cluster::document;

    fn ring(algorithm: &str, nodes: &[&str]) -> Ring {
        let mut document = document(nodes);
        document.algo = algorithm.into();
        Ring::new(document.to_spec().unwrap()).unwrap()
    }

    #[test]
    fn a_changed_port_and_a_host_that_is_not_hashed_move_nothing() {
        let before = ring("fnv1a", &["a:2003=x", "b:2003=y"]);
        for nodes in [["a:2004=x", "b:2003=y"], ["c:2003=x", "b:2003=y"]] {
            assert_eq!(Moves::count(&before, &ring("fnv1a", &nodes)).text(), "Nothing moves.");
        }
        let moved = Moves::count(&before, &ring("carbon", &["a:2003=x", "b:2003=y"]));
        assert!(moved.moved > 0);
    }

    #[test]
    fn a_new_node_takes_what_the_others_give() {
        let before = ring("carbon", &["a:1=x", "b:1=y"]);
        let moves = Moves::count(&before, &ring("carbon", &["a:1=x", "b:1=y", "c:1=z"]));
        let [a, b, c] = moves.nodes.as_slice() else { panic!("{:?}", moves.nodes) };
        assert_eq!((a.0.as_str(), c.0.as_str()), ("a:1=x", "c:1=z"));
        assert_eq!((a.1[2], b.1[2], c.1[0], c.1[3]), (0, 0, 0, 0));
        assert_eq!(c.1[2], a.1[3] + b.1[3]);
        let text = moves.text();
        let row = text.lines().find(|line| line.starts_with("c:1=z"));
        let cells = row.map(|row| row.split_whitespace().take(3).collect::<Vec<_>>());
        assert_eq!(cells, Some(vec!["c:1=z", "0.00", "%"]), "{text}");
    }
}
