//! Fills a file that is too large for memory from another one.
//!
//! The rules are those of [`crate::fill()`], which also applies them: both files are cut into windows of
//! time, each archive's part of a window becomes an archive of a small image, and the images are filled.
//! Windows begin and end at the borders of slots of the destination's coarsest archive, so that no span of a
//! roll-up is cut. Memory is bounded by the window, not by the file, and nothing is mapped: if a writer
//! truncates a file, that is an error, not a signal.
//!
//! Only files with archives as whisper.py creates them are accepted: coarser archives reach farther back, and
//! each step divides the next one.

mod count;
mod filling;
mod late;
mod reshape;
mod side;
mod window;

use std::fs::File;
use std::io;

use self::count::coverage_of;
use self::filling::{FillMode, WindowedFilling};
pub use self::late::{BLOCK_DIGESTS_MOST_BYTES, BlockDigests, Carried, carry_late};
pub use self::reshape::{LostPoints, large_header, lost_by_reshape, reshape_large};
pub use self::side::LargeBytes;
use self::side::{SLOT_BYTES, Side};
use crate::fill::{Coverage, FillOptions};
use crate::header::{Header, HeaderError};

/// About how many slots of both files are held at once. It is more only if one slot of the coarsest archive
/// spans more.
const WINDOW_SLOTS: u32 = 256 * 1024;
/// The most slots of both files that are held at once. A header that needs more does not belong to a file in
/// use.
const WINDOW_SLOTS_MOST: i64 = 4 * WINDOW_SLOTS as i64;
/// How many seconds before the later clock's window points are searched that are still valid by the earlier
/// clock.
const CLOCKS_APART_MOST: u32 = 24 * 3600;

/// The most bytes that a [`fill_large`] takes: the slots of both files, as stored and as images, the plan,
/// and its marks.
pub const LARGE_FILL_BYTES: u64 = 4 * WINDOW_SLOTS_MOST.unsigned_abs() * SLOT_BYTES;

/// The result of filling a large file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LargeFill {
    /// The number of slots that were not valid and got the source's value (R2).
    pub points_filled: u64,
    /// The number of slots that a new roll-up (R3) changed.
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

/// Why a large file was not filled, or only in part. It is safe to fill it again.
#[derive(Debug, thiserror::Error)]
pub enum LargeFillError {
    /// The source cannot be used for a fill of this kind.
    #[error("cannot fill from the source")]
    Source(#[source] UnfitError),
    /// The destination cannot be filled in this way.
    #[error("cannot fill the destination")]
    Destination(#[source] UnfitError),
    /// Another process wrote the first point of an archive at the same time.
    #[error("another process wrote the first point of an archive at the same time; fill it again")]
    Disturbed,
    /// One of the files cannot be read or written.
    #[error("cannot read or write a file")]
    Io(#[from] io::Error),
}

/// Why a file cannot be filled window by window.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum UnfitError {
    /// It is in go-carbon's compressed format.
    #[error("it is in go-carbon's compressed format, whose points cannot be read")]
    Compressed,
    /// Its header is damaged, or it is not a Whisper file.
    #[error("not a valid Whisper file")]
    Header(#[source] HeaderError),
    /// Its archives are not as whisper.py creates them, or so far apart that a window does not fit into
    /// memory.
    #[error(
        "it is too large to be filled in memory, and its archives are not laid out as whisper.py does it"
    )]
    Layout,
}

/// Fills `destination` from `source`, both of any size, in bounded memory. The caller holds their locks and
/// syncs.
///
/// # Errors
/// [`LargeFillError`].
pub fn fill_large(
    source: &File,
    destination: &File,
    options: FillOptions,
) -> Result<LargeFill, LargeFillError> {
    fill_by((LargeBytes::File(source), destination), options, WINDOW_SLOTS, FillMode::Fill)
}

/// What a [`fill_large`] from `source` would do. Nothing is written. Points that are valid only by the
/// earlier clock, and points in the future, are counted as filled, although another point may take their slot
/// during the fill.
///
/// # Errors
/// [`LargeFillError`].
pub fn preview_large(
    source: LargeBytes<'_>,
    destination: &File,
    options: FillOptions,
) -> Result<LargeFill, LargeFillError> {
    fill_by((source, destination), options, WINDOW_SLOTS, FillMode::Preview)
}

/// Which points of `source` the file `destination` holds now.
///
/// # Errors
/// [`LargeFillError`].
pub fn coverage_large(
    source: &File,
    destination: &File,
    options: FillOptions,
) -> Result<Coverage, LargeFillError> {
    let done =
        fill_by((LargeBytes::File(source), destination), options, WINDOW_SLOTS, FillMode::Count)?;
    Ok(done.coverage)
}

fn fill_by(
    (bytes, file): (LargeBytes<'_>, &File),
    options: FillOptions,
    window_slots: u32,
    mode: FillMode,
) -> Result<LargeFill, LargeFillError> {
    let source = Side::of(bytes)?.map_err(LargeFillError::Source)?;
    let destination = Side::of(LargeBytes::File(file))?.map_err(LargeFillError::Destination)?;
    let coverage = coverage_of(&source, &destination);
    let headers = Some((source.header.clone(), destination.header.clone()));
    let done = LargeFill { coverage, headers, ..LargeFill::default() };
    let mut filling = WindowedFilling {
        source,
        destination,
        file,
        mode,
        options,
        done,
        has_future_points: false,
    };
    filling.fill_windows(window_slots)?;
    let in_windows = filling.done.points_filled;
    filling.fill_edges()?;
    filling.fill_future(window_slots)?;
    filling.destination.check_bases()?;
    let mut done = filling.done;
    if mode == FillMode::Fill && done.points_filled > in_windows {
        // The slots that were filled last may lie over points without a place, or may have displaced a held
        // point.
        done.coverage = fill_by((bytes, file), options, window_slots, FillMode::Count)?.coverage;
    }
    Ok(done)
}

#[cfg(test)]
mod tests;
