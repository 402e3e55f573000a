//! An archive stream: metrics on their way from one store to another, as a tar that GNU tar lists too.
//!
//! One member a metric, `a/b/c.wsp`, with mode and mtime; before it a PAX record [`DIGEST_RECORD`] with the
//! content's xxh3-128 digest. The last member, [`REPORT_NAME`], says what was left out and why. **A stream without
//! its report was cut off**, whatever else it looks like: [`read_archive`] says so.
//!
//! The reader trusts nothing: no number from the stream sizes an allocation, links, devices and paths that are not
//! a metric's end the reading with an error.

use std::io::{self, Read, Write};
use std::path::Path;

use bucky_whisper::{Digest, MetricName};
use tar::EntryType;

use crate::bounded::METRICS_MOST;
use crate::pax;
use crate::types::{ArchiveReport, LeftOut};

/// The PAX record that carries the digest of the member that follows, 32 hex digits.
///
/// It is written as an extended attribute: of any other record of our own GNU tar warns at each member.
pub const DIGEST_RECORD: &str = "SCHILY.xattr.user.bucky.xxh3";
/// The PAX record that carries the digest of a path that stands in a PAX record, which no checksum covers.
///
/// With it a long name that was damaged on the way is noticed, as the content is by its own digest and a short name by
/// the checksum of its header.
pub const PATH_DIGEST_RECORD: &str = "SCHILY.xattr.user.bucky.path-xxh3";
/// The name of the last member.
pub const REPORT_NAME: &str = ".bucky-report.json";

/// The largest extension header (PAX records, a long name) that is read.
const EXTENSION_LIMIT_BYTES: u64 = 64 * 1024;
/// The largest report that is read: a line for each of [`Limits::members`].
const REPORT_LIMIT_BYTES: u64 = 16 * 1024 * 1024;
/// What a metric takes in the report beside its name and the reason, in which few characters have to be escaped.
const LEFT_OUT_BYTES: u64 = 64;
/// How many times its length a report takes while it is read.
const REPORT_TIMES: u64 = 4;
/// What is read behind the report: two empty blocks, the filling of the last record, a coding's trailer.
const END_LIMIT_BYTES: u64 = 64 * 1024;
/// What is reserved for a member before its bytes have come.
const RESERVE_LIMIT_BYTES: u64 = 1024 * 1024;

/// Writes an archive stream.
pub struct ArchiveWriter<W: Write> {
    tar: tar::Builder<W>,
    report: ArchiveReport,
    /// What the report takes at most when it is written.
    report_bytes: u64,
}

/// What the writer is told of a file beside its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMeta {
    /// Permission bits.
    pub mode: u32,
    /// Last written, in Unix seconds.
    pub mtime: u64,
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

/// One metric out of an archive stream.
#[derive(Debug)]
pub struct Member {
    /// The metric.
    pub metric: MetricName,
    /// Mode and mtime at the source.
    pub meta: FileMeta,
    /// The whole file.
    pub content: Vec<u8>,
    /// The digest of `content` as it arrived.
    pub digest: Digest,
    /// The digest that the sender announced; a tar made by other tools has none.
    pub announced: Option<Digest>,
}

impl Member {
    /// Whether the content is what the sender read, as far as the sender told.
    pub fn is_intact(&self) -> bool {
        self.announced.is_none_or(|announced| announced == self.digest)
    }
}

/// What a reader puts up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest member.
    pub member_bytes: u64,
    /// The most members.
    pub members: u64,
}

impl Default for Limits {
    /// 256 MiB a metric, 65,536 metrics a stream.
    fn default() -> Self {
        Self { member_bytes: 256 * 1024 * 1024, members: 65_536 }
    }
}

/// Takes what an archive stream brings.
pub trait Receiver {
    /// Asked before `bytes` more are held, of a member that is coming or of the report. What was asked for is no longer
    /// needed once the next member comes.
    ///
    /// # Errors
    /// Where there is no room for them: the reading ends with [`ReadArchiveError::NoRoom`].
    fn reserve(&mut self, bytes: u64) -> Result<(), NoRoom>;

    /// Takes a metric that has come whole.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    fn take(&mut self, member: Member) -> Result<(), NoRoom>;
}

