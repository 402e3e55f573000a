//! The ring: from its flags, or from the relay's file.

use std::path::Path;
use std::sync::Arc;

use bucky_relay_config::disk::RingFile;
use bucky_relay_config::{Selector, Wanted};
use bucky_ring::{AggregationRules, Algorithm, Relay, Ring, RingSpec, TaggedNames};

use super::ConfigError;
use super::args::Args;
use crate::ring_file::{FileRing, ring_in};

/// The file that the ring is read from, if there is one.
pub(super) fn file(args: &Args) -> Option<RingFile> {
    let named = [
        (Selector::Section, &args.section),
        (Selector::Cluster, &args.cluster),
        (Selector::Route, &args.route),
    ];
    let mut named = named.into_iter().filter(|(_, names)| !names.is_empty());
    let wanted = named.next().map(|(selector, names)| Wanted::of(selector, names));
    Some(RingFile {
        path: args.ring_from.clone()?,
        program: None,
        wanted,
        aggregation_rules: args.aggregation_rules.clone(),
    })
}

/// The ring that these flags describe, or that `file` gives, with what is to be known about the file.
///
/// # Errors
/// [`ConfigError::Setting`].
pub(super) fn ring(args: &Args, file: Option<&RingFile>) -> Result<FileRing, ConfigError> {
    match file {
        Some(file) => {
            ring_in(file).map_err(|reason| ConfigError::Setting(format!("--ring-from: {reason}")))
        }
        None => typed(args).map(|ring| FileRing { ring, warnings: Vec::new() }),
    }
}

/// The ring of the nodes and flags on the command line.
fn typed(args: &Args) -> Result<Ring, ConfigError> {
    if args.nodes.is_empty() {
        return Err(ConfigError::Setting(
            "You must have at least 1 node in your hash ring: give the relay's nodes, HOST[:PORT][=INSTANCE]; \
             or its configuration file with --ring-from"
                .into(),
        ));
    }
    let nodes = bucky_ring::read_nodes(&args.nodes)
        .map_err(|error| ConfigError::Setting(bucky_api::chain(&error)))?;
    let relay = parse_opt::<Relay>("--relay", args.relay.as_deref())?;
    let algorithm = parse_opt("-hash", args.hash.as_deref())?;
    let algorithm = algorithm.unwrap_or(Algorithm::default_of(relay));
    let tagged_names = parse_opt::<TaggedNames>("--tagged-names", args.tagged_names.as_deref())?;
    let (relay, tagged_names) = bucky_ring::resolve(algorithm, relay, tagged_names)
        .map_err(|error| ConfigError::setting("--relay", &error))?;
    let aggregation = match &args.aggregation_rules {
        Some(path) => Some(Arc::new(aggregation_rules(path)?)),
        None => None,
    };
    Ring::new(RingSpec {
        nodes,
        algorithm,
        relay,
        replication_factor: args.replication_factor.unwrap_or(1),
        diverse_replicas: args.diverse_replicas,
        tagged_names,
        aggregation,
        routes: None,
    })
    .map_err(|error| ConfigError::setting("the ring", &error))
}

fn aggregation_rules(path: &Path) -> Result<AggregationRules, ConfigError> {
    let refuse = |reason: String| {
        ConfigError::Setting(format!("--aggregation-rules {}: {reason}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    AggregationRules::parse(&text).map_err(|error| refuse(error.to_string()))
}

fn parse_opt<T>(flag: &str, text: Option<&str>) -> Result<Option<T>, ConfigError>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + 'static,
{
    text.map(|text| text.parse().map_err(|error: T::Err| ConfigError::setting(flag, &error)))
        .transpose()
}
