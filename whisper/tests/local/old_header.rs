//! A file of whisper 0.9.8, whose header begins with the time of the last update: it is read as average, and
//! its header is kept.
//!
//! `data/before_0_9_9.py` created the file and the list of points that whisper 0.9.8 reads from it.

use std::fs;
use std::path::PathBuf;

use bucky_whisper::{
    Aggregation, Clocks, FillOptions, FillOutcome, Image, Modification, ModifyOutcome, OlderSlots,
    Patience, Point, Resize, WhisperFile, fill_file, info, modify_file,
};

use crate::folder::{FILL, Folder, LOCK_LIMIT, update};

/// The time of the last update in the file, which is also when its newest point was written.
const NOW: u32 = 1_284_000_600;
const FILE: &[u8] = include_bytes!("data/before_0_9_9.wsp");
/// One line for each point: step, time, value.
const POINTS: &str = include_str!("data/before_0_9_9.txt");
const PATIENCE: Patience = Patience { lock: LOCK_LIMIT, writers: LOCK_LIMIT };

/// The old file in a folder.
fn old_file(folder: &Folder) -> PathBuf {
    let path = folder.path("old.wsp");
    fs::write(&path, FILE).unwrap();
    path
}

fn first_field(path: &PathBuf) -> u32 {
    u32::from_be_bytes(fs::read(path).unwrap()[..4].try_into().unwrap())
}

/// The valid points of the archive of `step` at [`NOW`].
fn points(bytes: &[u8], step: u32) -> Vec<Point> {
    let image = Image::parse(bytes).unwrap();
    let mut archives = image.archives();
    archives
        .find(|view| view.archive().seconds_per_point == step)
        .unwrap()
        .points_valid(NOW)
        .collect()
}

#[test]
fn whisper_0_9_8_and_this_crate_read_the_same_points() {
    let folder = Folder::new();
    let header = info(&old_file(&folder)).unwrap();
    assert_eq!((header.aggregation, header.last_update), (Aggregation::Average, Some(NOW)));
    for step in [60, 300] {
        let expected: Vec<Point> = POINTS
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .filter(|fields| fields[0] == step.to_string())
            .map(|fields| Point {
                timestamp: fields[1].parse().unwrap(),
                value: fields[2].parse().unwrap(),
            })
            .collect();
        let found: Vec<Point> = points(FILE, step)
            .into_iter()
            // A point of the unfinished slot is written, but no fetch returns it.
            .filter(|point| expected.iter().any(|other| other.timestamp == point.timestamp))
            .collect();
        assert_eq!(found, expected, "{step}");
    }
}

#[test]
fn an_update_rolls_up_by_average_and_leaves_the_first_field_alone() {
    let folder = Folder::new();
    let path = old_file(&folder);
    update(&path).update(9.0, NOW - 180, NOW).unwrap();
    assert_eq!(first_field(&path), NOW);
    let rolled_up = points(&fs::read(&path).unwrap(), 300);
    // Ages 5 to 1 minute: 25, 16, 9, 4, 100.5.
    let newest = rolled_up.iter().find(|point| point.timestamp == NOW - 300).unwrap();
    assert_eq!(newest.value, 154.5 / 5.0);
}

#[test]
fn a_fill_takes_its_points_and_a_copy_has_every_byte() {
    let folder = Folder::new();
    let (path, new) = (old_file(&folder), folder.path("new.wsp"));
    let options = FillOptions { clocks: Clocks::at(NOW), ..FILL };
    let created = fill_file(&path, &new, options, LOCK_LIMIT).unwrap();
    assert!(matches!(created, FillOutcome::Created { .. }), "{created:?}");
    assert_eq!(fs::read(&new).unwrap(), FILE);

    // Fill a file with today's header from the old one, and the old one from today's: each keeps its header.
    let mut today = FILE.to_vec();
    today[..4].copy_from_slice(&Aggregation::Sum.code().to_be_bytes());
    today[40..].fill(0);
    fs::write(&new, &today).unwrap();
    let filled = fill_file(&path, &new, options, LOCK_LIMIT).unwrap();
    assert!(matches!(filled, FillOutcome::Filled(_)), "{filled:?}");
    assert_eq!(first_field(&new), Aggregation::Sum.code());
    assert_eq!(points(&fs::read(&new).unwrap(), 60), points(FILE, 60));

    update(&new).update(9.0, NOW - 180, NOW).unwrap();
    let filled = fill_file(&new, &path, options, LOCK_LIMIT).unwrap();
    assert!(matches!(filled, FillOutcome::Filled(_)), "{filled:?}");
    let after = fs::read(&path).unwrap();
    assert_eq!(after[..40], FILE[..40], "its header is left alone");
    assert_eq!(points(&after, 60).len(), points(FILE, 60).len() + 1);
}

#[test]
fn a_resize_keeps_the_first_field_and_a_method_that_was_asked_for_replaces_it() {
    let folder = Folder::new();
    let path = old_file(&folder);
    let retention = "60s:40m".parse().unwrap();
    let resize = Resize { archive: 0, retention, older_slots: OlderSlots::StayEmpty };
    let modification = Modification { aggregation: None, resize: Some(resize) };
    let done = modify_file(&path, &modification, NOW, PATIENCE).unwrap();
    assert!(matches!(done, ModifyOutcome::Done { .. }), "{done:?}");
    assert_eq!(first_field(&path), NOW);
    assert_eq!(points(&fs::read(&path).unwrap(), 60), points(FILE, 60));

    // whisper.py since 1.0 needs this to read it.
    let method = Modification { aggregation: Some(Aggregation::Average), resize: None };
    let before = fs::read(&path).unwrap();
    modify_file(&path, &method, NOW, PATIENCE).unwrap();
    let after = fs::read(&path).unwrap();
    assert_eq!(first_field(&path), 1);
    assert_eq!(after[4..], before[4..]);
    assert_eq!(modify_file(&path, &method, NOW, PATIENCE).unwrap(), ModifyOutcome::Unchanged);

    let mut file: WhisperFile = update(&old_file(&folder));
    file.set_aggregation(Aggregation::Max).unwrap();
    assert_eq!(file.header().last_update, None);
}
