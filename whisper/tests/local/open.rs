use std::fs;
use std::thread;
use std::time::Duration;

use bucky_whisper::{
    Aggregation, AggregationSix, LockError, OpenError, OpenMode, Point, UpdateError, WhisperFile,
    info,
};

use crate::folder::{Folder, LOCK_LIMIT, NOW, update, values};

#[test]
fn readers_share_a_file_and_a_writer_has_it_alone() {
    let folder = Folder::new();
    let path = folder.create("a.wsp");
    let open = |mode, limit| WhisperFile::open(&path, mode, limit);
    let is_busy = |mode| {
        let refused = open(mode, Duration::ZERO);
        matches!(refused, Err(OpenError::Lock { source: LockError::Busy { .. }, .. }))
    };
    let reader = open(OpenMode::Read, LOCK_LIMIT).unwrap();
    let second = open(OpenMode::Read, LOCK_LIMIT).unwrap();
    assert!(is_busy(OpenMode::Update));
    drop((reader, second));
    let _writer = open(OpenMode::Update, LOCK_LIMIT).unwrap();
    assert!(is_busy(OpenMode::Read) && is_busy(OpenMode::Update));
    assert!(info(&path).is_ok(), "the header can be seen at any time");
}

#[test]
fn a_file_that_was_replaced_while_its_lock_was_waited_for_is_not_the_one_opened() {
    let folder = Folder::new();
    let path = folder.create("a.wsp");
    let new = folder.file("new.wsp", &[(NOW, 5.0)]);
    let holder = update(&path);
    let last = thread::scope(|scope| {
        let waiter = scope.spawn(|| update(&path).last_point(NOW).unwrap());
        thread::sleep(Duration::from_millis(100));
        assert!(!waiter.is_finished());
        fs::rename(&new, &path).unwrap();
        drop(holder);
        waiter.join().unwrap()
    });
    assert_eq!(last, Some(Point { timestamp: NOW, value: 5.0 }));
}

#[test]
fn a_file_that_was_removed_while_its_lock_was_waited_for_is_missing() {
    let folder = Folder::new();
    let path = folder.create("a.wsp");
    let holder = update(&path);
    let refused = thread::scope(|scope| {
        let waiter =
            scope.spawn(|| WhisperFile::open(&path, OpenMode::Update, LOCK_LIMIT).unwrap_err());
        thread::sleep(Duration::from_millis(100));
        fs::remove_file(&path).unwrap();
        drop(holder);
        waiter.join().unwrap()
    });
    assert!(refused.is_not_found(), "{refused}");
}

/// The Go tool reports a length of 2^63 - 1 for a folder, and hangs on a pipe: D44.
#[test]
fn a_folder_a_pipe_and_a_device_are_refused_at_once() {
    let folder = Folder::new();
    fs::create_dir(folder.path("folder.wsp")).unwrap();
    let pipe = folder.path("pipe.wsp");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    for path in [folder.path("folder.wsp"), pipe, "/dev/null".into()] {
        for mode in [OpenMode::Read, OpenMode::Update] {
            let refused = WhisperFile::open(&path, mode, LOCK_LIMIT);
            assert!(matches!(refused, Err(OpenError::NotRegular { .. })), "{path:?}: {refused:?}");
        }
        assert!(matches!(info(&path), Err(OpenError::NotRegular { .. })));
    }
}

#[test]
fn an_invalid_whisper_file_is_refused_with_its_name_and_the_reason() {
    let folder = Folder::new();
    let path = folder.path("text.wsp");
    fs::write(&path, b"hello world, this is text").unwrap();
    let refused = WhisperFile::open(&path, OpenMode::Read, LOCK_LIMIT).unwrap_err();
    assert!(refused.to_string().contains("text.wsp"));
    let reason = std::error::Error::source(&refused).unwrap().to_string();
    assert_eq!(reason, "aggregation method 1751477356 at byte 0 is not 1 to 8");

    fs::write(&path, b"whisper_compressed and more").unwrap();
    let refused = WhisperFile::open(&path, OpenMode::Read, LOCK_LIMIT).unwrap_err();
    assert!(matches!(refused, OpenError::Compressed { .. }), "{refused}");
}

