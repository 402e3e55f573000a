//! Sparse files in a tar: where their data is, in each of the formats that GNU tar has used.
//!
//! Takes what headers and records say, and returns whole contents: in memory, or for longer files in a
//! temporary file. A map that does not fit its data is refused. Source: GNU tar's manual, "Storing Sparse
//! Files".

use std::io::{self, Read};

use tar::GnuSparseHeader;

use crate::spool::{CopyError, Spool, SpoolWriter};
use crate::tar_records::{BLOCK, STRETCHES_MOST, Stretch, decimal, spread};

/// What the records of a member say about a sparse file.
#[derive(Default)]
pub(super) struct SparseRecords {
    is_there: bool,
    version: (Option<u64>, Option<u64>),
    /// The name of the file; the member's own name is a substitute then.
    pub(super) name: Option<Vec<u8>>,
    real_bytes: Option<u64>,
    stretches: Vec<u64>,
    is_malformed: bool,
}

/// The longest file that is read: a Whisper file cannot be longer.
pub(super) const FILE_BYTES_MOST: u64 = 13 * u32::MAX as u64;
/// The longest map before the data: the count and two numbers for each stretch, one a line.
const MAP_BYTES_MOST: usize = 2 * STRETCHES_MOST * 21 + 24;

/// The reason why a file of this length is not read.
pub(super) fn too_long(bytes: u64) -> String {
    format!("it has {bytes} bytes; the limit is {FILE_BYTES_MOST}")
}

/// Where the data of a sparse file is.
pub(super) enum Layout {
    /// It has no holes.
    Whole,
    /// The file has this many bytes, and this map.
    Mapped(u64, Vec<Stretch>),
    /// The file has this many bytes, and its map comes before the data.
    MapBefore(u64),
}

/// The reason why a long file was not read.
pub(super) enum SpoolFailure {
    /// The archive cannot be read any further.
    Archive(io::Error),
    /// It is not a valid sparse file, or there is no room for it; as text.
    File(String),
}

impl Layout {
    /// The length of the file, or the length of `stored`, its data in the archive, if that is larger.
    pub(super) fn len_bytes(&self, stored: u64) -> u64 {
        let real = match self {
            Self::Whole => stored,
            Self::Mapped(real, _) | Self::MapBefore(real) => *real,
        };
        real.max(stored)
    }

    /// The content of the file; `stored` is its data in the archive.
    ///
    /// # Errors
    /// The reason why it cannot be built.
    pub(super) fn content(self, stored: Vec<u8>) -> Result<Vec<u8>, String> {
        match self {
            Self::Whole => Ok(stored),
            Self::Mapped(real, stretches) => placed(real, &stretches, &stored),
            Self::MapBefore(real) => {
                let (stretches, data) = map_before(&stored).ok_or(UNREADABLE_MAP)?;
                placed(real, &stretches, data)
            }
        }
    }

    /// The content of a long file in a temporary file; `stored` reads its data in the archive.
    ///
    /// # Errors
    /// [`SpoolFailure`]; some of `stored` may not have been read then.
    pub(super) fn spool<R: Read>(self, stored: &mut io::Take<R>) -> Result<Spool, SpoolFailure> {
        let (real, stretches) = match self {
            Self::Whole => {
                let bytes = stored.limit();
                (bytes, vec![Stretch { offset: 0, bytes }])
            }
            Self::Mapped(real, stretches) => (real, stretches),
            Self::MapBefore(real) => (real, read_map(stored)?),
        };
        if real > FILE_BYTES_MOST {
            return Err(SpoolFailure::File(too_long(real)));
        }
        let unwritten = |error: io::Error| SpoolFailure::File(error.to_string());
        let damaged = || SpoolFailure::File(DAMAGED_MAP.to_owned());
        let mut writer = SpoolWriter::begin().map_err(unwritten)?;
        for Stretch { offset, bytes } in stretches {
            let hole = offset.checked_sub(writer.len_bytes());
            let end = offset.checked_add(bytes).filter(|end| *end <= real);
            let (Some(hole), Some(_), true) = (hole, end, bytes <= stored.limit()) else {
                return Err(damaged());
            };
            writer.hole(hole);
            writer.copy(stored, bytes).map_err(|error| match error {
                CopyError::Read(error) => SpoolFailure::Archive(error),
                CopyError::Write(error) => unwritten(error),
            })?;
        }
        if stored.limit() > 0 {
            return Err(damaged());
        }
        writer.hole(real - writer.len_bytes());
        writer.finish().map_err(unwritten)
    }
}

const UNREADABLE_MAP: &str = "cannot read the map of its holes";
const DAMAGED_MAP: &str = "the map of its holes is damaged";

