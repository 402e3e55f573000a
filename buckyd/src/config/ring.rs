//! Builds the ring from its flags.

use bucky_ring::{Algorithm, Relay, Ring, RingSpec, TaggedNames};

use super::ConfigError;
use super::args::Args;

/// The ring that these flags describe.
///
/// # Errors
/// [`ConfigError::Setting`].
pub(super) fn ring(args: &Args) -> Result<Ring, ConfigError> {
    if args.nodes.is_empty() {
        return Err(ConfigError::Setting(
            "You must have at least 1 node in your hash ring: give the relay's nodes, HOST[:PORT][=INSTANCE]".into(),
        ));
    }
    let nodes = bucky_ring::read_nodes(&args.nodes)
        .map_err(|error| ConfigError::Setting(bucky_api::chain(&error)))?;
    let algorithm: Algorithm =
        args.hash.parse().map_err(|error| ConfigError::setting("-hash", &error))?;
    let relay = parse_opt::<Relay>("--relay", args.relay.as_deref())?;
    let tagged_names = parse_opt::<TaggedNames>("--tagged-names", args.tagged_names.as_deref())?;
    let (relay, tagged_names) = bucky_ring::resolve(algorithm, relay, tagged_names)
        .map_err(|error| ConfigError::setting("--relay", &error))?;
    Ring::new(RingSpec {
        nodes,
        algorithm,
        relay,
        replication_factor: args.replication_factor,
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