#[test]
fn points_outside_the_retention_are_refused_and_change_nothing() {
    let folder = Folder::new();
    let path = folder.create("a.wsp");
    let before = fs::read(&path).unwrap();
    for timestamp in [NOW + 1, NOW - 600, NOW - 601, 0, u32::MAX] {
        let refused = update(&path).update(1.0, timestamp, NOW);
        assert!(matches!(refused, Err(UpdateError::NotCovered { .. })), "{timestamp}: {refused:?}");
    }
    update(&path).update_many(&[Point { timestamp: NOW - 601, value: 1.0 }], NOW).unwrap();
    assert_eq!(fs::read(&path).unwrap(), before);
    update(&path).update(1.0, NOW - 599, NOW).unwrap();
    assert_ne!(fs::read(&path).unwrap(), before);
}

/// whisper.py would write on into the next archive.
#[test]
fn a_batch_that_goes_round_an_archive_twice_stays_inside_it() {
    let folder = Folder::new();
    let path = folder.create("a.wsp");
    let points: Vec<Point> =
        (0..200).map(|i| Point { timestamp: NOW + i, value: f64::from(i) }).collect();
    update(&path).update_many(&points, NOW).unwrap();
    let times = [NOW, NOW + 139, NOW + 140, NOW + 199];
    assert_eq!(values(&path, &times), [None, None, Some(140.0), Some(199.0)]);
    let bytes = fs::read(&path).unwrap();
    let coarser = bucky_whisper::Image::parse(&bytes).unwrap().archive(1).unwrap();
    let minutes: Vec<Point> = coarser.points_valid(NOW).collect();
    assert!(
        minutes.iter().all(|point| point.timestamp % 60 == 0 && point.timestamp >= NOW - 60),
        "{minutes:?}"
    );
    assert_eq!(minutes.last().map(|point| point.value), Some(199.0));
}

#[test]
fn points_of_the_slot_of_time_0_overwrite_no_others() {
    let folder = Folder::new();
    let path = folder.create("a.wsp");
    let points =
        [(0, 1.0), (30, 2.0), (40, 3.0)].map(|(timestamp, value)| Point { timestamp, value });
    update(&path).update_many(&points, 50).unwrap();
    let bytes = fs::read(&path).unwrap();
    let view = bucky_whisper::Image::parse(&bytes).unwrap().archive(0).unwrap();
    assert_eq!((view.valid(30, 50), view.valid(40, 50)), (Some(2.0), Some(3.0)));
}

#[test]
fn aggregation_six_means_what_the_caller_says() {
    let folder = Folder::new();
    let minute = NOW - NOW % 60 - 60;
    let rolled_up = [(AggregationSix::First, 7.0), (AggregationSix::AvgZero, 12.0 / 60.0)];
    for (six, expected) in rolled_up {
        let path = folder.create(&format!("{six}.wsp"));
        update(&path).set_aggregation(Aggregation::AvgZero).unwrap();
        let points = [(minute + 15, 5.0), (minute + 14, 7.0)];
        let points = points.map(|(timestamp, value)| Point { timestamp, value });
        update(&path).with_aggregation_six(six).update_many(&points, minute + 20).unwrap();
        let bytes = fs::read(&path).unwrap();
        let coarser = bucky_whisper::Image::parse(&bytes).unwrap().archive(1).unwrap();
        assert_eq!(coarser.valid(minute, minute + 20), Some(expected));
    }
}

#[test]
fn a_file_is_empty_once_all_its_points_have_expired() {
    let folder = Folder::new();
    let path = folder.file("a.wsp", &[(NOW, 1.0)]);
    let file = WhisperFile::open(&path, OpenMode::Read, LOCK_LIMIT).unwrap();
    assert!(!file.is_empty(NOW).unwrap());
    // The coarser archive has the point of the minute, which it keeps for ten minutes.
    assert!(!file.is_empty(NOW - NOW % 60 + 599).unwrap());
    assert!(file.is_empty(NOW - NOW % 60 + 600).unwrap());
    assert_eq!(file.last_point(NOW - NOW % 60 + 600).unwrap(), None);
}

#[test]
fn a_file_opened_for_reading_cannot_be_changed() {
    let folder = Folder::new();
    let path = folder.create("a.wsp");
    let before = fs::read(&path).unwrap();
    let mut file = WhisperFile::open(&path, OpenMode::Read, LOCK_LIMIT).unwrap();
    assert!(matches!(file.update(1.0, NOW, NOW), Err(UpdateError::Access(_))));
    assert!(file.set_aggregation(Aggregation::Max).is_err());
    assert_eq!(file.header().aggregation, Aggregation::Last, "what it says is what the file has");
    assert_eq!(fs::read(&path).unwrap(), before);
}
