//! Names and paths, stats and deletes, as in the Go daemon.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use bucky_api::go::MetricStat;

/// The file of a metric: each dot becomes a slash, `.wsp` is appended, and empty components are removed.
pub(super) fn path_of(prefix: &Path, name: &str) -> PathBuf {
    let below = name.replace('.', "/") + ".wsp";
    let mut path = prefix.to_owned();
    path.extend(below.split('/').filter(|part| !part.is_empty()));
    path
}

/// The name of the file at `below`, a path below the prefix: the first `.wsp` is removed, wherever it is.
pub(super) fn name_of(below: &Path) -> String {
    String::from_utf8_lossy(below.as_os_str().as_bytes()).replacen(".wsp", "", 1).replace('/', ".")
}

/// The names of all metrics: depth first, each folder sorted by file name.
pub(super) fn walk(prefix: &Path) -> Vec<String> {
    let mut names = Vec::new();
    // A prefix that is a link, or whose name begins with a dot, is not walked (D22).
    let is_folder = fs::symlink_metadata(prefix).is_ok_and(|metadata| metadata.is_dir());
    if is_folder && !is_hidden(prefix) {
        walk_folder(prefix, prefix, &mut names);
    }
    names
}

fn walk_folder(prefix: &Path, folder: &Path, names: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort_unstable_by(|left, right| left.file_name().cmp(&right.file_name()));
    for path in paths {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() && !is_hidden(&path) {
            walk_folder(prefix, &path, names);
        } else if metadata.is_file() && path.as_os_str().as_bytes().ends_with(b".wsp") {
            names.push(name_of(path.strip_prefix(prefix).unwrap()));
        }
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."))
}

/// The stat header's value for the file at `path`, or `None` if it cannot be read.
pub(super) fn stat(name: &str, path: &Path, encoding: i64) -> Option<MetricStat> {
    let metadata = fs::metadata(path).ok()?;
    Some(MetricStat {
        name: name.to_owned(),
        size: i64::try_from(metadata.len()).unwrap(),
        mode: go_mode(&metadata),
        mod_time: metadata.mtime(),
        encoding,
    })
}

/// Go's mode bits.
fn go_mode(metadata: &Metadata) -> i64 {
    let mode = i64::from(metadata.mode());
    let kinds = [
        (metadata.is_dir(), 2_147_483_648),
        (metadata.file_type().is_fifo(), 33_554_432),
        (mode & 0o4000 != 0, 8_388_608),
        (mode & 0o2000 != 0, 4_194_304),
        (mode & 0o1000 != 0, 1_048_576),
    ];
    (mode & 0o777) + kinds.iter().filter(|(is, _)| *is).map(|(_, bit)| bit).sum::<i64>()
}

/// Removes the file or folder at `path`, and then each empty folder above it, up to the prefix.
pub(super) fn remove(prefix: &Path, path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir(path)?;
    } else {
        fs::remove_file(path)?;
    }
    let mut folder = path.parent();
    while let Some(empty) = folder.filter(|folder| *folder != prefix) {
        if fs::remove_dir(empty).is_err() {
            break;
        }
        folder = empty.parent();
    }
    Ok(())
}

/// The text of an error as in Go: the operation, the path, and the system's words.
pub(super) fn go_error(act: &str, path: &Path, error: &io::Error) -> String {
    let words = match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::NOTEMPTY) => "directory not empty".to_owned(),
        Some(rustix::io::Errno::NOTDIR) => "not a directory".to_owned(),
        Some(rustix::io::Errno::ISDIR) => "is a directory".to_owned(),
        Some(rustix::io::Errno::NAMETOOLONG) => "file name too long".to_owned(),
        _ => error.to_string().to_lowercase(),
    };
    format!("{act} {}: {words}", path.display())
}
