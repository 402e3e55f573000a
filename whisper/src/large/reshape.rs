//! A long file with the archives of two: what [`crate::reshape()`] makes in memory, made in a file, window by window.
//!
//! The owner's file may be written to meanwhile: what came to it late is carried over by [`super::carry_late`], and
//! [`lost_by_reshape`] is what has the last word.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::filling::{Act, window_seconds};
use super::late::Carried;
use super::side::{LargeBytes, Ring, SLOT_BYTES, Side, Slot, is_valid, timestamp};
use super::{LargeFillError, UnfitError, WINDOW_SLOTS};
use crate::fill::{Coverage, FillOptions};
use crate::header::Header;
use crate::image::Point;
use crate::reshape::Layout;

/// So many slots that stay as they are end a write: holes stay holes.
const GAP_SLOTS: usize = 1024;
/// Of so many points that are lost it is noted where they lie. While a file is re-made, writers bring fewer.
const LOST_NOTED: usize = 64 * 1024;

/// The header of a file that lends itself to a [`super::fill_large`] or [`reshape_large`]; else why it does not.
///
/// # Errors
/// Where it cannot be read.
pub fn large_header(file: &File) -> std::io::Result<Result<Header, UnfitError>> {
    Ok(Side::of(LargeBytes::File(file))?.map(|side| side.header))
}

/// Makes of `new`, which is as long as the header of `layout` says and holds nothing but zeros, the file that holds what `owner`
/// and `source` hold; `owner`'s value stands where both have one. Which points of `source` it holds then.
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
    let act_on =
        |source, act| super::fill_by((LargeBytes::File(source), new), options, window_slots, act);
    act_on(owner, Act::Fill)?;
    act_on(source, Act::Fill)?;
    // A new archive in between may have had coarser points rolled up anew: what the owner knew stands.
    place_by(owner, new, options, window_slots)?;
    Ok(act_on(source, Act::Look)?.coverage)
}

/// Puts every valid point of `owner` into the archive of the same resolution of `new`, a file that nobody else writes to.
fn place_by(
    owner: &File,
    new: &File,
    options: FillOptions,
    window_slots: u32,
) -> Result<(), LargeFillError> {
    let mut placing = Pair::of(owner, new)?;
    for ring in placing.owner.rings.clone() {
        let Some(into) = placing.new.ring_of(ring.step()) else { continue };
        placing.each_window(&ring, options, window_slots, |pair, first, points| {
            let Some(same) = pair.new.rings.get(into).copied() else { return Ok(()) };
            let there = pair.new.stored(&same, first, points.len())?;
            let changed = changed_runs(first, ring.step(), points, &there);
            for (first, slots) in changed {
                pair.new.write(new, into, first, &slots)?;
            }
            Ok(())
        })?;
    }
    placing.new.check_bases()
}

/// The points of an owner's file that the new one does not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LostPoints {
    /// How many.
    pub count: u64,
    /// Where the first of them lie in the owner's file.
    at: Vec<u64>,
}

impl LostPoints {
    /// How many of them are none that a writer has put there since: that lie in no block that had changed.
    pub fn not_late(&self, carried: &Carried) -> u64 {
        let is_late = |at: &&u64| carried.has_changed((**at, **at + SLOT_BYTES));
        self.count - self.at.iter().filter(is_late).count() as u64
    }
}

/// Which valid points of `owner` `new` does not hold, or with another value. What a newer turn of the ring has taken is none of
/// them.
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

    /// Hands over the owner's slots of `ring`, a window at a time, the oldest first: the time of the first slot, and all of them,
    /// those that hold no point as zeros. Points in the future come last, one by one.
    fn each_window(
        &mut self,
        ring: &Ring,
        options: FillOptions,
        window_slots: u32,
        mut each: impl FnMut(&mut Self, i64, &[Slot]) -> Result<(), LargeFillError>,
    ) -> Result<(), LargeFillError> {
        let (earliest, latest) = (options.clocks.earliest, options.clocks.latest);
        let seconds = window_seconds(&[ring], ring.step(), window_slots);
        // No longer than the ring, so that no two slots of a window share a place.
        let turn = ring.step() * i64::from(ring.archive.points);
        let seconds = seconds.map_err(LargeFillError::Source)?.min(turn);
        let mut from = ring.oldest(earliest);
        let mut has_ahead = false;
        while let Some((first, slots)) =
            ring.span(from, (from + seconds - 1).min(latest.into()), earliest)
        {
            let mut stored = self.owner.stored(ring, first, slots)?;
            let times = (0..).map(|number: i64| first + number * ring.step());
            for (t, slot) in times.zip(&mut stored) {
                has_ahead |= timestamp(slot) > i64::from(latest);
                if !is_valid(slot, t) {
                    *slot = [0; Point::SIZE_BYTES];
                }
            }
            each(self, first, &stored)?;
            from = first + seconds;
        }
        if !has_ahead {
            return Ok(());
        }
        for piece in ring.pieces(window_slots) {
            for (t, slot) in self.owner.points_ahead(ring, piece, latest)? {
                each(self, t, &[slot])?;
            }
        }
        Ok(())
    }
}

/// What is to be written where `there` is stored so that it holds `points`, which are slots from `first` on; nothing takes the
/// place of a newer timestamp.
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
