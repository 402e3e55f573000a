//! The entries of a ring: which text of a node is hashed, and what happens to entries that collide.
//!
//! Each node has 100 entries. If two of them have the same position, the relays disagree; the result decides
//! an owner, so each rule cites its source. `docs/rings.md` has the full rules, in the sections "What is
//! hashed of a node" and "Two entries on one position".

use std::collections::{HashMap, HashSet};

use crate::{
    Algorithm, Node, Relay, RingSpec,
    hash::{Key, PositionHash},
};

/// The number of entries of a node on a ring, in all relays (carbon's `replica_count`).
pub(crate) const REPLICA_COUNT: usize = 100;

/// The port that carbon-c-relay uses if none is configured.
pub(crate) const C_RELAY_DEFAULT_PORT: u16 = 2003;

/// An entry of a node on the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its position. carbon may move entries beyond the last position that a key can have.
    pub(crate) position: i64,
    /// Its node, as an index into the spec's nodes.
    pub(crate) node: u32,
}

/// The entries of all nodes in the order of a walk; lost entries are left out.
pub(crate) fn entries(spec: &RingSpec, hash: PositionHash) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(spec.nodes.len() * REPLICA_COUNT);
    for (index, node) in (0_u32..).zip(&spec.nodes) {
        for text in entry_texts(spec, node) {
            let position = i64::from(hash.position(Key::whole(&text)));
            entries.push(Entry { position, node: index });
        }
    }
    match spec.relay {
        Relay::Carbon => move_up(&mut entries),
        Relay::CarbonCRelay => keep_first_in_c_relay(&mut entries, spec),
        Relay::Buckytools => keep_all_in_order(&mut entries, spec),
        Relay::CarbonRelayNg => {
            if spec.algorithm == Algorithm::ConsistentHashingV2 {
                move_up_from_earlier_nodes(&mut entries);
            }
            keep_all_in_order(&mut entries, spec);
        }
    }
    entries
}

/// The texts whose hashes are the positions of `node`.
fn entry_texts(spec: &RingSpec, node: &Node) -> impl Iterator<Item = String> {
    let folded = spec.algorithm == Algorithm::Fnv1a;
    let text = if folded { fnv1a_text(node, spec.relay) } else { tuple_text(node, spec.relay) };
    (0..REPLICA_COUNT)
        .map(move |k| if folded { format!("{k}-{text}") } else { format!("{text}:{k}") })
}

/// `('HOST', 'INSTANCE')`, Python's notation of the pair; the other two relays imitate it for plain text.
pub(crate) fn tuple_text(node: &Node, relay: Relay) -> String {
    let instance = match (node.instance(), relay) {
        (None, _) => "None".to_owned(),
        (Some(instance), Relay::Carbon) => python_repr(instance),
        (Some(instance), _) => format!("'{instance}'"),
    };
    format!("('{}', {instance})", node.host())
}

/// The instance alone, or what the relay uses instead of a missing one.
fn fnv1a_text(node: &Node, relay: Relay) -> String {
    match (node.instance(), relay) {
        (Some(instance), _) => instance.to_owned(),
        (None, Relay::Carbon) => "None".to_owned(),
        (None, Relay::Buckytools | Relay::CarbonRelayNg) => {
            format!("{}:{}", node.host(), node.port())
        }
        (None, Relay::CarbonCRelay) => format!("{}:{}", node.host(), port_in_c_relay(node)),
    }
}

/// The port under which carbon-c-relay knows `node`.
pub(crate) fn port_in_c_relay(node: &Node) -> u16 {
    if node.port() == 0 { C_RELAY_DEFAULT_PORT } else { node.port() }
}

/// `text` in Python's notation, for printable text without white space: a ring of carbon's accepts no other.
fn python_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut written = String::from(quote);
    for c in text.chars() {
        if c == quote || c == '\\' {
            written.push('\\');
        }
        written.push(c);
    }
    written.push(quote);
    written
}

/// carbon: a later entry moves up by one until its position is free. Nodes are in the order of the
/// configuration, entries from 0 to 99. There is no upper limit: an entry may get a position beyond 65535.
fn move_up(entries: &mut [Entry]) {
    // For each taken position, a position that is not above the first free one.
    let mut above: HashMap<i64, i64> = HashMap::with_capacity(entries.len());
    for entry in entries.iter_mut() {
        let wanted = entry.position;
        let mut free = wanted;
        while let Some(next) = above.get(&free) {
            free = *next;
        }
        let mut passed = wanted;
        while let Some(next) = above.get_mut(&passed) {
            passed = std::mem::replace(next, free + 1);
        }
        above.insert(free, free + 1);
        entry.position = free;
    }
    entries.sort_unstable_by_key(|entry| entry.position);
}

