//! Replacing corrupt files on a real file system, and tidying up after a crash at each step.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bucky_api::archive::{FileMeta, Member};
use bucky_api::clock::unix_now;
use bucky_api::{HealLine, HealOutcome};
use rustix::fs::RenameFlags;
use tempfile::TempDir;

use crate::store::staging::NewFile;
use bucky_whisper::Image;

use super::*;
use crate::inventory::Inventory;
use crate::store::heal::VolumeBatch;
use crate::store::tests::{options, whisper};
use crate::store::unplaced::Unplaced;
use crate::store::{HealRules, OnCorrupt};

const CORRUPT: &[u8] = b"this is no Whisper file, and long enough for a header";

fn open(prefix: &Path) -> Store {
    let inventory = Arc::new(Inventory::new(prefix, Duration::from_secs(60)));
    Store::open(prefix, None, inventory, options()).unwrap()
}

/// A prefix in which the metric `a.b` has had this content for an hour.
fn prefix(content: &[u8]) -> TempDir {
    let prefix = tempfile::tempdir().unwrap();
    fs::create_dir(prefix.path().join("a")).unwrap();
    put(&prefix, content);
    prefix
}

fn put(prefix: &TempDir, content: &[u8]) {
    let path = path(prefix);
    fs::write(&path, content).unwrap();
    let old = SystemTime::now() - Duration::from_secs(3600);
    File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
}

fn path(prefix: &TempDir) -> PathBuf {
    prefix.path().join("a/b.wsp")
}

fn member(content: &[u8]) -> Member {
    Member {
        metric: "a.b".parse().unwrap(),
        meta: FileMeta { mode: 0o640, mtime: 1_600_000_000 },
        digest: Digest::of(content),
        is_sparse: false,
        announced: None,
        content: content.to_vec(),
    }
}

fn heal(store: &Store, on_corrupt: OnCorrupt, content: &[u8]) -> HealLine {
    let mut batch = VolumeBatch::new(store).by(HealRules { on_corrupt, ..HealRules::default() });
    batch.take(&member(content));
    batch.finish().0.remove(0)
}

