//! The order of the nodes of a jump ring, as the disks show it.

use std::collections::BTreeMap;

use crate::Node;
use crate::hash::{Bytes, Key, fnv1a_64};
use crate::jump::jump;

/// The fewest names of a bucket that say whose it is.
const NAMES_LEAST: u32 = 3;
/// The most cells of the table of buckets and hosts.
const CELLS_MOST: usize = 1 << 22;

/// `nodes` in the order in which a jump ring of them has the `names`, or `None` if the names do not lie by any jump
/// ring of these nodes. Each name comes with the hosts that have it, as indices into `hosts`.
///
/// Each name has its bucket whatever the order is, and most names of a bucket are on the host of its node. Nodes on
/// one host keep their order.
pub fn jump_order<'n>(
    nodes: &[Node],
    hosts: &[&str],
    names: impl Iterator<Item = (&'n str, &'n [u16])>,
) -> Option<Vec<Node>> {
    let buckets = u32::try_from(nodes.len()).ok().filter(|buckets| *buckets > 1)?;
    if nodes.len().checked_mul(hosts.len()).is_none_or(|cells| cells > CELLS_MOST) {
        return None;
    }
    let mut totals = vec![0_u32; nodes.len()];
    let mut found = vec![0_u32; nodes.len() * hosts.len()];
    // What relays hash of a tagged name differs; the others are enough.
    for (name, on) in names.filter(|(name, _)| !name.contains(';')) {
        let bucket = jump(fnv1a_64(Key::whole(name), Bytes::Unsigned), buckets) as usize;
        totals[bucket] += 1;
        for host in on {
            if let Some(count) = found.get_mut(bucket * hosts.len() + usize::from(*host)) {
                *count += 1;
            }
        }
    }
    let mut left: BTreeMap<&str, Vec<&Node>> = BTreeMap::new();
    for node in nodes.iter().rev() {
        left.entry(node.host()).or_default().push(node);
    }
    let ordered = totals.iter().zip(found.chunks(hosts.len().max(1))).map(|(total, counts)| {
        let (host, count) = counts.iter().enumerate().max_by_key(|(_, count)| **count)?;
        let is_clear = *total >= NAMES_LEAST && u64::from(*count) * 5 >= u64::from(*total) * 3;
        left.get_mut(hosts[host]).filter(|_| is_clear)?.pop().cloned()
    });
    ordered.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, Relay, Ring, RingSpec, TaggedNames};

    const HOSTS: [&str; 4] = ["a", "b", "c", "d"];

    fn nodes(nodes: &[&str]) -> Vec<Node> {
        nodes.iter().map(|node| node.parse().expect("a node")).collect()
    }

    /// Names with the hosts that own them, by a ring of `nodes`.
    fn laid_out(algorithm: Algorithm, copies: usize, nodes: Vec<Node>) -> Vec<(String, Vec<u16>)> {
        let ring = Ring::new(RingSpec {
            nodes,
            algorithm,
            relay: Relay::CarbonCRelay,
            replication_factor: copies,
            diverse_replicas: false,
            tagged_names: TaggedNames::BeforeSemicolon,
            aggregation: None,
            routes: None,
        })
        .expect("a ring");
        let number = |owner: usize| {
            let host = ring.nodes()[owner].host();
            HOSTS.iter().position(|other| *other == host).and_then(|host| u16::try_from(host).ok())
        };
        let names = (0..400).map(|name| format!("app.m{name}.count"));
        names.map(|name| (name.clone(), ring.owners(&name).filter_map(number).collect())).collect()
    }

    fn order(given: &[&str], names: &[(String, Vec<u16>)]) -> Option<Vec<Node>> {
        let names = names.iter().map(|(name, hosts)| (name.as_str(), hosts.as_slice()));
        jump_order(&nodes(given), &HOSTS, names)
    }

    #[test]
    fn the_order_of_a_jump_ring_is_read_from_the_disks() {
        let real = nodes(&["c:1", "a:1", "d:1", "b:1"]);
        for copies in [1, 2] {
            let mut names = laid_out(Algorithm::JumpFnv1a, copies, real.clone());
            // Some are misplaced, and one is tagged.
            names.iter_mut().step_by(10).for_each(|(_, hosts)| *hosts = vec![0]);
            names.push(("app;host=x".to_owned(), vec![3]));
            assert_eq!(order(&["a:1", "b:1", "c:1", "d:1"], &names), Some(real.clone()));
        }
    }

    #[test]
    fn nodes_of_one_host_keep_their_order() {
        let names = laid_out(Algorithm::JumpFnv1a, 1, nodes(&["b:1", "a:1", "b:2", "c:1"]));
        let found = order(&["a:1", "b:1", "b:2", "c:1"], &names);
        assert_eq!(found, Some(nodes(&["b:1", "a:1", "b:2", "c:1"])));
    }

    #[test]
    fn what_lies_by_no_jump_ring_of_these_nodes_has_no_order() {
        let names = laid_out(Algorithm::Carbon, 1, nodes(&["a:1", "b:1", "c:1", "d:1"]));
        assert_eq!(order(&["a:1", "b:1", "c:1", "d:1"], &names), None);
        let names = laid_out(Algorithm::JumpFnv1a, 1, nodes(&["a:1", "b:1", "c:1", "d:1"]));
        assert_eq!(order(&["a:1", "b:1", "c:1", "e:1"], &names), None);
        assert_eq!(order(&["a:1", "b:1", "c:1", "d:1"], &names[..8]), None);
        assert_eq!(order(&[], &names), None);
    }
}
