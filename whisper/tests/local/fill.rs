use std::fs::{self, FileTimes, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bucky_whisper::{
    FillFileError, FillOutcome, OpenError, OpenMode, WhisperFile, fill_file, write_sparse,
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::folder::{FILL, Folder, LOCK_LIMIT, NOW, update, values};

#[test]
fn gaps_are_filled_in_place_and_what_was_there_stays() {
    let folder = Folder::new();
    let source = folder.file("source.wsp", &[(NOW - 3, 1.0), (NOW - 2, 2.0), (NOW - 1, 3.0)]);
    let destination = folder.file("destination.wsp", &[(NOW - 3, 10.0), (NOW - 1, 30.0)]);
    let (inode, untouched) =
        (fs::metadata(&destination).unwrap().ino(), fs::read(&source).unwrap());

    let outcome = fill_file(&source, &destination, FILL, LOCK_LIMIT).unwrap();
    assert!(
        matches!(&outcome, FillOutcome::Filled(filled) if filled.plan.points_filled() == 1),
        "{outcome:?}"
    );
    let times = [NOW - 3, NOW - 2, NOW - 1];
    assert_eq!(values(&destination, &times), [Some(10.0), Some(2.0), Some(30.0)]);
    assert_eq!(fs::metadata(&destination).unwrap().ino(), inode);
    assert_eq!(fs::read(&source).unwrap(), untouched);

    let again = fill_file(&source, &destination, FILL, LOCK_LIMIT).unwrap();
    assert!(matches!(again, FillOutcome::Unchanged(_)), "{again:?}");
}

#[test]
fn a_missing_destination_becomes_a_copy_with_mode_and_time() {
    let folder = Folder::new();
    let source = folder.file("source.wsp", &[(NOW, 1.0)]);
    let modified = SystemTime::UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_789);
    let file = fs::OpenOptions::new().write(true).open(&source).unwrap();
    file.set_times(FileTimes::new().set_modified(modified)).unwrap();
    fs::set_permissions(&source, Permissions::from_mode(0o640)).unwrap();

    let destination = folder.path("some/new/folder/destination.wsp");
    let outcome = fill_file(&source, &destination, FILL, LOCK_LIMIT).unwrap();
    let len_bytes = fs::metadata(&source).unwrap().len();
    assert!(matches!(outcome, FillOutcome::Created { len_bytes: copied } if copied == len_bytes));
    assert_eq!(fs::read(&destination).unwrap(), fs::read(&source).unwrap());
    let metadata = fs::metadata(&destination).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
    assert_eq!(metadata.modified().unwrap(), modified);
    assert_eq!(fs::read_dir(destination.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn the_copy_of_a_file_with_holes_has_holes() {
    let folder = Folder::new();
    let dense = folder.file("dense.wsp", &[(NOW, 1.0)]);
    let mut content = fs::read(dense).unwrap();
    content.resize(1_000_000, 0);
    let source = folder.path("source.wsp");
    write_sparse(&fs::File::create(&source).unwrap(), &content).unwrap();
    let destination = folder.path("destination.wsp");
    fill_file(&source, &destination, FILL, LOCK_LIMIT).unwrap();
    assert_eq!(fs::read(&destination).unwrap(), content);
    assert!(fs::metadata(&destination).unwrap().blocks() * 512 < 100_000);
}

/// The Go tool waits for its own lock forever: D39.
#[test]
fn a_file_is_not_filled_from_itself_under_whatever_name() {
    let folder = Folder::new();
    let path = folder.file("a.wsp", &[(NOW, 1.0)]);
    let (hard, soft) = (folder.path("hard.wsp"), folder.path("soft.wsp"));
    fs::hard_link(&path, &hard).unwrap();
    symlink(&path, &soft).unwrap();
    let before = fs::read(&path).unwrap();
    for other in [&path, &hard, &soft] {
        for (source, destination) in [(&path, other), (other, &path)] {
            let refused = fill_file(source, destination, FILL, LOCK_LIMIT);
            assert!(matches!(refused, Err(FillFileError::SameFile { .. })), "{refused:?}");
        }
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_damaged_file_neither_fills_nor_is_filled_nor_copied() {
    let folder = Folder::new();
    let good = folder.file("good.wsp", &[(NOW, 1.0)]);
    let bad = folder.path("bad.wsp");
    let damaged = &fs::read(&good).unwrap()[..500];
    fs::write(&bad, damaged).unwrap();
    let before = fs::read(&good).unwrap();

    let refused = fill_file(&bad, &good, FILL, LOCK_LIMIT).unwrap_err();
    assert!(
        matches!(&refused, FillFileError::Source(OpenError::Damaged { path, .. }) if *path == bad)
    );
    let refused = fill_file(&good, &bad, FILL, LOCK_LIMIT).unwrap_err();
    assert!(
        matches!(&refused, FillFileError::Destination(OpenError::Damaged { path, .. }) if *path == bad)
    );
    let refused = fill_file(&bad, &folder.path("new.wsp"), FILL, LOCK_LIMIT).unwrap_err();
    assert!(matches!(refused, FillFileError::Source(OpenError::Damaged { .. })));

    assert_eq!(fs::read(&good).unwrap(), before);
    assert_eq!(fs::read(&bad).unwrap(), damaged);
    assert_eq!(folder.names(), ["bad.wsp", "good.wsp"]);
}

#[test]
fn a_compressed_file_is_copied_whole_and_refused_where_its_points_are_needed() {
    let folder = Folder::new();
    let compressed = folder.path("compressed.wsp");
    fs::write(&compressed, b"whisper_compressed and its points").unwrap();
    let good = folder.file("good.wsp", &[(NOW, 1.0)]);
    let before = fs::read(&good).unwrap();

    let copy = folder.path("copy.wsp");
    let outcome = fill_file(&compressed, &copy, FILL, LOCK_LIMIT).unwrap();
    assert!(matches!(outcome, FillOutcome::Created { .. }));
    assert_eq!(fs::read(&copy).unwrap(), fs::read(&compressed).unwrap());

    let refused = fill_file(&compressed, &good, FILL, LOCK_LIMIT).unwrap_err();
    assert!(
        matches!(&refused, FillFileError::Source(OpenError::Compressed { path }) if *path == compressed)
    );
    let refused = fill_file(&good, &compressed, FILL, LOCK_LIMIT).unwrap_err();
    assert!(
        matches!(&refused, FillFileError::Destination(OpenError::Compressed { path }) if *path == compressed)
    );
    assert_eq!(fs::read(&good).unwrap(), before);
}

#[test]
fn a_lock_that_is_not_given_back_is_busy_and_changes_nothing() {
    let folder = Folder::new();
    let source = folder.file("source.wsp", &[(NOW, 1.0)]);
    let destination = folder.create("destination.wsp");
    let before = fs::read(&destination).unwrap();
    let short = Duration::from_millis(30);

    let reader = WhisperFile::open(&destination, OpenMode::Read, LOCK_LIMIT).unwrap();
    let refused = fill_file(&source, &destination, FILL, short);
    assert!(
        matches!(refused, Err(FillFileError::Destination(OpenError::Lock { .. }))),
        "{refused:?}"
    );
    drop(reader);

    let writer = update(&source);
    let refused = fill_file(&source, &destination, FILL, short);
    assert!(matches!(refused, Err(FillFileError::Source(OpenError::Lock { .. }))), "{refused:?}");
    drop(writer);
    assert_eq!(fs::read(&destination).unwrap(), before);

    let _reader = WhisperFile::open(&source, OpenMode::Read, LOCK_LIMIT).unwrap();
    fill_file(&source, &destination, FILL, LOCK_LIMIT).unwrap();
    assert_eq!(values(&destination, &[NOW]), [Some(1.0)]);
}

#[test]
fn fills_in_opposite_directions_never_wait_for_each_other() {
    let folder = Folder::new();
    let left = folder.file("left.wsp", &[(NOW - 1, 1.0)]);
    let right = folder.file("right.wsp", &[(NOW, 2.0)]);
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| fill_file(&left, &right, FILL, LOCK_LIMIT).unwrap());
            scope.spawn(|| fill_file(&right, &left, FILL, LOCK_LIMIT).unwrap());
        }
    });
    for path in [&left, &right] {
        assert_eq!(values(path, &[NOW - 1, NOW]), [Some(1.0), Some(2.0)]);
    }
}

#[test]
fn a_link_that_leads_nowhere_is_neither_followed_nor_replaced() {
    let folder = Folder::new();
    let source = folder.file("source.wsp", &[(NOW, 1.0)]);
    let link = folder.path("link.wsp");
    symlink("nowhere.wsp", &link).unwrap();
    let refused = fill_file(&source, &link, FILL, LOCK_LIMIT);
    assert!(matches!(refused, Err(FillFileError::Unsteady { .. })), "{refused:?}");
    assert_eq!(folder.names(), ["link.wsp", "source.wsp"]);
}

/// The Go tool ignores the errors of its writes: D2.
#[test]
fn a_write_that_the_system_refuses_is_an_error_that_names_the_file() {
    let folder = Folder::new();
    let source = folder.file("source.wsp", &[(NOW, 1.0)]);
    let content = fs::read(folder.create("empty.wsp")).unwrap();
    // The file can be opened for writing, but refuses each write.
    let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC;
    let sealed = fs::File::from(memfd_create("sealed.wsp", flags).unwrap());
    sealed.write_all_at(&content, 0).unwrap();
    fcntl_add_seals(&sealed, SealFlags::WRITE).unwrap();
    let destination = PathBuf::from(format!("/proc/self/fd/{}", sealed.as_raw_fd()));

    let refused = fill_file(&source, &destination, FILL, LOCK_LIMIT);
    assert!(
        matches!(&refused, Err(FillFileError::Write { path, .. }) if *path == destination),
        "{refused:?}"
    );
    assert_eq!(fs::read(&destination).unwrap(), content);
}

#[test]
fn a_copy_that_cannot_be_written_is_an_error_that_names_the_file() {
    let folder = Folder::new();
    let source = folder.file("source.wsp", &[(NOW, 1.0)]);
    // No process can create a file below it, not even root.
    let destination = PathBuf::from("/proc/self/fdinfo/new.wsp");
    let refused = fill_file(&source, &destination, FILL, LOCK_LIMIT);
    assert!(
        matches!(&refused, Err(FillFileError::Create { path, .. }) if *path == destination),
        "{refused:?}"
    );
}

#[test]
fn a_destination_below_a_file_is_an_error_that_names_it() {
    let folder = Folder::new();
    let source = folder.file("source.wsp", &[(NOW, 1.0)]);
    fs::write(folder.path("file"), b"").unwrap();
    let below = folder.path("file/below.wsp");
    let refused = fill_file(&source, &below, FILL, LOCK_LIMIT).unwrap_err();
    assert!(
        matches!(&refused, FillFileError::Destination(OpenError::Open { path, .. }) if *path == below),
        "{refused:?}"
    );
}
