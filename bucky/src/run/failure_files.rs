//! The files that list every failure: ours, with the reason, and the Go tool's.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;
use bucky_api::DaemonAddr;

use super::failure::Failure;
use crate::output::log_time;

/// The files that list failures.
#[derive(Default)]
pub(crate) struct FailureFiles {
    /// `--errors`: `NODE TAB METRIC TAB REASON`, of this run.
    reasons: Option<BufWriter<File>>,
    /// `-metric-err-file`: `TIME src,NAME,HOST:PORT` or `TIME dst,NAME,HOST:PORT`, appended.
    copies: Option<BufWriter<File>>,
}

impl FailureFiles {
    /// Opens the files at these paths.
    ///
    /// # Errors
    /// If one cannot be opened for writing.
    pub(crate) fn open(reasons: Option<&Path>, copies: Option<&Path>) -> anyhow::Result<Self> {
        let cannot = |path: &Path| format!("cannot write {}", path.display());
        let reasons = reasons
            .map(|path| File::create(path).with_context(|| cannot(path)))
            .transpose()?
            .map(BufWriter::new);
        let append = |path| OpenOptions::new().create(true).append(true).open(path);
        let copies = copies
            .map(|path| append(path).with_context(|| cannot(path)))
            .transpose()?
            .map(BufWriter::new);
        Ok(Self { reasons, copies })
    }

    /// Writes that `metric` of `source` failed. A metric that was copied and only not deleted is not written
    /// to the Go tool's file. Returns the files that cannot be written.
    pub(super) fn write(
        &mut self,
        metric: &str,
        source: &DaemonAddr,
        failure: &Failure,
    ) -> Vec<(&'static str, io::Error)> {
        let mut broken = Vec::new();
        let Failure { node, reason, .. } = failure;
        let written =
            self.reasons.as_mut().map(|file| writeln!(file, "{node}\t{metric}\t{reason}"));
        if let Some(Err(error)) = written {
            self.reasons = None;
            broken.push(("--errors", error));
        }
        let side = if node == source { "src" } else { "dst" };
        let time = log_time(SystemTime::now());
        let copies = self.copies.as_mut().filter(|_| !failure.is_of_delete());
        if let Some(Err(error)) = copies.map(|file| writeln!(file, "{time} {side},{metric},{node}"))
        {
            self.copies = None;
            broken.push(("-metric-err-file", error));
        }
        broken
    }

    /// Writes what is buffered; returns the files that cannot be written.
    pub(super) fn flush(&mut self) -> Vec<(&'static str, io::Error)> {
        let files = [("--errors", &mut self.reasons), ("-metric-err-file", &mut self.copies)];
        let flushed = files
            .into_iter()
            .filter_map(|(name, file)| Some((name, file.as_mut()?.flush().err()?)));
        flushed.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::failure_kind::FailureKind;

    #[test]
    fn a_failed_copy_is_a_line_that_says_which_side_is_to_blame() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("errors");
        std::fs::write(&path, "earlier\n").unwrap();
        let (a, b): (DaemonAddr, DaemonAddr) = ("a".parse().unwrap(), "b".parse().unwrap());
        let failure =
            |node: &DaemonAddr, kind| Failure { node: node.clone(), kind, reason: "why".into() };
        let mut files = FailureFiles::open(None, Some(&path)).unwrap();
        for (metric, failure) in [
            ("m.one", failure(&a, FailureKind::Busy)),
            ("m.two", failure(&b, FailureKind::NoSpace)),
            ("m.three", failure(&a, FailureKind::NotDeleted)),
        ] {
            assert!(files.write(metric, &a, &failure).is_empty());
        }
        assert!(files.flush().is_empty());
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "earlier", "it is appended to");
        // 2006/01/02 15:04:05, and a space.
        let said: Vec<&str> = lines[1..].iter().map(|line| &line[20..]).collect();
        assert_eq!(said, ["src,m.one,a:4242", "dst,m.two,b:4242"], "what was copied is not in it");
        assert!(lines[1].starts_with("20") && lines[1].as_bytes()[4] == b'/', "{}", lines[1]);
    }
}
