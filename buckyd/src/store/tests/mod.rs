//! What the store promises, tested on real files.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use bucky_api::archive::{FileMeta, Member};
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
mod late_points;
mod long;
mod prefix;
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

#[test]
fn a_new_metric_appears_whole_with_the_sources_mode_and_time_and_leaves_nothing_else() {
    let fixture = Fixture::new();
    let content = whisper(&[1, 2, 3]);
    for metrics in [&["a.b"][..], &["c.d", "c.e", "c.f.g", "h"][..]] {
        let members: Vec<Member> = metrics.iter().map(|metric| member(metric, &content)).collect();
        let lines = fixture.heal(&members);
        assert!(lines.iter().all(|line| line.outcome == HealOutcome::Created), "{lines:?}");
        for metric in metrics {
            assert_eq!(fs::read(fixture.path(metric)).unwrap(), content);
            let meta = fs::metadata(fixture.path(metric)).unwrap();
            assert_eq!((meta.mode() & 0o777, meta.mtime()), (0o640, 1_600_000_000));
        }
    }
    assert!(fixture.leftovers().is_empty());
}

#[test]
fn a_new_file_has_holes_where_its_source_has_them() {
    let fixture = Fixture::new();
    let mut content = whisper(&[1]);
    content.resize(content.len() + 64 * 1024, 0);
    let sparse = Member { is_sparse: true, ..member("sparse", &content) };
    let lines = fixture.heal(&[sparse, member("dense", &content)]);
    assert!(lines.iter().all(|line| line.outcome == HealOutcome::Created), "{lines:?}");
    let blocks = |metric: &str| fs::metadata(fixture.path(metric)).unwrap().blocks();
    assert!(blocks("sparse") * 512 < 64 * 1024, "{} blocks", blocks("sparse"));
    assert!(blocks("dense") * 512 >= 64 * 1024, "{} blocks", blocks("dense"));
    for metric in ["sparse", "dense"] {
        assert_eq!(fs::read(fixture.path(metric)).unwrap(), content);
    }
}

#[test]
fn a_sparse_store_writes_holes_that_read_as_the_same_bytes() {
    let fixture = Fixture::with(StoreOptions { sparse: true, ..options() });
    let mut content = whisper(&[1]);
    content.resize(content.len() + 64 * 1024, 0);
    assert_eq!(fixture.heal(&[member("a", &content)])[0].outcome, HealOutcome::Created);
    assert_eq!(fs::read(fixture.path("a")).unwrap(), content);
    assert!(fs::metadata(fixture.path("a")).unwrap().blocks() * 512 < content.len() as u64 / 2);
}

#[test]
fn a_metric_that_is_there_is_filled_in_place_and_keeps_its_inode_and_its_own_points() {
    let fixture = Fixture::new();
    fixture.put("a.b", &whisper(&[1, 3, 5]));
    let inode = fs::metadata(fixture.path("a.b")).unwrap().ino();
    let source = whisper(&[2, 3, 4]);
    let line = fixture.heal(&[member("a.b", &source)]).remove(0);
    assert_eq!((line.outcome, line.digest), (HealOutcome::Filled, Some(Digest::of(&source))));
    assert!(line.points >= 2, "{line:?}");
    assert_eq!(fs::metadata(fixture.path("a.b")).unwrap().ino(), inode);
    assert_eq!(fine_points(&fs::read(fixture.path("a.b")).unwrap()), 5);
    assert_eq!(fixture.heal(&[member("a.b", &source)])[0].outcome, HealOutcome::Unchanged);
}

#[test]
fn d14_a_file_that_appears_while_a_batch_is_under_way_is_filled_and_never_replaced() {
    let fixture = Fixture::new();
    let mut batch = VolumeBatch::new(&fixture.store);
    batch.take(&member("a.b", &whisper(&[2, 4])));
    fixture.put("a.b", &whisper(&[1, 3]));
    let line = batch.finish().0.remove(0);
    assert_eq!(line.outcome, HealOutcome::Filled, "{line:?}");
    assert_eq!(fine_points(&fs::read(fixture.path("a.b")).unwrap()), 4);
    assert!(fixture.leftovers().is_empty());
}

