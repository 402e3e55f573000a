//! Filling a file that is too large for memory from another that is.
//!
//! The rules are those of [`crate::fill()`], and it is what applies them: both files are cut into windows of time, each archive's
//! part of a window becomes an archive of a small image, and the images are filled. Windows begin and end where a slot of the
//! destination's coarsest archive does, so that no span of a roll-up lies in two of them. Memory is bounded by the window,
//! not by the file, and nothing is mapped: a file that a writer truncates meanwhile is an error, not a signal.
//!
//! Only files with archives as whisper.py creates them are filled so: the coarser archives reach farther back, and each step
//! divides the next.

mod count;
mod filling;
mod late;
mod reshape;
mod side;
mod window;

use std::fs::File;
use std::io;

use self::count::coverage_of;
use self::filling::{Act, Filling};
pub use self::late::{BLOCK_DIGESTS_MOST_BYTES, BlockDigests, Carried, carry_late};
pub use self::reshape::{LostPoints, large_header, lost_by_reshape, reshape_large};
pub use self::side::LargeBytes;
use self::side::{SLOT_BYTES, Side};
use crate::fill::{Coverage, FillOptions};
use crate::header::{Header, HeaderError};

/// How many slots of both files are held at once, about; more only where a slot of the coarsest archive spans more.
const WINDOW_SLOTS: u32 = 256 * 1024;
/// The most slots of both files that are held at once; a header that would need more is not one of a file that is in use.
const WINDOW_SLOTS_MOST: i64 = 4 * WINDOW_SLOTS as i64;
/// How many seconds before the later clock's window are looked at for points that still count by the earlier.
const CLOCKS_APART_MOST: u32 = 24 * 3600;

/// How many bytes a [`fill_large`] takes at most: the slots of both files, as they are stored and as images, the plan, and
/// its marks.
pub const LARGE_FILL_BYTES: u64 = 4 * WINDOW_SLOTS_MOST.unsigned_abs() * SLOT_BYTES;

/// What such a fill did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LargeFill {
    /// Slots that were not valid and got the source's value (R2).
    pub points_filled: u64,
    /// Slots that were rolled up anew (R3), to a value that they did not have.
    pub points_rolled_up: u64,
    /// Which points of the source the destination holds now, as [`Coverage::of`] counts them.
    pub coverage: Coverage,
    /// The headers of the source and of the destination.
    pub headers: Option<(Header, Header)>,
}

impl LargeFill {
    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.points_filled + self.points_rolled_up == 0
    }
}

/// Why a large file was not filled, or only in part: filling it again does no harm.
#[derive(Debug, thiserror::Error)]
pub enum LargeFillError {
    /// The source is no file that can be filled from so.
    #[error("cannot fill from the source")]
    Source(#[source] UnfitError),
    /// The destination is no file that can be filled so.
    #[error("cannot fill the destination")]
    Destination(#[source] UnfitError),
    /// Somebody else wrote the first point of an archive at the same time.
    #[error("another process wrote the first point of an archive at the same time; fill it again")]
    Disturbed,
    /// One of the files cannot be read or written.
    #[error("cannot read or write a file")]
    Io(#[from] io::Error),
}

/// Why a file does not lend itself to it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum UnfitError {
    /// It is in go-carbon's compressed format.
    #[error("it is in go-carbon's compressed format, whose points cannot be read")]
    Compressed,
    /// Its header is damaged, or it is another kind of file.
    #[error("not a valid Whisper file")]
    Header(#[source] HeaderError),
    /// Its archives are not as whisper.py creates them, or so far apart that a window does not fit into memory.
    #[error(
        "it is too large to be filled in memory, and its archives are not laid out as whisper.py does it"
    )]
    Layout,
}

/// Fills `destination` from `source`, both of any size, in bounded memory. The caller holds their locks, and syncs.
///
/// # Errors
/// [`LargeFillError`].
pub fn fill_large(
    source: &File,
    destination: &File,
    options: FillOptions,
) -> Result<LargeFill, LargeFillError> {
    fill_by((LargeBytes::File(source), destination), options, WINDOW_SLOTS, Act::Fill)
}

/// What a [`fill_large`] from `source` would come to. Nothing is written. Points that only the
/// earlier clock counts, and those in the future, are taken for filled although others may have their slots by then.
///
/// # Errors
/// [`LargeFillError`].
pub fn preview_large(
    source: LargeBytes<'_>,
    destination: &File,
    options: FillOptions,
) -> Result<LargeFill, LargeFillError> {
    fill_by((source, destination), options, WINDOW_SLOTS, Act::Preview)
}

/// Which points of `source` the file `destination` holds as it is.
///
/// # Errors
/// [`LargeFillError`].
pub fn coverage_large(
    source: &File,
    destination: &File,
    options: FillOptions,
) -> Result<Coverage, LargeFillError> {
    let done = fill_by((LargeBytes::File(source), destination), options, WINDOW_SLOTS, Act::Look)?;
    Ok(done.coverage)
}

fn fill_by(
    (bytes, file): (LargeBytes<'_>, &File),
    options: FillOptions,
    window_slots: u32,
    act: Act,
) -> Result<LargeFill, LargeFillError> {
    let source = Side::of(bytes)?.map_err(LargeFillError::Source)?;
    let destination = Side::of(LargeBytes::File(file))?.map_err(LargeFillError::Destination)?;
    let coverage = coverage_of(&source, &destination);
    let headers = Some((source.header.clone(), destination.header.clone()));
    let done = LargeFill { coverage, headers, ..LargeFill::default() };
    let mut filling = Filling { source, destination, file, act, options, done, has_ahead: false };
    filling.fill_windows(window_slots)?;
    let in_windows = filling.done.points_filled;
    filling.fill_edges()?;
    filling.fill_ahead(window_slots)?;
    filling.destination.check_bases()?;
    let mut done = filling.done;
    if act == Act::Fill && done.points_filled > in_windows {
        // What came last may be what points without place lie under, or stand where a point counted as held.
        done.coverage = fill_by((bytes, file), options, window_slots, Act::Look)?.coverage;
    }
    Ok(done)
}

#[cfg(test)]
mod tests;
