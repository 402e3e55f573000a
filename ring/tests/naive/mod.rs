//! A second ring, written only from the rules of `vectors/README.md`: slow, without tables, with separate
//! code for each relay, and with its own hash functions. It shares no code with the crate except [`Node`] and
//! [`RingSpec`].

use bucky_ring::{Algorithm, Node, Relay, RingSpec, TaggedNames};
use md5::{Digest, Md5};

/// The owners of `series`, the first copy first; fewer than requested if there are not more.
pub(crate) fn owners(spec: &RingSpec, series: &str) -> Vec<usize> {
    let key = match spec.tagged_names {
        TaggedNames::Whole => series,
        TaggedNames::BeforeSemicolon => &series[..series.find(';').unwrap_or(series.len())],
    };
    match spec.algorithm {
        Algorithm::JumpFnv1a => jump_owners(spec, key),
        Algorithm::FastMmh3 | Algorithm::FastCarbon | Algorithm::FastFnv1a => {
            fast_owners(spec, key)
        }
        Algorithm::Carbon
        | Algorithm::Fnv1a
        | Algorithm::Mmh3
        | Algorithm::ConsistentHashing
        | Algorithm::ConsistentHashingV2 => ring_owners(spec, key),
    }
}

fn hash(spec: &RingSpec, text: &str) -> i64 {
    let signed = spec.relay == Relay::CarbonCRelay;
    match spec.algorithm {
        Algorithm::Carbon
        | Algorithm::FastCarbon
        | Algorithm::ConsistentHashing
        | Algorithm::ConsistentHashingV2 => {
            let digest = Md5::digest(text);
            i64::from(digest[0]) * 256 + i64::from(digest[1])
        }
        Algorithm::Fnv1a | Algorithm::FastFnv1a => {
            let hash = fnv(text, signed, 32, 2_166_136_261, 16_777_619);
            i64::try_from((hash / 65_536) ^ (hash % 65_536)).expect("16 bits")
        }
        Algorithm::Mmh3 | Algorithm::FastMmh3 => {
            let hash = i64::try_from(murmur3(text.as_bytes())).expect("32 bits");
            if hash < 1 << 31 { hash } else { hash - (1 << 32) }
        }
        Algorithm::JumpFnv1a => panic!("jump rings have no positions"),
    }
}

fn fnv(text: &str, signed: bool, bits: u32, offset: u128, prime: u128) -> u128 {
    let modulus = 1_u128 << bits;
    let mut hash = offset;
    for byte in text.bytes() {
        let sign = if signed && byte > 127 { modulus - 256 } else { 0 };
        hash = ((hash ^ (u128::from(byte) + sign)) * prime) % modulus;
    }
    hash
}

fn murmur3(text: &[u8]) -> u128 {
    const M: u128 = 1 << 32;
    let rotate = |x: u128, by: u32| ((x << by) | (x >> (32 - by))) % M;
    let little_endian = |part: &[u8]| {
        part.iter().enumerate().map(|(i, byte)| u128::from(*byte) << (8 * i)).sum::<u128>()
    };
    let scramble = |k: u128| rotate(k * 0xcc9e_2d51 % M, 15) * 0x1b87_3593 % M;
    let mut h = 0;
    for part in text.chunks(4) {
        h ^= scramble(little_endian(part));
        if part.len() == 4 {
            h = (rotate(h, 13) * 5 + 0xe654_6b64) % M;
        }
    }
    h ^= text.len() as u128;
    h = ((h ^ (h >> 16)) * 0x85eb_ca6b) % M;
    h = ((h ^ (h >> 13)) * 0xc2b2_ae35) % M;
    h ^ (h >> 16)
}

fn pair(node: &Node) -> String {
    match node.instance() {
        Some(instance) => format!("('{}', '{instance}')", node.host()),
        None => format!("('{}', None)", node.host()),
    }
}

fn entry_text(spec: &RingSpec, node: &Node, k: usize) -> String {
    if spec.algorithm != Algorithm::Fnv1a {
        return format!("{}:{k}", pair(node));
    }
    if let Some(instance) = node.instance() {
        return format!("{k}-{instance}");
    }
    match spec.relay {
        Relay::Carbon => format!("{k}-None"),
        Relay::Buckytools | Relay::CarbonRelayNg => format!("{k}-{}:{}", node.host(), node.port()),
        Relay::CarbonCRelay => format!("{k}-{}:{}", node.host(), c_port(node)),
    }
}

fn c_port(node: &Node) -> u16 {
    if node.port() == 0 { 2003 } else { node.port() }
}