/// A receiver that has room for everything within the limits.
impl<F: FnMut(Member)> Receiver for F {
    fn reserve(&mut self, _bytes: u64) -> Result<(), NoRoom> {
        Ok(())
    }

    fn take(&mut self, member: Member) -> Result<(), NoRoom> {
        self(member);
        Ok(())
    }
}

/// A receiver has no room for more at this time; in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoRoom(pub String);

/// Why an archive stream could not be read to its end. The members before were handed out.
#[derive(Debug, thiserror::Error)]
pub enum ReadArchiveError {
    /// The bytes are no tar at all.
    #[error("the body is not a tar stream")]
    NotATar(#[source] io::Error),
    /// The stream ended before its report.
    #[error(
        "the archive stream was cut off after {members} metrics: it has no {REPORT_NAME} at its end"
    )]
    CutOff {
        /// How many whole members came.
        members: u64,
    },
    /// A member that is not a metric's regular file.
    #[error("archive member {path:?} is {what}; only regular files named as metrics are taken")]
    NotAMetric {
        /// Its path.
        path: String,
        /// What it is.
        what: String,
    },
    /// A member that is too long.
    #[error("archive member {path:?} has {bytes} bytes; at most {limit} are taken")]
    TooLarge {
        /// Its path.
        path: String,
        /// The length it announces.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Too many members.
    #[error("the archive stream has more than {limit} members; send them in several streams")]
    TooMany {
        /// The limit.
        limit: u64,
    },
    /// The receiver had no room for more.
    #[error("the archive stream was given up after {members} metrics")]
    NoRoom {
        /// How many whole members came.
        members: u64,
        /// What the receiver said.
        source: NoRoom,
    },
    /// A name that is not the one that was sent.
    #[error(
        "the name {path:?} in the archive stream was damaged on the way, after {members} metrics"
    )]
    DamagedName {
        /// How many whole members came.
        members: u64,
        /// What it has become.
        path: String,
    },
    /// Members are missing, or are too many.
    #[error("the archive stream has {members} metrics, and its report speaks of {sent}")]
    Miscounted {
        /// How many came.
        members: u64,
        /// How many were sent.
        sent: u64,
    },
    /// The report is not one.
    #[error("the report at the end of the archive stream cannot be read")]
    BadReport(#[source] serde_json::Error),
    /// The stream behind failed, or its coding is damaged.
    #[error("the archive stream broke off after {members} metrics")]
    Read {
        /// How many whole members came.
        members: u64,
        /// What the stream said.
        source: io::Error,
    },
}

/// Extension headers that belong to the next member.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    digest: Option<Digest>,
    path_digest: Option<Digest>,
}

/// Reads an archive stream, handing each metric to `each` as soon as it is whole.
///
/// # Errors
/// As [`receive_archive`].
pub fn read_archive<R: Read>(
    reader: R,
    limits: Limits,
    each: impl FnMut(Member),
) -> Result<ArchiveReport, ReadArchiveError> {
    receive_archive(reader, limits, each)
}

/// The same for a receiver that has to see that there is room.
///
/// Folders (which `tar c` adds) are passed over.
///
/// # Errors
/// [`ReadArchiveError`]; the members before have been handed out then.
pub fn receive_archive<R: Read>(
    reader: R,
    limits: Limits,
    mut receiver: impl Receiver,
) -> Result<ArchiveReport, ReadArchiveError> {
    let mut archive = tar::Archive::new(reader);
    let report = read_members(&mut archive, limits, &mut receiver)?;
    // What is left is the end of the tar and of the coding. Whoever sends it is spared a broken connection; whether it
    // comes says nothing about the members any more.
    let _ = io::copy(&mut archive.into_inner().take(END_LIMIT_BYTES), &mut io::sink());
    Ok(report)
}

