//! The configuration of a ring, and how two configurations differ.
//!
//! Two specs are the same if everything in them is equal, including the order of the nodes. Relay and
//! algorithm determine whether the order matters; if all nodes of a cluster have the same configuration, that
//! need not be known.

use std::fmt;
use std::sync::Arc;

use crate::{AggregationRules, Algorithm, Node, Relay, RingDocument, RouteRules, TaggedNames};

/// The configuration of a ring. [`crate::Ring::new`] checks that it can be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingSpec {
    /// The nodes in the order of the configuration.
    pub nodes: Vec<Node>,
    /// The kind of ring.
    pub algorithm: Algorithm,
    /// The relay whose arithmetic is used if the relays differ.
    pub relay: Relay,
    /// How many nodes hold each metric (carbon's `REPLICATION_FACTOR`).
    pub replication_factor: usize,
    /// Whether the copies of a metric must be on different hosts (carbon's `DIVERSE_REPLICAS`).
    pub diverse_replicas: bool,
    /// Which part of a tagged series is hashed.
    pub tagged_names: TaggedNames,
    /// The rules of carbon's aggregated hashing, if the relay uses it.
    pub aggregation: Option<Arc<AggregationRules>>,
    /// carbon-c-relay's rules, if they decide which text is hashed or which of several rings a metric goes to.
    /// `nodes` are then those of all rings; `algorithm` and `replication_factor` are those of the first.
    pub routes: Option<Arc<RouteRules>>,
}

impl RingSpec {
    /// All differences between this spec (here) and `other` (there); nodes come last, in their order. Empty
    /// if they are equal.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut compare = |field, here: String, there: String| {
            if here != there {
                differences.push(Difference { field, here, there });
            }
        };
        let count = |spec: &Self| spec.nodes.len().to_string();
        let copies = |spec: &Self| spec.replication_factor.to_string();
        let diverse = |spec: &Self| spec.diverse_replicas.to_string();
        compare(Field::Algorithm, self.algorithm.to_string(), other.algorithm.to_string());
        compare(Field::Relay, self.relay.to_string(), other.relay.to_string());
        compare(Field::ReplicationFactor, copies(self), copies(other));
        compare(Field::DiverseReplicas, diverse(self), diverse(other));
        compare(Field::TaggedNames, self.tagged_names.to_string(), other.tagged_names.to_string());
        compare(Field::AggregationRules, rules_text(self), rules_text(other));
        compare(Field::RouteRules, routes_text(self), routes_text(other));
        compare(Field::NodeCount, count(self), count(other));
        for index in 0..self.nodes.len().max(other.nodes.len()) {
            let position = index + 1;
            match (self.nodes.get(index), other.nodes.get(index)) {
                (Some(here), Some(there)) => {
                    compare(Field::Host { position }, here.host().into(), there.host().into());
                    compare(Field::Port { position }, port_text(here), port_text(there));
                    let (here, there) = (instance_text(here), instance_text(there));
                    compare(Field::Instance { position }, here, there);
                }
                (here, there) => compare(Field::Node { position }, text(here), text(there)),
            }
        }
        differences
    }

    /// Whether each metric has exactly one owner. By rules it may have several, whatever the replication
    /// factor.
    pub fn has_one_owner_each(&self) -> bool {
        self.replication_factor == 1 && !self.has_rules()
    }

    /// Whether rules decide which names are hashed, and where: the owners of a metric are then a set of any
    /// size.
    pub fn has_rules(&self) -> bool {
        self.aggregation.is_some() || self.routes.is_some()
    }

    /// 16 hexadecimal digits that are equal for equal specs: the 64-bit XXH3 of the ring document with an
    /// empty `Name` and all optional keys. It distinguishes rings at a glance; it does not protect against
    /// forgery.
    pub fn fingerprint(&self) -> String {
        let document = RingDocument::from_spec("", self).to_json();
        format!("{:016x}", xxhash_rust::xxh3::xxh3_64(document.as_bytes()))
    }
}

/// One difference between two specs. Displayed as a line: `node 2: port 2003, there 2004`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What differs.
    pub field: Field,
    /// Its value in this spec; `none` if it has none.
    pub here: String,
    /// Its value in the other spec; `none` if it has none.
    pub there: String,
}

/// What can differ between two specs. The position of a node counts from 1, in the order of the
/// configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The kind of ring.
    Algorithm,
    /// The relay whose arithmetic is used.
    Relay,
    /// How many copies there are.
    ReplicationFactor,
    /// Whether copies must be on different hosts.
    DiverseReplicas,
    /// Which part of a tagged series is hashed.
    TaggedNames,
    /// The rules of aggregated hashing, by their digest.
    AggregationRules,
    /// The relay's routing rules, by their digest.
    RouteRules,
    /// How many nodes there are.
    NodeCount,
    /// A node that only one side has.
    Node {
        /// The node's position.
        position: usize,
    },
    /// The host of a node.
    Host {
        /// The node's position.
        position: usize,
    },
    /// The port of a node.
    Port {
        /// The node's position.
        position: usize,
    },
    /// The instance of a node.
    Instance {
        /// The node's position.
        position: usize,
    },
}

