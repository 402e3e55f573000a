//! `bucky locate`: which nodes own metrics, by the ring of a cluster or of a file.

use std::collections::BTreeMap;
use std::sync::Arc;

use bucky_placement::SeriesHash;
use bucky_ring::Ring;

use crate::args::cluster::ClusterArgs;
use crate::args::heading;
use crate::args::ring::RingArgs;
use crate::args::series::SeriesArgs;
use crate::names::names_from;
use crate::outcome::{Outcome, UsageError};
use crate::output::{Output, json_string};
use crate::placement::{Series, hosts, owners};

/// Arguments of `bucky locate`.
#[derive(clap::Args)]
#[command(
    about = "Show which nodes own metrics",
    long_about = "Show which nodes own metrics: a line for each metric and host, in the given order. The \
                  metrics need not exist.\n\n\
                  A tagged series is found by its name and by the name of its file; with --series also by the \
                  hash that may name its file. In text output, the possible file names of a series with tags \
                  are printed on standard error.",
    after_help = "Examples:\n\
        \x20 bucky locate -h graphite-1 app.requests.count\n\
        \x20 bucky list -h graphite-1 | bucky locate -h graphite-1 -j -"
)]
pub(crate) struct Args {
    #[command(flatten)]
    ring: RingArgs,
    #[command(flatten)]
    series: SeriesArgs,
    /// Print a JSON object
    #[arg(short = 'j', long, help_heading = heading::OUTPUT)]
    json: bool,
    /// With -j: print all owners of each metric, as nodes of the ring
    #[arg(short = 'a', long, help_heading = heading::OUTPUT)]
    all_owners: bool,
    /// Names; or `-`: a JSON array or lines of names on standard input
    #[arg(value_name = "METRIC", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let from_stdin = args.names.first().is_some_and(|name| name == "-");
    let ring = match args.ring.path() {
        Some(path) if path.as_os_str() == "-" && from_stdin => {
            return Err(UsageError::because(
                "standard input cannot be both the ring and the names; give a file for one of them",
            ));
        }
        _ => args.ring.ring_of(&args.cluster, output).await?.0,
    };
    let names = if from_stdin { names_from(std::io::stdin())? } else { args.names };
    let form = match (args.json, args.all_owners) {
        (false, _) => LocateFormat::Text,
        (true, false) => LocateFormat::FirstHost,
        (true, true) => LocateFormat::AllOwners,
    };
    let series = args.series.read(output).await?;
    let located = locate(&ring, &series, &names, form);
    output.data_text(located.text)?;
    for line in located.messages {
        output.say(line);
    }
    Ok(located.outcome)
}

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LocateFormat {
    /// A line for each metric and host.
    Text,
    /// A JSON object: the host of the first copy.
    FirstHost,
    /// A JSON object: all owners as nodes.
    AllOwners,
}

struct Located {
    text: String,
    messages: Vec<String>,
    outcome: Outcome,
}

fn locate(ring: &Ring, series: &Series, names: &[String], form: LocateFormat) -> Located {
    let mut seen = std::collections::HashSet::new();
    let mut located = Located { text: String::new(), messages: Vec::new(), outcome: Outcome::Done };
    let mut members: BTreeMap<&str, String> = BTreeMap::new();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for name in names.iter().filter(|name| seen.insert(name.as_str())) {
        let owners = match owners(ring, series, name) {
            Ok(owners) => owners,
            Err(error) => {
                located.messages.push(format!("bucky: {error}"));
                located.outcome = Outcome::SomeFailed;
                continue;
            }
        };
        let hosts = hosts(ring, &owners);
        for host in &hosts {
            *counts.entry(host).or_default() += 1;
        }
        match form {
            LocateFormat::Text => {
                for host in hosts {
                    located.text.push_str(&format!("{name} => {host}\n"));
                }
                located.messages.extend(files(name));
            }
            LocateFormat::FirstHost => {
                let host = hosts.first().copied().unwrap_or_default();
                members.insert(name, json_string(host));
            }
            LocateFormat::AllOwners => {
                let nodes = owners.iter().filter_map(|owner| ring.nodes().get(*owner));
                let nodes: Vec<String> = nodes.map(|node| json_string(&node.to_string())).collect();
                members.insert(name, format!("[{}]", nodes.join(",")));
            }
        }
    }
    if form != LocateFormat::Text {
        let members = members.iter().map(|(name, value)| format!("{}:{value}", json_string(name)));
        located.text = format!("{{{}}}\n", members.collect::<Vec<_>>().join(","));
    }
    let counted = counts.iter().map(|(host, count)| format!("{count} metrics assigned to {host}"));
    located.messages.extend(counted);
    located
}

