//! New files before they are put in place: the result is the same with and without a name.

use super::*;

/// Runs `test` with new files that have no name, and with some that have one, because only one may be open
/// without.
fn with_and_without_names(test: impl Fn(&Fixture, usize)) {
    for unnamed_files in [64, 1, 0] {
        test(&Fixture::with(StoreOptions { unnamed_files, ..options() }), unnamed_files);
    }
}

/// How many of `files` wait under a temporary name.
fn named(files: usize, unnamed_files: usize) -> usize {
    files.saturating_sub(unnamed_files)
}

#[test]
fn new_files_appear_whole_with_their_mode_and_time() {
    with_and_without_names(|fixture, unnamed_files| {
        // Long ones are reopened before they are put in place.
        let long = whisper_of(&["60s:10d"], &[1]);
        let contents = [whisper(&[1]), whisper(&[2]), long];
        let mut batch = VolumeBatch::new(&fixture.store);
        for (number, content) in contents.iter().enumerate() {
            batch.take(&member(&format!("a.b.m{number}"), content));
            assert!(!fixture.path(&format!("a.b.m{number}")).exists());
        }
        assert_eq!(fixture.leftovers().len(), named(3, unnamed_files));
        let lines = batch.finish().0;
        assert!(lines.iter().all(|line| line.outcome == HealOutcome::Created), "{lines:?}");
        for (number, content) in contents.iter().enumerate() {
            let path = fixture.path(&format!("a.b.m{number}"));
            assert!(fs::read(&path).unwrap() == *content);
            let meta = path.metadata().unwrap();
            let sent = member("a", content).meta;
            assert_eq!((meta.mode() & 0o777, meta.mtime().unsigned_abs()), (sent.mode, sent.mtime));
            assert_eq!(meta.nlink(), 1);
        }
        assert!(fixture.leftovers().is_empty());
    });
}

#[test]
fn a_batch_that_is_dropped_leaves_no_file_and_no_folder() {
    with_and_without_names(|fixture, unnamed_files| {
        let mut batch = VolumeBatch::new(&fixture.store);
        batch.take(&member("a.b.c", &whisper(&[1])));
        batch.take(&member("a.b.d", &whisper(&[1])));
        batch.take(&member("a.e", &whisper(&[1])));
        assert_eq!(fixture.leftovers().len(), named(3, unnamed_files));
        drop(batch);
        assert!(fixture.leftovers().is_empty());
        assert!(!fixture.prefix.path().join("a").exists());
        let lines = fixture.heal(&[member("a.b.c", &whisper(&[1]))]);
        assert_eq!(lines[0].outcome, HealOutcome::Created, "its place is free again");
    });
}

#[test]
fn a_file_that_appears_before_a_new_one_has_its_place_is_filled() {
    with_and_without_names(|fixture, _| {
        let mut batch = VolumeBatch::new(&fixture.store);
        batch.take(&member("a.b", &whisper(&[1, 2])));
        batch.take(&member("a.c", &whisper(&[1, 2])));
        fixture.put("a.b", &whisper(&[1, 3]));
        let inode = fixture.path("a.b").metadata().unwrap().ino();
        let lines = batch.finish().0;
        assert_eq!((lines[0].outcome, lines[0].points), (HealOutcome::Filled, 1), "{lines:?}");
        assert_eq!(lines[1].outcome, HealOutcome::Created);
        assert_eq!(fixture.path("a.b").metadata().unwrap().ino(), inode);
        assert_eq!(fine_points(&fs::read(fixture.path("a.b")).unwrap()), 3);
        assert!(fixture.leftovers().is_empty());
    });
}

#[test]
fn a_folder_that_is_gone_when_its_file_is_to_be_put_there_is_made_again() {
    with_and_without_names(|fixture, _| {
        let content = whisper(&[1]);
        let mut batch = VolumeBatch::new(&fixture.store);
        batch.take(&member("a.b.c", &content));
        fixture.store.tree.prune_folders(&name("a.b.c").relative_path());
        assert!(!fixture.prefix.path().join("a").exists());
        assert_eq!(batch.finish().0[0].outcome, HealOutcome::Created);
        assert_eq!(fs::read(fixture.path("a.b.c")).unwrap(), content);
    });
}