/// The paths of the files below `replaced/` and `tmp/`.
fn aside(prefix: &TempDir) -> Vec<String> {
    let state = prefix.path().join(".bucky");
    let folders = fs::read_dir(state.join("replaced")).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<String> = folders
        .chain([state.join("tmp")])
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn a_corrupt_file_is_replaced_where_that_is_wanted_and_kept_with_its_story() {
    let prefix = prefix(CORRUPT);
    let store = open(prefix.path());
    let content = whisper(&[1, 2, 3]);
    let left = heal(&store, OnCorrupt::Leave, &content);
    assert_eq!(left.problem, Some(Problem::DestinationDamaged));
    assert_eq!(fs::read(path(&prefix)).unwrap(), CORRUPT);
    assert_eq!(store.replaced().unwrap(), ReplacedStatus::default());

    let line = heal(&store, OnCorrupt::Replace, &content);
    assert_eq!((line.outcome, line.digest), (HealOutcome::Replaced, Some(Digest::of(&content))));
    assert_eq!(fs::read(path(&prefix)).unwrap(), content);
    assert_eq!(fs::metadata(path(&prefix)).unwrap().mode() & 0o777, 0o640);
    assert_eq!(aside(&prefix), ["manifest", "old"]);
    let kept = line.reason.split_once("kept as ").unwrap().1.split_once(';').unwrap().0;
    assert_eq!(fs::read(kept).unwrap(), CORRUPT);
    assert_eq!(fs::metadata(kept).unwrap().nlink(), 1);
    let manifest = fs::read_to_string(Path::new(kept).with_file_name(MANIFEST)).unwrap();
    assert!(manifest.contains("\"a.b\"") && manifest.contains("aggregation"), "{manifest}");
    let bytes = CORRUPT.len() as u64;
    assert_eq!(store.replaced().unwrap(), ReplacedStatus { files: 1, bytes });
    // It is there after a restart, and nothing more happens to it.
    drop(store);
    assert_eq!(open(prefix.path()).replaced().unwrap().files, 1);
    assert_eq!(fs::read(path(&prefix)).unwrap(), content);
}

#[test]
fn only_a_valid_file_takes_the_place_of_a_corrupt_one() {
    let prefix = prefix(CORRUPT);
    let store = open(prefix.path());
    let cut = &whisper(&[1])[..500];
    let compressed = [&b"whisper_compressed"[..], &[7; 100]].concat();
    for content in [cut, &compressed, CORRUPT, b""] {
        let line = heal(&store, OnCorrupt::Replace, content);
        assert!(!matches!(line.outcome, HealOutcome::Replaced | HealOutcome::Created), "{line:?}");
        assert_eq!(fs::read(path(&prefix)).unwrap(), CORRUPT);
    }
    assert_eq!(aside(&prefix), [""; 0]);
}

#[test]
fn a_valid_compressed_or_unfinished_file_is_not_replaced() {
    let prefix = prefix(b"");
    let store = open(prefix.path());
    let source = whisper(&[1]);
    fs::write(path(&prefix), b"carbon is about to write").unwrap();
    let line = heal(&store, OnCorrupt::Replace, &source);
    assert_eq!(line.problem, Some(Problem::Busy), "{line:?}");
    let compressed = [&b"whisper_compressed"[..], &[7; 100]].concat();
    put(&prefix, &compressed);
    let line = heal(&store, OnCorrupt::Replace, &whisper(&[1]));
    assert_eq!(line.problem, Some(Problem::Compressed), "{line:?}");
    assert_eq!(fs::read(path(&prefix)).unwrap(), compressed);
    put(&prefix, &whisper(&[2]));
    assert_eq!(heal(&store, OnCorrupt::Replace, &whisper(&[1])).outcome, HealOutcome::Filled);
    assert_eq!(aside(&prefix), [""; 0]);
}

/// Another process restores the file after the check of the corrupt one and before it is replaced.
#[test]
fn a_valid_file_that_appears_in_the_place_of_the_corrupt_one_is_filled() {
    let prefix = prefix(CORRUPT);
    let store = open(prefix.path());
    let mut batch = VolumeBatch::new(&store)
        .by(HealRules { on_corrupt: OnCorrupt::Replace, ..HealRules::default() });
    batch.take(&member(&whisper(&[1, 2])));
    let restored = prefix.path().join("restored");
    fs::write(&restored, whisper(&[3, 4])).unwrap();
    fs::rename(restored, path(&prefix)).unwrap();
    assert_eq!(batch.finish().0[0].outcome, HealOutcome::Filled);
    let content = fs::read(path(&prefix)).unwrap();
    let points =
        Image::parse(&content).unwrap().archive(0).unwrap().points_valid(unix_now()).count();
    assert_eq!(points, 4);
    assert_eq!(aside(&prefix), [""; 0]);
}

/// Another file takes the name in the last moments: it is not the file that was checked.
#[test]
fn a_file_that_is_not_the_checked_one_keeps_its_place() {
    for in_the_last_moment in [false, true] {
        let prefix = prefix(CORRUPT);
        let store = open(prefix.path());
        let restored = whisper(&[3]);
        let restore = || {
            fs::write(prefix.path().join("restored"), &restored).unwrap();
            fs::rename(prefix.path().join("restored"), path(&prefix)).unwrap();
        };
        let content = whisper(&[1]);
        let staged = staged(&store, &content);
        let looked_at = File::open(path(&prefix)).unwrap();
        let corrupt = store.corrupt_file(&staged.path, &looked_at).ok().unwrap();
        let folder = store.state.kept().begin(&manifest(&content)).unwrap();
        if !in_the_last_moment {
            restore();
            assert!(matches!(
                store.give_second_name(tmp_name(&staged), &corrupt, &folder),
                Ok(false)
            ));
        } else {
            assert!(matches!(
                store.give_second_name(tmp_name(&staged), &corrupt, &folder),
                Ok(true)
            ));
            restore();
            assert!(matches!(folder.change_places(&corrupt), Ok(false)));
        }
        folder.undo(&store.tree, store.state.tmp(), (&staged.path, tmp_name(&staged))).unwrap();
        assert_eq!(fs::read(path(&prefix)).unwrap(), restored);
        // The corrupt one has no other name by then.
        let kept: &[&str] = if in_the_last_moment { &["manifest", "old"] } else { &[] };
        let tmp = tmp_name(&staged).to_str().unwrap();
        let mut left: Vec<&str> = kept.iter().copied().chain([tmp]).collect();
        left.sort_unstable();
        assert_eq!(aside(&prefix), left);
    }
}

fn tmp_name(staged: &Staged) -> &Path {
    match &staged.file {
        Unplaced::Named(name) => name,
        Unplaced::Unnamed(_) => panic!("what may replace a file has a name"),
    }
}

fn staged(store: &Store, content: &[u8]) -> Staged {
    let meta = FileMeta { mode: 0o644, mtime: 0 };
    Staged {
        line: 0,
        path: "a/b.wsp".into(),
        file: Unplaced::Named(
            store.write_tmp(NewFile { content, meta, is_sparse: false }).unwrap(),
        ),
        is_folder_new: false,
        digest: Digest::of(content),
        rules: HealRules { on_corrupt: OnCorrupt::Replace, ..HealRules::default() },
        reshapes: false,
    }
}

/// A disk that fails after the two have changed places: neither is lost, and the valid one stays in place.
#[test]
fn a_failure_after_the_exchange_leaves_the_old_file_kept() {
    let prefix = prefix(CORRUPT);
    let store = open(prefix.path());
    let content = whisper(&[1]);
    let staged = staged(&store, &content);
    let folder = store.state.kept().begin(&manifest(&content)).unwrap();
    let state = prefix.path().join(".bucky");
    let here = folder.path().parent().unwrap().to_owned();
    fs::rename(state.join("tmp").join(tmp_name(&staged)), here.join(NEW)).unwrap();
    fs::hard_link(path(&prefix), here.join(OLD)).unwrap();
    let cwd = rustix::fs::CWD;
    rustix::fs::renameat_with(cwd, here.join(NEW), cwd, path(&prefix), RenameFlags::EXCHANGE)
        .unwrap();
    folder.undo(&store.tree, store.state.tmp(), (&staged.path, tmp_name(&staged))).unwrap();
    store.remove_unplaced(&staged.file);
    assert_eq!(fs::read(path(&prefix)).unwrap(), content);
    assert_eq!(aside(&prefix), ["manifest", "old"]);
    assert_eq!(fs::read(here.join(OLD)).unwrap(), CORRUPT);
}

fn manifest(content: &[u8]) -> Manifest {
    Manifest {
        metric: "a.b".parse().unwrap(),
        reason: "corrupt".into(),
        replaced_by: Some(Digest::of(content)),
    }
}

/// A crash right after each step, and the next start.
#[test]
fn after_a_crash_the_old_file_is_in_its_place_or_kept_and_nothing_else_is_left() {
    let content = whisper(&[1]);
    for step in 1..=4 {
        let prefix = prefix(CORRUPT);
        let store = open(prefix.path());
        let folder = PathBuf::from(
            store.state.kept().begin(&manifest(&content)).unwrap().path().parent().unwrap(),
        );
        fs::write(folder.join(NEW), &content).unwrap();
        if step >= 2 {
            fs::hard_link(path(&prefix), folder.join(OLD)).unwrap();
        }
        if step >= 3 {
            let (one, other) = (folder.join(NEW), path(&prefix));
            let here = rustix::fs::CWD;
            rustix::fs::renameat_with(here, one, here, other, RenameFlags::EXCHANGE).unwrap();
        }
        if step == 4 {
            fs::remove_file(folder.join(NEW)).unwrap();
        }
        drop(store);
        let store = open(prefix.path());
        let there = fs::read(path(&prefix)).unwrap();
        assert_eq!(there, if step < 3 { CORRUPT } else { &content }, "step {step}");
        let left: &[&str] = if step < 3 { &[] } else { &["manifest", "old"] };
        assert_eq!(aside(&prefix), left, "step {step}");
        assert_eq!(fs::metadata(path(&prefix)).unwrap().nlink(), 1, "step {step}");
        if step >= 3 {
            assert_eq!(fs::read(folder.join(OLD)).unwrap(), CORRUPT, "step {step}");
        }
        let line = heal(&store, OnCorrupt::Replace, &content);
        assert!(line.outcome.is_healed(), "step {step}: {line:?}");
    }
}

#[test]
fn unexplained_files_after_a_crash_are_left_in_place() {
    let content = whisper(&[1]);
    let prefix = prefix(CORRUPT);
    let store = open(prefix.path());
    let folder = PathBuf::from(
        store.state.kept().begin(&manifest(&content)).unwrap().path().parent().unwrap(),
    );
    // Not the staged file: for example one that an operator has restored.
    fs::write(folder.join(NEW), whisper(&[9])).unwrap();
    let unreadable = folder.with_file_name("1-1");
    fs::create_dir(&unreadable).unwrap();
    fs::write(unreadable.join(OLD), b"old").unwrap();
    drop(store);
    let store = open(prefix.path());
    assert_eq!(fs::read(folder.join(NEW)).unwrap(), whisper(&[9]));
    assert_eq!(fs::read(unreadable.join(OLD)).unwrap(), b"old");
    assert_eq!(store.replaced().unwrap().files, 1);
}