fn read_members<R: Read>(
    archive: &mut tar::Archive<R>,
    limits: Limits,
    receiver: &mut impl Receiver,
) -> Result<ArchiveReport, ReadArchiveError> {
    let mut members = 0;
    let mut seen = 0;
    let mut extensions = Extensions::default();
    let entries = archive.entries().map_err(|error| broken(error, members, seen))?;
    for entry in entries.raw(true) {
        let mut entry = entry.map_err(|error| broken(error, members, seen))?;
        seen += 1;
        if seen > limits.members.saturating_mul(3) {
            return Err(ReadArchiveError::TooMany { limit: limits.members });
        }
        match entry.header().entry_type() {
            EntryType::XHeader => {
                let mut read = Reading { members, receiver: &mut *receiver };
                let records = read.capped(&mut entry, "extension header", EXTENSION_LIMIT_BYTES)?;
                read_pax(&records, &mut extensions)
                    .map_err(|source| ReadArchiveError::Read { members, source })?;
            }
            EntryType::GNULongName => {
                let mut read = Reading { members, receiver: &mut *receiver };
                let mut name = read.capped(&mut entry, "long name", EXTENSION_LIMIT_BYTES)?;
                name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                extensions.path = Some(name);
            }
            // What is passed over has to come all the same, and may unpack from next to nothing.
            kind @ (EntryType::XGlobalHeader | EntryType::Directory) => {
                let (bytes, limit) = (entry.size(), EXTENSION_LIMIT_BYTES);
                if bytes > limit {
                    let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                    return Err(ReadArchiveError::TooLarge { path, bytes, limit });
                }
                if kind == EntryType::Directory {
                    extensions = Extensions::default();
                }
            }
            kind => {
                let Extensions { path, digest, path_digest } = std::mem::take(&mut extensions);
                let path = path.unwrap_or_else(|| entry.path_bytes().into_owned());
                if path_digest.is_some_and(|announced| Digest::of(&path) != announced) {
                    let path = String::from_utf8_lossy(&path).into_owned();
                    return Err(ReadArchiveError::DamagedName { members, path });
                }
                let mut read = Reading { members, receiver: &mut *receiver };
                if path == REPORT_NAME.as_bytes() {
                    let report = read.capped(&mut entry, REPORT_NAME, REPORT_LIMIT_BYTES)?;
                    read.reserve(report.len() as u64 * REPORT_TIMES)?;
                    let report: ArchiveReport =
                        serde_json::from_slice(&report).map_err(ReadArchiveError::BadReport)?;
                    if report.metrics != members {
                        return Err(ReadArchiveError::Miscounted { members, sent: report.metrics });
                    }
                    return Ok(report);
                }
                if members == limits.members {
                    return Err(ReadArchiveError::TooMany { limit: limits.members });
                }
                let member = read.member(&mut entry, kind, &path, digest, limits)?;
                receiver
                    .take(member)
                    .map_err(|source| ReadArchiveError::NoRoom { members, source })?;
                members += 1;
            }
        }
    }
    Err(if seen == 0 {
        ReadArchiveError::NotATar(io::Error::new(io::ErrorKind::UnexpectedEof, "the body is empty"))
    } else {
        ReadArchiveError::CutOff { members }
    })
}

/// One step of the reading: what is held is asked for first.
struct Reading<'r, T> {
    /// How many whole members came before.
    members: u64,
    receiver: &'r mut T,
}

impl<T: Receiver> Reading<'_, T> {
    fn member<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        kind: EntryType,
        path: &[u8],
        announced: Option<Digest>,
        limits: Limits,
    ) -> Result<Member, ReadArchiveError> {
        let shown = String::from_utf8_lossy(path).into_owned();
        let not_a_metric =
            |what: String| ReadArchiveError::NotAMetric { path: shown.clone(), what };
        if !matches!(kind, EntryType::Regular | EntryType::Continuous) {
            return Err(not_a_metric(describe(kind).to_owned()));
        }
        let text =
            std::str::from_utf8(path).map_err(|_| not_a_metric("not named in UTF-8".into()))?;
        let text = text.strip_prefix("./").unwrap_or(text);
        let metric = MetricName::from_relative_path(Path::new(text))
            .map_err(|error| not_a_metric(format!("not named as a metric ({error})")))?;
        let meta = FileMeta {
            mode: entry.header().mode().unwrap_or(0o644) & 0o777,
            mtime: entry.header().mtime().unwrap_or(0),
        };
        let content = self.capped(entry, &shown, limits.member_bytes)?;
        Ok(Member { metric, meta, digest: Digest::of(&content), announced, content })
    }

    /// The whole of `entry`, which may be no longer than `limit`. What has not come yet is not asked for: the room grows
    /// with what is there, by as much again.
    fn capped<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        path: &str,
        limit: u64,
    ) -> Result<Vec<u8>, ReadArchiveError> {
        let bytes = entry.size();
        if bytes > limit {
            return Err(ReadArchiveError::TooLarge { path: path.to_owned(), bytes, limit });
        }
        let members = self.members;
        let mut content = Vec::new();
        loop {
            let there = content.len() as u64;
            let step = (bytes - there).min(there.max(RESERVE_LIMIT_BYTES));
            if step == 0 {
                return Ok(content);
            }
            // Extension headers are short, and many may come for one member.
            if limit > EXTENSION_LIMIT_BYTES {
                self.reserve(step)?;
            }
            content.reserve_exact(usize::try_from(step).unwrap_or(0));
            let read = entry.by_ref().take(step).read_to_end(&mut content);
            let read = read.map_err(|error| broken(error, members, 1))?;
            if (read as u64) < step {
                return Err(ReadArchiveError::CutOff { members });
            }
        }
    }

    fn reserve(&mut self, bytes: u64) -> Result<(), ReadArchiveError> {
        let members = self.members;
        let reserved = self.receiver.reserve(bytes);
        reserved.map_err(|source| ReadArchiveError::NoRoom { members, source })
    }
}

