//! The journal of a rebalance: what a later run need not do again.
//!
//! A file with one JSON value a line. The first line says for which ring and which selection it was written.
//! The others say, for each source, up to which name everything is finished, which metrics failed, and which
//! of those were moved later. A source is identified by its store, not by its address. Safety does not depend
//! on the journal: losing it costs only time. A line without its end was cut off by a crash and does not
//! count.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bucky_whisper::{LockError, MetricName, lock_exclusive};
use serde::{Deserialize, Serialize};

use super::resume::Resume;

/// The version of the format that this build writes and reads.
const JOURNAL_LEVEL: u32 = 1;
/// The longest line that is read; lines that are written are far shorter.
const LINE_LIMIT_BYTES: u64 = 1024 * 1024;
/// How many failed metrics of all sources are remembered. The source whose failure passes this is read
/// again from its start.
const FAILED_LIMIT: usize = 50_000;
/// How long lines may wait before they are synced.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);

/// What a journal was written for. A run for another purpose must not use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Purpose {
    /// The fingerprint of the ring.
    pub(crate) ring: String,
    /// `-r`: only metrics whose name matches this.
    pub(crate) regex: Option<String>,
    /// `--allowed-dsts`, sorted.
    pub(crate) allowed_destinations: Vec<String>,
    /// Whether the sources are deleted.
    pub(crate) deletes: bool,
}

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum JournalLine {
    /// The first line.
    Journal {
        level: u32,
        #[serde(flatten)]
        purpose: Purpose,
    },
    /// All metrics of the source up to this one are finished.
    Through { source: String, metric: MetricName },
    /// This metric failed.
    Failed { source: String, metric: MetricName, reason: String },
    /// This metric had failed before and was moved now.
    Moved { source: String, metric: MetricName },
}

/// The reason why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// It cannot be opened, read or written.
    #[error("the journal {path:?} cannot be {what}")]
    Io {
        path: PathBuf,
        what: &'static str,
        #[source]
        source: io::Error,
    },
    /// Another run uses it.
    #[error("the journal {path:?} is in use by another run")]
    InUse {
        path: PathBuf,
        #[source]
        source: LockError,
    },
    /// A line, other than the last, is not a journal line.
    #[error("line {line} of {path:?} is not from a journal; give another file, or remove this one")]
    BadLine {
        path: PathBuf,
        line: usize,
        #[source]
        source: Option<serde_json::Error>,
    },
    /// It was written by another version.
    #[error("the journal {path:?} has level {found}; this bucky reads level {JOURNAL_LEVEL}")]
    OtherLevel { path: PathBuf, found: u32 },
    /// It was written for another purpose.
    #[error(
        "the journal {path:?} was written for another {what} ({found}, now {wanted}); give another file, or \
         remove this one"
    )]
    OtherPurpose { path: PathBuf, what: &'static str, found: String, wanted: String },
}

/// An open journal.
pub(crate) struct Journal {
    writer: BufWriter<File>,
    path: PathBuf,
    synced: Instant,
}

impl Journal {
    /// Opens the journal at `path`, or creates it, and returns the progress of each source.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(crate) fn open(
        path: &Path,
        purpose: &Purpose,
    ) -> Result<(Self, BTreeMap<String, Resume>), JournalError> {
        let failed = |what| move |source| JournalError::Io { path: path.to_owned(), what, source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed("opened"))?;
        lock_exclusive(&file, Duration::ZERO)
            .map_err(|source| JournalError::InUse { path: path.to_owned(), source })?;
        let Earlier { sources, whole_bytes, .. } = read(path, &file, purpose)?;
        file.set_len(whole_bytes).map_err(failed("written"))?;
        file.seek(SeekFrom::End(0)).map_err(failed("written"))?;
        let mut journal =
            Self { writer: BufWriter::new(file), path: path.to_owned(), synced: Instant::now() };
        if whole_bytes == 0 {
            journal
                .write(&JournalLine::Journal { level: JOURNAL_LEVEL, purpose: purpose.clone() })?;
            journal.sync()?;
        }
        Ok((journal, sources))
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes that `source` is finished up to `metric`.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub(crate) fn through(
        &mut self,
        source: &str,
        metric: &MetricName,
    ) -> Result<(), JournalError> {
        self.write(&JournalLine::Through { source: source.to_owned(), metric: metric.clone() })
    }

    /// Notes a metric that failed.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub(crate) fn failed(
        &mut self,
        source: &str,
        metric: &MetricName,
        reason: &str,
    ) -> Result<(), JournalError> {
        let (source, metric) = (source.to_owned(), metric.clone());
        self.write(&JournalLine::Failed { source, metric, reason: reason.to_owned() })
    }

    /// Notes that a metric that had failed was moved.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub(crate) fn moved(&mut self, source: &str, metric: &MetricName) -> Result<(), JournalError> {
        self.write(&JournalLine::Moved { source: source.to_owned(), metric: metric.clone() })
    }

    /// Syncs everything to disk.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub(crate) fn sync(&mut self) -> Result<(), JournalError> {
        self.synced = Instant::now();
        let synced = self.writer.flush().and_then(|()| self.writer.get_ref().sync_data());
        synced.map_err(|source| JournalError::Io {
            path: self.path.clone(),
            what: "written",
            source,
        })
    }

    fn write(&mut self, line: &JournalLine) -> Result<(), JournalError> {
        let written = serde_json::to_writer(&mut self.writer, line)
            .map_err(io::Error::from)
            .and_then(|()| self.writer.write_all(b"\n"));
        written.map_err(|source| JournalError::Io {
            path: self.path.clone(),
            what: "written",
            source,
        })?;
        if self.synced.elapsed() >= SYNC_INTERVAL { self.sync() } else { Ok(()) }
    }
}

