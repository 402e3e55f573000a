//! Freeing the space of zeros, in files as a dense create leaves them.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use bucky_whisper::{
    Aggregation, CreateOptions, FileLayout, KeepOut, LeaseError, SparsifyError, XFilesFactor,
    create, lock_exclusive, sparsify, zero_bytes,
};

use crate::folder::{Folder, LOCK_LIMIT};

const SHORT: Duration = Duration::from_millis(30);

/// A file of a million points, some 12 MB, with one point written.
fn large(folder: &Folder, layout: FileLayout) -> PathBuf {
    let path = folder.path("large.wsp");
    let options = CreateOptions {
        retentions: vec!["1s:1000000".parse().unwrap()],
        aggregation: Aggregation::Average,
        x_files_factor: XFilesFactor::new(0.5).unwrap(),
        layout,
    };
    create(&path, &options).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[7; 12], 5_000_008).unwrap();
    // The disk usage is final only after a sync. Otherwise a hole would wait for the disk, maybe longer than
    // the lease.
    file.sync_all().unwrap();
    path
}

#[test]
fn a_sparsified_file_is_the_same_file_with_the_same_content_in_less_space() {
    for layout in [FileLayout::Dense, FileLayout::Fallocate] {
        for how in [KeepOut::Lease, KeepOut::Lock] {
            let folder = Folder::new();
            let path = large(&folder, layout);
            let file = File::open(&path).unwrap();
            file.set_permissions(Permissions::from_mode(0o640)).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789))
                .unwrap();
            drop(file);
            fs::hard_link(&path, folder.path("link.wsp")).unwrap();
            let (content, before) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap());
            let gain = zero_bytes(&path).unwrap();
            assert!(gain > 11_000_000, "{gain}");

            let freed = sparsify(&path, how, LOCK_LIMIT).unwrap();
            let after = fs::metadata(&path).unwrap();
            assert!(
                freed.abs_diff(gain) < 10_000 && after.blocks() * 512 < 20_000,
                "{freed} of {gain}"
            );
            assert_eq!(fs::read(&path).unwrap(), content);
            let told = |of: &fs::Metadata| {
                (of.ino(), of.mode(), of.uid(), of.mtime(), of.mtime_nsec(), of.nlink(), of.len())
            };
            assert_eq!(told(&after), told(&before));
            assert_eq!(folder.names(), ["large.wsp", "link.wsp"]);

            // A second call has nothing to free, and does not touch the file.
            assert_eq!(sparsify(&path, how, LOCK_LIMIT).unwrap(), 0);
            let again = fs::metadata(&path).unwrap();
            assert_eq!((again.ctime(), again.ctime_nsec()), (after.ctime(), after.ctime_nsec()));
        }
    }
}

/// If a file has more than four extents, ext4 keeps their list in a separate block.
#[test]
fn a_file_in_many_pieces_is_left_alone_once_its_zeros_are_given_back() {
    const BLOCK: u64 = 4096;
    for how in [KeepOut::Lease, KeepOut::Lock] {
        let folder = Folder::new();
        let path = large(&folder, FileLayout::Sparse);
        let file = File::options().write(true).open(&path).unwrap();
        let write = |blocks: std::ops::Range<u64>, byte: u8| {
            for block in blocks.step_by(2) {
                let bytes = vec![byte; usize::try_from(BLOCK).unwrap()];
                std::os::unix::fs::FileExt::write_all_at(&file, &bytes, block * BLOCK).unwrap();
            }
            file.sync_all().unwrap();
        };
        // The blocks are contiguous on the disk, with the zeros in another place.
        write(100..140, 1);
        write(101..141, 0);
        drop(file);
        // Punching holes may add or remove the list's block.
        let freed = sparsify(&path, how, LOCK_LIMIT).unwrap();
        assert!((19 * BLOCK..=21 * BLOCK).contains(&freed), "{freed}");
        let after = fs::metadata(&path).unwrap();
        assert_eq!((sparsify(&path, how, LOCK_LIMIT).unwrap(), zero_bytes(&path).unwrap()), (0, 0));
        let again = fs::metadata(&path).unwrap();
        assert_eq!((again.ctime(), again.ctime_nsec()), (after.ctime(), after.ctime_nsec()));
    }
}

#[test]
fn a_file_that_is_open_or_locked_elsewhere_is_left_alone() {
    let folder = Folder::new();
    let path = large(&folder, FileLayout::Dense);
    let blocks = || fs::metadata(&path).unwrap().blocks();
    let before = blocks();
    let other = File::options().write(true).open(&path).unwrap();
    let refused = sparsify(&path, KeepOut::Lease, SHORT).unwrap_err();
    assert!(
        matches!(&refused, SparsifyError::Lease { path: named, source: LeaseError::InUse { .. } } if *named == path),
        "{refused:?}"
    );
    lock_exclusive(&other, SHORT).unwrap();
    let refused = sparsify(&path, KeepOut::Lock, SHORT).unwrap_err();
    assert!(matches!(refused, SparsifyError::Lock { .. }), "{refused:?}");
    assert_eq!(blocks(), before);
    drop(other);
    assert!(sparsify(&path, KeepOut::Lease, LOCK_LIMIT).unwrap() > 0);
}

#[test]
fn a_missing_or_special_file_is_an_error_that_names_it() {
    let folder = Folder::new();
    let path = folder.path("nope.wsp");
    let refused = sparsify(&path, KeepOut::Lease, SHORT).unwrap_err();
    assert!(refused.to_string().contains("nope.wsp"), "{refused}");
    assert!(matches!(zero_bytes(&folder.path("")), Err(SparsifyError::Open(_))));
}
