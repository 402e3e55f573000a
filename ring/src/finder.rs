//! From a key to a place on the circle of nodes: the part of a lookup that depends on the kind of ring.

use crate::{
    Algorithm, Relay, RingSpec,
    entries::{entries, tuple_text},
    hash::{Bytes, Key, PositionHash},
};

/// The number of positions that a key can have on a 16-bit ring.
const POSITIONS_16: usize = 1 << 16;

/// Finds the place of a key on a circle of nodes. A place is an index.
#[derive(Clone, Debug)]
pub(crate) enum Finder {
    /// 16-bit rings: each position that a key can have is a place.
    Position { hash: PositionHash },
    /// 32-bit rings: the positions of the places, ascending.
    Search { hash: PositionHash, positions: Vec<i64> },
    /// carbon's fast-hashing router: hash modulo the number of places.
    Modulo { hash: PositionHash, places: i32 },
}

impl Finder {
    /// The place of `key`, less than the number of places.
    #[inline]
    pub(crate) fn place(&self, key: Key<'_>) -> usize {
        self.place_of(self.hash().position(key))
    }

    /// The hash that gives a key its position.
    pub(crate) fn hash(&self) -> PositionHash {
        match self {
            Self::Position { hash } | Self::Search { hash, .. } | Self::Modulo { hash, .. } => {
                *hash
            }
        }
    }

    /// The place of a key whose hash is `position`.
    #[inline]
    pub(crate) fn place_of(&self, position: i32) -> usize {
        match self {
            // A 16-bit hash is not negative.
            Self::Position { .. } => usize::try_from(position).unwrap_or_default(),
            Self::Search { positions, .. } => first_at_or_after(positions, i64::from(position)),
            Self::Modulo { places, .. } => {
                usize::try_from(position.rem_euclid(*places)).unwrap_or_default()
            }
        }
    }

    /// The place of a key at `position`; `None` unless it is a 16-bit ring.
    pub(crate) fn place_at(&self, position: u16) -> Option<usize> {
        match self {
            Self::Position { .. } => Some(usize::from(position)),
            Self::Search { .. } | Self::Modulo { .. } => None,
        }
    }

    /// For each place, its share of all keys: exact on rings, equal parts for [`Finder::Modulo`].
    pub(crate) fn shares(&self) -> Vec<f64> {
        match self {
            Self::Position { .. } => vec![1.0 / 65_536.0; POSITIONS_16],
            Self::Search { positions, .. } => shares_of_32_bits(positions),
            Self::Modulo { places, .. } => (0..*places).map(|_| 1.0 / f64::from(*places)).collect(),
        }
    }
}

/// The circle of nodes of a ring that has one.
pub(crate) struct Circle {
    pub(crate) finder: Finder,
    /// The nodes in walk order.
    pub(crate) nodes: Vec<u32>,
    /// Where the walk begins for each of the finder's places, unless it begins at the place itself.
    pub(crate) begins: Option<Vec<u32>>,
}

/// The circle of nodes of `spec`, which has at least one node and is not a jump ring.
pub(crate) fn circle(spec: &RingSpec) -> Circle {
    let hash = position_hash(spec);
    if matches!(spec.algorithm, Algorithm::FastMmh3 | Algorithm::FastCarbon | Algorithm::FastFnv1a)
    {
        let nodes: Vec<u32> = fast_order(spec).into_iter().map(|(_hash, node)| node).collect();
        let places = i32::try_from(nodes.len()).unwrap_or(i32::MAX);
        return Circle { finder: Finder::Modulo { hash, places }, nodes, begins: None };
    }
    let entries = entries(spec, hash);
    let positions: Vec<i64> = entries.iter().map(|entry| entry.position).collect();
    let nodes = entries.iter().map(|entry| entry.node).collect();
    if hash == PositionHash::Mmh3 {
        return Circle { finder: Finder::Search { hash, positions }, nodes, begins: None };
    }
    let mut place = 0_u32;
    let mut waiting = positions.iter().peekable();
    let begins = (0_i64..).take(POSITIONS_16).map(|position| {
        while waiting.next_if(|entry| **entry < position).is_some() {
            place += 1;
        }
        if waiting.peek().is_some() { place } else { 0 }
    });
    let begins = Some(begins.collect());
    Circle { finder: Finder::Position { hash }, nodes, begins }
}

/// carbon's fast-hashing router: the nodes sorted by the hashes of their texts, each with its hash.
///
/// Nodes with equal hashes keep the order of the configuration here; carbon has no defined order for them.
pub(crate) fn fast_order(spec: &RingSpec) -> Vec<(i32, u32)> {
    let hash = position_hash(spec);
    let hash_of = |node| hash.position(Key::whole(&tuple_text(node, spec.relay)));
    let mut order: Vec<(i32, u32)> = spec.nodes.iter().map(hash_of).zip(0_u32..).collect();
    order.sort_unstable();
    order
}

/// How bytes enter `relay`'s FNV.
pub(crate) fn fnv_bytes(relay: Relay) -> Bytes {
    match relay {
        Relay::Buckytools | Relay::Carbon | Relay::CarbonRelayNg => Bytes::Unsigned,
        Relay::CarbonCRelay => Bytes::Signed,
    }
}

fn position_hash(spec: &RingSpec) -> PositionHash {
    match spec.algorithm {
        Algorithm::Carbon
        | Algorithm::FastCarbon
        | Algorithm::ConsistentHashing
        | Algorithm::ConsistentHashingV2 => PositionHash::Md5,
        Algorithm::Fnv1a | Algorithm::FastFnv1a | Algorithm::JumpFnv1a => {
            PositionHash::Fnv1a(fnv_bytes(spec.relay))
        }
        Algorithm::Mmh3 | Algorithm::FastMmh3 => PositionHash::Mmh3,
    }
}

/// The first entry at or after `position`; after the last entry, the first one again.
fn first_at_or_after(positions: &[i64], position: i64) -> usize {
    let place = positions.partition_point(|entry| *entry < position);
    if place == positions.len() { 0 } else { place }
}

#[expect(clippy::cast_precision_loss, reason = "counts of at most 2^32 are exact in an f64")]
fn shares_of_32_bits(positions: &[i64]) -> Vec<f64> {
    const FIRST: i64 = i32::MIN as i64;
    const LAST: i64 = i32::MAX as i64;
    let mut covered = FIRST - 1;
    let mut shares: Vec<f64> = Vec::with_capacity(positions.len());
    for position in positions {
        let end = (*position).min(LAST);
        shares.push((end - covered) as f64 / 4_294_967_296.0);
        covered = end;
    }
    if let Some(first) = shares.first_mut() {
        *first += (LAST - covered) as f64 / 4_294_967_296.0;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_beyond_the_last_entry_goes_round_to_the_first() {
        let positions = [-5, 0, 7];
        let cases = [(-6, 0), (-5, 0), (-4, 1), (0, 1), (1, 2), (7, 2), (8, 0)];
        for (position, place) in cases {
            assert_eq!(first_at_or_after(&positions, position), place, "{position}");
        }
    }

    #[test]
    fn shares_of_a_32_bit_ring_add_up_and_ignore_what_no_key_reaches() {
        let last = i64::from(i32::MAX);
        let shares = shares_of_32_bits(&[-1, last, last + 1]);
        assert_eq!(shares, [0.5, 0.5, 0.0]);
        let shares = shares_of_32_bits(&[i64::from(i32::MIN), 0]);
        assert_eq!(shares.iter().sum::<f64>(), 1.0);
        assert_eq!(shares[0], 1.0 - shares[1]);
    }
}
