//! Which nodes count as one when copies are placed.

use std::collections::HashMap;

use crate::RingSpec;

/// For each node, the number of its kind. Nodes of one kind count as one when copies are placed: with diverse
/// replicas the nodes of a host, otherwise each node alone. (No ring has two nodes that its relay cannot
/// distinguish.)
pub(crate) fn kinds(spec: &RingSpec) -> Vec<u32> {
    if !spec.diverse_replicas {
        return (0_u32..).take(spec.nodes.len()).collect();
    }
    let mut hosts: HashMap<&str, u32> = HashMap::new();
    let numbered = (0_u32..).zip(&spec.nodes);
    numbered.map(|(number, node)| *hosts.entry(node.host()).or_insert(number)).collect()
}

/// How many kinds of nodes a circle of nodes has.
pub(crate) fn count_kinds(circle: &[u32], kinds: &[u32]) -> usize {
    let met: Vec<u32> = circle.iter().map(|node| kinds[*node as usize]).collect();
    count_distinct(&met)
}

/// How many different kinds these are.
pub(crate) fn count_distinct(kinds: &[u32]) -> usize {
    let mut sorted = kinds.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.len()
}
