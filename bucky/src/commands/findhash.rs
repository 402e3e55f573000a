//! `bucky findhash`: how evenly a carbon ring of given nodes spreads metrics, and instance names that spread
//! them better.
//!
//! A carbon ring has 100 points for each node, at hashes of host and instance. With few nodes, their parts
//! differ a lot; other instance names give other parts. So names are drawn at random until the operator is
//! content.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use bucky_ring::{Algorithm, Node, Relay, Ring, RingSpec, resolve};
use uuid::Uuid;

use crate::byte_order_mark::text_without_mark;
use crate::outcome::{Outcome, UsageError};
use crate::output::Output;

/// The port of a line without one.
const DEFAULT_PORT: u16 = 2003;
/// The number of buckets that the Go tool prints. There are 65536; it counts one too few for the first node.
const BUCKETS_SHOWN: f64 = 65_535.0;

/// Arguments of `bucky findhash`.
#[derive(clap::Args)]
#[command(
    about = "Find instance names that spread metrics evenly over a carbon ring",
    long_about = "FILE has one node a line: HOST, HOST:PORT, HOST:INSTANCE or HOST:PORT:INSTANCE. Lines that \
                  begin with # are comments. Nodes without an instance get random ones, again and again. Each \
                  solution that is better than all before it is printed. Stop it with Ctrl-C.\n\n\
                  Also available as `findhash`, a link to `bucky`, with the flags of the Go program of that \
                  name.",
    after_help = "Examples:\n\
        \x20 bucky findhash nodes.txt\n\
        \x20 bucky findhash --analyze nodes.txt   show how the given nodes spread"
)]
pub(crate) struct Args {
    /// Only show how the ring of FILE spreads metrics
    #[arg(long)]
    analyze: bool,
    /// With --analyze: also show how the names in this file spread, one a line
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Show only nodes of a solution that begin with this
    #[arg(long, value_name = "PREFIX", default_value = "")]
    filter: String,
    /// The first solution must spread less than --max minus --min
    #[arg(long, value_name = "BUCKETS", default_value_t = 1900, value_parser = bucky_flags::integer::<i64>(-65_536..=65_536))]
    max: i64,
    /// See --max
    #[arg(long, value_name = "BUCKETS", default_value_t = 1300, value_parser = bucky_flags::integer::<i64>(-65_536..=65_536))]
    min: i64,
    /// File that lists the nodes
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let text = read(&args.file)?;
    let nodes = nodes(&text).with_context(|| args.file.display().to_string())?;
    if nodes.is_empty() {
        // D36: the Go tool panics.
        bail!("{} has no nodes; write one a line, such as graphite-1:2003:a", args.file.display());
    }
    if args.analyze {
        let ring = ring(&nodes)?;
        output.data_text(analysis(&ring))?;
        if let Some(path) = &args.keys {
            output.data_text(keys_analysis(&ring, &read(path)?))?;
        }
        return Ok(Outcome::Done);
    }
    if args.keys.is_some() {
        return Err(UsageError::because("--keys needs --analyze"));
    }
    search(&nodes, args, output)
}

fn read(path: &std::path::Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text_without_mark(&text).to_owned())
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NodeLine {
    host: String,
    port: u16,
    /// The instance, or `None` to draw one.
    instance: Option<String>,
}

fn nodes(text: &str) -> anyhow::Result<Vec<NodeLine>> {
    let lines = text.lines().map(str::trim).enumerate();
    let listed = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    listed
        .map(|(number, line)| node(line).with_context(|| format!("line {}: {line:?}", number + 1)))
        .collect()
}

