//! Writing an archive stream.

use std::io::{self, Write};
use std::time::Duration;

use bucky_whisper::{Digest, MetricName};
use tar::EntryType;

use super::{DIGEST_RECORD, FileMeta, PATH_DIGEST_RECORD, REPORT_LIMIT_BYTES, REPORT_NAME};
use crate::bounded::METRICS_MOST;
use crate::types::{ArchiveReport, LeftOut};

/// What a metric takes in the report beside its name and the reason, in which few characters have to be escaped.
const LEFT_OUT_BYTES: u64 = 64;

/// A member of so many bytes is sent to its end before the next one is looked for. Its receiver holds room for it until
/// then; were its end still in a coding's buffer while the sender waits for room for the next one, both would wait.
const FLUSH_BYTES: usize = 256 * 1024;

/// Writes an archive stream.
pub struct ArchiveWriter<W: Write> {
    tar: tar::Builder<W>,
    report: ArchiveReport,
    /// What the report takes at most when it is written.
    report_bytes: u64,
}

impl<W: Write> ArchiveWriter<W> {
    /// A stream with nothing in it yet.
    pub fn new(writer: W) -> Self {
        Self { tar: tar::Builder::new(writer), report: ArchiveReport::default(), report_bytes: 0 }
    }

    /// Adds a metric. `digest` is that of `content`.
    ///
    /// # Errors
    /// Those of the writer behind.
    pub fn append(
        &mut self,
        metric: &MetricName,
        meta: FileMeta,
        digest: Digest,
        content: &[u8],
    ) -> io::Result<()> {
        let path = metric.relative_path();
        let mut header = tar::Header::new_ustar();
        let digest = digest.to_string();
        let mut records = vec![(DIGEST_RECORD, digest.as_bytes())];
        let path_digest = Digest::of(path.as_os_str().as_encoded_bytes()).to_string();
        if header.set_path(&path).is_err() {
            records.push(("path", path.as_os_str().as_encoded_bytes()));
            records.push((PATH_DIGEST_RECORD, path_digest.as_bytes()));
            header.set_path("long-name.wsp")?;
        }
        header.set_mode(meta.mode & 0o7777);
        header.set_mtime(meta.mtime);
        header.set_size(content.len() as u64);
        header.set_entry_type(EntryType::Regular);
        header.set_cksum();
        self.tar.append_pax_extensions(records)?;
        self.tar.append(&header, content)?;
        if content.len() >= FLUSH_BYTES {
            self.tar.get_mut().flush()?;
        }
        self.report.metrics += 1;
        Ok(())
    }

    /// Notes a metric that was asked for and is not in the stream.
    ///
    /// # Errors
    /// Where the report has become longer than any that is read: nobody could use the stream.
    pub fn leave_out(&mut self, left_out: LeftOut) -> io::Result<()> {
        let text_bytes = left_out.metric.as_str().len() + left_out.reason.len();
        self.report_bytes += text_bytes as u64 + LEFT_OUT_BYTES;
        if self.report.left_out.len() == METRICS_MOST || self.report_bytes > REPORT_LIMIT_BYTES {
            return Err(io::Error::other(format!(
                "{} metrics cannot be sent, the last of them {}: that is more than a report tells",
                self.report.left_out.len() + 1,
                left_out.metric
            )));
        }
        self.report.left_out.push(left_out);
        Ok(())
    }

    /// Notes in the report for how long the sender worked, beside waiting for the network.
    pub fn worked(&mut self, time: Duration) {
        self.report.worked_ms = u64::try_from(time.as_millis()).ok();
    }

    /// Writes the report and the end of the tar.
    ///
    /// # Errors
    /// Those of the writer behind.
    pub fn finish(mut self) -> io::Result<W> {
        let report = serde_json::to_vec(&self.report)?;
        let mut header = tar::Header::new_ustar();
        header.set_path(REPORT_NAME)?;
        header.set_mode(0o644);
        header.set_size(report.len() as u64);
        header.set_entry_type(EntryType::Regular);
        header.set_cksum();
        self.tar.append(&header, report.as_slice())?;
        self.tar.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer that tells how much of what it was given has been sent.
    struct Buffered {
        buffer: Vec<u8>,
        sent: std::rc::Rc<std::cell::Cell<usize>>,
    }

    impl Write for Buffered {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.buffer.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.sent.set(self.buffer.len());
            Ok(())
        }
    }

    #[test]
    fn a_large_member_is_sent_to_its_end_before_the_next_one() {
        let sent = std::rc::Rc::default();
        let buffered = Buffered { buffer: Vec::new(), sent: std::rc::Rc::clone(&sent) };
        let mut writer = ArchiveWriter::new(buffered);
        let meta = FileMeta { mode: 0o644, mtime: 0 };
        for (name, len, is_sent) in [("a", FLUSH_BYTES - 1, false), ("b", FLUSH_BYTES, true)] {
            let content = vec![7; len];
            let metric = name.parse().unwrap();
            writer.append(&metric, meta, Digest::of(&content), &content).unwrap();
            assert_eq!(sent.get() > len, is_sent, "{name}");
        }
    }
}
