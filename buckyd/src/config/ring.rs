//! The ring: from its flags, or from the relay's file.

use bucky_relay_config::disk::RingFile;
use bucky_relay_config::{Selector, Wanted};
use bucky_ring::{Algorithm, Relay, Ring, RingSpec, TaggedNames};

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
    let mut named =
        named.into_iter().filter_map(|(selector, name)| Some((selector, name.clone()?)));
    let wanted = named.next().map(|(selector, name)| Wanted { selector, name });
    Some(RingFile { path: args.ring_from.clone()?, program: None, wanted })
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
    // The Go daemon's default, except for the relay that has its own names.
    let default_hash = match relay {
        Some(Relay::CarbonRelayNg) => Algorithm::ConsistentHashing,
        _ => Algorithm::Carbon,
    };
    let algorithm = parse_opt("-hash", args.hash.as_deref())?.unwrap_or(default_hash);
    let tagged_names = parse_opt::<TaggedNames>("--tagged-names", args.tagged_names.as_deref())?;
    let (relay, tagged_names) = bucky_ring::resolve(algorithm, relay, tagged_names)
        .map_err(|error| ConfigError::setting("--relay", &error))?;
    Ring::new(RingSpec {
        nodes,
        algorithm,
        relay,
        replication_factor: args.replication_factor.unwrap_or(1),
        diverse_replicas: args.diverse_replicas,
        tagged_names,
    })
    .map_err(|error| ConfigError::setting("the ring", &error))
}

fn parse_opt<T>(flag: &str, text: Option<&str>) -> Result<Option<T>, ConfigError>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + 'static,
{
    text.map(|text| text.parse().map_err(|error: T::Err| ConfigError::setting(flag, &error)))
        .transpose()
}
