//! A folder of Whisper files for one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bucky_whisper::{
    Aggregation, AggregationSix, Clocks, CreateOptions, FileLayout, FillOptions, OpenMode, Point,
    WhisperFile, XFilesFactor, create,
};

pub(crate) const NOW: u32 = 1_700_000_000;
/// Longer than any lock is held here, except in tests that hold it on purpose.
pub(crate) const LOCK_LIMIT: Duration = Duration::from_secs(60);
pub(crate) const FILL: FillOptions =
    FillOptions { clocks: Clocks::at(NOW), aggregation_six: AggregationSix::AvgZero };

pub(crate) struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Creates a file with 60 points of 1 s and 10 points of 60 s.
    pub(crate) fn create(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        create(&path, &options()).unwrap();
        path
    }

    /// Creates such a file with these points.
    pub(crate) fn file(&self, name: &str, points: &[(u32, f64)]) -> PathBuf {
        let path = self.create(name);
        let points: Vec<Point> = points
            .iter()
            .map(|(timestamp, value)| Point { timestamp: *timestamp, value: *value })
            .collect();
        update(&path).update_many(&points, NOW).unwrap();
        path
    }

    /// The names of all files in the folder, including hidden ones.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

pub(crate) fn options() -> CreateOptions {
    CreateOptions {
        retentions: vec!["1s:1m".parse().unwrap(), "1m:10m".parse().unwrap()],
        x_files_factor: XFilesFactor::new(0.0).unwrap(),
        aggregation: Aggregation::Last,
        layout: FileLayout::Dense,
    }
}

pub(crate) fn update(path: &Path) -> WhisperFile {
    WhisperFile::open(path, OpenMode::Update, LOCK_LIMIT).unwrap()
}

/// The values of the finest archive at `times`.
pub(crate) fn values(path: &Path, times: &[u32]) -> Vec<Option<f64>> {
    let bytes = fs::read(path).unwrap();
    let view = bucky_whisper::Image::parse(&bytes).unwrap().archive(0).unwrap();
    times.iter().map(|t| view.valid(*t, NOW)).collect()
}