/// The names of the file of the series `name`, if it has tags.
fn files(name: &str) -> Option<String> {
    let hash = SeriesHash::of(name);
    let by_hash = hash.metric_name();
    let folder = by_hash.rsplit_once('.').map(|(folder, _)| folder).unwrap_or_default();
    let is_series = name.contains(';') && !name.starts_with("_tagged.");
    is_series.then(|| {
        let by_name = name.replace('.', "_DOT_");
        format!("{name} is stored as {by_hash} (TAG_HASH_FILENAMES) or {folder}.{by_name}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::test_cluster::document;

    fn ring(copies: i64) -> Ring {
        let mut document = document(&["127.0.3.1:2003=a", "127.0.3.1:2003=b", "127.0.3.2:2003=a"]);
        document.replicas = copies;
        Ring::new(document.to_spec().unwrap()).unwrap()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.into()).collect()
    }

    #[test]
    fn text_is_in_the_order_given_and_json_is_sorted() {
        let ring = ring(1);
        let given = names(&["wrong.a", "app.h0.m0", "wrong.a"]);
        let host = |name: &str| ring.nodes()[ring.owner(name)].host().to_owned();
        let (wrong, app) = (host("wrong.a"), host("app.h0.m0"));
        let located = locate(&ring, &Series::default(), &given, LocateFormat::Text);
        assert_eq!(located.text, format!("wrong.a => {wrong}\napp.h0.m0 => {app}\n"));
        assert_eq!(located.outcome, Outcome::Done);
        let json = locate(&ring, &Series::default(), &given, LocateFormat::FirstHost).text;
        assert_eq!(json, format!("{{\"app.h0.m0\":\"{app}\",\"wrong.a\":\"{wrong}\"}}\n"));
        assert_eq!(locate(&ring, &Series::default(), &[], LocateFormat::FirstHost).text, "{}\n");
    }

    #[test]
    fn all_owners_are_nodes_in_the_order_of_the_copies_and_a_host_is_named_once() {
        let ring = ring(3);
        let owners: Vec<String> =
            ring.owners("m").map(|owner| format!("\"{}\"", ring.nodes()[owner])).collect();
        let json = locate(&ring, &Series::default(), &names(&["m"]), LocateFormat::AllOwners).text;
        assert_eq!(json, format!("{{\"m\":[{}]}}\n", owners.join(",")));
        assert_eq!(
            locate(&ring, &Series::default(), &names(&["m"]), LocateFormat::Text)
                .text
                .lines()
                .count(),
            2
        );
    }

    #[test]
    fn a_hashed_series_is_named_and_the_rest_is_located() {
        let hashed = format!("_tagged.abc.def.{}", "a".repeat(64));
        let located =
            locate(&ring(1), &Series::default(), &names(&[&hashed, "m"]), LocateFormat::Text);
        assert_eq!(located.text.lines().count(), 1);
        assert_eq!(located.outcome, Outcome::SomeFailed);
        assert!(located.messages[0].contains(&hashed));
    }

    #[test]
    fn a_series_with_tags_is_shown_with_the_names_of_its_file() {
        let series = "stats.example.counts;tag1=value1";
        let located = locate(&ring(1), &Series::default(), &names(&[series]), LocateFormat::Text);
        let messages = &located.messages[0];
        assert!(messages.contains("stored as _tagged.872.252.872252"), "{messages}");
        assert!(
            messages.ends_with("or _tagged.872.252.stats_DOT_example_DOT_counts;tag1=value1"),
            "{messages}"
        );
        let located = locate(&ring(1), &Series::default(), &names(&["a.b"]), LocateFormat::Text);
        assert_eq!(located.messages.len(), 1, "how many there are, and no more");
    }
}