/// The entries as (position, node), in the order of the walk.
pub(crate) fn entries(spec: &RingSpec) -> Vec<(i64, usize)> {
    let mut ring: Vec<(i64, usize)> = Vec::new();
    for (index, node) in spec.nodes.iter().enumerate() {
        for k in 0..100 {
            let mut position = hash(spec, &entry_text(spec, node, k));
            if spec.relay == Relay::Carbon {
                while ring.iter().any(|entry| entry.0 == position) {
                    position += 1;
                }
            }
            if spec.algorithm == Algorithm::ConsistentHashingV2 {
                while ring.iter().any(|entry| entry.1 != index && entry.0 == position) {
                    position = (position + 1) % 65_536;
                }
            }
            ring.push((position, index));
        }
    }
    // Rule 2, field by field; equal entries keep the configuration's order.
    ring.sort_by_key(|(position, index)| {
        let node = &spec.nodes[*index];
        let instance = node.instance().unwrap_or("");
        let (host, last, instance, port) = match (spec.relay, spec.algorithm) {
            (Relay::Carbon, _) => ("", false, "", 0),
            (Relay::Buckytools | Relay::CarbonRelayNg, _) => (node.host(), false, instance, 0),
            (Relay::CarbonCRelay, Algorithm::Fnv1a) => (node.host(), false, "", c_port(node)),
            (Relay::CarbonCRelay, _) => (node.host(), node.instance().is_none(), instance, 0),
        };
        (*position, host.to_owned(), last, instance.to_owned(), port)
    });
    if spec.relay == Relay::CarbonCRelay {
        for i in 1..ring.len() {
            if ring[i].0 == ring[i - 1].0 {
                ring[i].1 = ring[i - 1].1;
            }
        }
    }
    ring
}

fn ring_owners(spec: &RingSpec, key: &str) -> Vec<usize> {
    let ring = entries(spec);
    let position = hash(spec, key);
    let start = ring.iter().position(|entry| entry.0 >= position).unwrap_or(0);
    // carbon and buckytools stop one entry before they would return; with 100 entries a node nothing is
    // missed.
    let steps = if spec.relay == Relay::CarbonCRelay { ring.len() } else { ring.len() - 1 };
    let walk = (start..start + steps).map(|i| ring[i % ring.len()].1);
    pick(spec, walk)
}

fn fast_owners(spec: &RingSpec, key: &str) -> Vec<usize> {
    let mut sorted: Vec<usize> = (0..spec.nodes.len()).collect();
    sorted.sort_by_key(|index| hash(spec, &pair(&spec.nodes[*index])));
    let length = i64::try_from(sorted.len()).expect("a small ring");
    let modulo = ((hash(spec, key) % length) + length) % length;
    let start = usize::try_from(modulo).expect("not negative");
    pick(spec, (start..start + sorted.len()).map(|i| sorted[i % sorted.len()]))
}

/// Each node once, and with diverse replicas each host once, until there are as many as requested.
fn pick(spec: &RingSpec, walk: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut owners: Vec<usize> = Vec::new();
    for node in walk {
        let host = |index: usize| spec.nodes[index].host();
        let taken = owners
            .iter()
            .any(|owner| *owner == node || spec.diverse_replicas && host(*owner) == host(node));
        if !taken && owners.len() < spec.replication_factor {
            owners.push(node);
        }
    }
    owners
}

fn jump_owners(spec: &RingSpec, key: &str) -> Vec<usize> {
    let mut buckets = jump_order(spec);
    let signed = spec.relay == Relay::CarbonCRelay;
    let hash = fnv(key, signed, 64, 14_695_981_039_346_656_037, 1_099_511_628_211);
    let mut hash = u64::try_from(hash).expect("64 bits");
    let mut owners = Vec::new();
    while owners.len() < spec.replication_factor && !buckets.is_empty() {
        let place = jump(hash, buckets.len());
        owners.push(buckets[place]);
        hash ^= hash >> 12;
        hash ^= hash << 25;
        hash ^= hash >> 27;
        hash = hash.wrapping_mul(2_685_821_657_736_338_717);
        let last = buckets.len() - 1;
        buckets[place] = buckets[last];
        buckets.truncate(last);
    }
    owners
}

fn jump(key: u64, buckets: usize) -> usize {
    let (mut key, mut b, mut j) = (key, -1_i64, 0_i64);
    while j < i64::try_from(buckets).expect("a small ring") {
        b = j;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        #[expect(clippy::cast_possible_truncation, reason = "the paper's cast")]
        let next = ((b + 1) as f64 * (2_147_483_648.0 / ((key >> 33) + 1) as f64)) as i64;
        j = next;
    }
    usize::try_from(b).expect("not negative")
}

/// Rule 6. It uses carbon-c-relay's comparison literally, so only for instances that it orders consistently.
fn jump_order(spec: &RingSpec) -> Vec<usize> {
    let instance = |index: &usize| spec.nodes[*index].instance();
    let mut order: Vec<usize> = Vec::new();
    for index in 0..spec.nodes.len() {
        let goes_before = |other: &usize| match spec.relay {
            Relay::CarbonCRelay => match (instance(&index), instance(other)) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some(own), Some(other)) => match (own.parse::<u32>(), other.parse::<u32>()) {
                    (Ok(own), Ok(other)) => own < other,
                    _ => own.as_bytes() < other.as_bytes(),
                },
            },
            _ => match instance(&index) {
                None => false,
                Some(own) => instance(other).unwrap_or("").as_bytes() > own.as_bytes(),
            },
        };
        let place = order.iter().position(goes_before).unwrap_or(order.len());
        order.insert(place, index);
    }
    order
}