impl Difference {
    /// The difference as a line in which the other spec has the name `other`:
    /// `node 2: port 2003, in the file 2004`.
    pub fn told(&self, other: &str) -> String {
        format!("{} {}, {other} {}", self.field, self.here, self.there)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told("there"))
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Algorithm => f.write_str("hash"),
            Self::Relay => f.write_str("relay"),
            Self::ReplicationFactor => f.write_str("replication factor"),
            Self::DiverseReplicas => f.write_str("diverse replicas"),
            Self::TaggedNames => f.write_str("tagged names"),
            Self::AggregationRules => f.write_str("aggregation rules"),
            Self::RouteRules => f.write_str("routing rules"),
            Self::NodeCount => f.write_str("number of nodes"),
            Self::Node { position } => write!(f, "node {position}:"),
            Self::Host { position } => write!(f, "node {position}: host"),
            Self::Port { position } => write!(f, "node {position}: port"),
            Self::Instance { position } => write!(f, "node {position}: instance"),
        }
    }
}

const NONE: &str = "none";

fn text(node: Option<&Node>) -> String {
    node.map_or_else(|| NONE.to_owned(), Node::to_string)
}

fn rules_text(spec: &RingSpec) -> String {
    spec.aggregation.as_ref().map_or_else(|| NONE.to_owned(), |rules| rules.digest())
}

fn routes_text(spec: &RingSpec) -> String {
    spec.routes.as_ref().map_or_else(|| NONE.to_owned(), |routes| routes.digest())
}

fn port_text(node: &Node) -> String {
    if node.port() == 0 { NONE.to_owned() } else { node.port().to_string() }
}

/// In quotes, so that an instance called `none` differs from no instance.
fn instance_text(node: &Node) -> String {
    node.instance().map_or_else(|| NONE.to_owned(), |instance| format!("{instance:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(nodes: &[&str]) -> RingSpec {
        RingSpec {
            nodes: nodes.iter().map(|node| node.parse().expect("a node")).collect(),
            algorithm: Algorithm::Carbon,
            relay: Relay::Buckytools,
            replication_factor: 1,
            diverse_replicas: false,
            tagged_names: TaggedNames::Whole,
            aggregation: None,
            routes: None,
        }
    }

    fn lines(here: &RingSpec, there: &RingSpec) -> Vec<String> {
        here.differences(there).iter().map(Difference::to_string).collect()
    }

    #[test]
    fn a_difference_names_node_field_and_both_values() {
        let here = spec(&["a:2003=x", "b:2003", "c"]);
        let there = spec(&["a:2003", "b:2004", "d", "e:1"]);
        assert_eq!(
            lines(&here, &there),
            [
                "number of nodes 3, there 4",
                "node 1: instance \"x\", there none",
                "node 2: port 2003, there 2004",
                "node 3: host c, there d",
                "node 4: none, there e:1",
            ]
        );
        assert_eq!(lines(&there, &here)[2], "node 2: port 2004, there 2003");
        assert_eq!(lines(&there, &here)[4], "node 4: e:1, there none");
    }

    #[test]
    fn every_field_that_is_no_node_counts_too() {
        let here = spec(&["a"]);
        let there = RingSpec {
            algorithm: Algorithm::Mmh3,
            relay: Relay::Carbon,
            replication_factor: 2,
            diverse_replicas: true,
            tagged_names: TaggedNames::BeforeSemicolon,
            ..here.clone()
        };
        assert_eq!(
            lines(&here, &there),
            [
                "hash carbon, there mmh3",
                "relay buckytools, there carbon",
                "replication factor 1, there 2",
                "diverse replicas false, there true",
                "tagged names whole, there before-semicolon",
            ]
        );
    }

    #[test]
    fn the_order_of_the_nodes_counts() {
        let (here, there) = (spec(&["a", "b"]), spec(&["b", "a"]));
        assert_eq!(lines(&here, &there), ["node 1: host a, there b", "node 2: host b, there a"]);
    }

    #[test]
    fn the_fingerprint_changes_with_whatever_differs() {
        let here = spec(&["a:1=x", "b"]);
        let others = [
            RingSpec { algorithm: Algorithm::Fnv1a, ..here.clone() },
            RingSpec { relay: Relay::Carbon, ..here.clone() },
            RingSpec { replication_factor: 2, ..here.clone() },
            RingSpec { diverse_replicas: true, ..here.clone() },
            RingSpec { tagged_names: TaggedNames::BeforeSemicolon, ..here.clone() },
            spec(&["b", "a:1=x"]),
            spec(&["a:2=x", "b"]),
            spec(&["a:1=y", "b"]),
            spec(&["a:1", "b"]),
            spec(&["c:1=x", "b"]),
            spec(&["a:1=x"]),
        ];
        assert_eq!(here.fingerprint(), here.clone().fingerprint());
        assert_eq!(here.differences(&here), []);
        for other in others {
            assert_ne!(here.fingerprint(), other.fingerprint(), "{other:?}");
            assert_ne!(here.differences(&other), [], "{other:?}");
        }
    }

    #[test]
    fn the_fingerprint_stays_the_same_from_version_to_version() {
        assert_eq!(spec(&["a:2003=x", "b"]).fingerprint(), "49eaf2aafdc54571");
    }
}
