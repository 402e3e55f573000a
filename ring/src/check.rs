//! Which specs are refused, and why.
//!
//! A ring that places metrics differently from the relay, or that the relay itself would refuse, is worse
//! than no ring: the metrics that it calls misplaced would be moved.

use std::collections::HashMap;

use crate::{
    Algorithm, Node, Relay, RingSpec, UnknownToRelay,
    entries::{port_in_c_relay, tuple_text},
    resolve,
};

/// The most nodes of a ring. It limits documents from outside: 400,000 entries are built at once.
pub(crate) const MAX_NODES: usize = 4096;

/// The highest replication factor, for the same reason: it multiplies the memory of a ring.
pub(crate) const MAX_COPIES: usize = 64;

/// The longest text of a node's entry that carbon-c-relay does not cut off.
const MAX_C_RELAY_TEXT: usize = 255;

/// Why a ring cannot be built. Positions of nodes count from 1, in the order of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// The ring has no nodes.
    #[error("the ring has no nodes; name at least one")]
    NoNodes,
    /// More nodes than any cluster has.
    #[error("the ring has {0} nodes, the limit is {MAX_NODES}")]
    TooManyNodes(usize),
    /// Replication factor 0.
    #[error("the replication factor is 0; a metric has at least 1 copy")]
    NoCopies,
    /// More copies than any cluster keeps.
    #[error("the replication factor is {0}, the limit is {MAX_COPIES}")]
    TooManyCopies(usize),
    /// The relay does not support this kind of ring.
    #[error(transparent)]
    UnknownToRelay(#[from] UnknownToRelay),
    /// Only carbon supports diverse replicas.
    #[error(
        "relay {0} does not place copies on diverse hosts, only carbon does; choose relay carbon or leave it out"
    )]
    NoDiverseReplicas(Relay),
    /// buckytools' own list of copies on a jump ring is incomplete, so it cannot be computed.
    #[error(
        "relay buckytools has no second copy on a jump_fnv1a ring, but the replication factor is {0}; use \
         relay carbon-c-relay"
    )]
    NoJumpCopies(usize),
    /// Only carbon has aggregated hashing.
    #[error(
        "relay {0} has no aggregated hashing, only carbon has; leave the aggregation rules out"
    )]
    NoAggregatedHashing(Relay),
    /// Only carbon-c-relay has such rules.
    #[error("relay {0} has no routing rules, only carbon-c-relay has; leave the rules out")]
    NoRoutes(Relay),
    /// A ring of the routing rules that does not fit to the rest of the ring.
    #[error("cluster {cluster:?} of the routing rules {reason}")]
    Cluster {
        /// The name of the cluster.
        cluster: String,
        /// What is wrong with it.
        reason: String,
    },
    /// carbon-relay-ng has no copies.
    #[error(
        "relay carbon-relay-ng keeps one copy of each metric, but the replication factor is {0}"
    )]
    OnlyOneCopy(usize),
    /// carbon-relay-ng cuts a destination at its first colon.
    #[error(
        "node {position} ({node}) is an IPv6 address, which carbon-relay-ng cannot have: it cuts the host at its \
         first colon; give the relay a name"
    )]
    Ipv6 {
        /// The node's position.
        position: usize,
        /// The node.
        node: Node,
    },
    /// A node that is configured twice.
    #[error("node {first} and node {second} are both {node}; leave one out")]
    Duplicate {
        /// The position of the first.
        first: usize,
        /// The position of the second.
        second: usize,
        /// The node.
        node: Node,
    },
    /// The relay itself cannot distinguish the two nodes, or refuses to have both.
    #[error(
        "{relay} cannot distinguish node {first} ({first_node}) from node {second} ({second_node}): {reason}"
    )]
    SameToRelay {
        /// The relay.
        relay: Relay,
        /// The position of the first.
        first: usize,
        /// The first.
        first_node: Box<Node>,
        /// The position of the second.
        second: usize,
        /// The other.
        second_node: Box<Node>,
        /// How the relay identifies nodes, and how to fix the ring.
        reason: &'static str,
    },
    /// carbon hashes the instance in Python's notation, which shows some characters unchanged and others as
    /// escapes.
    #[error(
        "the instance of node {position} ({node}) contains {found:?}, which carbon hashes differently \
         depending on its Python version; use letters and digits"
    )]
    UnsureText {
        /// The node's position.
        position: usize,
        /// The node.
        node: Node,
        /// The character.
        found: char,
    },
    /// carbon-c-relay would cut the node's text off before hashing it.
    #[error(
        "node {position} ({node}) is too long for carbon-c-relay, which hashes at most {MAX_C_RELAY_TEXT} bytes"
    )]
    CutOff {
        /// The node's position.
        position: usize,
        /// The node.
        node: Node,
    },
    /// More copies than nodes.
    #[error(
        "the replication factor is {replication_factor}, but the ring has only {nodes} node(s)"
    )]
    TooFewNodes {
        /// The number of copies requested.
        replication_factor: usize,
        /// The number of nodes.
        nodes: usize,
    },
    /// More copies than hosts, with each copy on its own host.
    #[error(
        "the replication factor is {replication_factor} with diverse replicas, but the nodes are on only \
         {hosts} host(s)"
    )]
    TooFewHosts {
        /// The number of copies requested.
        replication_factor: usize,
        /// The number of hosts.
        hosts: usize,
    },
    /// Collisions leave so few nodes with entries that there are too few for the requested copies.
    #[error(
        "the replication factor is {replication_factor}, but only {nodes} node(s) are left on the ring: the others \
         lose every entry to a node that {relay} puts on the same positions"
    )]
    TooFewReachable {
        /// The number of copies requested.
        replication_factor: usize,
        /// The number of nodes with an entry of their own.
        nodes: usize,
        /// The relay.
        relay: Relay,
    },
}

