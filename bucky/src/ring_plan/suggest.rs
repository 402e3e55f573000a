//! Names or an order for the new nodes of a ring that spread bytes more evenly (`bucky plan --suggest`).
//!
//! The search is bounded and gives the same result for the same seed. Only the new nodes may change: another
//! instance name of an old node would move all that it has. The shares of the ring choose a few candidates of
//! many. The nodes then count each of these: only they know the lengths of files.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bucky_ring::{Algorithm, Node, Ring, RingSpec};

use super::PlannedMove;
use super::document::Suggestion;
use crate::cluster::Cluster;
use crate::output::Output;
use crate::plan::room::Reserve;

/// How many rings are built.
const TRIED: u64 = 500;
/// How many of them the nodes count.
const COUNTED: usize = 8;

/// Looks for a better ring than that of `planned`, and notes in it what was found.
///
/// # Errors
/// If a node cannot count.
pub(crate) async fn suggest(
    cluster: &Cluster,
    then: &Ring,
    planned: &mut PlannedMove,
    seed: u64,
    reserve: Reserve,
    output: &Arc<Output>,
) -> anyhow::Result<()> {
    // Everything worth saying about the nodes was said for the first plan.
    let quiet = Arc::new(Output::to_writers(Box::new(std::io::sink()), Box::new(std::io::sink())));
    let candidates = candidates(cluster.ring()?.spec(), then.spec(), seed);
    if !candidates.is_empty() {
        output.say(format_args!(
            "bucky: the nodes count {} rings with other names or another order of the new nodes",
            candidates.len()
        ));
    }
    let now = planned.plan.spread.after.by_bytes;
    let mut best: Option<(f64, Suggestion)> = None;
    for ring in candidates {
        let counted = super::plan(cluster, &ring, reserve, false, &quiet).await?;
        let spread = counted.plan.spread.after;
        let Some(by_bytes) = spread.by_bytes else { continue };
        let limit = best.as_ref().map(|(best, _)| *best).or(now).unwrap_or(f64::INFINITY);
        if by_bytes < limit {
            let suggestion = Suggestion { ring: counted.plan.ring_after, spread };
            best = Some((by_bytes, suggestion));
        }
    }
    planned.plan.suggestion = best.map(|(_, suggestion)| suggestion);
    Ok(())
}

/// Rings like `then` whose shares are most even, the best first.
fn candidates(now: &RingSpec, then: &RingSpec, seed: u64) -> Vec<Ring> {
    let new: Vec<usize> =
        (0..then.nodes.len()).filter(|index| !now.nodes.contains(&then.nodes[*index])).collect();
    let mut seen = HashSet::from([then.fingerprint()]);
    let mut rings: Vec<(u64, Ring)> = Vec::new();
    for attempt in 0..TRIED {
        let spec = match then.algorithm {
            Algorithm::JumpFnv1a => reordered(then, &new, seed, attempt),
            Algorithm::FastMmh3 | Algorithm::FastCarbon | Algorithm::FastFnv1a => None,
            Algorithm::Carbon
            | Algorithm::Fnv1a
            | Algorithm::Mmh3
            | Algorithm::ConsistentHashing
            | Algorithm::ConsistentHashingV2 => renamed(then, &new, seed, attempt),
        };
        let Some(spec) = spec.filter(|spec| seen.insert(spec.fingerprint())) else { continue };
        // A name that the relay cannot use is no candidate.
        let Ok(ring) = Ring::new(spec) else { continue };
        let unevenness = unevenness(&ring);
        let at = rings.partition_point(|(other, _)| *other <= unevenness);
        if at < COUNTED {
            rings.insert(at, (unevenness, ring));
            rings.truncate(COUNTED);
        }
    }
    rings.into_iter().map(|(_, ring)| ring).collect()
}

/// `spec` with other instance names of the nodes `new`.
fn renamed(spec: &RingSpec, new: &[usize], seed: u64, attempt: u64) -> Option<RingSpec> {
    if new.is_empty() {
        return None;
    }
    let mut nodes = spec.nodes.clone();
    for (index, salt) in new.iter().zip(0..) {
        let node = nodes.get_mut(*index)?;
        let name = format!("i{:04x}", mixed(mixed(seed ^ attempt) ^ salt) & 0xffff);
        *node = Node::new(node.host(), node.port(), Some(&name)).ok()?;
    }
    Some(RingSpec { nodes, ..spec.clone() })
}

