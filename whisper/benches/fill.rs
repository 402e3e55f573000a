//! How long a fill takes, beside what no fill can do without: reading both files and writing one.
//!
//! The pair has 60s:1d, 5m:7d, 1h:1y (147 KB). `cargo bench -p bucky-whisper --bench fill`.

use std::fs;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bucky_whisper::{
    Aggregation, AggregationSix, FillOptions, FillPlan, Header, Image, Point, Retention,
    XFilesFactor, fill,
};
use criterion::{Criterion, criterion_group, criterion_main};

const NOW: u32 = 1_700_000_000;
const RETENTIONS: [&str; 3] = ["60s:1d", "5m:7d", "1h:1y"];

/// A file in which the slots have points whose age in slots `keep` keeps.
fn image(keep: impl Fn(u32) -> bool) -> Vec<u8> {
    let retentions = RETENTIONS.map(|text| text.parse::<Retention>().expect("a retention"));
    let header = Header::for_retentions(&retentions, Aggregation::Average, XFilesFactor::default())
        .expect("retentions of one file");
    let mut bytes = header.encode();
    for archive in &header.archives {
        let (step, points) = (archive.seconds_per_point, archive.points);
        for age in (0..points).rev() {
            let timestamp = NOW - NOW % step - step * age;
            // The first slot is the base: it is always there.
            let kept = age + 1 == points || keep(age);
            let point = Point { timestamp, value: f64::from(age) };
            bytes.extend(if kept { point.encode() } else { [0; Point::SIZE_BYTES] });
        }
    }
    bytes
}

fn plan(source: &[u8], destination: &[u8]) -> FillPlan {
    let source = Image::parse(source).expect("a sound source");
    let destination = Image::parse(destination).expect("a sound destination");
    fill(&source, &destination, FillOptions { now: NOW, aggregation_six: AggregationSix::AvgZero })
}

fn pairs() -> [(&'static str, Vec<u8>, Vec<u8>); 5] {
    let whole = image(|_| true);
    let mut copy = whole.clone();
    copy.push(0);
    [
        ("the newer half of each archive is missing", whole.clone(), image(|age| age > 700)),
        ("every other slot is missing", whole.clone(), image(|age| age % 2 == 0)),
        ("two halves of a series", image(|age| age % 2 == 1), image(|age| age % 2 == 0)),
        ("an empty destination", whole.clone(), image(|_| false)),
        ("a copy, but for a byte behind the archives", copy, whole),
    ]
}

fn plans(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    for (name, source, destination) in pairs() {
        group.bench_function(name, |bencher| {
            bencher.iter(|| plan(black_box(&source), black_box(&destination)));
        });
    }
    let (_, source, destination) = &pairs()[0];
    group.bench_function("for comparison: copy both images in memory", |bencher| {
        bencher.iter(|| (black_box(source).to_vec(), black_box(destination).to_vec()));
    });
    group.finish();
}

fn files(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("files");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    for (name, source, destination) in pairs() {
        let (from, into) = (path("source.wsp"), path("destination.wsp"));
        fs::write(&from, &source).expect("a source");
        fs::write(&into, &destination).expect("a destination");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                // Planned anew each time, and written over what the run before has written.
                let read = fs::read(&from).expect("the source");
                black_box(fs::read(&into).expect("the destination"));
                let plan = plan(&read, &destination);
                let file = fs::File::options().write(true).open(&into).expect("the destination");
                for run in plan.runs() {
                    file.write_all_at(run.bytes, run.offset).expect("a run");
                }
            });
        });
    }
    let (_, source, destination) = &pairs()[0];
    let (from, into) = (path("source.wsp"), path("destination.wsp"));
    fs::write(&from, source).expect("a source");
    fs::write(&into, destination).expect("a destination");
    group.bench_function("for comparison: read both and write one", |bencher| {
        bencher.iter(|| {
            let read = fs::read(&from).expect("the source");
            black_box(fs::read(&into).expect("the destination"));
            let file = fs::File::options().write(true).open(&into).expect("the destination");
            file.write_all_at(&read, 0).expect("the whole file");
        });
    });
    group.finish();
}

criterion_group!(benches, plans, files);
criterion_main!(benches);