/// Checks everything about a spec that does not need its ring. [`shortage`] handles a shortage of nodes.
pub(crate) fn check(spec: &RingSpec) -> Result<(), RingError> {
    resolve(spec.algorithm, Some(spec.relay), Some(spec.tagged_names))?;
    match spec.nodes.len() {
        0 => return Err(RingError::NoNodes),
        nodes if nodes > MAX_NODES => return Err(RingError::TooManyNodes(nodes)),
        _ => {}
    }
    match spec.replication_factor {
        0 => return Err(RingError::NoCopies),
        copies if copies > MAX_COPIES => return Err(RingError::TooManyCopies(copies)),
        copies
            if copies > 1
                && spec.algorithm == Algorithm::JumpFnv1a
                && spec.relay == Relay::Buckytools =>
        {
            return Err(RingError::NoJumpCopies(copies));
        }
        _ => {}
    }
    if spec.relay == Relay::CarbonRelayNg && spec.replication_factor > 1 {
        return Err(RingError::OnlyOneCopy(spec.replication_factor));
    }
    if spec.aggregation.is_some() && spec.relay != Relay::Carbon {
        return Err(RingError::NoAggregatedHashing(spec.relay));
    }
    if spec.routes.is_some() && spec.relay != Relay::CarbonCRelay {
        return Err(RingError::NoRoutes(spec.relay));
    }
    if spec.diverse_replicas && spec.relay != Relay::Carbon {
        return Err(RingError::NoDiverseReplicas(spec.relay));
    }
    check_all_differ(spec)?;
    check_texts(spec)
}

/// Why `reachable` nodes (hosts, with diverse replicas) are too few for `spec`, which has `kinds` of them in
/// total.
pub(crate) fn shortage(spec: &RingSpec, kinds: usize, reachable: usize) -> RingError {
    let replication_factor = spec.replication_factor;
    if kinds >= replication_factor {
        RingError::TooFewReachable { replication_factor, nodes: reachable, relay: spec.relay }
    } else if spec.diverse_replicas {
        RingError::TooFewHosts { replication_factor, hosts: kinds }
    } else {
        RingError::TooFewNodes { replication_factor, nodes: kinds }
    }
}

fn check_all_differ(spec: &RingSpec) -> Result<(), RingError> {
    let mut known: HashMap<Identity<'_>, usize> = HashMap::new();
    for (index, node) in spec.nodes.iter().enumerate() {
        let Some(earlier) = known.insert(identity(node, spec), index) else {
            continue;
        };
        let (first, second) = (earlier + 1, index + 1);
        let first_node = Box::new(spec.nodes[earlier].clone());
        return Err(if *first_node == *node {
            RingError::Duplicate { first, second, node: *first_node }
        } else {
            let (relay, second_node) = (spec.relay, Box::new(node.clone()));
            let reason = identity_rule(relay);
            RingError::SameToRelay { relay, first, first_node, second, second_node, reason }
        });
    }
    Ok(())
}

/// The parts of a node by which a relay identifies it.
type Identity<'node> = (&'node str, u16, Option<&'node str>);

fn identity<'node>(node: &'node Node, spec: &RingSpec) -> Identity<'node> {
    match spec.relay {
        // Its entries are sorted by host and instance, and those of equal nodes by chance. Version 2 moves
        // the later ones away.
        Relay::CarbonRelayNg if spec.algorithm == Algorithm::ConsistentHashing => {
            (node.host(), 0, node.instance())
        }
        Relay::Carbon => (node.host(), 0, node.instance()),
        Relay::CarbonCRelay => (node.host(), port_in_c_relay(node), None),
        Relay::Buckytools | Relay::CarbonRelayNg => (node.host(), node.port(), node.instance()),
    }
}

fn identity_rule(relay: Relay) -> &'static str {
    match relay {
        Relay::Carbon => {
            "it identifies nodes by host and instance; give each node its own instance"
        }
        Relay::CarbonCRelay => {
            "it identifies nodes by host and port (2003 by default); give the ports of its configuration"
        }
        Relay::CarbonRelayNg => {
            "the order of their entries on the ring is left to chance; give each node its own instance"
        }
        Relay::Buckytools => "it identifies nodes by host, port and instance",
    }
}

fn check_texts(spec: &RingSpec) -> Result<(), RingError> {
    for (index, node) in spec.nodes.iter().enumerate() {
        let (position, instance) = (index + 1, node.instance().unwrap_or_default());
        match (spec.relay, spec.algorithm) {
            // fnv1a hashes the instance itself, not Python's notation of it.
            (Relay::Carbon, Algorithm::Fnv1a) | (_, Algorithm::JumpFnv1a) => {}
            (Relay::Carbon, _) => {
                let unsure = |c: &char| !c.is_ascii() && !c.is_alphanumeric();
                if let Some(found) = instance.chars().find(unsure) {
                    return Err(RingError::UnsureText { position, node: node.clone(), found });
                }
            }
            (Relay::CarbonCRelay, _) => {
                // At least the length of the longest text that any of its rings hashes for a node.
                if tuple_text(node, spec.relay).len() + ":65535:99".len() > MAX_C_RELAY_TEXT {
                    return Err(RingError::CutOff { position, node: node.clone() });
                }
            }
            (Relay::CarbonRelayNg, _) => {
                if node.host().contains(':') {
                    return Err(RingError::Ipv6 { position, node: node.clone() });
                }
            }
            (Relay::Buckytools, _) => {}
        }
    }
    Ok(())
}