#[test]
fn one_metric_twice_in_a_batch_ends_with_the_points_of_both() {
    let fixture = Fixture::new();
    let lines = fixture.heal(&[
        member("a", &whisper(&[1])),
        member("a", &whisper(&[2])),
        member("b", &whisper(&[1])),
    ]);
    assert!(lines.iter().all(|line| line.outcome.is_healed()), "{lines:?}");
    assert_eq!(fine_points(&fs::read(fixture.path("a")).unwrap()), 2);
}

#[test]
fn d45_what_is_no_whole_whisper_file_is_never_stored() {
    let fixture = Fixture::new();
    let whole = whisper(&[1]);
    for content in
        [&b""[..], &b"hello"[..], &[0; 4096][..], &whole[..whole.len() - 1], &whole[..20]]
    {
        let line = fixture.heal(&[member("a", content)]).remove(0);
        assert_eq!(
            (line.outcome, line.problem),
            (HealOutcome::Refused, Some(Problem::SourceDamaged))
        );
        assert!(!fixture.path("a").exists());
    }
    let mut damaged = member("a", &whole);
    damaged.announced = Some(Digest::of(b"other"));
    assert_eq!(fixture.heal(&[damaged])[0].problem, Some(Problem::DigestMismatch));
    assert!(!fixture.path("a").exists());
}

#[test]
fn a_damaged_file_at_the_owner_is_reported_and_not_touched() {
    let fixture = Fixture::new();
    fixture.put("a", b"not whisper at all");
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    File::options().write(true).open(fixture.path("a")).unwrap().set_modified(old).unwrap();
    let line = fixture.heal(&[member("a", &whisper(&[1]))]).remove(0);
    assert_eq!(
        (line.outcome, line.problem),
        (HealOutcome::Refused, Some(Problem::DestinationDamaged))
    );
    assert!(
        line.reason.contains("a.wsp") && line.reason.contains("move it aside"),
        "{}",
        line.reason
    );
    assert_eq!(fs::read(fixture.path("a")).unwrap(), b"not whisper at all");
}

#[test]
fn a_file_that_carbon_is_just_making_is_busy_and_not_damaged() {
    let fixture = Fixture::new();
    let source = whisper(&[1]);
    fixture.put("a", b"");
    let line = fixture.heal(&[member("a", &source)]).remove(0);
    assert_eq!((line.outcome, line.problem), (HealOutcome::Failed, Some(Problem::Busy)));
}

#[test]
fn compressed_files_are_moved_whole_and_refused_where_points_are_needed() {
    let fixture = Fixture::new();
    let compressed = [&b"whisper_compressed"[..], &[0xff; 130]].concat();
    assert_eq!(fixture.heal(&[member("a", &compressed)])[0].outcome, HealOutcome::Created);
    assert_eq!(fixture.heal(&[member("a", &compressed)])[0].outcome, HealOutcome::Unchanged);
    let line = fixture.heal(&[member("a", &whisper(&[1]))]).remove(0);
    assert_eq!((line.outcome, line.problem), (HealOutcome::Refused, Some(Problem::Compressed)));
    assert_eq!(fs::read(fixture.path("a")).unwrap(), compressed);
}

/// The message was that their points cannot be merged, although the owner's file has none.
#[test]
fn a_compressed_file_does_not_replace_a_damaged_one_and_the_damage_is_told() {
    let fixture = Fixture::new();
    let compressed = [&b"whisper_compressed"[..], &[0xff; 130]].concat();
    fixture.put("a", b"garbage that is no header");
    let heal = || {
        let mut batch = VolumeBatch::new(&fixture.store)
            .by(HealRules { on_corrupt: OnCorrupt::Replace, ..HealRules::default() });
        batch.take(&member("a", &compressed));
        batch.finish().0.remove(0)
    };
    // Carbon may be about to write the rest.
    assert_eq!(heal().problem, Some(Problem::Busy));
    let old = SystemTime::now() - Duration::from_secs(60);
    File::options().write(true).open(fixture.path("a")).unwrap().set_modified(old).unwrap();
    let line = heal();
    assert_eq!((line.outcome, line.problem), (HealOutcome::Refused, Some(Problem::Compressed)));
    assert!(line.reason.contains("the owner's file a.wsp is corrupt"), "{}", line.reason);
    assert!(line.reason.contains("move the corrupt file aside"), "{}", line.reason);
    fs::remove_file(fixture.path("a")).unwrap();
    assert_eq!(heal().outcome, HealOutcome::Created);
}

