//! Looking up the owner of a series, compared with the hash of its name, which every look-up needs.
//!
//! The peer hashes the whole name with the same crate (md5) or with the plain loop (fnv1a). Names of typical
//! lengths are used in rotation, so that the processor does not learn the branches.

use std::hint::black_box;
use std::time::Duration;

use bucky_ring::{Algorithm, Node, Relay, Ring, RingSpec, TaggedNames};
use md5::{Digest, Md5};

use crate::Plan;
use crate::figure::{Bar, Figure};
use crate::table::Table;
use crate::turns::{ratio_in_turn, time};

/// A kind of ring, with look-ups one after the other and side by side.
struct Kind {
    algorithm: Algorithm,
    relay: Relay,
    hash: fn(&str) -> usize,
    in_order: Figure,
    side_by_side: Figure,
}

const KINDS: [Kind; 3] = [
    Kind {
        algorithm: Algorithm::Carbon,
        relay: Relay::Carbon,
        hash: md5,
        in_order: fifth_more("owner, carbon of 39 nodes: a look-up / md5 of the name"),
        side_by_side: fifth_more("owner, carbon of 39 nodes: look-ups side by side / md5s"),
    },
    Kind {
        algorithm: Algorithm::Fnv1a,
        relay: Relay::CarbonCRelay,
        hash: fnv1a_32,
        in_order: fifth_more("owner, fnv1a of 39 nodes: a look-up / fnv1a of the name"),
        side_by_side: fifth_more("owner, fnv1a of 39 nodes: look-ups side by side / fnv1as"),
    },
    Kind {
        algorithm: Algorithm::JumpFnv1a,
        relay: Relay::CarbonCRelay,
        hash: fnv1a_64,
        in_order: fifth_more("owner, jump of 39 nodes: a look-up / fnv1a of the name"),
        side_by_side: fifth_more("owner, jump of 39 nodes: look-ups side by side / fnv1as"),
    },
];

const fn fifth_more(name: &'static str) -> Figure {
    Figure::ratio(name, Bar::AtMost(1.2))
}

/// The number of nodes in the rings.
const NODES: u16 = 39;
/// How many names are used in rotation.
const NAMES: usize = 4096;
/// How many times ours and the peer's alternate within a run.
const ROUNDS: usize = 301;

/// Measures the figures.
pub(crate) fn measure(plan: &Plan, table: &mut Table) {
    let names = names();
    for kind in &KINDS {
        let ring = ring(kind.algorithm, kind.relay);
        let owner = |name: &str| ring.owner(name);
        for (figure, each) in
            [(&kind.in_order, in_order as Each), (&kind.side_by_side, side_by_side)]
        {
            for _ in 0..if table.wants(figure) { plan.runs } else { 0 } {
                let value =
                    ratio_in_turn(ROUNDS, || each(&names, &owner), || each(&names, &kind.hash));
                table.add(figure, value);
            }
        }
    }
}

/// Measures the time for all names.
type Each = fn(&[String], &dyn Fn(&str) -> usize) -> Duration;

/// One look-up after the other: the next name depends on the result of the previous one.
fn in_order(names: &[String], find: &dyn Fn(&str) -> usize) -> Duration {
    // The compiler does not know that it is 0.
    let zero = black_box(0);
    time(|| {
        let mut next = 0;
        while let Some(name) = names.get(next) {
            next += 1 + (find(name) & zero);
        }
    })
}

/// Look-ups side by side: the processor may start the next one before the previous one is finished.
fn side_by_side(names: &[String], find: &dyn Fn(&str) -> usize) -> Duration {
    time(|| {
        for name in names {
            black_box(find(name));
        }
    })
}

fn md5(name: &str) -> usize {
    usize::from(Md5::digest(name)[0])
}

fn fnv1a_32(name: &str) -> usize {
    let hash = name
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    usize::from(hash.to_be_bytes()[0])
}

fn fnv1a_64(name: &str) -> usize {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    usize::from(hash.to_be_bytes()[0])
}

/// Names like those of collectd and statsd, of 30 to 70 letters.
fn names() -> Vec<String> {
    const ENDS: [&str; 4] = [
        "cpu-3.cpu-user",
        "interface-eth0.if_octets.rx",
        "df-var-lib-docker.df_complex-reserved",
        "kernel.net.netfilter.nf_conntrack_max.upper_99",
    ];
    let mut random = fastrand::Rng::with_seed(39);
    let name = |number: usize| {
        let (site, host) = (random.u16(..40), random.u16(..2000));
        format!("collectd.site{site:02}.host{host:04}.{}", ENDS[number % ENDS.len()])
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
        aggregation: None,
        routes: None,
    };
    Ring::new(spec).unwrap()
}
