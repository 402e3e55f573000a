//! Reading an archive stream: what is held is asked for first, and nothing is believed.

use std::io::{self, Read};
use std::path::Path;

use bucky_whisper::{Digest, MetricName};
use tar::EntryType;

use super::error::broken;
use super::{
    DIGEST_RECORD, FileMeta, PATH_DIGEST_RECORD, REPORT_LIMIT_BYTES, REPORT_NAME, ReadArchiveError,
    SPARSE_RECORD, pax,
};
use crate::types::ArchiveReport;

/// The largest extension header (PAX records, a long name) that is read.
const EXTENSION_LIMIT_BYTES: u64 = 64 * 1024;
/// How many times its length a report takes while it is read.
const REPORT_TIMES: u64 = 4;
/// What is read behind the report: two empty blocks, the filling of the last record, a coding's trailer.
const END_LIMIT_BYTES: u64 = 64 * 1024;
/// How much of a long member is handed out at once. A multiple of what a hole is made of.
const PIECE_BYTES: usize = 256 * 1024;
/// What is reserved for a member before its bytes have come.
const RESERVE_LIMIT_BYTES: u64 = 1024 * 1024;

/// One metric out of an archive stream.
#[derive(Debug)]
pub struct Member {
    /// The metric.
    pub metric: MetricName,
    /// Mode and mtime at the source.
    pub meta: FileMeta,
    /// The whole file.
    pub content: Vec<u8>,
    /// Whether the file has holes at the source.
    pub is_sparse: bool,
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

/// A metric whose file is too long to be held in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LargeMember {
    /// The metric.
    pub metric: MetricName,
    /// Mode and mtime at the source.
    pub meta: FileMeta,
    /// How long the file is.
    pub len_bytes: u64,
    /// Whether it has holes at the source.
    pub is_sparse: bool,
    /// The digest that was announced before it; where there is none, that in the report counts.
    pub announced: Option<Digest>,
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
    /// Told of a member within the limits before its bytes come: how many there will be, by the word of who sends it.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    fn announce(&mut self, _metric: &MetricName, _bytes: u64) -> Result<(), NoRoom> {
        Ok(())
    }

    /// Asked before `bytes` more are held, of a member that is coming or of the report. What was asked for is no longer
    /// needed once the next member comes.
    ///
    /// # Errors
    /// Where there is no room for them: the reading ends with [`ReadArchiveError::NoRoom`].
    fn reserve(&mut self, bytes: u64) -> Result<(), NoRoom>;

    /// What the next metric is read into: an empty buffer, or one that served before.
    fn buffer(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// Told of a member that is longer than [`Limits::member_bytes`] and is about to come. False, which is what a receiver
    /// says by default, ends the reading with [`ReadArchiveError::TooLarge`].
    fn begin_large(&mut self, _member: &LargeMember) -> bool {
        false
    }

    /// Takes the next piece of such a member.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    fn take_large_piece(&mut self, _piece: &[u8]) -> Result<(), NoRoom> {
        Ok(())
    }

    /// Such a member has come whole.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    fn end_large(&mut self) -> Result<(), NoRoom> {
        Ok(())
    }

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

/// Extension headers that belong to the next member.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    digest: Option<Digest>,
    path_digest: Option<Digest>,
    is_sparse: bool,
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
                let coming = read.coming(&entry, kind, &path, is_sparse, digest)?;
                read.member(&mut entry, coming, limits)?;
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
        coming: LargeMember,
        limits: Limits,
    ) -> Result<(), ReadArchiveError> {
        let members = self.members;
        let no_room = |source| ReadArchiveError::NoRoom { members, source };
        let shown = coming.metric.relative_path().display().to_string();
        if coming.len_bytes > limits.member_bytes && self.receiver.begin_large(&coming) {
            self.read_large(entry, coming.len_bytes)?;
            return self.receiver.end_large().map_err(no_room);
        }
        if coming.len_bytes <= limits.member_bytes {
            self.receiver.announce(&coming.metric, coming.len_bytes).map_err(no_room)?;
        }
        let buffer = self.receiver.buffer();
        let content = self.read_capped(entry, &shown, limits.member_bytes, buffer)?;
        let LargeMember { metric, meta, is_sparse, announced, .. } = coming;
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

    /// What an entry's headers say of it, if it is a metric's file.
    fn coming<R: Read>(
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

    /// The whole of `entry`, which may be no longer than `limit`. What has not come yet is not asked for: the room grows
    /// with what is there, by as much again.
    fn capped<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        path: &str,
        limit: u64,
    ) -> Result<Vec<u8>, ReadArchiveError> {
        self.read_capped(entry, path, limit, Vec::new())
    }

    /// The same, into `content`, of which only the room is used.
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

/// The digest that `value` is the text of. One that cannot be read was damaged on the way, and stands for one that nothing
/// that comes has: to pass it over would be to take what comes unseen.
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