/// A record that cannot be read hides those behind it: what they would have said of the member is not guessed.
fn read_pax(records: &[u8], extensions: &mut Extensions) -> io::Result<()> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "malformed PAX records");
    for (key, value) in pax::records(records).ok_or_else(malformed)? {
        match key {
            b"path" => extensions.path = Some(value.to_vec()),
            key if key == DIGEST_RECORD.as_bytes() => extensions.digest = digest_in(value),
            key if key == PATH_DIGEST_RECORD.as_bytes() => {
                extensions.path_digest = digest_in(value);
            }
            _ => {}
        }
    }
    Ok(())
}

fn digest_in(value: &[u8]) -> Option<Digest> {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok())
}

fn describe(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Symlink => "a symbolic link",
        EntryType::Link => "a hard link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a FIFO",
        EntryType::GNUSparse => "a sparse file in GNU's own format",
        _ => "of a kind that is not known",
    }
}

fn broken(source: io::Error, members: u64, seen: u64) -> ReadArchiveError {
    match source.kind() {
        io::ErrorKind::UnexpectedEof if seen > 0 => ReadArchiveError::CutOff { members },
        _ if seen == 0 && is_parse_error(&source) => ReadArchiveError::NotATar(source),
        _ => ReadArchiveError::Read { members, source },
    }
}

