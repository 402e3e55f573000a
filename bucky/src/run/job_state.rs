//! The Go tool's job state file: one line of JSON for each metric that was copied.
//!
//! `{"SrcServer":"a:4242","DstServer":"b:4242","OldName":"m","NewName":"m"}`. It lists only what succeeded.
//! So a copy that was stopped continues where it was, and what failed is tried again (D27: the Go tool also
//! lists what failed). Every line counts, also the first. A job of a node that does not take part today is
//! ignored. A line without its end was cut off by a crash and does not count.
//!
//! Each job that is found there is kept as a digest of 16 bytes, however long its names are.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bucky_api::DaemonAddr;
use bucky_whisper::{Digest, LockError, lock_exclusive};
use serde::{Deserialize, Serialize};

/// The longest line that is read. It has room for two of the longest names, escaped, and two addresses.
const LINE_LIMIT_BYTES: u64 = 64 * 1024;
/// How every line begins, the Go tool's too.
const LINE_START: &[u8] = b"{\"SrcServer\":\"";

/// The reason why a job state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobStateError {
    /// It cannot be opened, read or written.
    #[error("the job state file {path:?} cannot be {what}")]
    Io {
        path: PathBuf,
        what: &'static str,
        #[source]
        source: io::Error,
    },
    /// Another run uses it.
    #[error("the job state file {path:?} is in use by another run")]
    InUse {
        path: PathBuf,
        #[source]
        source: LockError,
    },
    /// A line, other than the last, is not a job.
    #[error("line {line} of {path:?} is not a job; give another file, or remove this line")]
    BadLine {
        path: PathBuf,
        line: u64,
        #[source]
        source: Option<serde_json::Error>,
    },
}

/// A metric that was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CopyJob<'a> {
    /// The node that it came from.
    pub(crate) source: &'a DaemonAddr,
    /// The node that it went to.
    pub(crate) destination: &'a DaemonAddr,
    /// Its name at the source.
    pub(crate) old: &'a str,
    /// Its name at the destination.
    pub(crate) new: &'a str,
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct JobLine {
    src_server: String,
    dst_server: String,
    old_name: String,
    new_name: String,
}

impl JobLine {
    fn of(job: CopyJob<'_>) -> Self {
        Self {
            src_server: job.source.to_string(),
            dst_server: job.destination.to_string(),
            old_name: job.old.to_owned(),
            new_name: job.new.to_owned(),
        }
    }

    fn digest(&self) -> Digest {
        // No name contains a NUL.
        let parts = [&self.src_server, &self.dst_server, &self.old_name, &self.new_name];
        Digest::of(parts.map(String::as_str).join("\0").as_bytes())
    }
}

/// An open job state file.
pub(crate) struct JobState {
    writer: BufWriter<File>,
    path: PathBuf,
    /// The jobs of earlier runs, sorted.
    done: Vec<Digest>,
}

impl JobState {
    /// Opens the file at `path`, or creates it.
    ///
    /// # Errors
    /// [`JobStateError`].
    pub(crate) fn open(path: &Path) -> Result<Self, JobStateError> {
        let failed = |what| move |source| JobStateError::Io { path: path.to_owned(), what, source };
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(failed("opened"))?;
        lock_exclusive(&file, Duration::ZERO)
            .map_err(|source| JobStateError::InUse { path: path.to_owned(), source })?;
        let (done, whole_bytes) = read(path, &file)?;
        // The next line would continue one that was cut off.
        file.set_len(whole_bytes).map_err(failed("written"))?;
        Ok(Self { writer: BufWriter::new(file), path: path.to_owned(), done })
    }

    /// Whether an earlier run did this job.
    pub(crate) fn is_done(&self, job: CopyJob<'_>) -> bool {
        self.done.binary_search(&JobLine::of(job).digest()).is_ok()
    }

    /// Appends these jobs.
    ///
    /// # Errors
    /// [`JobStateError::Io`].
    pub(crate) fn note<'a>(
        &mut self,
        jobs: impl IntoIterator<Item = CopyJob<'a>>,
    ) -> Result<(), JobStateError> {
        let written = jobs.into_iter().try_for_each(|job| {
            serde_json::to_writer(&mut self.writer, &JobLine::of(job))?;
            self.writer.write_all(b"\n")
        });
        written.and_then(|()| self.writer.flush()).map_err(|source| JobStateError::Io {
            path: self.path.clone(),
            what: "written",
            source,
        })
    }
}

