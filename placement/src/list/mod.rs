//! The file of `--series`: the series that an operator knows, one a line.
//!
//! It takes eight bytes of memory for each series: the first bits of its hash, by which the entries are
//! sorted, and the offset of its line. The text is read from the file when it is needed, and hashed again, so
//! that a change of the file cannot place a metric. A caller that needs the series for a long time keeps a
//! copy of the file.

mod lines;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use self::lines::{LONGEST, Lines, trimmed};
use crate::place::KnownSeries;
use crate::series::{HashedSeries, SeriesHash, check_form};

/// How many bits of an entry are the offset of a line; the others are the first bits of the hash.
const OFFSET_BITS: u32 = 36;
/// The longest file that such an offset can address.
const FILE_LIMIT_BYTES: u64 = 1 << OFFSET_BITS;
/// How many bytes are read at once while the list is built.
const READ_BYTES: usize = 256 * 1024;
/// How many bytes of a line are read first in a lookup.
const LINE_BYTES: usize = 512;
/// The first bytes of compressed files, and the program that writes them.
const COMPRESSED: [(&[u8], &str); 4] =
    [(b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2"), (b"\xfd7zXZ", "xz")];

/// Series by their hash, from a file.
#[derive(Debug)]
pub struct SeriesList {
    file: File,
    index: Vec<u64>,
    counts: SeriesCounts,
    state: FileState,
}

/// What a file of series contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesCounts {
    /// The number of different series.
    pub series: u64,
    /// The number of lines with a series that an earlier line has.
    pub duplicates: u64,
    /// The number of lines that are not a series. Empty lines and comments (`#`) do not count.
    pub not_series: u64,
    /// The first line that is not a series.
    pub first_not_series: Option<NotSeries>,
}

/// A line that is not a series.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not a series: {reason}")]
pub struct NotSeries {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeriesListError {
    /// It cannot be read.
    #[error("cannot read the series in {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Its series cannot be copied.
    #[error("cannot keep a copy of the series in {path}")]
    NotCopied {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is a folder or a pipe. A regular file is needed, because lines are looked up again and again.
    #[error("{path} is not a regular file; give a file with one series a line")]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// It is compressed.
    #[error("{path} is compressed with {with}; uncompress it first")]
    Compressed {
        /// The file.
        path: PathBuf,
        /// The program that compressed it.
        with: &'static str,
    },
    /// It is too long.
    #[error("{path} has {len_bytes} bytes; the limit is {FILE_LIMIT_BYTES}")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        len_bytes: u64,
    },
    /// It contains no series.
    #[error("{path} has no series; give one a line, such as disk.used;host=web1;mount=root")]
    NoSeries {
        /// The file.
        path: PathBuf,
        /// The first line that is not a series, if there is any line.
        source: Option<NotSeries>,
    },
}

/// Why reading was interrupted.
enum FillError {
    Read(io::Error),
    Copy(io::Error),
}

/// The properties that change if a file is written to or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileState {
    device: u64,
    inode: u64,
    len_bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileState {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len_bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl SeriesList {
    /// Reads the file at `path`. A series that is overwritten there later is no longer known.
    ///
    /// # Errors
    /// [`SeriesListError`] if the file cannot be read or has no series. Single lines that are not a series
    /// are counted.
    pub fn read(path: &Path) -> Result<Self, SeriesListError> {
        Self::read_with(path, None)
    }

    /// Reads the file at `path`, and copies its series to `copy`, an empty file that no other process writes
    /// to. They stay known even if the file at `path` changes.
    ///
    /// # Errors
    /// The same as for [`Self::read`], and an error if `copy` cannot be written.
    pub fn copied(path: &Path, copy: File) -> Result<Self, SeriesListError> {
        Self::read_with(path, Some(copy))
    }

    fn read_with(path: &Path, copy: Option<File>) -> Result<Self, SeriesListError> {
        let unreadable = |source| SeriesListError::Unreadable { path: path.into(), source };
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(SeriesListError::NotAFile { path: path.into() });
        }
        let file = File::open(path).map_err(unreadable)?;
        // Taken before the content is read: a later change then makes the file count as outdated.
        let state = FileState::of(&file.metadata().map_err(unreadable)?);
        if state.len_bytes >= FILE_LIMIT_BYTES {
            let len_bytes = state.len_bytes;
            return Err(SeriesListError::TooLong { path: path.into(), len_bytes });
        }
        if let Some(with) = compression(&file).map_err(unreadable)? {
            return Err(SeriesListError::Compressed { path: path.into(), with });
        }
        let mut list = Self { file, index: Vec::new(), counts: SeriesCounts::default(), state };
        let copying = |source| SeriesListError::NotCopied { path: path.into(), source };
        let mut copy = copy.map(BufWriter::new);
        list.fill(copy.as_mut()).map_err(|error| match error {
            FillError::Read(source) => unreadable(source),
            FillError::Copy(source) => copying(source),
        })?;
        if let Some(copy) = copy {
            list.file = copy.into_inner().map_err(|error| copying(error.into_error()))?;
        }
        list.sort();
        if list.index.is_empty() {
            let source = list.counts.first_not_series;
            return Err(SeriesListError::NoSeries { path: path.into(), source });
        }
        Ok(list)
    }

    /// What the file contains.
    pub fn counts(&self) -> &SeriesCounts {
        &self.counts
    }

    /// Whether the file at `path` is not, or no longer, the one that was read.
    ///
    /// # Errors
    /// The system's error if the file cannot be found.
    pub fn is_outdated(&self, path: &Path) -> io::Result<bool> {
        std::fs::metadata(path).map(|metadata| FileState::of(&metadata) != self.state)
    }

    fn fill(&mut self, mut copy: Option<&mut BufWriter<File>>) -> Result<(), FillError> {
        let mut lines = Lines::new(BufReader::with_capacity(READ_BYTES, &self.file));
        let mut copied = 0;
        while let Some(line) = lines.next().map_err(FillError::Read)? {
            // The file may have grown since its length was read.
            if line.offset >= FILE_LIMIT_BYTES {
                break;
            }
            match series(line.text) {
                Ok(None) => {}
                Ok(Some(text)) => {
                    let offset = if copy.is_some() { copied } else { line.offset };
                    self.index.push(entry(&SeriesHash::of(text), offset));
                    if let Some(copy) = &mut copy {
                        writeln!(copy, "{text}").map_err(FillError::Copy)?;
                        copied += text.len() as u64 + 1;
                    }
                }
                Err(reason) => {
                    self.counts.not_series += 1;
                    let first = NotSeries { line: line.number, reason };
                    self.counts.first_not_series.get_or_insert(first);
                }
            }
        }
        Ok(())
    }

    /// Sorts the entries, and removes all entries of a series except the first.
    fn sort(&mut self) {
        self.index.sort_unstable();
        let mut kept = 0;
        let mut begin = 0;
        while let Some(first) = self.index.get(begin).copied() {
            let is_like = |entry: &u64| entry >> OFFSET_BITS == first >> OFFSET_BITS;
            let rest = self.index.get(begin..).unwrap_or_default();
            let end = begin + rest.iter().take_while(|entry| is_like(entry)).count();
            let mut seen: HashSet<SeriesHash> = HashSet::new();
            for place in begin..end {
                let Some(entry) = self.index.get(place).copied() else { break };
                // Most have no other entry with the same bits, and their text need not be read.
                let is_new = end - begin == 1
                    || self.text(entry).is_none_or(|text| seen.insert(SeriesHash::of_bytes(&text)));
                if is_new {
                    if let Some(slot) = self.index.get_mut(kept) {
                        *slot = entry;
                    }
                    kept += 1;
                }
            }
            begin = end;
        }
        self.counts.duplicates = (self.index.len() - kept) as u64;
        self.index.truncate(kept);
        self.index.shrink_to_fit();
        self.counts.series = kept as u64;
    }

    /// The line that `entry` refers to, as it is now.
    fn text(&self, entry: u64) -> Option<Vec<u8>> {
        let offset = entry & (FILE_LIMIT_BYTES - 1);
        let mut text = vec![0; LINE_BYTES];
        let mut filled = 0;
        loop {
            let room = text.get_mut(filled..).unwrap_or_default();
            let read = self.file.read_at(room, offset + filled as u64).ok()?;
            let end = text.iter().skip(filled).take(read).position(|byte| *byte == b'\n');
            filled += read;
            if let Some(end) = end.map(|end| filled - read + end).or((read == 0).then_some(filled))
            {
                text.truncate(end);
                let len = trimmed(&text).len();
                text.truncate(len);
                return Some(text);
            }
            if filled == text.len() {
                if text.len() > LONGEST {
                    return None;
                }
                text.resize(2 * text.len(), 0);
            }
        }
    }
}

impl KnownSeries for SeriesList {
    fn series_of(&self, hash: &SeriesHash) -> Option<HashedSeries> {
        let lowest = entry(hash, 0);
        let begin = self.index.partition_point(|entry| *entry < lowest);
        let like = self.index.get(begin..)?.iter();
        let mut like = like.take_while(|entry| **entry >> OFFSET_BITS == lowest >> OFFSET_BITS);
        like.find_map(|entry| {
            let text = self.text(*entry)?;
            HashedSeries::checked(std::str::from_utf8(&text).ok()?, hash)
        })
    }
}

fn entry(hash: &SeriesHash, offset: u64) -> u64 {
    (hash.first_bits() >> OFFSET_BITS << OFFSET_BITS) | offset
}

/// The series in a line; `None` if the line is empty or a comment.
fn series(line: Option<&[u8]>) -> Result<Option<&str>, &'static str> {
    let line = line.ok_or("it is too long")?;
    if line.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8")?;
    match check_form(text) {
        Ok(()) => Ok(Some(text)),
        Err(_) if text.starts_with('#') || text.trim().is_empty() => Ok(None),
        Err(reason) => Err(reason),
    }
}

/// The program that `file` was compressed with, or `None`.
fn compression(file: &File) -> io::Result<Option<&'static str>> {
    let mut begin = [0; 8];
    let read = file.read_at(&mut begin, 0)?;
    let begin = begin.get(..read).unwrap_or_default();
    Ok(COMPRESSED.iter().find(|(magic, _)| begin.starts_with(magic)).map(|(_, with)| *with))
}

#[cfg(test)]
mod tests;
