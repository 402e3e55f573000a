//! Paths that lead nowhere else: links, folders and FIFOs with metrics' names, long and locked files.

use super::*;

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
fn a_file_longer_than_the_limit_is_refused_and_not_read() {
    let fixture = Fixture::new();
    fixture.put("a", b"");
    File::options().write(true).open(fixture.path("a")).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(fixture.store.read_to_copy(&name("a")), Err(StoreError::TooLarge { .. })));
}

#[test]
fn a_folder_in_the_way_of_a_new_metric_is_reported_and_the_rest_continues() {
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