/// The jobs in `file`, sorted, and how many bytes of it are whole lines.
fn read(path: &Path, file: impl Read) -> Result<(Vec<Digest>, u64), JobStateError> {
    let bad = |line, source| JobStateError::BadLine { path: path.to_owned(), line, source };
    let mut reader = BufReader::new(file);
    let (mut done, mut whole_bytes, mut text) = (Vec::new(), 0, Vec::new());
    for number in 1.. {
        text.clear();
        let len_bytes =
            reader.by_ref().take(LINE_LIMIT_BYTES).read_until(b'\n', &mut text).map_err(
                |source| JobStateError::Io { path: path.to_owned(), what: "read", source },
            )? as u64;
        if text.last() != Some(&b'\n') {
            if len_bytes == LINE_LIMIT_BYTES || !is_beginning(&text) {
                return Err(bad(number, None));
            }
            break;
        }
        let line: JobLine =
            serde_json::from_slice(&text).map_err(|source| bad(number, Some(source)))?;
        done.push(line.digest());
        whole_bytes += len_bytes;
    }
    done.sort_unstable();
    done.dedup();
    Ok((done, whole_bytes))
}

/// Whether `text`, which has no end of line, can be a job line that was cut off. Such a line is removed. Any
/// other file that was given by mistake, such as the map of names, is left alone.
fn is_beginning(text: &[u8]) -> bool {
    let is_cut_off = text.starts_with(LINE_START) || LINE_START.starts_with(text);
    text.iter().all(|byte| *byte == 0) || is_cut_off
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> DaemonAddr {
        text.parse().unwrap()
    }

    fn with_jobs(path: &Path, names: &[&str]) -> Result<Vec<bool>, JobStateError> {
        let state = JobState::open(path)?;
        let (source, destination) = (addr("a"), addr("b"));
        let job =
            |name| CopyJob { source: &source, destination: &destination, old: name, new: name };
        Ok(names.iter().map(|name| state.is_done(job(name))).collect())
    }

    fn note(path: &Path, names: &[&str]) {
        let (source, destination) = (addr("a"), addr("b"));
        let jobs = names.iter().map(|name| CopyJob {
            source: &source,
            destination: &destination,
            old: name,
            new: name,
        });
        JobState::open(path).unwrap().note(jobs).unwrap();
    }

    /// D27: the Go tool skips the first line, and panics if a destination does not take part today.
    #[test]
    fn every_line_of_a_state_file_counts_and_strangers_do_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        note(&path, &["first", "second"]);
        let stranger = "{\"SrcServer\":\"x:1\",\"DstServer\":\"no where\",\"OldName\":\"\",\"NewName\":\"é<\"}\n";
        let mut text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text.lines().next(),
            Some(
                r#"{"SrcServer":"a:4242","DstServer":"b:4242","OldName":"first","NewName":"first"}"#
            )
        );
        text += stranger;
        std::fs::write(&path, &text).unwrap();
        let done = with_jobs(&path, &["first", "second", "third"]).unwrap();
        assert_eq!(done, [true, true, false]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "nothing is lost");
        let state = JobState::open(&path).unwrap();
        let (a, b, c) = (addr("a"), addr("b"), addr("c"));
        let other =
            [(&b, &a, "first", "first"), (&a, &c, "first", "first"), (&a, &b, "first", "x")];
        for (source, destination, old, new) in other {
            assert!(!state.is_done(CopyJob { source, destination, old, new }), "another job");
        }
    }

    #[test]
    fn a_line_that_a_crash_cut_off_is_done_again_and_one_in_the_middle_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        note(&path, &["a", "b"]);
        let text = std::fs::read(&path).unwrap();
        for cut in 1..text.len() / 2 {
            std::fs::write(&path, &text[..text.len() - cut]).unwrap();
            assert_eq!(with_jobs(&path, &["a", "b"]).unwrap(), [true, false], "{cut} bytes less");
            note(&path, &["c"]);
            assert_eq!(with_jobs(&path, &["a", "b", "c"]).unwrap(), [true, false, true]);
        }
        std::fs::write(&path, b"not a job\n").unwrap();
        let error = with_jobs(&path, &[]).unwrap_err();
        assert!(error.to_string().starts_with("line 1 of"), "{error}");
        for other in [&b"a file of something else"[..], b"{\"old\":\"new\"}", b"{\n"] {
            std::fs::write(&path, other).unwrap();
            assert!(with_jobs(&path, &[]).is_err(), "and it is not emptied");
            assert_eq!(std::fs::read(&path).unwrap(), other);
        }
    }

    #[test]
    fn a_state_file_is_one_runs_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let _first = JobState::open(&path).unwrap();
        assert!(matches!(JobState::open(&path), Err(JobStateError::InUse { .. })));
    }
}
