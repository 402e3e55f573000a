//! What a lookup costs beside the hash it cannot do without.
//!
//! `cargo bench -p bucky-ring`. Each figure is for one series of the usual length; `hash alone` is the floor.

use std::hint::black_box;

use bucky_ring::{Algorithm, Node, Relay, Ring, RingSpec, TaggedNames};
use criterion::{
    BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use md5::{Digest, Md5};

const SERIES: &str = "statsd.prod.db10.kernel.net.netfilter.nf_conntrack_max.upper_99";

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
    };
    Ring::new(spec).expect("a ring")
}

fn owners(group: &mut BenchmarkGroup<'_, WallTime>, algorithm: Algorithm, relay: Relay) {
    let (one, three) = (ring(algorithm, relay, 1), ring(algorithm, relay, 3));
    group.bench_function("owner of 39", |b| b.iter(|| one.owner(black_box(SERIES))));
    group.bench_function("3 owners of 39", |b| {
        b.iter(|| three.owners(black_box(SERIES)).map(black_box).count())
    });
    group.bench_function("build 39", |b| {
        b.iter(|| Ring::new(black_box(three.spec()).clone()).map(|ring| ring.nodes().len()))
    });
}

fn carbon(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("carbon");
    group.bench_function("hash alone", |b| b.iter(|| Md5::digest(black_box(SERIES))));
    owners(&mut group, Algorithm::Carbon, Relay::Carbon);
    group.finish();
}

fn fnv1a(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fnv1a");
    group.bench_function("hash alone", |b| {
        b.iter(|| {
            black_box(SERIES).bytes().fold(0x811c_9dc5_u32, |hash, byte| {
                (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
            })
        })
    });
    owners(&mut group, Algorithm::Fnv1a, Relay::CarbonCRelay);
    group.finish();
}

fn jump_fnv1a(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("jump_fnv1a");
    group.bench_function("hash alone", |b| {
        b.iter(|| {
            black_box(SERIES).bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            })
        })
    });
    owners(&mut group, Algorithm::JumpFnv1a, Relay::CarbonCRelay);
    group.finish();
}

criterion_group!(benches, carbon, fnv1a, jump_fnv1a);
criterion_main!(benches);
