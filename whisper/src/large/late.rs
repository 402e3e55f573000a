//! Which points were written to a long file while another file was made from it.
//!
//! A copy of the whole file would be too large, so only the digests of its blocks are kept. In a block that
//! has changed, every point is looked up in the new file. A point that the new file lacks, or has with
//! another value, came late.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::LargeFillError;
use super::side::{LargeBytes, Ring, SLOT_BYTES, Side, Slot, is_valid, timestamp};
use crate::file::WhisperFile;
use crate::fill::FillOptions;
use crate::image::Point;
use crate::late::LatePoint;

/// The smallest length of a block.
const BLOCK_BYTES: u64 = 4096;
/// The most digests that are kept; a longer file gets longer blocks.
const BLOCKS_MOST: u64 = 512 * 1024;
/// How many bytes are read at once.
const READ_BYTES: u64 = 256 * 1024;
/// How many times to try again if another process writes the first point of an archive at the same time.
const TRIES: u32 = 4;

/// The most memory that the digests of a file's blocks take.
pub const BLOCK_DIGESTS_MOST_BYTES: u64 = 2 * (8 * BLOCKS_MOST + READ_BYTES);

/// The digests of a file's blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockDigests {
    block_bytes: u64,
    digests: Vec<u64>,
}

impl BlockDigests {
    /// The digests of `file` as it is now.
    ///
    /// # Errors
    /// The system's error if the file cannot be read.
    pub fn of(file: &File) -> io::Result<Self> {
        let len_bytes = file.metadata()?.len();
        let block_bytes = len_bytes.div_ceil(BLOCKS_MOST).next_multiple_of(BLOCK_BYTES);
        let block_bytes = block_bytes.max(BLOCK_BYTES);
        let mut digests = Vec::new();
        let mut buffer = vec![0; usize::try_from(block_bytes.max(READ_BYTES)).unwrap_or(0)];
        let per_read = (buffer.len() as u64 / block_bytes).max(1) * block_bytes;
        let mut at = 0;
        while at < len_bytes {
            let wanted = per_read.min(len_bytes - at);
            let Some(piece) = buffer.get_mut(..usize::try_from(wanted).unwrap_or(0)) else { break };
            let read = read_up_to(file, piece, at)?;
            let blocks = piece[..read].chunks(usize::try_from(block_bytes).unwrap_or(4096));
            digests.extend(blocks.map(xxhash_rust::xxh3::xxh3_64));
            if (read as u64) < wanted {
                break;
            }
            at += wanted;
        }
        Ok(Self { block_bytes, digests })
    }

    /// The byte ranges of the blocks that differ in `now`: where each begins and ends.
    fn changed<'d>(&'d self, now: &'d Self) -> impl Iterator<Item = (u64, u64)> + 'd {
        let is_other = |number: usize| now.digests.get(number) != self.digests.get(number);
        let changed = (0..now.digests.len()).filter(move |number| is_other(*number));
        changed.map(|number| {
            let begin = number as u64 * now.block_bytes;
            (begin, begin + now.block_bytes)
        })
    }
}

/// Reads until `buffer` is full or the file ends, and returns the number of bytes.
fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    struct At<'f>(&'f File, u64);
    impl Read for At<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read_at(buffer, self.1)?;
            self.1 += read as u64;
            Ok(read)
        }
    }
    let (mut reader, mut done) = (At(file, at), 0);
    while done < buffer.len() {
        match reader.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// The result of carrying points over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// The byte ranges of the blocks that had changed.
    changed: Vec<(u64, u64)>,
    /// How many of their points the new file still lacks: their slots hold newer timestamps, or the new file
    /// has no archive of their resolution that reaches back to them.
    pub lost: u64,
}

impl Carried {
    /// Whether no block had changed.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// Whether a changed block contains a byte of this range.
    pub(super) fn has_changed(&self, (begin, end): (u64, u64)) -> bool {
        let next = self.changed.partition_point(|(_, changed)| *changed <= begin);
        self.changed.get(next).is_some_and(|(changed, _)| *changed < end)
    }
}

/// Writes into `new`, which is locked and stored at `path`, the points that were written to `old` since
/// `before`. Updates `before` to the digests of `old` as it is now.
///
/// If a point lies inside the retention of a finer archive of `old`, only that archive counts: the point was
/// written there, and the coarser archives follow it. A coarser value that does not follow is copied as it
/// is. An old file that was truncated has no point that `new` lacks.
///
/// # Errors
/// [`LargeFillError`].
pub fn carry_late(
    before: &mut BlockDigests,
    (old, new): (&File, &File),
    path: &Path,
    options: FillOptions,
) -> Result<Carried, LargeFillError> {
    let now = BlockDigests::of(old)?;
    let changed: Vec<(u64, u64)> = before.changed(&now).collect();
    let mut tries = 0;
    let lost = loop {
        match carry(&changed, (old, new), path, options) {
            Err(LargeFillError::Disturbed) if tries < TRIES => tries += 1,
            Err(LargeFillError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                break 0;
            }
            carried => break carried?,
        }
    };
    *before = now;
    Ok(Carried { changed, lost })
}

