//! Fills of files with many small gaps, while whisper.py updates them without a lock.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bucky_whisper::{
    Aggregation, AggregationSix, Clocks, CreateOptions, FileLayout, FillFileError, FillOptions,
    FillOutcome, Image, OpenMode, Point, WhisperFile, XFilesFactor, create, fill_file,
};

use crate::python::{LOCK_LIMIT, python};

const FILES: usize = 40;
/// The points of the only archive, one a second.
const POINTS: u32 = 1200;
const NOW: u32 = 1_700_000_000;
/// How many times the writer updates all files.
const PASSES: u32 = 60;

fn lay(path: &Path, keep: impl Fn(u32) -> bool) {
    let options = CreateOptions {
        retentions: vec!["1s:20m".parse().unwrap()],
        x_files_factor: XFilesFactor::new(0.0).unwrap(),
        aggregation: Aggregation::Last,
        layout: FileLayout::Dense,
    };
    create(path, &options).unwrap();
    let points: Vec<Point> = (0..POINTS)
        .filter(|age| keep(*age))
        .map(|age| Point { timestamp: NOW - age, value: f64::from(age) })
        .collect();
    let mut file = WhisperFile::open(path, OpenMode::Update, LOCK_LIMIT).unwrap();
    file.update_many(&points, NOW).unwrap();
}

/// Every update of the writer goes to an existing slot, between two slots that a fill writes.
#[test]
fn no_update_of_whisper_without_a_lock_is_undone_by_a_fill() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source.wsp");
    lay(&source, |_| true);
    let paths: Vec<PathBuf> =
        (0..FILES).map(|number| folder.path().join(format!("{number}.wsp"))).collect();
    paths.iter().for_each(|path| lay(path, |age| age % 2 == 0));
    let gone = fs::read(&paths[0]).unwrap();

    let (mut updates, mut last) = (String::new(), HashMap::new());
    for pass in 0..PASSES {
        for (number, path) in paths.iter().enumerate() {
            let age = 2 * ((pass * 97 + 31 * u32::try_from(number).unwrap()) % (POINTS / 2 - 1));
            let (timestamp, value) = (NOW - age, -f64::from(pass + 1));
            updates.push_str(&format!("{NOW} {timestamp} {value} {}\n", path.display()));
            last.insert((number, timestamp), value);
        }
    }
    let input = folder.path().join("updates");
    fs::write(&input, updates).unwrap();
    let mut writer = Command::new(python())
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer/updates.py"))
        .stdin(File::open(&input).unwrap())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let options = FillOptions { clocks: Clocks::at(NOW), aggregation_six: AggregationSix::AvgZero };
    let (mut fills, mut told) = (0, HashSet::new());
    // In each round, writes of single slots turn the slots that the fill has written back into gaps.
    while writer.try_wait().unwrap().is_none() {
        for (number, path) in paths.iter().enumerate() {
            match fill_file(&source, path, options, LOCK_LIMIT) {
                Ok(filled) => fills += u32::from(matches!(filled, FillOutcome::Filled(_))),
                Err(error) if took_too_long(&error) => _ = told.insert(number),
                Err(error) => panic!("{error}"),
            }
            make_gaps(path, &gone);
        }
    }
    assert!(writer.wait().unwrap().success());
    assert!(fills > 0, "no fill had anything to do");
    assert!(told.len() < FILES / 4, "writes took too long in {} files", told.len());
    last.retain(|(number, _), _| !told.contains(number));
    for ((number, timestamp), value) in last {
        let content = fs::read(&paths[number]).unwrap();
        let found = Image::parse(&content).unwrap().archive(0).unwrap().valid(timestamp, NOW);
        assert_eq!(found, Some(value), "{number}.wsp at {timestamp}");
    }
}

/// Whether this machine stalled in the middle of a write. A point of the writer may be lost then, and the
/// error says so.
fn took_too_long(error: &FillFileError) -> bool {
    let first: &(dyn Error + 'static) = error;
    let errors = std::iter::successors(Some(first), |&error| error.source());
    let mut systems = errors.filter_map(|error| error.downcast_ref::<io::Error>());
    systems.any(|error| error.kind() == io::ErrorKind::TimedOut)
}

/// Removes every other point, slot by slot.
fn make_gaps(path: &Path, gone: &[u8]) {
    let image = Image::parse(gone).unwrap();
    let archive = image.archive(0).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    for position in 0..POINTS {
        if archive.stored(position).unwrap().timestamp == 0 {
            file.write_all_at(&[0; Point::SIZE_BYTES], archive.slot_offset(position)).unwrap();
        }
    }
}