fn node(line: &str) -> anyhow::Result<NodeLine> {
    let fields: Vec<&str> = line.split(':').collect();
    let (host, port, instance) = match fields.as_slice() {
        [host] => (*host, "", ""),
        [host, port] if is_number(port) => (*host, *port, ""),
        [host, instance] => (*host, "", *instance),
        [host, port, instance] => (*host, *port, *instance),
        _ => bail!("more than two colons; write HOST:PORT:INSTANCE"),
    };
    let port = match port {
        "" => DEFAULT_PORT,
        port => port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .with_context(|| format!("not a port: {port:?} (a number from 1 to 65535)"))?,
    };
    let instance = Some(instance).filter(|instance| !instance.is_empty()).map(str::to_owned);
    // Checked now, so that a mistake is reported with its line.
    Node::new(host, port, instance.as_deref())?;
    Ok(NodeLine { host: host.to_owned(), port, instance })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The ring of these nodes; missing instances are drawn.
fn ring(nodes: &[NodeLine]) -> anyhow::Result<Ring> {
    let node = |listed: &NodeLine| {
        let drawn = listed.instance.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
        Node::new(&listed.host, listed.port, Some(&drawn))
    };
    let (relay, tagged_names) = resolve(Algorithm::Carbon, Some(Relay::Buckytools), None)?;
    let nodes = nodes.iter().map(node).collect::<Result<_, _>>()?;
    let algorithm = Algorithm::Carbon;
    let (replication_factor, diverse_replicas) = (1, false);
    let spec = RingSpec {
        nodes,
        algorithm,
        relay,
        replication_factor,
        diverse_replicas,
        tagged_names,
        aggregation: None,
        routes: None,
    };
    Ok(Ring::new(spec)?)
}

/// How many of the 65535 buckets each `HOST:PORT=INSTANCE` has, sorted by name.
fn buckets(ring: &Ring) -> Vec<(String, i64)> {
    let first = ring.owner_at(0);
    let shares = ring.share().into_iter().zip(ring.nodes()).enumerate();
    let count = |(index, (share, node)): (usize, (f64, &Node))| {
        #[expect(clippy::cast_possible_truncation, reason = "65536 parts of a share of at most 1")]
        let buckets = (share * 65_536.0).round() as i64;
        (node.to_string(), buckets - i64::from(first == Some(index)))
    };
    let mut buckets: Vec<(String, i64)> = shares.map(count).collect();
    buckets.sort();
    buckets
}

/// The largest and the smallest of the counts.
fn extremes(buckets: &[(String, i64)]) -> (i64, i64) {
    let counts = || buckets.iter().map(|(_, count)| *count);
    (counts().max().unwrap_or(0), counts().min().unwrap_or(0))
}

fn analysis(ring: &Ring) -> String {
    let buckets = buckets(ring);
    let mut text: String =
        buckets.iter().map(|(node, count)| format!("Node {node}:\t{count}\n")).collect();
    let (max, min) = extremes(&buckets);
    let (ideal, deviation) = spread(&buckets, BUCKETS_SHOWN);
    text.push_str(&format!(
        "\nIdeal bucket count per server: {ideal:.2}\nSpread: {max} - {min} = {}\nDeviation: {deviation:.4}\n",
        max - min
    ));
    text
}

fn keys_analysis(ring: &Ring, keys: &str) -> String {
    let mut counts: Vec<(String, i64)> = ring
        .nodes()
        .iter()
        .map(|node| (format!("{}:{}", node.host(), node.instance().unwrap_or_default()), 0))
        .collect();
    let mut total: u32 = 0;
    // D49: the Go tool counts the end of the last line as one more key.
    for key in keys.lines().map(str::trim).filter(|key| !key.is_empty()) {
        if let Some((_, count)) = counts.get_mut(ring.owner(key)) {
            *count += 1;
        }
        total = total.saturating_add(1);
    }
    counts.sort();
    let (ideal, deviation) = spread(&counts, f64::from(total));
    let lines: String = counts.iter().map(|(node, count)| format!("{node}\t{count}\n")).collect();
    format!(
        "Keys per node:\n{lines}\nTotal Metric Keys: {total}\nIdeal keys per node: {ideal:.2}\nDeviation: {deviation:.4}\n"
    )
}

/// The mean of `total`, and the standard deviation from it.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn spread(counts: &[(String, i64)], total: f64) -> (f64, f64) {
    let ideal = total / counts.len() as f64;
    let squares: f64 = counts.iter().map(|(_, count)| (*count as f64 - ideal).powi(2)).sum();
    (ideal, (squares / counts.len() as f64).sqrt())
}