/// Whether `error` speaks of the bytes, and not of the connection that brings them.
fn is_parse_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Other
            | io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::UnexpectedEof
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Problem;

    fn stream(names: &[&str]) -> Vec<u8> {
        let mut writer = ArchiveWriter::new(Vec::new());
        for name in names {
            let content = name.repeat(100).into_bytes();
            let meta = FileMeta { mode: 0o640, mtime: 1_700_000_000 };
            writer.append(&name.parse().unwrap(), meta, Digest::of(&content), &content).unwrap();
        }
        writer.leave_out(left_out("no such file")).unwrap();
        writer.finish().unwrap()
    }

    fn left_out(reason: &str) -> LeftOut {
        let metric = "gone.one".parse().unwrap();
        LeftOut { metric, problem: Problem::SourceMissing, reason: reason.into() }
    }

    fn read(bytes: &[u8]) -> (Vec<Member>, Result<ArchiveReport, ReadArchiveError>) {
        let mut members = Vec::new();
        let result = read_archive(bytes, Limits::default(), |member| members.push(member));
        (members, result)
    }

    #[test]
    fn what_is_written_is_read_with_digests_modes_times_and_the_report() {
        let long = format!("x.{}.{}", "long".repeat(50), "name".repeat(40));
        let (members, report) = read(&stream(&["a.b.c", &long, "_tagged.abc.def.d_DOT_x;k=v"]));
        let report = report.unwrap();
        assert_eq!(members.len(), 3);
        assert_eq!(report.metrics, 3);
        assert_eq!(report.left_out[0].problem, Problem::SourceMissing);
        assert_eq!(members[1].metric.as_str(), long);
        for member in &members {
            assert!(member.announced.is_some() && member.is_intact());
            assert_eq!(member.meta, FileMeta { mode: 0o640, mtime: 1_700_000_000 });
            assert_eq!(member.content, member.metric.as_str().repeat(100).into_bytes());
        }
    }

    /// Whatever single bit is another one, no content comes under a name that is not its own, and none that differs
    /// passes for intact.
    #[test]
    fn a_flipped_bit_anywhere_never_puts_a_content_under_another_name() {
        // Names that differ in one bit, some too long for the header.
        let long = |last: char| format!("x.{}.{}{last}", "long".repeat(40), "name".repeat(30));
        let names = [long('1'), long('3'), long('2'), "a.1".into(), "a.3".into()];
        let mut writer = ArchiveWriter::new(Vec::new());
        for name in &names {
            let meta = FileMeta { mode: 0o640, mtime: 1_700_000_000 };
            let content = name.as_bytes();
            writer.append(&name.parse().unwrap(), meta, Digest::of(content), content).unwrap();
        }
        let whole = writer.finish().unwrap();
        for (at, bit) in (0..whole.len() - 1024).flat_map(|at| [(at, 0), (at, 1), (at, 4)]) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            for member in read(&damaged).0.iter().filter(|member| member.is_intact()) {
                let is_its_own = member.content == member.metric.as_str().as_bytes();
                assert!(is_its_own, "byte {at}, bit {bit}: another content as {}", member.metric);
            }
        }
    }

    /// `GET /v1/archive` of a store in which nothing can be read would else note every metric of it.
    #[test]
    fn a_report_that_nobody_would_read_is_not_written() {
        let mut writer = ArchiveWriter::new(Vec::new());
        for _ in 0..METRICS_MOST {
            writer.leave_out(left_out("")).unwrap();
        }
        let error = writer.leave_out(left_out("")).unwrap_err().to_string();
        assert!(
            error.contains("65537 metrics cannot be sent, the last of them gone.one"),
            "{error}"
        );
        let report = read(&writer.finish().unwrap()).1.unwrap();
        assert_eq!(report.left_out.len(), METRICS_MOST);

        let mut writer = ArchiveWriter::new(Vec::new());
        let long = left_out(&"x".repeat(1 << 20));
        assert_eq!((0..20).take_while(|_| writer.leave_out(long.clone()).is_ok()).count(), 15);
        assert!(read(&writer.finish().unwrap()).1.is_ok());
    }

    #[test]
    fn a_stream_cut_anywhere_is_an_error_and_every_whole_member_before_it_came() {
        let whole = stream(&["a.b", "c.d"]);
        let report_starts = whole.len() - 1024 - 512 - 512;
        for cut in 0..report_starts + 512 + 1 {
            let (members, result) = read(&whole[..cut]);
            assert!(result.is_err(), "cut at {cut} of {}", whole.len());
            assert!(members.iter().all(Member::is_intact));
        }
    }

    #[test]
    fn a_stream_that_lost_a_member_is_no_whole_stream() {
        let whole = stream(&["a.b", "c.d"]);
        // Header and content of the extension, header and content of the metric.
        let member = 4 * 512;
        let (members, result) = read(&whole[member..]);
        assert_eq!(members.len(), 1);
        assert!(matches!(result, Err(ReadArchiveError::Miscounted { members: 1, sent: 2 })));
    }

    #[test]
    fn a_whole_stream_is_read_to_its_end() {
        let whole = stream(&["a.b"]);
        let mut rest = whole.as_slice();
        read_archive(&mut rest, Limits::default(), |_| {}).unwrap();
        assert!(rest.is_empty());
    }

    #[test]
    fn a_flipped_byte_is_seen_by_the_digest() {
        let mut bytes = stream(&["a.b"]);
        let at = bytes.windows(6).position(|w| w == b"a.ba.b").unwrap();
        bytes[at] ^= 1;
        let (members, result) = read(&bytes);
        assert!(result.is_ok());
        assert!(!members[0].is_intact());
    }

    #[test]
    fn bytes_that_are_no_tar_are_called_that() {
        for bytes in [&b""[..], &b"hello"[..], &[7u8; 4096][..]] {
            let (_, result) = read(bytes);
            assert!(matches!(result, Err(ReadArchiveError::NotATar(_))), "{result:?}");
        }
    }

    #[test]
    fn members_that_are_not_a_metric_end_the_reading_and_say_what_they_are() {
        let one = |path: &str, kind: EntryType| {
            let mut header = tar::Header::new_gnu();
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(kind);
            header.set_size(0);
            header.set_cksum();
            let mut builder = tar::Builder::new(Vec::new());
            builder.append(&header, io::empty()).unwrap();
            builder.into_inner().unwrap()
        };
        for (path, kind, said) in [
            ("a/b.wsp", EntryType::Symlink, "symbolic link"),
            ("a/b.wsp", EntryType::Link, "hard link"),
            ("a/b.wsp", EntryType::Char, "device"),
            ("/etc/a.wsp", EntryType::Regular, "not named as a metric"),
            ("../a.wsp", EntryType::Regular, "not named as a metric"),
            ("a/../../b.wsp", EntryType::Regular, "not named as a metric"),
            ("a/readme.txt", EntryType::Regular, "not named as a metric"),
        ] {
            let (members, result) = read(&one(path, kind));
            assert!(members.is_empty());
            assert!(result.unwrap_err().to_string().contains(said), "{path} {kind:?}");
        }
    }

    #[test]
    fn a_member_that_announces_more_than_the_limit_is_refused_unread() {
        let mut header = tar::Header::new_gnu();
        header.set_path("a/b.wsp").unwrap();
        header.set_size(10 * 1024 * 1024 * 1024);
        header.set_cksum();
        let (_, result) = read(header.as_bytes());
        assert!(matches!(result, Err(ReadArchiveError::TooLarge { .. })), "{result:?}");
    }

    /// Each of these would unpack for hours out of a small body.
    #[test]
    fn what_is_passed_over_may_not_be_long_either() {
        for kind in [EntryType::XGlobalHeader, EntryType::Directory, EntryType::XHeader] {
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_ustar();
            header.set_path("a").unwrap();
            header.set_entry_type(kind);
            header.set_size(1 << 40);
            header.set_cksum();
            tar.append(&header, io::empty()).unwrap();
            let (_, result) = read(&tar.into_inner().unwrap());
            assert!(
                matches!(result, Err(ReadArchiveError::TooLarge { bytes, .. }) if bytes == 1 << 40),
                "{kind:?}: {result:?}"
            );
        }
    }

    /// A receiver with little room.
    struct Small {
        left: u64,
        asked: Vec<u64>,
    }

    impl Receiver for &mut Small {
        fn reserve(&mut self, bytes: u64) -> Result<(), NoRoom> {
            self.asked.push(bytes);
            self.left = self.left.checked_sub(bytes).ok_or_else(|| NoRoom("full".into()))?;
            Ok(())
        }

        fn take(&mut self, _: Member) -> Result<(), NoRoom> {
            Ok(())
        }
    }

    #[test]
    fn room_is_asked_for_as_bytes_come_and_not_as_they_are_announced() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_path("a.wsp").unwrap();
        header.set_size(200 << 20);
        header.set_cksum();
        // Three MiB of the two hundred come.
        tar.append(&header, vec![0; 3 << 20].as_slice()).unwrap();
        let bytes = tar.into_inner().unwrap();
        let mut small = Small { left: u64::MAX, asked: Vec::new() };
        let result = receive_archive(&bytes[..512 + (3 << 20)], Limits::default(), &mut small);
        assert!(matches!(result, Err(ReadArchiveError::CutOff { members: 0 })), "{result:?}");
        assert_eq!(small.asked, [1 << 20, 1 << 20, 2 << 20]);
        let mut small = Small { left: 3 << 20, asked: Vec::new() };
        let result = receive_archive(bytes.as_slice(), Limits::default(), &mut small);
        assert!(matches!(result, Err(ReadArchiveError::NoRoom { .. })), "{result:?}");
    }

    #[test]
    fn more_members_than_allowed_are_refused() {
        let bytes = stream(&["a", "b", "c"]);
        let result =
            read_archive(bytes.as_slice(), Limits { members: 2, ..Limits::default() }, |_| {});
        assert!(matches!(result, Err(ReadArchiveError::TooMany { limit: 2 })), "{result:?}");
    }
}
