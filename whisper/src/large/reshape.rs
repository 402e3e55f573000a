//! Gives a long file the archives of two files: [`crate::reshape()`] for files on disk, window by window.
//!
//! The owner's file may be written to during this. [`super::carry_late`] carries over its late points, and
//! [`lost_by_reshape`] decides whether a point is lost.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::filling::{FillMode, window_seconds};
use super::late::Carried;
use super::side::{LargeBytes, Ring, SLOT_BYTES, Side, Slot, is_valid, timestamp};
use super::{LargeFillError, UnfitError, WINDOW_SLOTS};
use crate::fill::{Coverage, FillOptions};
use crate::header::Header;
use crate::image::Point;
use crate::reshape::Layout;

/// A write ends at this many unchanged slots, so that holes stay holes.
const GAP_SLOTS: usize = 1024;
/// The position is recorded for this many lost points. Writers add fewer points while a file is rebuilt.
const LOST_NOTED: usize = 64 * 1024;

/// The header of a file that [`super::fill_large`] or [`reshape_large`] accepts, or the reason why they do
/// not.
///
/// # Errors
/// The system's error if the file cannot be read.
pub fn large_header(file: &File) -> std::io::Result<Result<Header, UnfitError>> {
    Ok(Side::of(LargeBytes::File(file))?.map(|side| side.header))
}

/// Writes into `new` the points that `owner` and `source` hold; if both have a value, that of `owner` is
/// kept. `new` must have the length that the header of `layout` states, and contain only zeros. Returns which
/// points of `source` the new file holds.
///
/// # Errors
/// [`LargeFillError`].
pub fn reshape_large(
    layout: &Layout,
    (owner, source): (&File, &File),
    new: &File,
    options: FillOptions,
) -> Result<Coverage, LargeFillError> {
    reshape_by(layout, (owner, source), new, options, WINDOW_SLOTS)
}

pub(super) fn reshape_by(
    layout: &Layout,
    (owner, source): (&File, &File),
    new: &File,
    options: FillOptions,
    window_slots: u32,
) -> Result<Coverage, LargeFillError> {
    new.write_all_at(&layout.header().encode(), 0)?;
    place_by(owner, new, options, window_slots)?;
    let run =
        |source, mode| super::fill_by((LargeBytes::File(source), new), options, window_slots, mode);
    run(owner, FillMode::Fill)?;
    run(source, FillMode::Fill)?;
    // A new archive in between may have changed roll-ups of coarser points. Restore the values that the owner
    // knew.
    place_by(owner, new, options, window_slots)?;
    Ok(run(source, FillMode::Count)?.coverage)
}

/// Copies every valid point of `owner` into the archive of the same resolution of `new`. No other process may
/// write to `new`.
fn place_by(
    owner: &File,
    new: &File,
    options: FillOptions,
    window_slots: u32,
) -> Result<(), LargeFillError> {
    let mut pair = Pair::of(owner, new)?;
    for ring in pair.owner.rings.clone() {
        let Some(into) = pair.new.ring_of(ring.step()) else { continue };
        pair.each_window(&ring, options, window_slots, |pair, first, points| {
            let Some(same) = pair.new.rings.get(into).copied() else { return Ok(()) };
            let there = pair.new.stored(&same, first, points.len())?;
            let changed = changed_runs(first, ring.step(), points, &there);
            for (first, slots) in changed {
                pair.new.write(new, into, first, &slots)?;
            }
            Ok(())
        })?;
    }
    pair.new.check_bases()
}

/// The points of an owner's file that the new file does not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LostPoints {
    /// The number of points.
    pub count: u64,
    /// The offsets of the first ones in the owner's file.
    at: Vec<u64>,
}

impl LostPoints {
    /// How many of them were not written since the reshape began: those that lie in no changed block.
    pub fn not_late(&self, carried: &Carried) -> u64 {
        let is_late = |at: &&u64| carried.has_changed((**at, **at + SLOT_BYTES));
        self.count - self.at.iter().filter(is_late).count() as u64
    }
}

/// The valid points of `owner` that `new` lacks or has with another value. A point whose slot a newer turn of
/// the ring has taken is not one of them.
///
/// # Errors
/// [`LargeFillError`].
pub fn lost_by_reshape(
    owner: &File,
    new: &File,
    options: FillOptions,
) -> Result<LostPoints, LargeFillError> {
    lost_by(owner, new, options, WINDOW_SLOTS)
}