/// carbon-c-relay: the first entry on a position keeps it, the others are lost. The first is the one with the
/// smaller host, then (`carbon_ch`) the smaller instance, with no instance last, or (`fnv1a_ch`) the smaller
/// port.
fn keep_first_in_c_relay(entries: &mut Vec<Entry>, spec: &RingSpec) {
    let node_of = |entry: &Entry| &spec.nodes[entry.node as usize];
    if spec.algorithm == Algorithm::Fnv1a {
        let rank = |entry: &Entry| (node_of(entry).host(), port_in_c_relay(node_of(entry)));
        entries.sort_by(|a, b| (a.position, rank(a)).cmp(&(b.position, rank(b))));
    } else {
        let rank = |entry: &Entry| {
            let node = node_of(entry);
            (node.host(), node.instance().is_none(), node.instance())
        };
        entries.sort_by(|a, b| (a.position, rank(a)).cmp(&(b.position, rank(b))));
    }
    entries.dedup_by_key(|entry| entry.position);
}

/// carbon-relay-ng, version 2: an entry moves up by one while it has the position of an entry of an earlier
/// node, and from the last position to the first. It does not look at the entries of its own node.
fn move_up_from_earlier_nodes(entries: &mut [Entry]) {
    const POSITIONS: i64 = 1 << 16;
    let mut taken: HashSet<i64> = HashSet::new();
    for of_one_node in entries.chunk_by_mut(|a, b| a.node == b.node) {
        for entry in of_one_node.iter_mut() {
            // With every position taken there is no free one.
            let mut left = POSITIONS;
            while left > 0 && taken.contains(&entry.position) {
                entry.position = (entry.position + 1) % POSITIONS;
                left -= 1;
            }
        }
        taken.extend(of_one_node.iter().map(|entry| entry.position));
    }
}

/// buckytools and carbon-relay-ng: all entries stay, ordered by host, then by instance; no instance is the empty string.
fn keep_all_in_order(entries: &mut [Entry], spec: &RingSpec) {
    let rank = |entry: &Entry| {
        let node = &spec.nodes[entry.node as usize];
        (node.host(), node.instance())
    };
    entries.sort_by(|a, b| (a.position, rank(a)).cmp(&(b.position, rank(b))));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(positions: &[i64]) -> Vec<(i64, u32)> {
        let mut entries: Vec<Entry> = (0_u32..)
            .zip(positions)
            .map(|(node, position)| Entry { position: *position, node })
            .collect();
        move_up(&mut entries);
        entries.iter().map(|entry| (entry.position, entry.node)).collect()
    }

    #[test]
    fn the_later_entry_moves_up_past_all_that_are_taken() {
        assert_eq!(moved(&[5, 5, 6, 5]), [(5, 0), (6, 1), (7, 2), (8, 3)]);
        assert_eq!(moved(&[6, 5, 5, 9]), [(5, 1), (6, 0), (7, 2), (9, 3)]);
    }

    #[test]
    fn moving_up_does_not_stop_at_the_last_position() {
        assert_eq!(moved(&[65535, 65535, 65535]), [(65535, 0), (65536, 1), (65537, 2)]);
    }

    #[test]
    fn an_entry_moves_past_those_of_earlier_nodes_only_and_round_the_end() {
        let positions = [(5, 0), (5, 0), (65535, 0), (5, 1), (65535, 1), (0, 1), (5, 2)];
        let mut entries: Vec<Entry> =
            positions.iter().map(|&(position, node)| Entry { position, node }).collect();
        move_up_from_earlier_nodes(&mut entries);
        let moved: Vec<i64> = entries.iter().map(|entry| entry.position).collect();
        assert_eq!(moved, [5, 5, 65535, 6, 0, 0, 7]);
    }

    #[test]
    fn text_is_written_as_python_does() {
        let cases = [
            ("a", "'a'"),
            ("a'b", "\"a'b\""),
            ("a\"b", "'a\"b'"),
            ("a'b\"c", "'a\\'b\"c'"),
            ("a\\b", "'a\\\\b'"),
            ("é", "'é'"),
        ];
        for (text, written) in cases {
            assert_eq!(python_repr(text), written);
        }
    }

    #[test]
    fn each_relay_hashes_its_own_text() {
        let node = |text: &str| text.parse::<Node>().expect("a node");
        assert_eq!(tuple_text(&node("[fd00::1]:1=a"), Relay::CarbonCRelay), "('fd00::1', 'a')");
        assert_eq!(tuple_text(&node("a:1"), Relay::Carbon), "('a', None)");
        assert_eq!(tuple_text(&node("a=x'y"), Relay::Carbon), "('a', \"x'y\")");
        assert_eq!(tuple_text(&node("a=x'y"), Relay::Buckytools), "('a', 'x'y')");
        assert_eq!(fnv1a_text(&node("[fd00::2]:2003"), Relay::CarbonCRelay), "fd00::2:2003");
        assert_eq!(fnv1a_text(&node("a"), Relay::CarbonCRelay), "a:2003");
        assert_eq!(fnv1a_text(&node("a"), Relay::Buckytools), "a:0");
        assert_eq!(fnv1a_text(&node("a:2003"), Relay::Carbon), "None");
        assert_eq!(fnv1a_text(&node("a:2003=b:1"), Relay::CarbonCRelay), "b:1");
    }
}
