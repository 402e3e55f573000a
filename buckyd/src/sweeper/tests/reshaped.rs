//! Tombstones without owners: the old files of metrics that were reshaped.

use super::*;

/// After a crash before a reshape's exchange, the new file is where the old one should be. The metric is
/// reshaped by it.
#[tokio::test]
async fn a_reshape_that_a_crash_cut_short_is_finished_and_its_tombstone_goes() {
    for fixture in [Fixture::new(), Fixture::of_long_files()] {
        let own = fixture.prefix.path().join("a.wsp");
        fs::write(&own, whisper_of(&["60s:1h"], &[1, 2])).unwrap();
        let new = whisper_of(&["60s:2h", "5m:1d"], &[1, 2, 100]);
        let folder = fixture.tombstones_for(&[], &[("a", &new, Digest::of(b""))]);
        for _ in 0..5 {
            fixture.sweep().await;
        }
        assert!(!folder.exists(), "{:?}", fixture.sweeper.status());
        assert_eq!(fixture.sweeper.status(), TombstoneStatus::default());
        let content = fs::read(&own).unwrap();
        let own = Image::parse(&content).unwrap();
        assert_eq!(own.header().layout(), "60s:2h,5m:1d");
        assert!(fs::read_dir(fixture.prefix.path().join(".bucky/tmp")).unwrap().next().is_none());
    }
}

/// The metric was moved away or deleted after its reshape. Its old file creates it again only if that was
/// written to.
#[tokio::test]
async fn the_old_file_of_a_metric_that_is_gone_creates_it_only_if_it_was_written_to() {
    let fixtures = [Fixture::new, Fixture::of_long_files];
    for (is_written, fixture) in
        [false, true].into_iter().flat_map(|is| fixtures.map(|of| (is, of())))
    {
        let folder = fixture.tombstones_for(&[], &[("a", &whisper(&[1, 3]), Digest::of(b""))]);
        let mut file = fs::File::options().append(true).open(folder.join("0")).unwrap();
        crate::store::mark_as_set_aside(&file).unwrap();
        if is_written {
            file.write_all(b"\0").unwrap();
            file.set_len(file.metadata().unwrap().len() - 1).unwrap();
        }
        // A backup may restore times of access. That is not a write.
        file.set_permissions(fs::Permissions::from_mode(0o640)).unwrap();
        for _ in 0..3 {
            fixture.sweep().await;
        }
        assert!(!folder.exists());
        assert_eq!(fixture.prefix.path().join("a.wsp").exists(), is_written);
    }
}

/// The old file of a reshaped metric: late points are filled into the metric's own file, and then it can go.
#[tokio::test]
async fn the_old_file_of_a_reshaped_metric_is_confirmed_by_the_metrics_own_file() {
    for fixture in [Fixture::new(), Fixture::of_long_files()] {
        let own = fixture.prefix.path().join("a.wsp");
        fs::write(&own, whisper(&[3, 4])).unwrap();
        let folder = fixture.tombstones_for(&[], &[("a", &whisper(&[1, 3]), Digest::of(b""))]);
        fixture.sweep().await;
        assert!(folder.join("0").exists(), "it had to be filled from it");
        fixture.sweep().await;
        assert!(!folder.exists(), "{:?}", fixture.sweeper.status());
        let content = fs::read(&own).unwrap();
        let (late, own) = (whisper(&[1, 3]), Image::parse(&content).unwrap());
        let late = Image::parse(&late).unwrap();
        assert!(Coverage::of(&late, &own, Clocks::at(bucky_api::clock::unix_now())).is_whole());
    }
}