/// Reads the map before the data, block by block.
fn read_map<R: Read>(stored: &mut io::Take<R>) -> Result<Vec<Stretch>, SpoolFailure> {
    let unreadable = || SpoolFailure::File(UNREADABLE_MAP.to_owned());
    let mut map = Vec::new();
    let (mut lines, mut wanted) = (0, None);
    while wanted.is_none_or(|wanted| lines < wanted) {
        if map.len() > MAP_BYTES_MOST || stored.limit() < BLOCK as u64 {
            return Err(unreadable());
        }
        let mut block = [0; BLOCK];
        stored.read_exact(&mut block).map_err(SpoolFailure::Archive)?;
        map.extend_from_slice(&block);
        lines += block.iter().filter(|byte| **byte == b'\n').count();
        if wanted.is_none() && lines > 0 {
            let count = map.split(|byte| *byte == b'\n').next().and_then(decimal::<usize>);
            let count = count.filter(|count| *count <= STRETCHES_MOST).ok_or_else(unreadable)?;
            wanted = Some(1 + 2 * count);
        }
    }
    map_before(&map).map(|(stretches, _)| stretches).ok_or_else(unreadable)
}

/// Adds the stretches of a header in the old format.
pub(super) fn add_stretches(
    stretches: &mut Result<Vec<Stretch>, String>,
    headers: &[GnuSparseHeader],
) {
    for header in headers.iter().filter(|header| !header.is_empty()) {
        let Ok(known) = stretches else { return };
        match (header.offset(), header.length()) {
            (Ok(offset), Ok(bytes)) if known.len() < STRETCHES_MOST => {
                known.push(Stretch { offset, bytes });
            }
            _ => *stretches = Err(UNREADABLE_MAP.into()),
        }
    }
}

/// A sparse file of this length, with its holes as zeros.
///
/// # Errors
/// The reason why it cannot be built.
fn placed(real_bytes: u64, stretches: &[Stretch], stored: &[u8]) -> Result<Vec<u8>, String> {
    let len = usize::try_from(real_bytes).map_err(|_| too_long(real_bytes))?;
    spread(len, stretches, stored).ok_or_else(|| DAMAGED_MAP.to_owned())
}

impl SparseRecords {
    /// Reads a record whose key is `GNU.sparse.` followed by `key`.
    pub(super) fn read(&mut self, key: &[u8], value: &[u8]) {
        self.is_there = true;
        let number = decimal::<u64>(value);
        let mut numbers = Vec::new();
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"major" => self.version.0 = number,
            b"minor" => self.version.1 = number,
            b"size" | b"realsize" => self.real_bytes = number,
            b"offset" | b"numbytes" => numbers.push(number),
            b"map" => numbers.extend(value.split(|byte| *byte == b',').map(decimal)),
            _ => {}
        }
        let room = 2 * STRETCHES_MOST - self.stretches.len().min(2 * STRETCHES_MOST);
        self.is_malformed |= numbers.len() > room || numbers.iter().any(Option::is_none);
        self.stretches.extend(numbers.into_iter().flatten().take(room));
    }

    /// Where the data of the member is.
    ///
    /// # Errors
    /// The reason why that is unknown.
    pub(super) fn layout(self) -> Result<Layout, String> {
        if !self.is_there {
            return Ok(Layout::Whole);
        }
        let real = self.real_bytes.ok_or("it is sparse, but its real length is not given")?;
        if self.is_malformed {
            return Err(UNREADABLE_MAP.into());
        }
        match self.version {
            (None, None) | (Some(0), _) => {
                let stretches =
                    pairs(&self.stretches).ok_or("the map of its holes is not valid")?;
                Ok(Layout::Mapped(real, stretches))
            }
            (Some(1), Some(0)) => Ok(Layout::MapBefore(real)),
            (major, minor) => Err(format!(
                "it has the unknown sparse format {}.{}; create the archive without --sparse",
                major.unwrap_or_default(),
                minor.unwrap_or_default()
            )),
        }
    }
}

fn pairs(numbers: &[u64]) -> Option<Vec<Stretch>> {
    let (pairs, rest) = numbers.as_chunks();
    let stretches = pairs.iter().map(|[offset, bytes]| Stretch { offset: *offset, bytes: *bytes });
    rest.is_empty().then(|| stretches.collect())
}

/// The map before the data, in whole blocks: a count, and then two numbers for each stretch, one a line.
fn map_before(stored: &[u8]) -> Option<(Vec<Stretch>, &[u8])> {
    let mut at = 0;
    let mut number = || {
        let rest = stored.get(at..)?;
        let end = rest.iter().take(24).position(|byte| *byte == b'\n')?;
        at += end + 1;
        decimal::<u64>(rest.get(..end)?)
    };
    let count = usize::try_from(number()?).ok().filter(|count| *count <= STRETCHES_MOST)?;
    let mut stretches = Vec::new();
    for _ in 0..count {
        stretches.push(Stretch { offset: number()?, bytes: number()? });
    }
    Some((stretches, stored.get(at.next_multiple_of(BLOCK)..)?))
}