/// `spec` with the nodes `new` in another order at their places.
fn reordered(spec: &RingSpec, new: &[usize], seed: u64, attempt: u64) -> Option<RingSpec> {
    if new.len() < 2 {
        return None;
    }
    let mut order: Vec<(u64, usize)> = new
        .iter()
        .zip(0..)
        .map(|(index, salt)| (mixed(mixed(seed ^ attempt) ^ salt), *index))
        .collect();
    order.sort_unstable();
    let mut nodes = spec.nodes.clone();
    for (place, (_, from)) in new.iter().zip(order) {
        nodes[*place] = spec.nodes[from].clone();
    }
    Some(RingSpec { nodes, ..spec.clone() })
}

/// The share of the largest host divided by that of the smallest, in millionths.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive ratio, only compared with others"
)]
fn unevenness(ring: &Ring) -> u64 {
    let mut shares: BTreeMap<&str, f64> = BTreeMap::new();
    for (node, share) in ring.nodes().iter().zip(ring.share()) {
        *shares.entry(node.host()).or_default() += share;
    }
    let largest = shares.values().copied().fold(0.0, f64::max);
    let smallest = shares.values().copied().fold(f64::INFINITY, f64::min);
    (largest / smallest.max(1e-9) * 1e6) as u64
}

/// The next number of the generator SplitMix64.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::test_cluster::document;

    fn spec(nodes: &[&str], algorithm: Algorithm) -> RingSpec {
        RingSpec { algorithm, ..document(nodes).to_spec().unwrap() }
    }

    fn texts(rings: &[Ring]) -> Vec<Vec<String>> {
        let nodes = |ring: &Ring| ring.nodes().iter().map(ToString::to_string).collect();
        rings.iter().map(nodes).collect()
    }

    #[test]
    fn only_new_nodes_get_other_names_and_the_most_even_rings_come_first() {
        let now = spec(&["a:1=x", "b:1=y"], Algorithm::Carbon);
        let then = spec(&["a:1=x", "b:1=y", "c:1=z"], Algorithm::Carbon);
        let found = candidates(&now, &then, 7);
        assert_eq!(found.len(), COUNTED);
        for ring in texts(&found) {
            assert_eq!(ring[..2], ["a:1=x", "b:1=y"]);
            assert!(ring[2].starts_with("c:1=i"), "{ring:?}");
        }
        let order: Vec<u64> = found.iter().map(unevenness).collect();
        assert!(order.is_sorted());
        assert!(order[0] < unevenness(&Ring::new(then.clone()).unwrap()));
        assert_eq!(texts(&candidates(&now, &then, 7)), texts(&found), "the same seed");
        assert_ne!(texts(&candidates(&now, &then, 8)), texts(&found), "another seed");
    }

    #[test]
    fn new_nodes_of_a_jump_ring_change_places_with_each_other_only() {
        let now = spec(&["a:1", "b:1"], Algorithm::JumpFnv1a);
        let then = spec(&["a:1", "b:1", "c:1", "d:1"], Algorithm::JumpFnv1a);
        assert_eq!(texts(&candidates(&now, &then, 1)), [["a:1", "b:1", "d:1", "c:1"]]);
        let one = spec(&["a:1", "b:1", "c:1"], Algorithm::JumpFnv1a);
        assert!(candidates(&now, &one, 1).is_empty());
        let fast = spec(&["a:1", "b:1", "c:1", "d:1"], Algorithm::FastMmh3);
        let fast = RingSpec { relay: bucky_ring::Relay::Carbon, ..fast };
        assert!(candidates(&now, &fast, 1).is_empty());
    }

    #[test]
    fn a_ring_without_new_nodes_has_no_candidates() {
        let now = spec(&["a:1", "b:1", "c:1"], Algorithm::Carbon);
        let then = spec(&["a:1", "b:1"], Algorithm::Carbon);
        assert!(candidates(&now, &then, 1).is_empty());
    }
}
