//! What the store promises, tested on real files.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use bucky_api::archive::{FileMeta, LargeMember, Member};
use bucky_api::clock::unix_now;
use bucky_api::{
    DeleteLine, DeleteMetric, DeleteOutcome, HealLine, HealOutcome, OnSchemaDifference, Problem,
};
use bucky_whisper::{
    Aggregation, AggregationSix, CreateOptions, Digest, FileLayout, Image, MetricName,
};
use tempfile::TempDir;

use super::heal::VolumeBatch;
use super::snapshot::VolumeReader;
use super::tombstone::BatchWriter;
use super::{
    BatchId, HealRules, OnCorrupt, OnCut, Store, StoreError, StoreOptions, UnlinkOutcome, confirmed,
};
use crate::inventory::Inventory;
use crate::memory::Memory;

mod first_point;
mod healing;
mod late_points;
mod long;
mod paths;
mod prefix;
mod reshape_ahead;
mod room;
mod salvage;
mod schemas;
mod tombstones;
mod unplaced;
mod volumes;

struct Fixture {
    store: Store,
    /// For how long no process may have written to a file that is deleted.
    rest: Duration,
    /// What to do with files that were cut off.
    on_cut: OnCut,
    prefix: TempDir,
}

pub(crate) fn options() -> StoreOptions {
    StoreOptions {
        lock_limit: Duration::from_millis(100),
        file_limit_bytes: 1024 * 1024,
        memory: Memory::new(1536 << 20),
        sparse: false,
        aggregation_six: AggregationSix::AvgZero,
        unnamed_files: 64,
    }
}

impl Fixture {
    fn new() -> Self {
        Self::with(options())
    }

    fn with(options: StoreOptions) -> Self {
        let prefix = tempfile::tempdir().unwrap();
        let inventory = Arc::new(Inventory::new(prefix.path(), Duration::from_secs(60)));
        let store = Store::open(prefix.path(), None, inventory, options).unwrap();
        Self { store, rest: Duration::ZERO, on_cut: OnCut::Refuse, prefix }
    }

    fn path(&self, metric: &str) -> PathBuf {
        self.prefix.path().join(name(metric).relative_path())
    }

    fn put(&self, metric: &str, content: &[u8]) {
        let path = self.path(metric);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn heal(&self, members: &[Member]) -> Vec<HealLine> {
        let rules = HealRules { on_cut: self.on_cut, ..HealRules::default() };
        let mut batch = VolumeBatch::new(&self.store).by(rules);
        members.iter().for_each(|member| batch.take(member));
        batch.finish().0
    }

    fn delete(&self, metric: &str, digest: Digest) -> DeleteLine {
        let owners = vec!["127.0.0.1:4242".parse().unwrap()];
        let metrics = [DeleteMetric {
            name: name(metric),
            digest,
            owners,
            on_schema_difference: OnSchemaDifference::Keep,
            points_given_up: 0,
        }];
        self.store.delete(&metrics, self.rest, self.on_cut).unwrap().0.remove(0)
    }

    /// Everything below the prefix except metrics' files and the parts of an idle state folder.
    fn leftovers(&self) -> Vec<PathBuf> {
        let state = self.prefix.path().join(".bucky");
        ["tmp", "tombstones"]
            .iter()
            .flat_map(|folder| fs::read_dir(state.join(folder)).unwrap())
            .map(|entry| entry.unwrap().path())
            .collect()
    }
}

fn name(text: &str) -> MetricName {
    text.parse().unwrap()
}

/// The time from which the ages of all points count, read once. Files that are written in two steps then have
/// points of the same minutes, even if a minute ends in between.
pub(crate) fn test_now() -> u32 {
    static NOW: LazyLock<u32> = LazyLock::new(unix_now);
    *NOW
}

/// A Whisper file with a point at each of these ages (in minutes). The value is the age.
pub(crate) fn whisper(ages: &[u32]) -> Vec<u8> {
    whisper_of(&["60s:2h", "5m:1d"], ages)
}

/// A Whisper file with these retentions.
pub(crate) fn whisper_of(retentions: &[&str], ages: &[u32]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.wsp");
    let options = CreateOptions {
        retentions: retentions.iter().map(|retention| retention.parse().unwrap()).collect(),
        x_files_factor: "0.0".parse().unwrap(),
        aggregation: Aggregation::Average,
        layout: FileLayout::Dense,
    };
    bucky_whisper::create(&path, &options).unwrap();
    let now = test_now();
    let mut file = bucky_whisper::WhisperFile::open(
        &path,
        bucky_whisper::OpenMode::Update,
        Duration::from_secs(1),
    )
    .unwrap();
    for age in ages {
        file.update(f64::from(*age), now - age * 60, now).unwrap();
    }
    drop(file);
    fs::read(path).unwrap()
}

fn member(metric: &str, content: &[u8]) -> Member {
    Member {
        metric: name(metric),
        meta: FileMeta { mode: 0o640, mtime: 1_600_000_000 },
        digest: Digest::of(content),
        is_sparse: false,
        announced: Some(Digest::of(content)),
        content: content.to_vec(),
    }
}

fn fine_points(content: &[u8]) -> usize {
    Image::parse(content).unwrap().archive(0).unwrap().points_valid(unix_now()).count()
}

/// Heals `a.b` as a pull does: a file that is too long comes piece by piece.
fn heal(fixture: &Fixture, rules: HealRules, content: &[u8]) -> (HealLine, Option<u64>) {
    let mut batch = VolumeBatch::new(&fixture.store).by(rules);
    let member = member("a.b", content);
    if content.len() as u64 > fixture.store.file_limit_bytes() {
        let Member { metric, meta, is_sparse, announced, .. } = member;
        let len_bytes = content.len() as u64;
        let large = LargeMember { metric: metric.clone(), meta, len_bytes, is_sparse, announced };
        let mut incoming = batch.begin_large(&large, &metric);
        content.chunks(1_000).for_each(|piece| incoming.write(piece));
        batch.end_large(incoming, metric);
    } else {
        batch.take(&member);
    }
    let (mut lines, aside) = batch.finish();
    (lines.remove(0), aside.map(|(_, count)| count))
}
