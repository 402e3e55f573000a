//! Sparse files in a tar: where their data lies, in each of the formats in which GNU tar has told it.
//!
//! Pure: what headers and records say in, whole contents out. A map that does not fit its data makes no file. Source: GNU
//! tar's manual, "Storing Sparse Files".

use tar::GnuSparseHeader;

use super::tar_reader::FILE_LIMIT_BYTES;
use crate::tar_records::{BLOCK, Stretch, decimal, spread};

/// The most stretches of a sparse file: every other block of the longest one.
const STRETCHES_MOST: usize = 512 * 1024;

/// What records say of a sparse file.
#[derive(Default)]
pub(super) struct SparseRecords {
    is_there: bool,
    version: (Option<u64>, Option<u64>),
    /// Its name; that of the member is made up then.
    pub(super) name: Option<Vec<u8>>,
    real_bytes: Option<u64>,
    stretches: Vec<u64>,
    is_malformed: bool,
}

/// Why a file of so many bytes is not read.
pub(super) fn too_long(bytes: u64) -> String {
    format!("it has {bytes} bytes; the limit is {FILE_LIMIT_BYTES}")
}

/// Adds what a header of the old format says.
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
            _ => *stretches = Err("cannot read the map of its holes".into()),
        }
    }
}

/// A sparse file of so many bytes as it was.
///
/// # Errors
/// Why it cannot be made, in words.
pub(super) fn placed(
    real_bytes: u64,
    stretches: &[Stretch],
    stored: &[u8],
) -> Result<Vec<u8>, String> {
    let len = usize::try_from(real_bytes).ok().filter(|_| real_bytes <= FILE_LIMIT_BYTES);
    let len = len.ok_or_else(|| too_long(real_bytes))?;
    spread(len, stretches, stored).ok_or_else(|| "the map of its holes is damaged".to_owned())
}

impl SparseRecords {
    /// Takes a record whose key begins with `GNU.sparse.`; `key` is the rest of it.
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

    /// The file of which `stored` is what the archive has.
    ///
    /// # Errors
    /// Why it cannot be made, in words.
    pub(super) fn content(self, stored: Vec<u8>) -> Result<Vec<u8>, String> {
        if !self.is_there {
            return Ok(stored);
        }
        let real = self.real_bytes.ok_or("it is sparse, but its real length is not given")?;
        if self.is_malformed {
            return Err("cannot read the map of its holes".into());
        }
        match self.version {
            (None, None) | (Some(0), _) => {
                let stretches =
                    pairs(&self.stretches).ok_or("the map of its holes is not valid")?;
                placed(real, &stretches, &stored)
            }
            (Some(1), Some(0)) => {
                let (stretches, data) =
                    map_before(&stored).ok_or("cannot read the map of its holes")?;
                placed(real, &stretches, data)
            }
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

/// The map that stands before the data in whole blocks: a count, and then two numbers for each stretch, a line each.
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
