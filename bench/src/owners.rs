//! Looking up the owner of a series, beside the hash of its name, which no look-up can do without.
//!
//! The peer hashes the whole name by the same crate (md5) or by the plain loop (fnv1a). Names of usual lengths take turns, so
//! that no branch is learned by heart.

use std::hint::black_box;
use std::time::Duration;

use bucky_ring::{Algorithm, Node, Relay, Ring, RingSpec, TaggedNames};
use md5::{Digest, Md5};

use crate::Plan;
use crate::figure::{Bar, Figure};
use crate::table::Table;
use crate::turns::{ratio_in_turn, time};

const CARBON: Figure =
    Figure::ratio("owner, carbon of 39 nodes: a look-up / md5 of the name", Bar::AtMost(1.2));
const FNV1A: Figure =
    Figure::ratio("owner, fnv1a of 39 nodes: a look-up / fnv1a of the name", Bar::AtMost(1.2));
const JUMP: Figure =
    Figure::ratio("owner, jump of 39 nodes: a look-up / fnv1a of the name", Bar::AtMost(1.2));

/// Nodes of the rings.
const NODES: u16 = 39;
/// Names that take turns.
const NAMES: usize = 4096;
/// How often ours and the peer's take turns within a run.
const ROUNDS: usize = 301;

/// Takes the figures.
pub(crate) fn measure(plan: &Plan, table: &mut Table) {
    if !table.wants_any(&[CARBON, FNV1A, JUMP]) {
        return;
    }
    let names = names();
    let carbon = ring(Algorithm::Carbon, Relay::Carbon);
    let fnv1a = ring(Algorithm::Fnv1a, Relay::CarbonCRelay);
    let jump = ring(Algorithm::JumpFnv1a, Relay::CarbonCRelay);
    for _ in 0..plan.runs {
        table.add(&CARBON, beside(&names, &carbon, |name| Md5::digest(name)));
        table.add(&FNV1A, beside(&names, &fnv1a, fnv1a_32));
        table.add(&JUMP, beside(&names, &jump, fnv1a_64));
    }
}

/// The median of the ratios of `owner()` for all names to `hash` of them.
fn beside<H>(names: &[String], ring: &Ring, hash: impl Fn(&str) -> H) -> f64 {
    let ours = || each(names, |name| ring.owner(name));
    let peer = || each(names, &hash);
    ratio_in_turn(ROUNDS, ours, peer)
}

fn each<T>(names: &[String], act: impl Fn(&str) -> T) -> Duration {
    time(|| {
        for name in names {
            black_box(act(black_box(name)));
        }
    })
}

fn fnv1a_32(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn fnv1a_64(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Names as collectd and statsd make them, of 30 to 70 letters.
fn names() -> Vec<String> {
    const KINDS: [&str; 4] = [
        "cpu-3.cpu-user",
        "interface-eth0.if_octets.rx",
        "df-var-lib-docker.df_complex-reserved",
        "kernel.net.netfilter.nf_conntrack_max.upper_99",
    ];
    let mut random = fastrand::Rng::with_seed(39);
    let name = |number: usize| {
        let (site, host) = (random.u16(..40), random.u16(..2000));
        format!("collectd.site{site:02}.host{host:04}.{}", KINDS[number % KINDS.len()])
    };
    (0..NAMES).map(name).collect()
}

fn ring(algorithm: Algorithm, relay: Relay) -> Ring {
    let nodes = (0..NODES).map(|number| {
        let (host, port) = (format!("graphite-{:02}", number / 3), 2003 + 100 * (number % 3));
        Node::new(&host, port, Some(&number.to_string())).unwrap()
    });
    let spec = RingSpec {
        nodes: nodes.collect(),
        algorithm,
        relay,
        replication_factor: 1,
        diverse_replicas: false,
        tagged_names: TaggedNames::Whole,
    };
    Ring::new(spec).unwrap()
}
