//! The cost of a lookup compared with the hash that it needs.
//!
//! `cargo bench -p bucky-ring`. Each figure is for one of many series of typical length; `hash alone` is the
//! lower limit.
//!
//! Each is measured in two ways. *After the other*: the next series depends on the answer, so that the whole
//! latency of a lookup is measured. *Side by side*: the processor may start the next series while it waits
//! for this one's hash, which is one long chain of multiplications. Hashes alone overlap well. After a hash,
//! mispredicted branches delay the next one.

use std::hint::black_box;

use bucky_ring::{Algorithm, Node, Relay, Ring, RingSpec, TaggedNames};
use criterion::{
    BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use md5::{Digest, Md5};

/// The number of series, a power of two.
const SERIES: usize = 1024;

/// Series of 63 bytes each.
fn series() -> Vec<String> {
    let of = |number: usize| {
        let scattered = number.wrapping_mul(0x9e37_79b9) >> 7;
        format!(
            "statsd.prod.db{:02}.kernel.net.netfilter.nf_conntrack_max.upper_{:02}",
            scattered % 100,
            scattered / 100 % 100
        )
    };
    (0..SERIES).map(of).collect()
}

fn ring(algorithm: Algorithm, relay: Relay, replication_factor: usize) -> Ring {
    let nodes = (0..39).map(|n| {
        let (host, port) = (format!("graphite-{:02}", n / 3), 2003 + 100 * (n % 3));
        Node::new(&host, port, Some(&n.to_string())).expect("a node")
    });
    let spec = RingSpec {
        nodes: nodes.collect(),
        algorithm,
        relay,
        replication_factor,
        diverse_replicas: false,
        tagged_names: TaggedNames::Whole,
        aggregation: None,
        routes: None,
    };
    Ring::new(spec).expect("a ring")
}

/// Measures `answer` in both ways, for one series after the other.
fn ask(
    group: &mut BenchmarkGroup<'_, WallTime>,
    what: &str,
    mut answer: impl FnMut(&str) -> usize,
) {
    let series = series();
    let mut at = 0;
    group.bench_function(format!("{what}, after the other"), |b| {
        b.iter(|| {
            // This adds 0, which the compiler does not know. So the next series depends on the answer.
            at = (at + 1 + (answer(&series[at]) & black_box(0))) % SERIES;
        })
    });
    group.bench_function(format!("{what}, side by side"), |b| {
        b.iter(|| {
            at = (at + 1) % SERIES;
            answer(&series[at])
        })
    });
}

fn owners(group: &mut BenchmarkGroup<'_, WallTime>, algorithm: Algorithm, relay: Relay) {
    let (one, three) = (ring(algorithm, relay, 1), ring(algorithm, relay, 3));
    ask(group, "owner of 39", |series| one.owner(series));
    ask(group, "3 owners of 39", |series| three.owners(series).sum());
    group.bench_function("build 39", |b| {
        b.iter(|| Ring::new(black_box(three.spec()).clone()).map(|ring| ring.nodes().len()))
    });
}

fn carbon(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("carbon");
    ask(&mut group, "hash alone", |series| usize::from(Md5::digest(series)[0]));
    owners(&mut group, Algorithm::Carbon, Relay::Carbon);
    group.finish();
}

fn fnv1a(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fnv1a");
    ask(&mut group, "hash alone", |series| {
        let hash = series
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        hash as usize
    });
    owners(&mut group, Algorithm::Fnv1a, Relay::CarbonCRelay);
    group.finish();
}

fn jump_fnv1a(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("jump_fnv1a");
    ask(&mut group, "hash alone", |series| {
        let hash = series.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        usize::try_from(hash).unwrap_or_default()
    });
    owners(&mut group, Algorithm::JumpFnv1a, Relay::CarbonCRelay);
    group.finish();
}

criterion_group!(benches, carbon, fnv1a, jump_fnv1a);
criterion_main!(benches);
