//! `bucky ring from`: the ring that a relay's configuration file describes.

use std::ffi::OsStr;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bucky_api::counted::counted;
use bucky_relay_config::Place;
use bucky_relay_config::disk::LoadedRing;
use bucky_ring::{Ring, RingDocument, RingSpec, Shortfall};

use crate::args::heading;
use crate::args::ring_file::{RingChoiceArgs, load, say_warnings};
use crate::chain;
use crate::outcome::Outcome;
use crate::output::{Output, Table};

/// The width of a command line, without the backslash at its end.
const COMMAND_WIDTH: usize = 78;

/// Arguments of `bucky ring from`.
#[derive(clap::Args)]
#[command(
    about = "Print the ring of a relay's configuration file",
    long_about = "Print the ring of a relay's configuration file as a ring document, for --ring and for \
                  other tools. FILE is the file that the relay itself reads: carbon.conf, \
                  carbon-c-relay.conf, carbon-relay-ng's TOML file or carbonate.conf; or the command line \
                  of a daemon (a unit file, /proc/PID/cmdline), or the answer to GET /hashring. The content \
                  decides which it is.\n\n\
                  What the file does not decide is refused with line, column and reason. Nothing is guessed.",
    after_help = "Examples:\n\
        \x20 bucky ring from /etc/carbon/carbon.conf --section relay --explain\n\
        \x20 bucky ring from relay.conf --cluster graphite > ring.json",
    after_long_help = "Exit codes: 0 done, 1 the file has no ring that can be known, 2 wrong usage\n\
        or several rings and none chosen, 130 stopped by Ctrl-C."
)]
pub(crate) struct Args {
    /// Print a table in place of the document: each part of the ring, and its line in the file
    #[arg(long, help_heading = heading::OUTPUT)]
    explain: bool,
    #[command(flatten)]
    choice: RingChoiceArgs,
    /// The file; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let path = args.file.display().to_string();
    let loaded = load(args.choice.of(args.file)).await?;
    if !loaded.found.needs.is_empty() {
        for need in &loaded.found.needs {
            output.say(format_args!("bucky: {need}"));
        }
        return Ok(Outcome::SomeFailed);
    }
    if args.explain {
        output.data_text(explanation(&loaded, &path))?;
    } else {
        output.data_line(RingDocument::from_spec("", &loaded.found.spec).to_json())?;
    }
    output.flush()?;
    say_warnings(&loaded.found.warnings, output);
    say_about_ring(&loaded, output);
    Ok(Outcome::Done)
}

/// What the ring itself has that an operator must know; also if a daemon would refuse it.
fn say_about_ring(loaded: &LoadedRing, output: &Output) {
    let spec = &loaded.found.spec;
    if let Err(error) = Ring::new(spec.clone()) {
        output.say(format_args!(
            "bucky: warning: the file has this ring, but buckyd refuses it: {}",
            chain(&error)
        ));
    }
    let ring = Ring::with_shortfall(spec.clone(), Shortfall::GiveWhatThereIs);
    for warning in ring.iter().flat_map(Ring::warnings) {
        output.say(format_args!("bucky: warning: ring: {warning}"));
    }
}

/// The parts of the ring with their places, and what to type.
fn explanation(loaded: &LoadedRing, path: &str) -> String {
    let (spec, origins) = (&loaded.found.spec, &loaded.found.origins);
    let mut table = Table::new(&["PART", "VALUE", "FROM"]);
    let mut row = |part: &str, value: &dyn Display, from: String| {
        table.row(vec![part.to_owned(), value.to_string(), from]);
    };
    let default = || format!("default of {}", loaded.program);
    let place = |place: &Option<Place>| place.as_ref().map_or_else(default, file_and_line);
    let yes_no = |is| if is { "yes" } else { "no" };
    row("relay", &spec.relay, format!("a file of {}", loaded.program));
    let hash = match (spec.algorithm.name(), spec.algorithm.name_in_relays()) {
        (ours, theirs) if ours == theirs => ours.to_owned(),
        (ours, theirs) => format!("{ours} ({theirs})"),
    };
    row("hash", &hash, place(&origins.algorithm));
    row("copies", &spec.replication_factor, place(&origins.replication_factor));
    row("on different hosts", &yes_no(spec.diverse_replicas), place(&origins.diverse_replicas));
    row("tagged names", &spec.tagged_names, default());
    if let Some(rules) = &spec.aggregation {
        row("aggregation rules", &rules.digest(), String::new());
    }
    if let Some(routes) = &spec.routes {
        let rules = counted(routes.document().rules.len() as u64, "rule", "rules");
        row("routing", &format!("{rules}, {}", routes.digest()), String::new());
        for cluster in &routes.document().clusters {
            let copies = counted(cluster.replicas.unsigned_abs(), "copy", "copies");
            let nodes = counted(cluster.nodes.len() as u64, "node", "nodes");
            let value = format!("{}, {copies}, {nodes}", cluster.algo);
            row(&format!("cluster {}", cluster.name), &value, String::new());
        }
    }
    for (index, node) in spec.nodes.iter().enumerate() {
        let from = origins.nodes.get(index).map_or_else(String::new, file_and_line);
        row(&format!("node {}", index + 1), node, from);
    }
    let name = if loaded.name.is_empty() { String::new() } else { format!("{}: ", loaded.name) };
    format!(
        "{name}{}\n\n{table}\n\nThe same ring on a daemon's command line:\n{}\n",
        spec.summary(),
        command_line(daemon_words(loaded, path))
    )
}

/// `FILE:LINE`, with the name of the file alone.
fn file_and_line(place: &Place) -> String {
    let name = Path::new(&*place.file)
        .file_name()
        .map_or_else(|| (*place.file).into(), OsStr::to_string_lossy);
    format!("{name}:{}", place.line)
}

/// The words of a daemon's command line with this ring. Routing rules have no flags: the daemon reads the file.
fn daemon_words(loaded: &LoadedRing, path: &str) -> Vec<String> {
    let spec = &loaded.found.spec;
    if spec.routes.is_none() {
        return words_of(spec);
    }
    let cluster = [("--cluster", loaded.name.as_str())];
    let cluster = cluster.iter().filter(|(_, name)| !name.is_empty());
    let flags = [("--ring-from", path)];
    let flags = flags.iter().chain(cluster);
    flags.flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()]).collect()
}

/// The words of a daemon's command line with the ring `spec`.
pub(super) fn words_of(spec: &RingSpec) -> Vec<String> {
    let mut words = spec.daemon_words();
    if spec.aggregation.is_some() {
        words.splice(0..0, ["--aggregation-rules".to_owned(), "FILE".to_owned()]);
    }
    words
}

/// The command line of a daemon with these words, in lines of at most 80 characters where words allow it.
pub(super) fn command_line(words: Vec<String>) -> String {
    let mut lines = vec!["  buckyd".to_owned()];
    for word in words.iter().map(|word| quoted(word)) {
        let line = lines.last_mut().map_or(0, |line| line.chars().count());
        if line + 1 + word.chars().count() > COMMAND_WIDTH {
            lines.push("   ".to_owned());
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(&word);
        }
    }
    lines.join(" \\\n")
}

/// `word` as a shell reads it back.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=:.,/@%+[]".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
