//! Reading an archive stream. The receiver is asked before memory is used, and nothing in the stream is
//! trusted.

use std::io::{self, Read};
use std::path::Path;

use bucky_whisper::{Digest, MetricName};
use tar::EntryType;

use super::error::broken;
use super::receiver::{LargeMember, Limits, Member, Receiver};
use super::{
    DIGEST_RECORD, FileMeta, PATH_DIGEST_RECORD, REPORT_LIMIT_BYTES, REPORT_NAME, ReadArchiveError,
    SPARSE_RECORD, pax,
};
use crate::types::ArchiveReport;

/// The largest extension header (PAX records, a long name) that is read.
const EXTENSION_LIMIT_BYTES: u64 = 64 * 1024;
/// How many times its own length a report takes in memory while it is read.
const REPORT_TIMES: u64 = 4;
/// The most bytes read after the report: two empty blocks, the padding of the last record, the trailer of the
/// encoding.
const END_LIMIT_BYTES: u64 = 64 * 1024;
/// How much of a long member is handed out at once. A multiple of the unit of holes.
const PIECE_BYTES: usize = 256 * 1024;
/// The most memory that is reserved for a member before its bytes have arrived.
const RESERVE_LIMIT_BYTES: u64 = 1024 * 1024;

/// Extension headers that apply to the next member.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    digest: Option<Digest>,
    path_digest: Option<Digest>,
    is_sparse: bool,
}

/// Reads an archive stream and hands each metric to `each` as soon as it is complete.
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

/// Reads an archive stream for a receiver that limits its memory.
///
/// Folders, which `tar c` adds, are skipped.
///
/// # Errors
/// [`ReadArchiveError`]. Members before the error have been handed out.
pub fn receive_archive<R: Read>(
    reader: R,
    limits: Limits,
    mut receiver: impl Receiver,
) -> Result<ArchiveReport, ReadArchiveError> {
    let mut archive = tar::Archive::new(reader);
    let report = read_members(&mut archive, limits, &mut receiver)?;
    // The rest is the end of the tar and of the encoding. It is read so that the sender does not see a broken
    // connection. It says nothing about the members, so a missing end does not matter.
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
            // A skipped entry must be read too, and can unpack from almost nothing.
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
                let Extensions { path, digest, path_digest, is_sparse } =
                    std::mem::take(&mut extensions);
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
                let head = read.member_head(&entry, kind, &path, is_sparse, digest)?;
                read.member(&mut entry, head, limits)?;
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

/// The state of a reading. The receiver is asked before memory is used.
struct Reading<'r, T> {
    /// How many complete members arrived before.
    members: u64,
    receiver: &'r mut T,
}

impl<T: Receiver> Reading<'_, T> {
    fn member<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        head: LargeMember,
        limits: Limits,
    ) -> Result<(), ReadArchiveError> {
        let members = self.members;
        let no_room = |source| ReadArchiveError::NoRoom { members, source };
        let shown = head.metric.relative_path().display().to_string();
        if head.len_bytes > limits.member_bytes && self.receiver.begin_large(&head) {
            self.read_large(entry, head.len_bytes)?;
            return self.receiver.end_large().map_err(no_room);
        }
        if head.len_bytes <= limits.member_bytes {
            self.receiver.announce(&head.metric, head.len_bytes).map_err(no_room)?;
        }
        let buffer = self.receiver.buffer();
        let content = self.read_capped(entry, &shown, limits.member_bytes, buffer)?;
        let LargeMember { metric, meta, is_sparse, announced, .. } = head;
        let digest = Digest::of(&content);
        let member = Member { metric, meta, is_sparse, digest, announced, content };
        self.receiver.take(member).map_err(no_room)
    }

    /// Hands out the content of a long member piece by piece.
    fn read_large<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        len_bytes: u64,
    ) -> Result<(), ReadArchiveError> {
        let members = self.members;
        let mut piece = vec![0; PIECE_BYTES];
        let mut left = len_bytes;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let Some(piece) = piece.get_mut(..wanted) else { break };
            entry.read_exact(piece).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => ReadArchiveError::CutOff { members },
                _ => broken(error, members, 1),
            })?;
            let taken = self.receiver.take_large_piece(piece);
            taken.map_err(|source| ReadArchiveError::NoRoom { members, source })?;
            left -= wanted as u64;
        }
        Ok(())
    }

    /// What the headers of an entry say about it, if it is a metric's file.
    fn member_head<R: Read>(
        &self,
        entry: &tar::Entry<'_, R>,
        kind: EntryType,
        path: &[u8],
        is_sparse: bool,
        announced: Option<Digest>,
    ) -> Result<LargeMember, ReadArchiveError> {
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
        Ok(LargeMember { metric, meta, len_bytes: entry.size(), is_sparse, announced })
    }

    /// All bytes of `entry`, at most `limit`. Memory is reserved only for bytes that have arrived: the buffer
    /// doubles as it fills.
    fn capped<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        path: &str,
        limit: u64,
    ) -> Result<Vec<u8>, ReadArchiveError> {
        self.read_capped(entry, path, limit, Vec::new())
    }

    /// Reads all bytes of `entry` into `content`, whose allocation is reused.
    fn read_capped<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        path: &str,
        limit: u64,
        mut content: Vec<u8>,
    ) -> Result<Vec<u8>, ReadArchiveError> {
        let bytes = entry.size();
        if bytes > limit {
            return Err(ReadArchiveError::TooLarge { path: path.to_owned(), bytes, limit });
        }
        let members = self.members;
        content.clear();
        loop {
            let there = content.len() as u64;
            let step = (bytes - there).min(there.max(RESERVE_LIMIT_BYTES));
            if step == 0 {
                return Ok(content);
            }
            // Extension headers are short, and one member can have many.
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

/// Takes over the records of an extension header. After a malformed record the rest cannot be read, so it is
/// an error: what it says about the member must not be guessed.
fn read_pax(records: &[u8], extensions: &mut Extensions) -> io::Result<()> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "malformed PAX records");
    for (key, value) in pax::records(records).ok_or_else(malformed)? {
        match key {
            b"path" => extensions.path = Some(value.to_vec()),
            key if key == DIGEST_RECORD.as_bytes() => extensions.digest = Some(digest_in(value)),
            key if key == SPARSE_RECORD.as_bytes() => extensions.is_sparse = value == b"1",
            key if key == PATH_DIGEST_RECORD.as_bytes() => {
                extensions.path_digest = Some(digest_in(value));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The digest in `value`. An unreadable digest was damaged on the way. It becomes a digest that no content
/// has, because ignoring it would accept the content unchecked.
fn digest_in(value: &[u8]) -> Digest {
    let digest = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    digest.unwrap_or_else(|| Digest::of(value))
}

fn describe(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Symlink => "a symbolic link",
        EntryType::Link => "a hard link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a FIFO",
        EntryType::GNUSparse => "a sparse file in GNU's own format",
        _ => "of an unknown kind",
    }
}