#[test]
fn a_lock_that_is_never_given_back_makes_a_metric_busy_within_the_limit() {
    let fixture = Fixture::new();
    fixture.put("a", &whisper(&[1]));
    let held = File::open(fixture.path("a")).unwrap();
    bucky_whisper::lock_exclusive(&held, Duration::ZERO).unwrap();
    let started = Instant::now();
    let line = fixture.heal(&[member("a", &whisper(&[2])), member("b", &whisper(&[2]))]).remove(0);
    assert_eq!(line.problem, Some(Problem::Busy));
    assert!(matches!(fixture.store.read_to_copy(&name("a")), Err(StoreError::Busy { .. })));
    assert_eq!(fixture.delete("a", Digest::of(b"")).outcome, DeleteOutcome::Failed);
    assert!(started.elapsed() < Duration::from_secs(60));
    assert!(fixture.path("b").exists());
}

#[test]
fn d6_nothing_is_read_written_or_deleted_through_a_link() {
    let fixture = Fixture::new();
    let outside = tempfile::tempdir().unwrap();
    let content = whisper(&[1]);
    fs::write(outside.path().join("o.wsp"), &content).unwrap();
    std::os::unix::fs::symlink(outside.path(), fixture.prefix.path().join("linkdir")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("o.wsp"), fixture.path("link")).unwrap();
    for metric in ["linkdir.o", "linkdir.new", "link"] {
        let line = fixture.heal(&[member(metric, &whisper(&[2]))]).remove(0);
        assert_eq!(
            (line.outcome, line.problem),
            (HealOutcome::Refused, Some(Problem::BadPath)),
            "{metric}"
        );
        assert!(fixture.store.unlink(&name(metric)).is_err());
        assert_ne!(fixture.delete(metric, Digest::of(&content)).outcome, DeleteOutcome::Deleted);
    }
    assert_eq!(fs::read(outside.path().join("o.wsp")).unwrap(), content);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert!(fixture.prefix.path().join("linkdir").is_symlink());
}

#[test]
fn d44_folders_and_fifos_with_a_metrics_name_are_refused_and_nothing_waits_for_them() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.path("d")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        fixture.path("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    for metric in ["d", "fifo"] {
        assert!(fixture.store.read_to_copy(&name(metric)).is_err());
        assert!(fixture.store.unlink(&name(metric)).is_err());
        assert!(!fixture.heal(&[member(metric, &whisper(&[1]))])[0].outcome.is_healed());
    }
}

#[test]
fn d5_the_go_tools_delete_removes_empty_folders_up_to_the_prefix_and_no_further() {
    let fixture = Fixture::new();
    fixture.put("a.b.c.m", &whisper(&[1]));
    fixture.put("a.x", &whisper(&[1]));
    fixture.store.unlink(&name("a.b.c.m")).unwrap();
    assert!(fixture.path("a.x").exists());
    assert!(!fixture.prefix.path().join("a/b").exists());
    fixture.store.unlink(&name("a.x")).unwrap();
    assert!(fixture.prefix.path().exists() && !fixture.prefix.path().join("a").exists());
    assert!(matches!(fixture.store.unlink(&name("a.x")), Err(StoreError::Missing { .. })));
}

#[test]
fn a_state_folder_where_metrics_may_lie_is_refused() {
    let prefix = tempfile::tempdir().unwrap();
    let open = |state_dir: &Path| {
        let inventory = Arc::new(Inventory::new(prefix.path(), Duration::from_secs(60)));
        Store::open(prefix.path(), Some(state_dir), inventory, options())
    };
    // As a folder of metrics, `state.tmp.0` would count as a temporary file and be removed.
    let Err(error) = open(&prefix.path().join("state")) else { panic!("opened") };
    assert!(bucky_api::chain(&error).contains("metrics may be there"), "{error:?}");
    assert!(open(&prefix.path().join(".state")).is_ok());
}

#[test]
fn what_a_crashed_daemon_had_under_way_is_cleared_at_the_next_start() {
    let fixture = Fixture::new();
    let tmp = fixture.prefix.path().join(".bucky/tmp/17");
    fs::write(&tmp, b"half").unwrap();
    let foreign = fixture.prefix.path().join(".bucky/tmp/somebody's");
    fs::write(&foreign, b"not ours").unwrap();
    let Fixture { store, prefix, .. } = fixture;
    let id = store.id().to_owned();
    drop(store);
    let inventory = Arc::new(Inventory::new(prefix.path(), Duration::from_secs(60)));
    let store = Store::open(prefix.path(), None, inventory, options()).unwrap();
    assert!(!tmp.exists() && foreign.exists());
    assert_eq!(store.id(), id);
}

