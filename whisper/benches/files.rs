//! How long the common operations on a Whisper file take.
//!
//! The file has 60s:1d, 5m:7d, 1h:1y (147 KB). `cargo bench -p bucky-whisper --bench files`.

use std::hint::black_box;
use std::time::Duration;

use bucky_whisper::{
    Aggregation, CreateOptions, Digest, FileLayout, Header, Image, MetricName, OpenMode, Point,
    WhisperFile, XFilesFactor, create,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const NOW: u32 = 1_700_000_000;
const LOCK_LIMIT: Duration = Duration::from_secs(1);

fn options() -> CreateOptions {
    CreateOptions {
        retentions: ["60s:1d", "5m:7d", "1h:1y"]
            .map(|text| text.parse().expect("a retention"))
            .to_vec(),
        x_files_factor: XFilesFactor::default(),
        aggregation: Aggregation::Average,
        layout: FileLayout::Dense,
    }
}

/// A day of points, one a minute.
fn day() -> Vec<Point> {
    (0..1_440u32).map(|age| Point { timestamp: NOW - 60 * age, value: f64::from(age) }).collect()
}

fn files(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.wsp");
    create(&path, &options()).expect("a new file");
    let open = |mode| WhisperFile::open(&path, mode, LOCK_LIMIT).expect("a sound file");
    let day = day();
    open(OpenMode::Update).update_many(&day, NOW).expect("an update");

    criterion.bench_function("create and remove a file", |bencher| {
        let new = folder.path().join("new.wsp");
        bencher.iter(|| {
            create(&new, &options()).expect("a new file");
            std::fs::remove_file(&new).expect("a file to remove");
        });
    });
    criterion.bench_function("open, update one point", |bencher| {
        bencher.iter(|| open(OpenMode::Update).update(1.0, NOW, NOW).expect("an update"));
    });
    criterion.bench_function("open, update a day of points", |bencher| {
        bencher.iter(|| open(OpenMode::Update).update_many(&day, NOW).expect("an update"));
    });
    criterion.bench_function("open, fetch a day of points", |bencher| {
        bencher.iter(|| open(OpenMode::Read).fetch(NOW - 86_400, NOW, NOW).expect("a fetch"));
    });
    criterion.bench_function("open, is it empty", |bencher| {
        bencher.iter(|| open(OpenMode::Read).is_empty(NOW).expect("a look"));
    });
}

fn values(criterion: &mut Criterion) {
    let header = Header::for_retentions(
        &options().retentions,
        Aggregation::Average,
        XFilesFactor::default(),
    )
    .expect("retentions of one file");
    let mut bytes = header.encode();
    bytes.resize(usize::try_from(header.file_size_bytes()).expect("a small file"), 0);

    criterion.bench_function("parse an image", |bencher| {
        bencher.iter(|| Image::parse(black_box(&bytes)).is_ok());
    });
    let name = "collectd.host-0123.cpu-7.percent-user";
    criterion.bench_function("parse a name", |bencher| {
        bencher.iter(|| MetricName::parse(black_box(name)).is_ok());
    });
    let path = MetricName::parse(name).expect("a name").relative_path();
    criterion.bench_function("name of a path", |bencher| {
        bencher.iter(|| MetricName::from_relative_path(black_box(&path)).is_ok());
    });
    let mut group = criterion.benchmark_group("digest");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("of a file", |bencher| bencher.iter(|| Digest::of(black_box(&bytes))));
    group.finish();
}

criterion_group!(benches, files, values);
criterion_main!(benches);
