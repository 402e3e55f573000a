//! Files from outside the project: no content causes a panic.

use std::fs;
use std::path::Path;

use bucky_whisper::{OpenMode, Point, WhisperFile, create, fill_file};
use proptest::prelude::*;

use crate::folder::{FILL, Folder, LOCK_LIMIT, NOW, options, update};

/// Applies every operation to the file.
fn exercise(path: &Path) {
    if let Ok(file) = WhisperFile::open(path, OpenMode::Read, LOCK_LIMIT) {
        let _ = file.last_point(NOW);
        let _ = file.is_empty(NOW);
        let spans = [(NOW - 90, NOW), (0, u32::MAX), (NOW, NOW), (0, 0)];
        for (from, until) in spans {
            for now in [0, NOW, u32::MAX] {
                let _ = file.fetch(from, until, now);
            }
        }
    }
    if let Ok(mut file) = WhisperFile::open(path, OpenMode::Update, LOCK_LIMIT) {
        for now in [0, NOW, u32::MAX] {
            let _ = file.update(1.0, now, now);
            let points = [0, 1, now, now.saturating_sub(61), u32::MAX];
            let points = points.map(|timestamp| Point { timestamp, value: 1.0 });
            let _ = file.update_many(&points, now);
        }
    }
}

#[test]
fn a_file_that_is_truncated_while_it_is_open_is_an_error() {
    let folder = Folder::new();
    let path = folder.create("a.wsp");
    let mut file = update(&path);
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(30).unwrap();
    let refused = file.update(1.0, NOW, NOW).unwrap_err();
    assert!(
        refused.to_string().contains("a.wsp") && refused.to_string().contains("cannot read"),
        "{refused}"
    );
    assert!(file.fetch(NOW - 10, NOW, NOW).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let folder = Folder::new();
        let path = folder.path("a.wsp");
        fs::write(&path, &bytes).unwrap();
        exercise(&path);
        let good = folder.file("good.wsp", &[(NOW, 1.0)]);
        let before = fs::read(&good).unwrap();
        prop_assert!(fill_file(&path, &good, FILL, LOCK_LIMIT).is_err());
        prop_assert_eq!(fs::read(&good).unwrap(), before);
    }

    #[test]
    fn damage_to_a_sound_file_never_panics(
        damage in prop::collection::vec((0usize..880, any::<u8>()), 0..30),
        header in prop::collection::vec((0usize..40, any::<u8>()), 0..2),
        small in prop::option::of((4usize..10, 0u32..900)),
        len in 0usize..1_000,
    ) {
        let folder = Folder::new();
        let path = folder.path("a.wsp");
        create(&path, &options()).unwrap();
        let points: Vec<Point> = (0..70).map(|age| Point { timestamp: NOW - age, value: 1.0 }).collect();
        update(&path).update_many(&points, NOW).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        for (at, byte) in damage.into_iter().filter(|(at, _)| *at >= 40).chain(header) {
            bytes[at] = byte;
        }
        if let Some((field, value)) = small {
            bytes[4 * field..4 * field + 4].copy_from_slice(&value.to_be_bytes());
        }
        bytes.resize(len.max(40).min(bytes.len() + 1), 0);
        fs::write(&path, &bytes).unwrap();
        let len_before = bytes.len();
        exercise(&path);
        prop_assert_eq!(fs::read(&path).unwrap().len(), len_before, "nothing is written behind the end");
        let good = folder.file("good.wsp", &[(NOW, 1.0)]);
        let _ = fill_file(&path, &good, FILL, LOCK_LIMIT);
        let _ = fill_file(&good, &path, FILL, LOCK_LIMIT);
    }
}
