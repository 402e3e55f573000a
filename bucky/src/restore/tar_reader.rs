//! Reads a tar from any program: ustar, GNU's and POSIX's, with long names and sparse files of every format.
//!
//! Files that are too long for memory go into temporary files. Nothing in the archive is trusted. No number
//! in it sizes an allocation beyond a limit. Every header's checksum is verified. An archive without its end,
//! or with something after it, is not taken for a complete one. Sources: POSIX.1-2001, "ustar Interchange
//! Format" and "pax Extended Header"; GNU tar's manual, "Basic Tar Format" and "Storing Sparse Files".

use std::io::{self, Read};

use bucky_api::archive::FileMeta;
use bucky_whisper::Digest;
use tar::{EntryType, GnuExtSparseHeader, Header};

use super::extensions::{Extensions, checked};
use super::sparse::{FILE_BYTES_MOST, Layout, SpoolFailure, add_stretches, too_long};
use crate::spool::{Content, HELD_FILE_BYTES};
use crate::tar_records::{BLOCK, Stretch};

/// The longest extension header (records, a long name) that is read.
const EXTENSION_LIMIT_BYTES: u64 = 1024 * 1024;
/// The reason why a tar cannot be read any further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TarError {
    /// It is not a tar.
    #[error("not a tar archive")]
    NotATar,
    /// It ends in the middle of something.
    #[error("the archive is cut off in the middle of {what}")]
    CutOff { what: String },
    /// It lacks the end mark.
    #[error("the archive has no end mark: it was cut off")]
    NoEnd,
    /// A header is not valid.
    #[error(
        "the archive is damaged or was cut off by `bucky tar`: there is no header at byte {at}"
    )]
    Damaged { at: u64 },
    /// An extension header is longer than any real one.
    #[error(
        "the archive has an extension header of {bytes} bytes at byte {at}; the limit is {EXTENSION_LIMIT_BYTES}"
    )]
    LongExtension { bytes: u64, at: u64 },
    /// Something follows the end.
    #[error(
        "there is more data after the end of the archive; if the file has several archives, give them one at a time"
    )]
    MoreBehind,
    /// The thread that reads it stopped before the end.
    #[error("the archive was not read to its end; this is a defect of bucky, please report it")]
    Unfinished,
    /// The input fails, or its compression is damaged.
    #[error("cannot read the rest of the archive")]
    Read(#[source] io::Error),
}