/// Draws instances for ever, and prints each solution that is better than all before; only once if there is
/// nothing to draw.
fn search(nodes: &[NodeLine], args: &Args, output: &Output) -> anyhow::Result<Outcome> {
    let mut best = args.max - args.min;
    loop {
        let buckets = buckets(&ring(nodes)?);
        let (max, min) = extremes(&buckets);
        if max - min < best {
            best = max - min;
            let shown = buckets.iter().filter(|(node, _)| node.starts_with(&args.filter));
            let lines: String = shown.map(|(node, _)| format!("\t{node}\n")).collect();
            output.data_text(format_args!(
                "Possible solution:\n\tMax buckets per host: {max}\n\tMin buckets per host: {min}\n{lines}"
            ))?;
            output.flush()?;
        }
        if nodes.iter().all(|node| node.instance.is_some()) {
            output.say(
                "bucky: all nodes have an instance, so there is nothing to try; leave out the instances that \
                 may be chosen",
            );
            return Ok(Outcome::Done);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring_of(text: &str) -> Ring {
        ring(&nodes(text).unwrap()).unwrap()
    }

    #[test]
    fn an_analysis_reads_as_the_go_tools() {
        assert_eq!(
            analysis(&ring_of("# two\nh2:1:b\n\nh1:1:a\n")),
            "Node h1:1=a:\t30300\nNode h2:1=b:\t35235\n\nIdeal bucket count per server: 32767.50\n\
             Spread: 35235 - 30300 = 4935\nDeviation: 2467.5000\n"
        );
    }

    /// D49: the Go tool counts the final newline as a key.
    #[test]
    fn the_end_of_the_last_line_is_not_a_key() {
        let ring = ring_of("h1:1:a\nh2:1:b");
        let text = keys_analysis(&ring, "app.a\napp.b\n\napp.c\n");
        assert!(text.contains("\nTotal Metric Keys: 3\nIdeal keys per node: 1.50\n"), "{text}");
        assert!(text.starts_with("Keys per node:\nh1:a\t"), "{text}");
        let counted: u32 = text
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(_, count)| count.parse::<u32>().unwrap())
            .sum();
        assert_eq!(counted, 3);
    }

    #[test]
    fn lines_are_read_with_port_and_instance_left_out_or_not() {
        let listed = |host: &str, port, instance: Option<&str>| NodeLine {
            host: host.into(),
            port,
            instance: instance.map(str::to_owned),
        };
        for (line, read) in [
            ("h", listed("h", 2003, None)),
            ("h:2004", listed("h", 2004, None)),
            ("h:a", listed("h", 2003, Some("a"))),
            ("h:2004:a", listed("h", 2004, Some("a"))),
            ("h::a", listed("h", 2003, Some("a"))),
            ("h:2004:", listed("h", 2004, None)),
        ] {
            assert_eq!(node(line).unwrap(), read, "{line}");
        }
        for line in ["h:70000", "h:x:a", "h:0:a", ":1:a", "a:1:b:c"] {
            assert!(node(line).is_err(), "{line}");
        }
        let error = nodes("h\n#\nh:70000").unwrap_err();
        assert!(format!("{error:#}").starts_with("line 3: \"h:70000\": not a port"), "{error:#}");
    }

    #[test]
    fn a_missing_instance_is_drawn_again_each_time() {
        let listed = nodes("h1\nh2:2003").unwrap();
        let (first, second) = (ring(&listed).unwrap(), ring(&listed).unwrap());
        assert_ne!(first.nodes(), second.nodes());
        let total: i64 = buckets(&first).iter().map(|(_, count)| count).sum();
        assert_eq!(total, 65_535);
    }
}
