//! Deleting a source as a tombstone, and unlinking that.

use super::*;

#[test]
fn a_source_is_deleted_only_while_its_content_is_the_one_that_was_healed() {
    let fixture = Fixture::new();
    let content = whisper(&[1]);
    fixture.put("a.b", &content);
    assert_eq!(
        fixture.delete("a.b", Digest::of(b"healed before this")).outcome,
        DeleteOutcome::Changed
    );
    assert_eq!(fs::read(fixture.path("a.b")).unwrap(), content);
    assert!(fixture.leftovers().is_empty());
    assert_eq!(fixture.delete("a.b", Digest::of(&content)).outcome, DeleteOutcome::Deleted);
    assert!(!fixture.path("a.b").exists());
    assert_eq!(fixture.delete("a.b", Digest::of(&content)).outcome, DeleteOutcome::Missing);
}

/// Carbon checks whether a file exists, and then opens it. A file that it still writes to is not removed in
/// between.
#[test]
fn a_source_that_is_still_written_to_is_left_where_the_client_wants_so() {
    let mut fixture = Fixture::new();
    let content = whisper(&[1, 2]);
    fixture.put("a", &content);
    fixture.rest = Duration::from_secs(120);
    let line = fixture.delete("a", Digest::of(&content));
    assert_eq!(line.outcome, DeleteOutcome::InUse);
    let (_, reported) = line.reason.split_once("written to ").unwrap();
    let seconds: u64 = reported.split_once(" s ago").unwrap().0.parse().unwrap();
    assert!(seconds < 60, "{}", line.reason);
    let file = File::open(fixture.path("a")).unwrap();
    let written = |ago| file.set_modified(SystemTime::now() - Duration::from_secs(ago)).unwrap();
    written(100);
    assert_eq!(fixture.delete("a", Digest::of(&content)).outcome, DeleteOutcome::InUse);
    // From a clock that was ahead: the age is unknown.
    file.set_modified(SystemTime::now() + Duration::from_secs(1000)).unwrap();
    assert_eq!(fixture.delete("a", Digest::of(&content)).outcome, DeleteOutcome::InUse);
    written(130);
    assert_eq!(fixture.delete("a", Digest::of(&content)).outcome, DeleteOutcome::Deleted);
}

#[test]
fn a_deleted_source_is_a_tombstone_with_its_story_which_outlives_the_daemon() {
    let fixture = Fixture::new();
    let content = whisper(&[1, 2]);
    fixture.put("a.b", &content);
    fixture.delete("a.b", Digest::of(&content));
    let Fixture { store, prefix, .. } = fixture;
    drop(store);
    let inventory = Arc::new(Inventory::new(prefix.path(), Duration::from_secs(60)));
    let store = Store::open(prefix.path(), None, inventory, options()).unwrap();
    let (batch, _) = store.tombstone_batches().unwrap().remove(0);
    let tombstone = store.tombstones(&batch).unwrap().remove(0);
    assert_eq!((tombstone.metric.as_str(), tombstone.digest), ("a.b", Digest::of(&content)));
    assert_eq!(tombstone.owners, ["127.0.0.1:4242".parse().unwrap()]);
    let mut files = VolumeReader::new(&store);
    assert_eq!(store.read_tombstone(&batch, tombstone.seq, &mut files).unwrap().content, content);
    assert!(!store.close_batch(&batch).unwrap());
    assert_eq!(unlink(&store, &batch, tombstone.digest), UnlinkOutcome::Unlinked);
    assert!(store.close_batch(&batch).unwrap());
    assert!(store.tombstone_batches().unwrap().is_empty());
    assert!(!prefix.path().join("a").exists());
}

/// Unlinks the first tombstone of a batch as one whose content was not read before.
fn unlink(store: &Store, batch: &BatchId, digest: Digest) -> UnlinkOutcome {
    let tombstone = store.tombstones(batch).unwrap().remove(0);
    let confirmed = [confirmed(&tombstone, digest, None)];
    store.unlink_confirmed(batch, &confirmed).unwrap().remove(0).unwrap()
}

/// The time of a file's last change cannot be set, so the test must wait until the file is settled.
fn settle() {
    std::thread::sleep(Duration::from_millis(2100));
}