/// A member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TarMember {
    /// Its path, unchanged.
    pub(crate) path: Vec<u8>,
    /// Its mode and modification time.
    pub(crate) meta: FileMeta,
    /// What it is.
    pub(crate) kind: MemberKind,
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MemberKind {
    /// A file; `is_sparse` if the archive stores it with holes.
    File { content: Content, digest: Digest, is_sparse: bool },
    /// A file that cannot be used, and the reason.
    Unusable(String),
    /// A folder.
    Folder,
    /// Something else, by its name.
    Other(&'static str),
}

/// Reads a tar member by member.
pub(crate) struct TarReader<R> {
    reader: R,
    at: u64,
    /// The longest file that is held in memory.
    held_bytes: u64,
}

impl<R: Read> TarReader<R> {
    /// Reads from `reader`.
    pub(crate) fn new(reader: R) -> Self {
        Self::holding_at_most(reader, HELD_FILE_BYTES)
    }

    /// Reads from `reader`; files longer than `held_bytes` go into temporary files.
    pub(super) fn holding_at_most(reader: R, held_bytes: u64) -> Self {
        Self { reader, at: 0, held_bytes }
    }

    /// The next member, or `None` at the end. At the end, everything up to the last byte is checked.
    ///
    /// # Errors
    /// [`TarError`]; nothing more can be read then.
    pub(crate) fn next(&mut self) -> Result<Option<TarMember>, TarError> {
        let mut extensions = Extensions::default();
        loop {
            let at = self.at;
            let Some(header) = self.header()? else {
                if extensions.is_there {
                    // The extension is about a member, and that is missing.
                    return Err(TarError::Damaged { at });
                }
                self.end()?;
                return Ok(None);
            };
            let kind = header.entry_type();
            let size = header.entry_size().map_err(|_| TarError::Damaged { at })?;
            match kind {
                EntryType::XHeader => {
                    extensions.is_there = true;
                    let bytes = self.extension(size, at)?;
                    extensions.read(&bytes).ok_or(TarError::Damaged { at })?;
                }
                EntryType::GNULongName => {
                    extensions.is_there = true;
                    let mut name = self.extension(size, at)?;
                    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                    extensions.path = Some(name);
                }
                // What they say about all members, or about the target of a link, is not needed.
                EntryType::XGlobalHeader | EntryType::GNULongLink => {
                    self.extension(size, at)?;
                }
                _ => return self.member(&header, size, extensions).map(Some),
            }
        }
    }

    /// The next header, or `None` if there is an empty block instead.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let at = self.at;
        let mut header = Header::new_old();
        match self.fill(header.as_mut_bytes())? {
            0 if at == 0 => return Err(TarError::NotATar),
            0 => return Err(TarError::NoEnd),
            BLOCK => {}
            _ if at == 0 => return Err(TarError::NotATar),
            _ => return Err(TarError::CutOff { what: "a header".into() }),
        }
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if header.cksum().ok() != Some(checksum(&header)) {
            return Err(if at == 0 { TarError::NotATar } else { TarError::Damaged { at } });
        }
        Ok(Some(header))
    }

    /// Reads what follows the first empty block: only zeros are allowed. Some programs do not write the
    /// second block.
    fn end(&mut self) -> Result<(), TarError> {
        let mut block = [0; BLOCK];
        loop {
            let read = self.fill(&mut block)?;
            if block.get(..read).is_some_and(|block| block.iter().any(|byte| *byte != 0)) {
                return Err(TarError::MoreBehind);
            }
            if read < BLOCK {
                return Ok(());
            }
        }
    }

    fn extension(&mut self, bytes: u64, at: u64) -> Result<Vec<u8>, TarError> {
        if bytes > EXTENSION_LIMIT_BYTES {
            return Err(TarError::LongExtension { bytes, at });
        }
        self.data(bytes, &|| "an extension header".into())
    }

    fn member(
        &mut self,
        header: &Header,
        size: u64,
        extensions: Extensions,
    ) -> Result<TarMember, TarError> {
        let size = extensions.bytes.unwrap_or(size);
        let meta = FileMeta {
            mode: header.mode().unwrap_or(0o644) & 0o777,
            mtime: extensions.mtime.or_else(|| header.mtime().ok()).unwrap_or(0),
        };
        let Extensions { path, comment, sparse, .. } = extensions;
        let recorded = sparse.name.clone().or(path);
        let path_digest = recorded.as_ref().map(|path| Digest::of(path));
        let path = recorded.unwrap_or_else(|| header.path_bytes().into_owned());
        let shown = || String::from_utf8_lossy(&path).into_owned();
        let layout = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous if !path.ends_with(b"/") => sparse.layout(),
            EntryType::GNUSparse => {
                let map = self.gnu_sparse(header, &shown)?;
                map.map(|(bytes, map)| Layout::Mapped(bytes, map))
            }
            kind => {
                // A link may state the length of its target; it has no content.
                let has_none = matches!(kind, EntryType::Link | EntryType::Symlink);
                self.skip(if has_none { 0 } else { size }, &shown)?;
                return Ok(TarMember { kind: described(kind), path, meta });
            }
        };
        let is_sparse = layout.as_ref().is_ok_and(|layout| !matches!(layout, Layout::Whole));
        let content = self.content(size, layout, &shown)?;
        let digest = content.and_then(|content| {
            checked(&content, comment, path_digest).map(|digest| (content, digest))
        });
        let kind = digest.map(|(content, digest)| MemberKind::File { content, digest, is_sparse });
        Ok(TarMember { kind: kind.unwrap_or_else(MemberKind::Unusable), path, meta })
    }

    /// The file whose data in the archive has this many bytes, or the reason why it cannot be used.
    fn content(
        &mut self,
        bytes: u64,
        layout: Result<Layout, String>,
        shown: &impl Fn() -> String,
    ) -> Result<Result<Content, String>, TarError> {
        let layout = match layout {
            Ok(_) if bytes > FILE_BYTES_MOST => Err(too_long(bytes)),
            layout => layout,
        };
        match layout {
            Err(reason) => {
                self.skip(bytes, shown)?;
                Ok(Err(reason))
            }
            Ok(layout) if layout.len_bytes(bytes) <= self.held_bytes => {
                let stored = self.data(bytes, shown)?;
                Ok(layout.content(stored).map(Content::Held))
            }
            Ok(layout) => self.spooled(bytes, layout, shown),
        }
    }

    /// A file that is too long for memory, in a temporary file, or the reason why it cannot be used.
    fn spooled(
        &mut self,
        bytes: u64,
        layout: Layout,
        shown: &impl Fn() -> String,
    ) -> Result<Result<Content, String>, TarError> {
        let mut stored = self.reader.by_ref().take(bytes);
        let spool = layout.spool(&mut stored);
        let left = stored.limit();
        self.at += bytes - left;
        // The rest of a file that cannot be used, and the padding of the last block.
        let rest = left + filling(bytes);
        match spool {
            Ok(spool) => {
                self.pass_over(rest, shown)?;
                Ok(Ok(Content::Spooled(spool)))
            }
            Err(SpoolFailure::File(reason)) => {
                self.pass_over(rest, shown)?;
                Ok(Err(reason))
            }
            Err(SpoolFailure::Archive(error)) => Err(broken(error, shown)),
        }
    }

    /// The length of a sparse file in the old format, and where its data is; reads its further headers.
    fn gnu_sparse(
        &mut self,
        header: &Header,
        shown: &impl Fn() -> String,
    ) -> Result<Result<(u64, Vec<Stretch>), String>, TarError> {
        let Some(gnu) = header.as_gnu() else {
            return Ok(
                Err("it is sparse as in GNU tar, but its header is not from GNU tar".into()),
            );
        };
        let mut stretches = Ok(Vec::new());
        add_stretches(&mut stretches, &gnu.sparse);
        let mut is_extended = gnu.is_extended();
        while is_extended {
            let mut more = GnuExtSparseHeader::new();
            if self.fill(more.as_mut_bytes())? < BLOCK {
                return Err(TarError::CutOff { what: shown() });
            }
            add_stretches(&mut stretches, &more.sparse);
            is_extended = more.is_extended();
        }
        let real = gnu.real_size().map_err(|_| "cannot read its real length".to_owned());
        Ok(stretches.and_then(|stretches| Ok((real?, stretches))))
    }

    /// Reads this many bytes, and the padding of the last block.
    fn data(&mut self, bytes: u64, what: &impl Fn() -> String) -> Result<Vec<u8>, TarError> {
        let mut data = Vec::new();
        // The buffer grows with the data that arrives, not by the announced length.
        let read = self.reader.by_ref().take(bytes).read_to_end(&mut data);
        let read = read.map_err(|error| broken(error, what))?;
        self.at += read as u64;
        if (read as u64) < bytes {
            return Err(TarError::CutOff { what: what() });
        }
        self.pass_over(filling(bytes), what)?;
        Ok(data)
    }

    /// Skips this many bytes, and the padding of the last block.
    fn skip(&mut self, bytes: u64, what: &impl Fn() -> String) -> Result<(), TarError> {
        self.pass_over(bytes.saturating_add(filling(bytes)), what)
    }

    fn pass_over(&mut self, bytes: u64, what: &impl Fn() -> String) -> Result<(), TarError> {
        let skipped = io::copy(&mut self.reader.by_ref().take(bytes), &mut io::sink());
        let skipped = skipped.map_err(|error| broken(error, what))?;
        self.at += skipped;
        if skipped < bytes { Err(TarError::CutOff { what: what() }) } else { Ok(()) }
    }

    /// Fills `buffer` as far as possible.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(error, &|| "the archive".into())),
            }
        }
        self.at += filled as u64;
        Ok(filled)
    }
}

