//! The rings that are tried: every arithmetic that is known, over the given nodes.

use crate::{Algorithm, Node, Relay, Ring, RingSpec, resolve};

/// A ring with its most copies. Its first owners are the owners with fewer copies, so one look-up answers for
/// every number of copies.
pub(super) struct Candidate {
    pub(super) ring: Ring,
    /// The fewest copies that it stands for. The most are those of its ring.
    pub(super) fewest: usize,
}

/// `given`, and every ring of at most `most_copies` copies over each of `node_lists`. A ring that its relay
/// would refuse is left out.
pub(super) fn candidates(
    given: &[RingSpec],
    node_lists: &[Vec<Node>],
    most_copies: usize,
) -> Vec<Candidate> {
    let given = given.iter().filter_map(|spec| {
        let fewest = spec.replication_factor;
        Ring::new(spec.clone()).ok().map(|ring| Candidate { ring, fewest })
    });
    let mut found: Vec<Candidate> = given.collect();
    let mut orders: Vec<Vec<Node>> = Vec::new();
    for nodes in node_lists {
        for order in [nodes.clone(), sorted(nodes)] {
            if !orders.contains(&order) {
                orders.push(order);
            }
        }
    }
    for nodes in &orders {
        for relay in Relay::ALL {
            for algorithm in Algorithm::ALL.into_iter().filter(|kind| kind.is_known_to(relay)) {
                found.extend(with_most_copies(nodes, algorithm, relay, false, most_copies));
                if relay == Relay::Carbon && has_shared_hosts(nodes) {
                    found.extend(with_most_copies(nodes, algorithm, relay, true, most_copies));
                }
            }
        }
    }
    found
}

fn with_most_copies(
    nodes: &[Node],
    algorithm: Algorithm,
    relay: Relay,
    diverse_replicas: bool,
    most_copies: usize,
) -> Option<Candidate> {
    let (relay, tagged_names) = resolve(algorithm, Some(relay), None).ok()?;
    // One copy is always on one host.
    let fewest = if diverse_replicas { 2 } else { 1 };
    let ring = (fewest..=most_copies).rev().find_map(|replication_factor| {
        let nodes = nodes.to_vec();
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
        Ring::new(spec).ok()
    })?;
    Some(Candidate { ring, fewest })
}

fn sorted(nodes: &[Node]) -> Vec<Node> {
    let mut sorted = nodes.to_vec();
    sorted.sort_by(|a, b| {
        let key = |node: &Node| (node.port(), node.instance().map(str::to_owned));
        a.host().cmp(b.host()).then_with(|| key(a).cmp(&key(b)))
    });
    sorted
}

fn has_shared_hosts(nodes: &[Node]) -> bool {
    let mut hosts: Vec<&str> = nodes.iter().map(Node::host).collect();
    hosts.sort_unstable();
    hosts.windows(2).any(|pair| pair[0] == pair[1])
}
