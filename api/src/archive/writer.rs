//! Writing an archive stream.

use std::io::{self, Read, Write};
use std::time::Duration;

use bucky_whisper::{Digest, DigestBuilder, MetricName};
use tar::EntryType;

use super::{
    BLOCK_BYTES, DIGEST_RECORD, FileMeta, PATH_DIGEST_RECORD, REPORT_LIMIT_BYTES, REPORT_NAME,
    SPARSE_RECORD,
};
use crate::bounded::METRICS_MOST;
use crate::counted::metrics;
use crate::types::{ArchiveReport, LeftOut, MemberDigest};

/// What a metric takes in the report besides its name and the reason. Few of their characters need an escape.
const LEFT_OUT_BYTES: u64 = 64;

/// A member of at least this many bytes is sent to its end before the next one begins. Its receiver reserves
/// memory for it until it is complete. If its end stayed in an encoder's buffer while the sender waited for
/// room for the next member, both sides would wait.
const FLUSH_BYTES: usize = 256 * 1024;

/// What is known about a member's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its digest, if it is known before the file is read.
    pub digest: Option<Digest>,
    /// Its length.
    pub len_bytes: u64,
    /// Whether it has holes.
    pub is_sparse: bool,
}

/// Reads the content of a member, and computes its digest if that is not known.
struct ContentReader<R> {
    reader: R,
    left: u64,
    digest: Option<DigestBuilder>,
}

impl<R: Read> Read for ContentReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.left -= read as u64;
        if let Some(digest) = &mut self.digest {
            digest.update(&buffer[..read]);
        }
        Ok(read)
    }
}

/// Writes an archive stream.
pub struct ArchiveWriter<W: Write> {
    tar: tar::Builder<W>,
    report: ArchiveReport,
    /// The most bytes that the report can take when it is written.
    report_bytes: u64,
}

impl<W: Write> ArchiveWriter<W> {
    /// A stream without members.
    pub fn new(writer: W) -> Self {
        Self { tar: tar::Builder::new(writer), report: ArchiveReport::default(), report_bytes: 0 }
    }

    /// Adds a metric. `digest` is the digest of `content`.
    ///
    /// # Errors
    /// Those of the underlying writer.
    pub fn append(
        &mut self,
        metric: &MetricName,
        meta: FileMeta,
        digest: Digest,
        content: &[u8],
    ) -> io::Result<()> {
        let len_bytes = content.len() as u64;
        let known = Content { digest: Some(digest), len_bytes, is_sparse: false };
        self.append_as(metric, meta, known, content)
    }

    /// Adds a metric whose properties are `known`.
    ///
    /// # Errors
    /// Those of the underlying writer.
    pub fn append_as(
        &mut self,
        metric: &MetricName,
        meta: FileMeta,
        known: Content,
        content: &[u8],
    ) -> io::Result<()> {
        self.write_headers(metric, meta, known)?;
        self.tar.get_mut().write_all(content)?;
        self.end_member(known.len_bytes)
    }

    /// Adds a metric whose file is read from `reader`. Returns its digest. If the digest is not known before,
    /// it is put in the report.
    ///
    /// # Errors
    /// Those of the underlying writer and of the reader. It is an error if the reader has fewer bytes than
    /// `content` says: the stream is then useless.
    pub fn add(
        &mut self,
        metric: &MetricName,
        meta: FileMeta,
        content: Content,
        reader: impl Read,
    ) -> io::Result<Digest> {
        let Content { digest, len_bytes, .. } = content;
        self.write_headers(metric, meta, content)?;
        let mut content = ContentReader {
            reader: reader.take(len_bytes),
            left: len_bytes,
            digest: digest.is_none().then(DigestBuilder::new),
        };
        let mut buffered = io::BufReader::with_capacity(FLUSH_BYTES, &mut content);
        io::copy(&mut buffered, self.tar.get_mut())?;
        if content.left > 0 {
            return Err(io::Error::other(format!("{metric} became shorter while it was read")));
        }
        self.end_member(len_bytes)?;
        Ok(match (digest, content.digest) {
            (Some(digest), _) => digest,
            (None, built) => {
                let digest = built.unwrap_or_default().finish();
                self.report.digests.push(MemberDigest { metric: metric.clone(), digest });
                digest
            }
        })
    }

    /// Pads the last block of a member of `len_bytes`.
    fn end_member(&mut self, len_bytes: u64) -> io::Result<()> {
        let padding = len_bytes.next_multiple_of(BLOCK_BYTES) - len_bytes;
        io::copy(&mut io::repeat(0).take(padding), self.tar.get_mut())?;
        if len_bytes >= FLUSH_BYTES as u64 {
            self.tar.get_mut().flush()?;
        }
        self.report.metrics += 1;
        Ok(())
    }

    fn write_headers(
        &mut self,
        metric: &MetricName,
        meta: FileMeta,
        content: Content,
    ) -> io::Result<()> {
        let path = metric.relative_path();
        let mut header = tar::Header::new_ustar();
        let digest = content.digest.map(|digest| digest.to_string());
        let mut records = Vec::new();
        if let Some(digest) = &digest {
            records.push((DIGEST_RECORD, digest.as_bytes()));
        }
        if content.is_sparse {
            records.push((SPARSE_RECORD, &b"1"[..]));
        }
        let path_digest = Digest::of(path.as_os_str().as_encoded_bytes()).to_string();
        if header.set_path(&path).is_err() {
            records.push(("path", path.as_os_str().as_encoded_bytes()));
            records.push((PATH_DIGEST_RECORD, path_digest.as_bytes()));
            header.set_path("long-name.wsp")?;
        }
        header.set_mode(meta.mode & 0o7777);
        header.set_mtime(meta.mtime);
        header.set_size(content.len_bytes);
        header.set_entry_type(EntryType::Regular);
        header.set_cksum();
        self.tar.append_pax_extensions(records)?;
        self.tar.get_mut().write_all(header.as_bytes())
    }

    /// Notes a metric that was requested and is not in the stream.
    ///
    /// # Errors
    /// If the report is longer than a reader accepts.
    pub fn leave_out(&mut self, left_out: LeftOut) -> io::Result<()> {
        let text_bytes = left_out.metric.as_str().len() + left_out.reason.len();
        self.report_bytes += text_bytes as u64 + LEFT_OUT_BYTES;
        if self.report.left_out.len() == METRICS_MOST || self.report_bytes > REPORT_LIMIT_BYTES {
            return Err(io::Error::other(format!(
                "{} cannot be sent, the last one {}: more than a report can list",
                metrics(self.report.left_out.len() as u64 + 1),
                left_out.metric
            )));
        }
        self.report.left_out.push(left_out);
        Ok(())
    }

    /// Notes in the report how long the sender worked, without the time that it waited for the network.
    pub fn worked(&mut self, time: Duration) {
        self.report.worked_ms = u64::try_from(time.as_millis()).ok();
    }

    /// Writes the report and the end of the tar.
    ///
    /// # Errors
    /// Those of the underlying writer.
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

    /// A writer that shows how much of its input was sent.
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