/// Returns how many points `new` still lacks.
fn carry(
    changed: &[(u64, u64)],
    (old, new): (&File, &File),
    path: &Path,
    options: FillOptions,
) -> Result<u64, LargeFillError> {
    let mut lost = 0;
    if changed.is_empty() {
        return Ok(lost);
    }
    let Ok(old) = Side::of(LargeBytes::File(old))? else { return Ok(lost) };
    let now = options.clocks.latest;
    for block in changed {
        let into = Side::of(LargeBytes::File(new))?.map_err(LargeFillError::Destination)?;
        let late = late_points(&old, &into, *block, now)?;
        if late.is_empty() {
            continue;
        }
        let own = late.iter().filter(|late| late.is_own).map(Late::to_point);
        let (own, unplaced): (Vec<LatePoint>, Vec<LatePoint>) =
            own.partition(|late| late.own_archive(&into.header, now).is_some());
        lost += unplaced.len() as u64;
        let failed = |error: String| LargeFillError::Io(io::Error::other(error));
        let mut file = WhisperFile::of_locked(new.try_clone()?, path)
            .map_err(|error| failed(error.to_string()))?
            .with_aggregation_six(options.aggregation_six);
        file.update_late(&own, now).map_err(|error| failed(error.to_string()))?;
        let mut into = Side::of(LargeBytes::File(new))?.map_err(LargeFillError::Destination)?;
        for Late { step, slot, is_own } in late {
            let t = timestamp(&slot);
            let Some(ring) = into.ring_of(step) else { continue };
            let same = into.rings[ring];
            let there = into.slot(&same, t)?;
            if timestamp(&there) > t {
                lost += u64::from(!same.is_newer_turn(&there, t, now));
            } else if is_own || !is_valid(&there, t) {
                into.write(new, ring, t, &[slot])?;
            }
        }
        into.check_bases()?;
    }
    Ok(lost)
}

/// A point that came late.
struct Late {
    step: i64,
    slot: Slot,
    /// Whether it was written itself, and is not a roll-up of a finer point.
    is_own: bool,
}

impl Late {
    fn to_point(&self) -> LatePoint {
        let seconds_per_point = u32::try_from(self.step).unwrap_or(u32::MAX);
        LatePoint { seconds_per_point, point: Point::decode(&self.slot) }
    }
}

/// The points in this byte range of `old` that `new` lacks or has with another value. For a point inside the
/// retention of a finer archive, only a missing point counts.
fn late_points(
    old: &Side<'_>,
    new: &Side<'_>,
    (begin, end): (u64, u64),
    now: u32,
) -> Result<Vec<Late>, LargeFillError> {
    let (mut late, mut covered) = (Vec::new(), 0);
    for ring in &old.rings {
        let step = ring.step();
        if let Some((position, slots)) = slots_in_bytes(ring, begin, end) {
            let stored = old.stored_at(ring, position, slots)?;
            for (position, slot) in (position..).zip(stored) {
                let t = timestamp(&slot);
                if t < ring.oldest(now) || !is_valid(&slot, t) || !ring.is_position_of(position, t)
                {
                    continue;
                }
                let is_own = covered == 0 || i64::from(now) - t > covered;
                let there = match new.same(step) {
                    Some(same) => new.slot(&same, t)?,
                    None => [0; Point::SIZE_BYTES],
                };
                if (is_own && there != slot) || (!is_own && !is_valid(&there, t)) {
                    late.push(Late { step, slot, is_own });
                }
            }
        }
        covered = covered.max(step * i64::from(ring.archive.points));
    }
    Ok(late)
}

/// The slots of `ring` that have a byte in this range: the position of the first, and how many.
fn slots_in_bytes(ring: &Ring, begin: u64, end: u64) -> Option<(u32, usize)> {
    let offset = u64::from(ring.archive.offset);
    let first = begin.saturating_sub(offset) / SLOT_BYTES;
    let last = end.saturating_sub(offset).div_ceil(SLOT_BYTES).min(ring.archive.points.into());
    let slots = usize::try_from(last.saturating_sub(first)).ok().filter(|slots| *slots > 0)?;
    u32::try_from(first).ok().map(|first| (first, slots))
}
