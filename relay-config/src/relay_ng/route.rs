//! A route, and its ring.

use bucky_ring::{Algorithm, Node, Relay, RingSpec, TaggedNames};

use super::destination;
use crate::{FoundRing, Origins, Place, Refusal, RefusalKind, Warning, WarningKind};

/// The least destinations of a route with a hash ring.
const DESTINATIONS_LEAST: usize = 2;
/// The most: as many as a ring may have nodes.
const DESTINATIONS_MOST: usize = 4096;

/// The types of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// With a ring.
    Hashing(Algorithm),
    /// To destinations, without a ring.
    Destinations(&'static str),
    /// To something else.
    Elsewhere(&'static str),
}

impl Kind {
    /// The type with this name, in the letter case that the relay knows.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "consistentHashing" => Self::Hashing(Algorithm::ConsistentHashing),
            "consistentHashing-v2" => Self::Hashing(Algorithm::ConsistentHashingV2),
            "sendAllMatch" => Self::Destinations("sendAllMatch"),
            "sendFirstMatch" => Self::Destinations("sendFirstMatch"),
            "grafanaNet" => Self::Elsewhere("grafanaNet"),
            "kafkaMdm" => Self::Elsewhere("kafkaMdm"),
            "pubsub" => Self::Elsewhere("pubsub"),
            "cloudWatch" => Self::Elsewhere("cloudWatch"),
            _ => return None,
        })
    }
}

/// A route as the file or a command has it.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) key: String,
    /// Where its key is.
    pub(super) place: Place,
    pub(super) kind: Kind,
    /// Where its type is.
    pub(super) kind_place: Place,
    /// Its destinations with their options, and where each is.
    pub(super) destinations: Vec<(String, Place)>,
    /// Where the first of its matchers is: only names that match get here.
    pub(super) matcher: Option<Place>,
}

impl Route {
    /// The hosts of its destinations, as the relay cuts them.
    pub(super) fn hosts(&self) -> Vec<String> {
        let host = |text: &str| text.split([':', ' ']).next().unwrap_or_default().to_owned();
        self.destinations.iter().map(|(text, _)| host(text)).collect()
    }

    /// Its ring, or why it has none that can be given out.
    ///
    /// # Errors
    /// The outer [`Refusal`] is for what keeps the relay from starting at all.
    pub(super) fn ring(&self) -> Result<Result<FoundRing, Refusal>, Refusal> {
        let algorithm = match self.kind {
            Kind::Hashing(algorithm) => algorithm,
            Kind::Destinations(name) | Kind::Elsewhere(name) => {
                let message = format!("route {:?} has no hash ring: its type is {name}", self.key);
                return Ok(Err(Refusal {
                    kind: RefusalKind::NoRing,
                    place: self.kind_place.clone(),
                    message,
                }));
            }
        };
        if let Some((_, place)) = self.destinations.get(DESTINATIONS_MOST) {
            return Err(Refusal {
                kind: RefusalKind::TooManyServers,
                place: place.clone(),
                message: format!(
                    "route {:?} has more than {DESTINATIONS_MOST} destinations",
                    self.key
                ),
            });
        }
        let mut addresses = Vec::new();
        for (text, place) in &self.destinations {
            addresses.push((destination::address(text, place)?, place.clone()));
        }
        if addresses.len() < DESTINATIONS_LEAST {
            let place = addresses.first().map_or(&self.place, |(_, place)| place).clone();
            return Err(Refusal {
                kind: RefusalKind::TooFewDestinations,
                place,
                message: format!(
                    "route {:?} has {} destination(s); carbon-relay-ng wants {DESTINATIONS_LEAST} for a hash ring",
                    self.key,
                    addresses.len()
                ),
            });
        }
        Ok(self.found(algorithm, &addresses))
    }

    fn found(
        &self,
        algorithm: Algorithm,
        addresses: &[(&str, Place)],
    ) -> Result<FoundRing, Refusal> {
        let mut nodes: Vec<Node> = Vec::with_capacity(addresses.len());
        for (address, place) in addresses {
            let node = destination::node(address, place)?;
            let same = |other: &&Node| {
                let alike = other.host() == node.host() && other.instance() == node.instance();
                alike && (algorithm == Algorithm::ConsistentHashing || other.port() == node.port())
            };
            if let Some(first) = nodes.iter().find(same) {
                return Err(Refusal {
                    kind: RefusalKind::DuplicateNode,
                    place: place.clone(),
                    message: format!(
                        "{address} and {first} have the same entries on the ring, and which of them wins is left to \
                         chance; give each an instance, HOST:PORT:INSTANCE"
                    ),
                });
            }
            nodes.push(node);
        }
        let warnings = self.matcher.as_ref().map(|place| Warning {
            kind: WarningKind::Matchers,
            place: place.clone(),
            message: format!(
                "only metrics that match get to route {:?}; others lie elsewhere",
                self.key
            ),
        });
        Ok(FoundRing {
            spec: RingSpec {
                nodes,
                algorithm,
                relay: Relay::CarbonRelayNg,
                replication_factor: 1,
                diverse_replicas: false,
                tagged_names: TaggedNames::Whole,
                aggregation: None,
                routes: None,
            },
            origins: Origins {
                nodes: addresses.iter().map(|(_, place)| place.clone()).collect(),
                algorithm: Some(self.kind_place.clone()),
                replication_factor: None,
                diverse_replicas: None,
            },
            warnings: warnings.into_iter().collect(),
            needs: Vec::new(),
        })
    }
}
