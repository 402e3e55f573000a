//! The files and folders below a prefix.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bucky_whisper::{Digest, MetricName};
use walkdir::{DirEntry, WalkDir};

/// The state of a file or folder at one time; equal if no process has changed it since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    inode: u64,
    len_bytes: u64,
    modified: (i64, i64),
    mode: u32,
    content: Option<Digest>,
}

/// Everything below `prefix`, including the daemon's own files, by its path below the prefix.
pub fn marks(prefix: &Path) -> BTreeMap<PathBuf, Mark> {
    let entries = WalkDir::new(prefix).into_iter().map(Result::unwrap);
    entries.map(|entry| (below(prefix, &entry), mark(&entry))).collect()
}

fn mark(entry: &DirEntry) -> Mark {
    let metadata = entry.metadata().unwrap();
    let content = metadata.is_file().then(|| Digest::of(&std::fs::read(entry.path()).unwrap()));
    Mark {
        inode: metadata.ino(),
        len_bytes: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        mode: metadata.mode(),
        content,
    }
}

/// The metrics below `prefix`, in the order of their names.
///
/// # Panics
/// If a file ends in `.wsp` and does not have the name of a metric.
pub fn metrics(prefix: &Path) -> Vec<MetricName> {
    let mut metrics: Vec<MetricName> = shown(prefix)
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "wsp"))
        .map(|entry| MetricName::from_relative_path(&below(prefix, &entry)).unwrap())
        .collect();
    metrics.sort_unstable();
    metrics
}

/// What should not be below a prefix: other files than those of metrics, empty folders, the daemon's
/// temporary files.
pub fn unexpected_files(prefix: &Path) -> Vec<PathBuf> {
    let mut unexpected_files: Vec<PathBuf> = shown(prefix)
        .filter(|entry| {
            if entry.file_type().is_dir() {
                return entry.depth() > 0
                    && std::fs::read_dir(entry.path()).unwrap().next().is_none();
            }
            !entry.file_type().is_file()
                || MetricName::from_relative_path(&below(prefix, entry)).is_err()
        })
        .map(DirEntry::into_path)
        .collect();
    unexpected_files.extend(files_below(&prefix.join(".bucky/tmp")));
    unexpected_files
}

/// The daemon's tombstones and their manifests.
pub fn tombstones(prefix: &Path) -> Vec<PathBuf> {
    files_below(&prefix.join(".bucky/tombstones"))
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    // Files may appear and disappear while the daemon works.
    let entries = WalkDir::new(folder).into_iter().filter_map(Result::ok);
    entries.filter(|entry| !entry.file_type().is_dir()).map(DirEntry::into_path).collect()
}

/// Everything below `prefix` except the daemon's folder.
fn shown(prefix: &Path) -> impl Iterator<Item = DirEntry> {
    let is_own = |entry: &DirEntry| entry.depth() == 1 && entry.file_name() == ".bucky";
    // Files may appear and disappear during a move.
    WalkDir::new(prefix)
        .into_iter()
        .filter_entry(move |entry| !is_own(entry))
        .filter_map(Result::ok)
}

fn below(prefix: &Path, entry: &DirEntry) -> PathBuf {
    entry.path().strip_prefix(prefix).unwrap().to_owned()
}
