//! The folder at the prefix and the state folder: which ones are used, and when none is.

use std::os::unix::fs::symlink;

use super::*;

fn open(prefix: &Path, state_dir: Option<&Path>) -> Result<Store, StoreError> {
    let inventory = Arc::new(Inventory::new(prefix, Duration::from_secs(60)));
    Store::open(prefix, state_dir, inventory, options())
}

fn refusal(prefix: &Path, state_dir: Option<&Path>) -> String {
    open(prefix, state_dir).err().expect("it opened").to_string()
}

/// Puts another folder in the place of the prefix. Returns the new path of the old one.
fn exchange(prefix: &Path) -> PathBuf {
    let before = prefix.with_extension("before");
    fs::rename(prefix, &before).unwrap();
    fs::create_dir(prefix).unwrap();
    before
}

#[test]
fn nothing_is_written_or_deleted_once_the_prefix_is_another_folder() {
    let fixture = Fixture::new();
    let content = whisper(&[60, 120]);
    fixture.put("there", &content);
    let digest = Digest::of(&content);
    let line = fixture.delete("there", digest);
    assert_eq!(line.outcome, DeleteOutcome::Deleted);
    let (batch, _) = fixture.store.tombstone_batches().unwrap().remove(0);
    let tombstone = fixture.store.tombstones(&batch).unwrap().remove(0);
    let tombstone = confirmed(&tombstone, digest, None);
    fixture.put("there", &content);

    let mut begun = VolumeBatch::new(&fixture.store);
    begun.take(&member("new", &content));
    let before = exchange(fixture.prefix.path());
    let (finished, _) = begun.finish();
    assert_eq!(finished[0].outcome, HealOutcome::Failed, "{finished:?}");
    assert!(finished[0].reason.contains("restart buckyd"), "{finished:?}");
    let healed = fixture.heal(&[member("there", &content), member("new", &content)]);
    assert!(healed.iter().all(|line| line.outcome == HealOutcome::Failed), "{healed:?}");
    let owners = vec!["127.0.0.1:4242".parse().unwrap()];
    let metrics = [DeleteMetric {
        name: name("there"),
        digest,
        owners,
        on_schema_difference: OnSchemaDifference::Keep,
        points_given_up: 0,
    }];
    let changed = |error| matches!(error, StoreError::PrefixChanged { .. });
    assert!(changed(fixture.store.delete(&metrics, Duration::ZERO, OnCut::Refuse).unwrap_err()));
    assert!(changed(fixture.store.unlink(&name("there")).unwrap_err()));
    let meta = FileMeta { mode: 0o644, mtime: 0 };
    assert!(changed(fixture.store.replace(&name("there"), &content, meta).unwrap_err()));
    assert!(changed(fixture.store.tombstones(&batch).unwrap_err()));
    assert!(changed(fixture.store.unlink_confirmed(&batch, &[tombstone]).unwrap_err()));
    assert!(changed(fixture.store.close_batch(&batch).unwrap_err()));
    assert_eq!(fs::read_dir(fixture.prefix.path()).unwrap().count(), 0);
    assert!(before.join("there.wsp").exists() && !before.join("new.wsp").exists());

    fs::remove_dir(fixture.prefix.path()).unwrap();
    fs::rename(&before, fixture.prefix.path()).unwrap();
    assert_eq!(fixture.heal(&[member("new", &content)])[0].outcome, HealOutcome::Created);
    assert_eq!(fixture.store.tombstones(&batch).unwrap().len(), 1);
}

#[test]
fn no_link_is_followed_to_the_state_folder_or_in_it() {
    let victim = tempfile::tempdir().unwrap();
    for number in ["1", "2", "2024"] {
        fs::write(victim.path().join(number), b"precious").unwrap();
    }
    for linked in ["tmp", "tombstones", "replaced"] {
        let prefix = tempfile::tempdir().unwrap();
        fs::create_dir(prefix.path().join(".bucky")).unwrap();
        symlink(victim.path(), prefix.path().join(".bucky").join(linked)).unwrap();
        assert!(refusal(prefix.path(), None).contains(&format!(".bucky/{linked} is a symbolic")));
    }
    let prefix = tempfile::tempdir().unwrap();
    symlink(victim.path(), prefix.path().join(".bucky")).unwrap();
    assert!(refusal(prefix.path(), None).contains(".bucky is a symbolic link"));
    fs::remove_file(prefix.path().join(".bucky")).unwrap();
    let state = prefix.path().join(".state");
    symlink(victim.path(), &state).unwrap();
    // With a slash at its end a path follows a link.
    assert!(refusal(prefix.path(), Some(&state.join(""))).contains("is a symbolic link"));
    assert_eq!(fs::read_dir(victim.path()).unwrap().count(), 3);
}

#[test]
fn another_state_folder_does_not_let_a_second_daemon_in() {
    let prefix = tempfile::tempdir().unwrap();
    let state = tempfile::tempdir().unwrap();
    let first = open(prefix.path(), None).unwrap();
    assert!(refusal(prefix.path(), Some(state.path())).contains("another buckyd already serves"));
    drop(first);
    let first = open(prefix.path(), Some(state.path())).unwrap();
    assert!(refusal(prefix.path(), None).contains("another buckyd already serves"));
    // One state folder cannot serve two prefixes.
    let other = tempfile::tempdir().unwrap();
    assert!(refusal(other.path(), Some(state.path())).contains("another buckyd already serves"));
    drop(first);
    // An older daemon knows only the lock in `.bucky`.
    let older = File::open(prefix.path().join(".bucky/lock")).unwrap();
    bucky_whisper::lock_exclusive(&older, Duration::ZERO).unwrap();
    assert!(refusal(prefix.path(), Some(state.path())).contains("another buckyd already serves"));
}

#[test]
fn a_state_folder_where_metrics_may_be_is_refused() {
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
fn temporary_files_of_a_crashed_daemon_are_removed_at_the_next_start() {
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
fn new_folders_can_be_entered_by_carbon() {
    let fixture = Fixture::new();
    fixture.heal(&[member("x.y.z", &whisper(&[1]))]);
    let mode = fs::metadata(fixture.prefix.path().join("x/y")).unwrap().permissions().mode();
    assert_eq!(mode & 0o700, 0o700);
    assert!(Path::new(&fixture.path("x.y.z")).exists());
}