pub(super) fn lost_by(
    owner: &File,
    new: &File,
    options: FillOptions,
    window_slots: u32,
) -> Result<LostPoints, LargeFillError> {
    let mut pair = Pair::of(owner, new)?;
    let (mut lost, latest) = (LostPoints::default(), options.clocks.latest);
    for ring in pair.owner.rings.clone() {
        let same = pair.new.same(ring.step());
        pair.each_window(&ring, options, window_slots, |pair, first, points| {
            let there = match &same {
                Some(same) => pair.new.stored(same, first, points.len())?,
                None => vec![[0; Point::SIZE_BYTES]; points.len()],
            };
            let times = (0..).map(|number: i64| first + number * ring.step());
            for ((t, point), there) in times.zip(points).zip(&there) {
                let is_expired = same.is_some_and(|same| same.is_newer_turn(there, t, latest));
                if is_valid(point, t) && point != there && !is_expired {
                    lost.count += 1;
                    if lost.at.len() < LOST_NOTED {
                        let position = u64::from(ring.position(t).unwrap_or(0));
                        lost.at.push(u64::from(ring.archive.offset) + position * SLOT_BYTES);
                    }
                }
            }
            Ok(())
        })?;
    }
    Ok(lost)
}

/// The owner's file and the new one.
struct Pair<'f> {
    owner: Side<'f>,
    new: Side<'f>,
}

impl<'f> Pair<'f> {
    fn of(owner: &'f File, new: &'f File) -> Result<Self, LargeFillError> {
        let owner = Side::of(LargeBytes::File(owner))?.map_err(LargeFillError::Source)?;
        let new = Side::of(LargeBytes::File(new))?.map_err(LargeFillError::Destination)?;
        Ok(Self { owner, new })
    }

    /// Passes the owner's slots of `ring` to `each`, one window at a time, the oldest first: the time of the
    /// first slot, and all slots, with zeros for those that hold no point. Points in the future come last,
    /// one by one.
    fn each_window(
        &mut self,
        ring: &Ring,
        options: FillOptions,
        window_slots: u32,
        mut each: impl FnMut(&mut Self, i64, &[Slot]) -> Result<(), LargeFillError>,
    ) -> Result<(), LargeFillError> {
        let (earliest, latest) = (options.clocks.earliest, options.clocks.latest);
        let seconds = window_seconds(&[ring], ring.step(), window_slots);
        // Not longer than the ring, so that no two slots of a window share a position.
        let turn = ring.step() * i64::from(ring.archive.points);
        let seconds = seconds.map_err(LargeFillError::Source)?.min(turn);
        let mut from = ring.oldest(earliest);
        let mut has_future_points = false;
        while let Some((first, slots)) =
            ring.span(from, (from + seconds - 1).min(latest.into()), earliest)
        {
            let mut stored = self.owner.stored(ring, first, slots)?;
            let times = (0..).map(|number: i64| first + number * ring.step());
            for (t, slot) in times.zip(&mut stored) {
                has_future_points |= timestamp(slot) > i64::from(latest);
                if !is_valid(slot, t) {
                    *slot = [0; Point::SIZE_BYTES];
                }
            }
            each(self, first, &stored)?;
            from = first + seconds;
        }
        if !has_future_points {
            return Ok(());
        }
        for piece in ring.pieces(window_slots) {
            for (t, slot) in self.owner.future_points(ring, piece, latest)? {
                each(self, t, &[slot])?;
            }
        }
        Ok(())
    }
}

/// The runs to write over the slots `there` so that they hold `points`, which are slots from `first` on. No
/// newer timestamp is overwritten.
fn changed_runs(first: i64, step: i64, points: &[Slot], there: &[Slot]) -> Vec<(i64, Vec<Slot>)> {
    let mut runs: Vec<(i64, Vec<Slot>)> = Vec::new();
    let mut unchanged = GAP_SLOTS;
    let times = (0..).map(|number: i64| first + number * step);
    for ((t, point), stored) in times.zip(points).zip(there) {
        let is_placed = timestamp(point) != 0 && timestamp(stored) <= t && stored != point;
        let has_ended = unchanged >= GAP_SLOTS;
        unchanged = if is_placed { 0 } else { unchanged + 1 };
        match runs.last_mut() {
            Some((_, run)) if !has_ended && unchanged < GAP_SLOTS => {
                run.push(if is_placed { *point } else { *stored });
            }
            _ if is_placed => runs.push((t, vec![*point])),
            _ => {}
        }
    }
    runs
}