/// The error of an input that ends too early, such as a decompressor's, or that fails.
fn broken(error: io::Error, what: &impl Fn() -> String) -> TarError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return TarError::CutOff { what: what() };
    }
    TarError::Read(error)
}

fn filling(bytes: u64) -> u64 {
    (BLOCK as u64 - bytes % BLOCK as u64) % BLOCK as u64
}

/// The sum of all bytes of a header; those of the checksum itself count as spaces.
fn checksum(header: &Header) -> u32 {
    let bytes = header.as_bytes();
    let (before, rest) = bytes.split_at(148);
    let after = rest.get(8..).unwrap_or_default();
    before.iter().chain(after).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * u32::from(b' ')
}

/// The kind of a member that is not a file.
fn described(kind: EntryType) -> MemberKind {
    match kind {
        // An old tar marks a folder by the end of its name; in an incremental one it has a list as its
        // content.
        EntryType::Directory | EntryType::Regular | EntryType::Continuous => MemberKind::Folder,
        // The name of a volume.
        kind if matches!(kind.as_byte(), b'D' | b'V') => MemberKind::Folder,
        EntryType::Symlink => MemberKind::Other("a symbolic link"),
        EntryType::Link => MemberKind::Other("a hard link"),
        EntryType::Char | EntryType::Block => MemberKind::Other("a device"),
        EntryType::Fifo => MemberKind::Other("a FIFO"),
        _ => MemberKind::Other("of an unknown kind"),
    }
}