#[test]
fn a_sent_file_that_has_not_changed_is_deleted_without_a_read_and_a_changed_one_is_not() {
    let fixture = Fixture::new();
    let content = whisper(&[1]);
    let digest = Digest::of(&content);
    ["a", "b", "c"].into_iter().for_each(|metric| fixture.put(metric, &content));
    settle();
    let mut files = VolumeReader::new(&fixture.store);
    for metric in ["a", "b", "c"] {
        let file = files.read(&name(metric)).unwrap();
        assert!(file.settled.is_some());
        // Another digest than the file's shows which one is used.
        fixture.store.remember(&file, Digest::of(b"as it was sent"));
        files.give_back(file);
    }
    let mut writer = OpenOptions::new().write(true).open(fixture.path("b")).unwrap();
    writer.seek(SeekFrom::End(-1)).unwrap();
    writer.write_all(b"x").unwrap();
    fs::remove_file(fixture.path("c")).unwrap();
    fixture.put("c", &content);
    let deleted = |metric, digest| fixture.delete(metric, digest).outcome;
    assert_eq!(deleted("a", Digest::of(b"as it was sent")), DeleteOutcome::Deleted);
    assert_eq!(deleted("b", Digest::of(b"as it was sent")), DeleteOutcome::Changed);
    assert_eq!(deleted("c", digest), DeleteOutcome::Deleted, "it is another file, and read");
}

#[test]
fn a_confirmed_tombstone_that_was_written_to_since_it_was_read_is_not_unlinked() {
    let fixture = Fixture::new();
    let content = whisper(&[1]);
    fixture.put("a", &content);
    let mut writer = OpenOptions::new().write(true).open(fixture.path("a")).unwrap();
    fixture.delete("a", Digest::of(&content));
    settle();
    let (batch, _) = fixture.store.tombstone_batches().unwrap().remove(0);
    let mut files = VolumeReader::new(&fixture.store);
    let file = fixture.store.read_tombstone(&batch, 0, &mut files).unwrap();
    assert!(file.settled.is_some());
    let tombstone = fixture.store.tombstones(&batch).unwrap().remove(0);
    let confirmed = confirmed(&tombstone, file.digest(), file.settled);
    writer.seek(SeekFrom::End(-1)).unwrap();
    writer.write_all(b"x").unwrap();
    let outcome = fixture.store.unlink_confirmed(&batch, &[confirmed]).unwrap().remove(0);
    assert_eq!(outcome.unwrap(), UnlinkOutcome::Changed);
}

#[test]
fn a_tombstone_that_a_late_writer_changed_is_not_unlinked() {
    let fixture = Fixture::new();
    let content = whisper(&[1]);
    fixture.put("a", &content);
    let mut writer = OpenOptions::new().write(true).open(fixture.path("a")).unwrap();
    fixture.delete("a", Digest::of(&content));
    writer.seek(SeekFrom::End(-1)).unwrap();
    writer.write_all(b"x").unwrap();
    let (batch, _) = fixture.store.tombstone_batches().unwrap().remove(0);
    assert_eq!(unlink(&fixture.store, &batch, Digest::of(&content)), UnlinkOutcome::Changed);
    let mut files = VolumeReader::new(&fixture.store);
    let now = fixture.store.read_tombstone(&batch, 0, &mut files).unwrap();
    assert_ne!(now.content, content);
    assert_eq!(unlink(&fixture.store, &batch, now.digest()), UnlinkOutcome::Unlinked);
}

#[test]
fn tombstones_whose_manifest_is_damaged_are_kept() {
    let fixture = Fixture::new();
    let content = whisper(&[1]);
    fixture.put("a", &content);
    fixture.delete("a", Digest::of(&content));
    let folder = fixture.leftovers().remove(0);
    fs::write(folder.join("manifest"), b"{\"seq\"").unwrap();
    let (batch, _) = fixture.store.tombstone_batches().unwrap().remove(0);
    assert!(fixture.store.tombstones(&batch).is_err());
    fs::write(folder.join("manifest"), b"").unwrap();
    assert!(fixture.store.tombstones(&batch).is_err());
    assert!(!fixture.store.close_batch(&batch).unwrap());
    assert_eq!(fs::read(folder.join(BatchWriter::name_of(0))).unwrap(), content);
}

