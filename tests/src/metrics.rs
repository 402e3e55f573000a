//! Whisper files as a carbon would have written them, with points up to this minute.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bucky_whisper::{
    Aggregation, Header, MetricName, OpenMode, Point, Retention, WhisperFile, XFilesFactor,
};

/// How long to wait for a file's lock.
const LOCK_LIMIT: Duration = Duration::from_secs(30);

/// The layout and the settings of a metric's file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    /// The retentions, as in carbon's `storage-schemas.conf`.
    pub retentions: &'static str,
    /// How finer points become a coarser one.
    pub aggregation: Aggregation,
    /// The share of finer points that a coarser point needs.
    pub x_files_factor: f32,
}

/// The layouts of a mixed cluster; small, so that thousands of files are written quickly.
pub const LAYOUTS: [Layout; 6] = [
    Layout {
        retentions: "10s:1h,1m:6h,10m:2d",
        aggregation: Aggregation::Average,
        x_files_factor: 0.5,
    },
    Layout { retentions: "1m:6h,15m:7d", aggregation: Aggregation::Sum, x_files_factor: 0.0 },
    Layout { retentions: "5m:1d", aggregation: Aggregation::Last, x_files_factor: 0.5 },
    Layout { retentions: "1s:5m,1m:12h", aggregation: Aggregation::Max, x_files_factor: 0.1 },
    Layout { retentions: "1m:4h,5m:1d,1h:30d", aggregation: Aggregation::Min, x_files_factor: 0.3 },
    Layout { retentions: "30s:2h,10m:5d", aggregation: Aggregation::AbsMax, x_files_factor: 1.0 },
];

/// Another layout for each of these, as a node with other schemas would create it: shorter, with other steps,
/// or with more or fewer archives. The archives of both fit into one file.
pub const OTHER_LAYOUTS: [Layout; 6] = [
    Layout { retentions: "10s:30m,1m:6h", aggregation: Aggregation::Average, x_files_factor: 0.5 },
    Layout { retentions: "5m:1d", aggregation: Aggregation::Sum, x_files_factor: 0.0 },
    Layout { retentions: "1m:4h", aggregation: Aggregation::Last, x_files_factor: 0.5 },
    Layout { retentions: "1m:2h,10m:2d", aggregation: Aggregation::Max, x_files_factor: 0.1 },
    Layout { retentions: "10m:2d", aggregation: Aggregation::Min, x_files_factor: 0.3 },
    Layout { retentions: "30s:1h", aggregation: Aggregation::AbsMax, x_files_factor: 1.0 },
];

/// A layout with one archive: a point a minute for a day.
pub const MINUTES: Layout =
    Layout { retentions: "1m:1d", aggregation: Aggregation::Average, x_files_factor: 0.5 };

impl Layout {
    /// Its archives, finest first.
    pub fn archives(&self) -> Vec<Retention> {
        self.retentions.split(',').map(|text| text.parse().unwrap()).collect()
    }

    fn header(&self) -> Header {
        let factor = XFilesFactor::new(self.x_files_factor).unwrap();
        Header::for_retentions(&self.archives(), self.aggregation, factor).unwrap()
    }

    /// A complete file without points.
    pub fn empty_file(&self) -> Vec<u8> {
        let header = self.header();
        let mut content = header.encode();
        content.resize(usize::try_from(header.file_size_bytes()).unwrap(), 0);
        content
    }
}

/// The time, in Unix seconds.
pub fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u32::try_from(since.as_secs()).unwrap()
}

/// The newest slot of a series with a point a minute, in Unix seconds. The clock is read only once, so that
/// the result is a slot's time even if a minute ends just now.
pub fn newest_minute() -> u32 {
    now() / 60 * 60
}

/// The name of the `number`th metric of an invented shop: of different depths and widths, some tagged.
pub fn name(number: usize) -> MetricName {
    let (host, part) = (number / 40, number % 40);
    let text = match part {
        0..10 => format!("shop.web{host:03}.http.status.{}", 200 + part),
        10..25 => format!("servers.db-{host}.disk_{part}.io.read:bytes"),
        25..38 => format!("shop.orders.region{}.store{host}.total_{part}", host % 7),
        _ => format!("_tagged.a{part}b.c{host:02x}.requests_DOT_count;dc=x{part};host=web{host}"),
    };
    text.parse().unwrap()
}

/// Points over the whole retention of `layout`, the newest at `now`. By `seed` they are dense, or have gaps
/// of one point or of many. Some values are zero or negative.
pub fn history(layout: &Layout, now: u32, seed: usize) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    let mut newer = now + 1;
    for archive in layout.archives() {
        let step = archive.seconds_per_point();
        let reach = u32::try_from(archive.seconds()).unwrap();
        let oldest = now - reach + step;
        // Coarse archives get the points that are older than the finer ones.
        let times = (1..).map(|slot| newer - slot * step.min(newer)).take_while(|t| *t >= oldest);
        let kept = times.filter(|t| is_known(seed, (t / step) as usize));
        points.extend(kept.take(250).map(|t| Point { timestamp: t, value: value(seed, t) }));
        newer = oldest;
    }
    points.sort_unstable_by_key(|point| point.timestamp);
    points.dedup_by_key(|point| point.timestamp);
    points
}

fn is_known(seed: usize, slot: usize) -> bool {
    match seed % 5 {
        0 | 1 => true,
        2 => slot.is_multiple_of(2),
        3 => !slot.is_multiple_of(17),
        _ => slot / 30 % 3 != 1,
    }
}

fn value(seed: usize, t: u32) -> f64 {
    let turn = (seed as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(u64::from(t)) % 2003;
    if turn % 7 == 0 { 0.0 } else { f64::from(u32::try_from(turn).unwrap()) * 0.37 - 200.0 }
}

/// Writes points into the metric's file below `prefix`, and creates the file if necessary.
pub fn write(prefix: &Path, metric: &MetricName, layout: &Layout, points: &[Point]) {
    write_at(prefix, metric, layout, points, now());
}

/// Like [`write()`], at the time `now`, which decides which archive the oldest points of a finer one go to.
/// Files that must be equal are written with the same time.
pub fn write_at(prefix: &Path, metric: &MetricName, layout: &Layout, points: &[Point], now: u32) {
    let path = prefix.join(metric.relative_path());
    if !path.exists() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let header = layout.header();
        let mut file = File::create_new(&path).unwrap();
        file.write_all(&header.encode()).unwrap();
        file.set_len(header.file_size_bytes()).unwrap();
    }
    update_at(&path, points, now);
}

/// Writes points into the file at `path`, as carbon does: under the lock, in place.
pub fn update(path: &Path, points: &[Point]) {
    update_at(path, points, now());
}

fn update_at(path: &Path, points: &[Point], now: u32) {
    let mut file = WhisperFile::open(path, OpenMode::Update, LOCK_LIMIT).unwrap();
    file.update_many(points, now).unwrap();
}

/// One point a minute with each of `values`, the newest in the slot of `now`.
pub fn minutes(now: u32, values: impl IntoIterator<Item = f64>) -> Vec<Point> {
    let newest = now - now % 60;
    let points = values.into_iter().zip(0..);
    points.map(|(value, age)| Point { timestamp: newest - age * 60, value }).collect()
}