/// Whether `text`, which has no whole line, can be a journal whose first line was cut off.
fn is_beginning(text: &[u8]) -> bool {
    const FIRST: &[u8] = br#"{"journal":"#;
    let common = text.len().min(FIRST.len());
    text.get(..common) == FIRST.get(..common)
}

/// What an earlier run left in a journal.
#[derive(Default)]
struct Earlier {
    sources: BTreeMap<String, Resume>,
    /// How many bytes of the file are whole lines.
    whole_bytes: u64,
    /// How many failed metrics are remembered.
    remembered: usize,
}

impl Earlier {
    fn note(&mut self, line: JournalLine) {
        match line {
            JournalLine::Journal { .. } => {}
            JournalLine::Through { source, metric } => {
                self.sources.entry(source).or_default().finish_through(metric);
            }
            JournalLine::Failed { source, metric, .. } => {
                let resume = self.sources.entry(source).or_default();
                self.remembered += usize::from(resume.add_failed(metric));
                if self.remembered > FAILED_LIMIT {
                    self.remembered -= resume.forget_failed();
                }
            }
            JournalLine::Moved { source, metric } => {
                let resume = self.sources.entry(source).or_default();
                self.remembered -= usize::from(resume.remove_failed(&metric));
            }
        }
    }
}

/// How many bytes of a journal's `content` are whole lines: the part from which a run without a selection,
/// for the ring with this fingerprint, would continue. See [`crate::journal_whole_bytes`].
pub(crate) fn whole_bytes(content: impl Read, ring: &str) -> Result<u64, JournalError> {
    let (ring, regex) = (ring.to_owned(), None);
    let purpose = Purpose { ring, regex, allowed_destinations: Vec::new(), deletes: true };
    Ok(read(Path::new("the journal"), content, &purpose)?.whole_bytes)
}

/// The progress of each source, by the whole lines of `file`. What follows the last line end was cut off.
fn read(path: &Path, file: impl Read, purpose: &Purpose) -> Result<Earlier, JournalError> {
    let bad = |line, source| JournalError::BadLine { path: path.to_owned(), line, source };
    let mut reader = BufReader::new(file);
    let (mut earlier, mut text) = (Earlier::default(), Vec::new());
    for number in 1.. {
        text.clear();
        let len_bytes =
            reader.by_ref().take(LINE_LIMIT_BYTES).read_until(b'\n', &mut text).map_err(
                |source| JournalError::Io { path: path.to_owned(), what: "read", source },
            )?;
        if text.last() != Some(&b'\n') {
            let is_cut_off =
                (number > 1 || is_beginning(&text)) && (len_bytes as u64) < LINE_LIMIT_BYTES;
            return if is_cut_off { Ok(earlier) } else { Err(bad(number, None)) };
        }
        match (number, serde_json::from_slice(&text).map_err(|source| bad(number, Some(source)))?) {
            (1, JournalLine::Journal { level, purpose: found }) => {
                check(path, level, &found, purpose)?
            }
            (1, _) | (_, JournalLine::Journal { .. }) => return Err(bad(number, None)),
            (_, line) => earlier.note(line),
        }
        earlier.whole_bytes += len_bytes as u64;
    }
    Ok(earlier)
}

fn check(path: &Path, level: u32, found: &Purpose, wanted: &Purpose) -> Result<(), JournalError> {
    if level != JOURNAL_LEVEL {
        return Err(JournalError::OtherLevel { path: path.to_owned(), found: level });
    }
    let shown = |regex: &Option<String>| regex.clone().unwrap_or_else(|| "none".into());
    let pairs = [
        ("ring", found.ring.clone(), wanted.ring.clone()),
        ("expression", shown(&found.regex), shown(&wanted.regex)),
        (
            "set of destinations",
            found.allowed_destinations.join(","),
            wanted.allowed_destinations.join(","),
        ),
        ("treatment of the sources", deletes_text(found.deletes), deletes_text(wanted.deletes)),
    ];
    for (what, found, wanted) in pairs {
        if found != wanted {
            return Err(JournalError::OtherPurpose { path: path.to_owned(), what, found, wanted });
        }
    }
    Ok(())
}

fn deletes_text(deletes: bool) -> String {
    if deletes { "deleted" } else { "kept" }.to_owned()
}