#[test]
fn a_tombstone_with_the_short_name_that_earlier_daemons_gave_is_read_and_buried() {
    let fixture = Fixture::new();
    let content = whisper(&[1]);
    fixture.put("a", &content);
    fixture.delete("a", Digest::of(&content));
    let folder = fixture.leftovers().remove(0);
    fs::rename(folder.join(BatchWriter::name_of(0)), folder.join("0")).unwrap();
    let (batch, _) = fixture.store.tombstone_batches().unwrap().remove(0);
    let tombstones = fixture.store.tombstones(&batch).unwrap();
    assert_eq!(tombstones.len(), 1);
    let mut files = VolumeReader::new(&fixture.store);
    assert_eq!(fixture.store.read_tombstone(&batch, 0, &mut files).unwrap().content, content);
    assert_eq!(unlink(&fixture.store, &batch, Digest::of(&content)), UnlinkOutcome::Unlinked);
    assert!(fixture.store.close_batch(&batch).unwrap());
    assert!(fixture.leftovers().is_empty());
}

#[test]
fn the_sweeper_gets_a_batch_and_its_grace_time_begins_when_its_last_file_is_there() {
    let fixture = Fixture::new();
    let delete = |metric: &str| DeleteMetric {
        name: name(metric),
        digest: Digest::of(b""),
        owners: vec!["127.0.0.1:4242".parse().unwrap()],
        on_schema_difference: bucky_api::OnSchemaDifference::Keep,
        points_given_up: 0,
    };
    let batch = BatchWriter::begin(&fixture.store.state, &[delete("a")]).unwrap();
    let folder = fixture.leftovers().remove(0);
    fs::write(folder.join("0"), b"").unwrap();
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    File::options().write(true).open(folder.join("manifest")).unwrap().set_modified(old).unwrap();
    assert!(fixture.store.tombstone_batches().unwrap().is_empty());
    assert!(batch.end().is_some());
    let (_, age) = fixture.store.tombstone_batches().unwrap().remove(0);
    assert!(age < Duration::from_secs(60), "{age:?}");
}

#[test]
fn a_tombstone_whose_rename_was_said_to_have_failed_keeps_its_manifest() {
    let fixture = Fixture::new();
    let batch = BatchWriter::begin(&fixture.store.state, &[]).unwrap();
    assert!(batch.end().is_none());
    assert!(fixture.leftovers().is_empty());
    let batch = BatchWriter::begin(&fixture.store.state, &[]).unwrap();
    // A network file system may answer "no such file" to the retry of a rename that was done.
    fs::write(fixture.leftovers()[0].join("0"), b"").unwrap();
    assert!(batch.end().is_some());
    assert!(fixture.leftovers()[0].join("manifest").exists());
}

#[test]
fn a_tombstone_folder_from_before_its_manifest_is_swept_away_and_one_that_is_odd_hinders_no_other()
{
    let fixture = Fixture::new();
    let tombstones = fixture.prefix.path().join(".bucky/tombstones");
    let empty = tombstones.join(uuid::Uuid::new_v4().to_string());
    fs::create_dir(&empty).unwrap();
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    File::open(&empty).unwrap().set_modified(old).unwrap();
    fs::write(tombstones.join(uuid::Uuid::new_v4().to_string()), b"no folder").unwrap();
    let batches = fixture.store.tombstone_batches().unwrap();
    assert_eq!(batches.len(), 2);
    assert!(batches[0].1 > Duration::from_secs(3000));
    assert!(fixture.store.close_batch(&batches[0].0).unwrap());
    assert!(fixture.store.close_batch(&batches[1].0).is_err());
}

#[test]
fn a_batch_is_forgotten_only_after_the_folders_that_it_emptied_are_gone() {
    let fixture = Fixture::new();
    let content = whisper(&[1]);
    fixture.put("a.b.c", &content);
    fixture.delete("a.b.c", Digest::of(&content));
    let (batch, _) = fixture.store.tombstone_batches().unwrap().remove(0);
    unlink(&fixture.store, &batch, Digest::of(&content));
    // Something that keeps the batch's folder from being removed, as a crash at that moment would.
    fs::write(fixture.leftovers().remove(0).join("other"), b"").unwrap();
    assert!(fixture.store.close_batch(&batch).is_err());
    assert!(!fixture.prefix.path().join("a").exists());
}

/// A daemon that is killed between two of them has left the outer ones.
#[test]
fn folders_that_a_move_emptied_go_although_inner_ones_are_gone_already() {
    let fixture = Fixture::new();
    fs::create_dir_all(fixture.prefix.path().join("a/b")).unwrap();
    fixture.put("kept.a", b"");
    fixture.store.tree.prune_folders(Path::new("a/b/c/d/e.wsp"));
    fixture.store.tree.prune_folders(Path::new("kept/b/c.wsp"));
    assert!(!fixture.prefix.path().join("a").exists());
    assert!(fixture.path("kept.a").exists());
}
