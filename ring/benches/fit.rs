//! The cost of comparing one name with every ring that is known, over 200 nodes. A million names are to take
//! less than ten seconds on one core.
//!
//! `cargo bench -p bucky-ring --bench fit`

use std::hint::black_box;

use bucky_ring::{Fit, Node};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// The number of names.
const NAMES: u16 = 10_000;

fn compare(c: &mut Criterion) {
    let hosts: Vec<String> = (0..200).map(|number| format!("graphite-{number:03}")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    // Not sorted, so that the sorted order is tried as well.
    let node = |(number, host): (usize, &&str)| {
        Node::new(host, 2003, Some(&(199 - number).to_string())).expect("a node")
    };
    let nodes: Vec<Node> = hosts.iter().enumerate().map(node).rev().collect();
    let fit = Fit::new(&[], &[nodes], 3, &hosts);
    let names: Vec<String> = (0..NAMES)
        .map(|number| format!("statsd.prod.db{number:05}.kernel.net.nf_conntrack_max.upper_90"))
        .collect();
    let mut group = c.benchmark_group("fit");
    group.throughput(Throughput::Elements(NAMES.into()));
    group.sample_size(10);
    group.bench_function("200 nodes, up to 3 copies", |b| {
        b.iter(|| {
            let mut score = fit.score();
            for (number, name) in (0..NAMES).zip(&names) {
                fit.count(&mut score, black_box(name), &[number % 200]);
            }
            score
        });
    });
    group.finish();
}

criterion_group!(benches, compare);
criterion_main!(benches);
