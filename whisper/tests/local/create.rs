use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use bucky_whisper::{CreateError, CreateOptions, FileLayout, Retention, create};

use crate::folder::{Folder, options};

#[test]
fn all_layouts_have_the_same_content_and_only_sparse_leaves_holes() {
    let folder = Folder::new();
    let layouts = [FileLayout::Dense, FileLayout::Fallocate, FileLayout::Sparse];
    let mut seen = layouts.iter().map(|layout| {
        let path = folder.path(&format!("{layout:?}.wsp"));
        let retentions = vec![Retention::new(1, 100_000).unwrap()];
        create(&path, &CreateOptions { retentions, layout: *layout, ..options() }).unwrap();
        (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().blocks() * 512)
    });
    let (dense, dense_bytes) = seen.next().unwrap();
    let (reserved, reserved_bytes) = seen.next().unwrap();
    let (sparse, sparse_bytes) = seen.next().unwrap();
    assert_eq!(dense.len(), 28 + 1_200_000);
    assert!(dense == reserved && dense == sparse);
    assert!(dense_bytes >= 1_200_000 && reserved_bytes >= 1_200_000 && sparse_bytes < 100_000);
}

#[test]
fn a_new_file_is_one_that_others_may_read_and_leaves_nothing_beside_it() {
    let folder = Folder::new();
    let path = folder.create("a.wsp");
    let plain = folder.path("plain");
    fs::write(&plain, b"").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&path), mode(&plain), "as the umask has it");
    assert_eq!(folder.names(), ["a.wsp", "plain"]);
}

#[test]
fn whatever_is_there_is_never_replaced() {
    let folder = Folder::new();
    fs::write(folder.path("file.wsp"), b"content").unwrap();
    fs::create_dir(folder.path("folder.wsp")).unwrap();
    symlink("nowhere", folder.path("link.wsp")).unwrap();
    for name in ["file.wsp", "folder.wsp", "link.wsp"] {
        let refused = create(&folder.path(name), &options());
        assert!(matches!(refused, Err(CreateError::Exists { .. })), "{name}: {refused:?}");
    }
    assert_eq!(fs::read(folder.path("file.wsp")).unwrap(), b"content");
    assert!(folder.path("link.wsp").symlink_metadata().unwrap().is_symlink());
    assert_eq!(folder.names().len(), 3);
}

#[test]
fn of_many_who_create_one_file_at_once_one_does() {
    let folder = Folder::new();
    let path = folder.path("a.wsp");
    let created = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| create(&path, &options()))).collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap());
        results
            .filter(|result| match result {
                Ok(()) => true,
                Err(CreateError::Exists { .. }) => false,
                Err(error) => panic!("{error}"),
            })
            .count()
    });
    assert_eq!(created, 1);
    assert_eq!(folder.names(), ["a.wsp"]);
}

#[test]
fn a_failed_create_leaves_nothing_behind() {
    let folder = Folder::new();
    let missing = create(&folder.path("missing/a.wsp"), &options());
    assert!(matches!(missing, Err(CreateError::Write { .. })), "{missing:?}");
    let none = create(&folder.path("a.wsp"), &CreateOptions { retentions: vec![], ..options() });
    assert!(matches!(none, Err(CreateError::Retentions { .. })), "{none:?}");
    assert!(folder.names().is_empty());
}
