//! A guard against large regressions: how often, and how much, the inner parts allocate. Unlike seconds,
//! counts do not depend on the machine or on its load. Each limit is about twice the current count.
//!
//! This is a single test, because the counts are those of the whole process.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::hint::black_box;

use bucky_api::Encoding;
use bucky_api::archive::{
    ArchiveWriter, FileMeta, Limits, Member, NoRoom, Receiver, receive_archive,
};
use bucky_ring::{Algorithm, Node, Relay, Ring, RingSpec, TaggedNames};
use bucky_tests::metrics;
use bucky_whisper::{
    Aggregation, AggregationSix, Clocks, Digest, FillOptions, Header, Image, MetricName, Point,
    Retention, XFilesFactor, fill,
};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const NODES: usize = 39;
const NAMES: usize = 1_000;
const RETENTIONS: [&str; 3] = ["60s:1d", "5m:7d", "1h:1y"];

/// How many times each operation is measured.
const TURNS: usize = 5;

/// How many blocks, and how many bytes, `work` allocates: the smallest count of several turns, because the
/// thread that waits for this test may allocate at the same time.
fn asked<T>(mut work: impl FnMut() -> T) -> (u64, u64) {
    let mut turn = || {
        let before = dhat::HeapStats::get();
        let made = work();
        let after = dhat::HeapStats::get();
        drop(made);
        (after.total_blocks - before.total_blocks, after.total_bytes - before.total_bytes)
    };
    let (blocks, bytes): (Vec<u64>, Vec<u64>) = (0..TURNS).map(|_| turn()).unzip();
    (blocks.into_iter().min().unwrap(), bytes.into_iter().min().unwrap())
}

#[test]
fn the_inner_parts_ask_for_no_more_memory_than_they_need() {
    let _profiler = dhat::Profiler::builder().testing().build();
    look_ups_ask_for_none();
    names_ask_for_themselves();
    plans_allocate_only_the_slots_that_they_fill();
    streams_use_their_buffers_again();
}

fn ring(algorithm: Algorithm, relay: Relay) -> Ring {
    let nodes = (0..NODES).map(|number| {
        Node::new(&format!("graphite-{number:02}"), 2003, Some(&number.to_string())).unwrap()
    });
    Ring::new(RingSpec {
        nodes: nodes.collect(),
        algorithm,
        relay,
        replication_factor: 3,
        diverse_replicas: false,
        tagged_names: TaggedNames::Whole,
        aggregation: None,
        routes: None,
    })
    .unwrap()
}

fn names() -> Vec<String> {
    (0..NAMES).map(|number| format!("servers.rack1.host{number:04}.cpu.percent-user")).collect()
}

fn look_ups_ask_for_none() {
    let names = names();
    for (algorithm, relay) in [
        (Algorithm::Carbon, Relay::Carbon),
        (Algorithm::Fnv1a, Relay::CarbonCRelay),
        (Algorithm::JumpFnv1a, Relay::CarbonCRelay),
    ] {
        let ring = ring(algorithm, relay);
        let (blocks, _) = asked(|| {
            for name in &names {
                black_box(ring.owner(name));
                black_box(ring.owners(name).count());
            }
        });
        assert_eq!(blocks, 0, "{algorithm} by {relay}");
    }
}

fn names_ask_for_themselves() {
    let names = names();
    let (blocks, _) = asked(|| {
        for name in &names {
            black_box(MetricName::parse(name).unwrap());
        }
    });
    assert!(blocks <= NAMES as u64, "{blocks} blocks for {NAMES} names");
}

/// A file of 147 KB with points in the slots for which `keep` returns true. It gets the age of a slot, in
/// slots.
fn content(now: u32, keep: impl Fn(u32) -> bool) -> Vec<u8> {
    let retentions = RETENTIONS.map(|text| text.parse::<Retention>().unwrap());
    let header =
        Header::for_retentions(&retentions, Aggregation::Average, XFilesFactor::default()).unwrap();
    let mut bytes = header.encode();
    for archive in &header.archives {
        let (step, points) = (archive.seconds_per_point, archive.points);
        for age in (0..points).rev() {
            let timestamp = now - now % step - step * age;
            let point = Point { timestamp, value: f64::from(age) };
            let is_there = age + 1 == points || keep(age);
            bytes.extend(if is_there { point.encode() } else { [0; Point::SIZE_BYTES] });
        }
    }
    bytes
}

fn plans_allocate_only_the_slots_that_they_fill() {
    let now = metrics::now();
    let source = content(now, |_| true);
    let options = FillOptions { clocks: Clocks::at(now), aggregation_six: AggregationSix::AvgZero };
    for (what, destination) in [
        ("the newer half is missing", content(now, |age| age > 700)),
        ("every other slot is missing", content(now, |age| age % 2 == 0)),
    ] {
        let (from, into) = (Image::parse(&source).unwrap(), Image::parse(&destination).unwrap());
        let (blocks, bytes) = asked(|| fill(&from, &into, options));
        assert!(blocks <= 60, "{what}: {blocks} blocks");
        assert!(2 * bytes <= 5 * source.len() as u64, "{what}: {bytes} bytes");
    }
}

/// Receives everything into one buffer, as a daemon does.
#[derive(Default)]
struct OneBuffer(Vec<u8>);

impl Receiver for &mut OneBuffer {
    fn reserve(&mut self, _: u64) -> Result<(), NoRoom> {
        Ok(())
    }

    fn buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }

    fn take(&mut self, member: Member) -> Result<(), NoRoom> {
        self.0 = member.content;
        Ok(())
    }
}

fn streams_use_their_buffers_again() {
    const MEMBERS: usize = 200;
    let content = content(metrics::now(), |_| true);
    let digest = Digest::of(&content);
    let metric: Vec<MetricName> =
        (0..MEMBERS).map(|number| format!("app.m{number}").parse().unwrap()).collect();
    let mut stream = Vec::with_capacity(MEMBERS * (content.len() + 4096));
    let write = |stream: &mut Vec<u8>| {
        let mut archive = ArchiveWriter::new(Encoding::Identity.encoder(stream).unwrap());
        for metric in &metric {
            archive.append(metric, FileMeta { mode: 0o644, mtime: 1 }, digest, &content).unwrap();
        }
        archive.finish().unwrap();
    };
    let (blocks, bytes) = asked(|| {
        stream.clear();
        write(&mut stream);
    });
    assert!(blocks <= 34 * MEMBERS as u64, "{blocks} blocks to write {MEMBERS} members");
    assert!(bytes <= (1024 * MEMBERS) as u64, "{bytes} bytes to write {MEMBERS} members");
    let (blocks, bytes) = asked(|| {
        let mut receiver = OneBuffer::default();
        receive_archive(stream.as_slice(), Limits::default(), &mut receiver).unwrap();
    });
    assert!(blocks <= 22 * MEMBERS as u64, "{blocks} blocks to read {MEMBERS} members");
    let least = content.len() as u64;
    let most = 2 * least + (1024 * MEMBERS) as u64;
    assert!(bytes <= most, "{bytes} bytes to read {MEMBERS} members of {least}");
}