#[test]
fn a_second_daemon_over_the_same_prefix_is_refused() {
    let fixture = Fixture::new();
    let inventory = Arc::new(Inventory::new(fixture.prefix.path(), Duration::from_secs(60)));
    let Err(error) = Store::open(fixture.prefix.path(), None, inventory, options()) else {
        panic!("two daemons over one store")
    };
    assert!(bucky_api::chain(&error).contains("another buckyd already serves it"));
}

#[test]
fn a_state_folder_on_another_file_system_is_refused() {
    let prefix = tempfile::tempdir_in("/dev/shm").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    assert_ne!(
        fs::metadata(prefix.path()).unwrap().dev(),
        fs::metadata(elsewhere.path()).unwrap().dev()
    );
    let inventory = Arc::new(Inventory::new(prefix.path(), Duration::from_secs(60)));
    let Err(error) = Store::open(prefix.path(), Some(elsewhere.path()), inventory, options())
    else {
        panic!("renames across file systems cannot be")
    };
    assert!(bucky_api::chain(&error).contains("another file system"));
}

#[test]
fn a_file_longer_than_the_limit_is_refused_and_not_read() {
    let fixture = Fixture::new();
    fixture.put("a", b"");
    File::options().write(true).open(fixture.path("a")).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(fixture.store.read_to_copy(&name("a")), Err(StoreError::TooLarge { .. })));
}

#[test]
fn a_folder_in_the_way_of_a_new_metric_is_told_and_the_rest_goes_on() {
    let fixture = Fixture::new();
    fs::write(fixture.prefix.path().join("a"), b"a file where a folder should be").unwrap();
    let lines = fixture.heal(&[
        member("a.b", &whisper(&[1])),
        member("c", &whisper(&[1])),
        member("d", &whisper(&[1])),
    ]);
    assert_eq!(lines[0].problem, Some(Problem::BadPath), "{lines:?}");
    assert!(lines[1..].iter().all(|line| line.outcome == HealOutcome::Created));
    assert!(fixture.leftovers().is_empty());
}

#[test]
fn a_new_file_can_be_read_and_written_by_its_owner_whatever_the_source_allowed() {
    let fixture = Fixture::new();
    let mut members = ["a", "b", "c"].map(|metric| member(metric, &whisper(&[1])));
    members[1].meta.mode = 0;
    let lines = fixture.heal(&members);
    assert!(lines.iter().all(|line| line.outcome == HealOutcome::Created), "{lines:?}");
    assert_eq!(fs::metadata(fixture.path("b")).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn new_folders_can_be_entered_by_carbon() {
    let fixture = Fixture::new();
    fixture.heal(&[member("x.y.z", &whisper(&[1]))]);
    let mode = fs::metadata(fixture.prefix.path().join("x/y")).unwrap().permissions().mode();
    assert_eq!(mode & 0o700, 0o700);
    assert!(Path::new(&fixture.path("x.y.z")).exists());
}

#[test]
fn a_source_with_points_that_the_owner_has_no_place_for_is_refused_and_so_never_deleted() {
    let fixture = Fixture::new();
    let source = whisper(&[1, 2]);
    let mut destination = whisper(&[1]);
    // At the owner, the slot of the source's older point holds a time one turn of the archive later.
    let view = Image::parse(&destination).unwrap().archive(0).unwrap();
    let older = Image::parse(&source)
        .unwrap()
        .archive(0)
        .unwrap()
        .points_valid(unix_now())
        .next()
        .unwrap()
        .timestamp;
    let at = usize::try_from(view.slot_offset(view.position_of(older).unwrap())).unwrap();
    destination[at..at + 4].copy_from_slice(&(older + 2 * 3600).to_be_bytes());
    fixture.put("a", &destination);
    let line = fixture.heal(&[member("a", &source)]).remove(0);
    assert_eq!(
        (line.outcome, line.problem),
        (HealOutcome::Refused, Some(Problem::NoPlace)),
        "{line:?}"
    );
    assert!(line.reason.contains("the source is kept"));
}
