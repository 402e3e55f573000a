//! The data: complete files with points up to this minute.

use std::path::Path;

use bucky_tests::TestCluster;
use bucky_whisper::{Aggregation, Header, MetricName, Point, Retention, XFilesFactor};

/// How many contents are used in rotation. They compress equally well for all programs, and no two neighbours
/// are equal.
const CONTENTS: usize = 16;

/// A file of 147 KB, a typical size in a cluster.
pub(crate) const LARGE: [&str; 3] = ["60s:1d", "5m:7d", "1h:1y"];
/// A file of 17 KB.
pub(crate) const SMALL: [&str; 1] = ["60s:1d"];

/// A file with these retentions. A slot has a point if `keep` returns true; it gets the slot's age, in slots,
/// and how many slots the archive has.
pub(crate) fn content(
    retentions: &[&str],
    seed: usize,
    keep: impl Fn(u32, u32) -> bool,
) -> Vec<u8> {
    let now = bucky_tests::metrics::now();
    let retentions: Vec<Retention> = retentions.iter().map(|text| text.parse().unwrap()).collect();
    let header =
        Header::for_retentions(&retentions, Aggregation::Average, XFilesFactor::default()).unwrap();
    let mut random = fastrand::Rng::with_seed(seed as u64);
    let mut bytes = header.encode();
    let mut value = 1000.0;
    for archive in &header.archives {
        let (step, points) = (archive.seconds_per_point, archive.points);
        for age in (0..points).rev() {
            value += f64::from(random.i32(-50..=50)) / 10.0;
            // The first slot is the base, so it always has a point.
            let kept = age + 1 == points || keep(age, points);
            let point = Point { timestamp: now - now % step - step * age, value };
            bytes.extend(if kept { point.encode() } else { [0; Point::SIZE_BYTES] });
        }
    }
    bytes
}

/// The name of the `number`th metric.
pub(crate) fn name(number: usize) -> MetricName {
    format!("servers.rack{:02}.host{:04}.metric{:02}", number / 4000, number / 40, number % 40)
        .parse()
        .unwrap()
}

/// Writes `count` metrics to their owners in the ring of the cluster's first `nodes` nodes.
pub(crate) fn scatter(cluster: &TestCluster, nodes: usize, count: usize, retentions: &[&str]) {
    let ring = cluster.ring_of_first(nodes);
    let contents: Vec<Vec<u8>> =
        (0..CONTENTS).map(|seed| content(retentions, seed, |_, _| true)).collect();
    for number in 0..count {
        let metric = name(number);
        for owner in ring.owners(metric.as_str()) {
            let host = ring.spec().nodes[owner].host();
            write(&cluster.node_of(host).prefix(), &metric, &contents[number % CONTENTS]);
        }
    }
}

/// Writes a metric's file.
pub(crate) fn write(prefix: &Path, metric: &MetricName, content: &[u8]) {
    let path = prefix.join(metric.relative_path());
    if let Err(error) = std::fs::write(&path, content) {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}: {error}", path.display());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
    }
}
