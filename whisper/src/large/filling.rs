//! One long file while it is filled from another, window by window.

use std::fs::File;
use std::io;

use super::side::{Ring, SLOT_BYTES, Side, Slot, is_valid, timestamp};
use super::window::{Part, exclude_newer, header_bytes, image_of, parts};
use super::{CLOCKS_APART_MOST, LargeFill, LargeFillError, UnfitError, WINDOW_SLOTS_MOST};
use crate::fill::{Clocks, FillOptions, FillPlan, fill};
use crate::image::{Image, Point};

/// What to do with the destination.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FillMode {
    Fill,
    /// Count what it would hold after a fill.
    Preview,
    /// Count what it holds now.
    Count,
}

/// Both files while the destination is filled from the source.
pub(super) struct WindowedFilling<'f> {
    pub(super) source: Side<'f>,
    pub(super) destination: Side<'f>,
    /// The destination's file.
    pub(super) file: &'f File,
    pub(super) mode: FillMode,
    pub(super) options: FillOptions,
    pub(super) done: LargeFill,
    /// Whether the source has points in the future.
    pub(super) has_future_points: bool,
}

/// How many seconds a window has: whole slots of the coarsest archive, with about `window_slots` slots in all
/// archives.
pub(super) fn window_seconds(
    rings: &[&Ring],
    coarsest: i64,
    window_slots: u32,
) -> Result<i64, UnfitError> {
    // As many slots of the finest archive as if the window had slots of that archive alone.
    let finest = rings.iter().map(|ring| ring.step()).min().unwrap_or(1);
    let slots_each = i64::from(window_slots) / i64::try_from(rings.len()).unwrap_or(1).max(1);
    let seconds = (finest * slots_each / coarsest).max(2) * coarsest;
    let most =
        |ring: &&Ring| ((seconds + 2 * coarsest) / ring.step()).min(i64::from(ring.archive.points));
    if rings.iter().map(most).sum::<i64>() > WINDOW_SLOTS_MOST {
        return Err(UnfitError::Layout);
    }
    Ok(seconds)
}

impl WindowedFilling<'_> {
    pub(super) fn now(&self) -> u32 {
        self.options.clocks.latest
    }

    /// The earlier clock, limited to how far back points are searched.
    fn earliest(&self) -> u32 {
        let Clocks { earliest, latest } = self.options.clocks;
        earliest.max(latest.saturating_sub(CLOCKS_APART_MOST))
    }

    pub(super) fn fill_windows(&mut self, window_slots: u32) -> Result<(), LargeFillError> {
        let now = self.now();
        let coarsest = self.destination.rings.last().map_or(1, Ring::step);
        let oldest = self.source.rings.iter().map(|ring| ring.oldest(now)).min().unwrap_or(0);
        let rings: Vec<&Ring> = self.source.rings.iter().chain(&self.destination.rings).collect();
        let seconds =
            window_seconds(&rings, coarsest, window_slots).map_err(LargeFillError::Destination)?;
        let end = (i64::from(now) / coarsest + 1) * coarsest;
        let mut from = oldest.div_euclid(coarsest) * coarsest;
        while from < end {
            // The unfinished slot of the coarsest archive is rolled up too, if enough of its finer slots are
            // known.
            let is_last = from + seconds + 2 * coarsest > end;
            let until = if is_last { end } else { from + seconds };
            self.fill_window(from, until)?;
            from = until;
        }
        Ok(())
    }

    /// Fills the slots from `from` on that begin before `until`.
    fn fill_window(&mut self, from: i64, until: i64) -> Result<(), LargeFillError> {
        let last = (until - 1).min(i64::from(self.now()));
        let mut sources = parts(&self.source, from, last, self.now())?;
        self.has_future_points |= self.reach_ahead(&sources);
        sources.iter_mut().for_each(Part::keep_valid);
        if sources.iter().all(|part| part.slots.iter().all(|slot| timestamp(slot) == 0)) {
            return Ok(());
        }
        let mut destinations = parts(&self.destination, from, last, self.now())?;
        for part in &mut destinations {
            let same = sources.iter_mut().find(|source| source.step == part.step);
            let step = part.step;
            for t in exclude_newer(part, same) {
                self.note_displaced(step, t)?;
            }
        }
        if destinations.is_empty() {
            // The destination does not reach back to this window.
            return self.count(&sources, &destinations, None);
        }
        let now = u32::try_from(last).unwrap_or(u32::MAX);
        sources.iter_mut().for_each(Part::anchor);
        for part in &mut destinations {
            let ring = self.destination.rings.get(part.ring);
            if ring.is_some_and(|ring| ring.base != 0) {
                part.anchor();
            }
        }
        let mut image = image_of(&self.destination.header, &destinations);
        if self.mode != FillMode::Count {
            let options = FillOptions { clocks: Clocks::at(now), ..self.options };
            let source = image_of(&self.source.header, &sources);
            let plan = fill(&parse(&source)?, &parse(&image)?, options);
            self.write_plan(&plan, &destinations)?;
            plan.apply(&mut image);
        }
        self.count(&sources, &destinations, Some((&parse(&image)?, now)))
    }

    /// Whether the source has points in the future in these parts of its rings.
    fn reach_ahead(&self, sources: &[Part]) -> bool {
        let now = i64::from(self.now());
        sources.iter().any(|part| {
            let ring = self.source.rings.get(part.ring);
            let turn = |t, slot| ring.and_then(|ring| ring.other_turn(slot, t));
            part.times().any(|(t, slot)| timestamp(slot) > now && turn(t, slot).is_some())
        })
    }

    fn write_plan(&mut self, plan: &FillPlan, parts: &[Part]) -> Result<(), LargeFillError> {
        self.done.points_filled += plan.points_filled();
        self.done.points_rolled_up += plan.points_rolled_up();
        if self.mode != FillMode::Fill {
            return Ok(());
        }
        let header_bytes = header_bytes(parts.len());
        for run in plan.runs() {
            let mut end = header_bytes;
            let part = parts.iter().find(|part| {
                end += part.slots.len() as u64 * SLOT_BYTES;
                run.offset < end
            });
            let Some(part) = part else { continue };
            let (slots, _) = run.bytes.as_chunks::<{ Point::SIZE_BYTES }>();
            // The image's ring may wrap in the middle of a run; in the file's ring, times must not go back.
            let follows = |one: &Slot, next: &Slot| timestamp(next) == timestamp(one) + part.step;
            let free = slots.split(|slot| part.is_taken(timestamp(slot)));
            for slots in free.flat_map(|slots| slots.chunk_by(follows)) {
                if let Some(first) = slots.first() {
                    self.destination.write(self.file, part.ring, timestamp(first), slots)?;
                }
            }
        }
        Ok(())
    }

    /// Fills the slots that have expired in one of the two files by the later clock, and in neither by the
    /// earlier one. They are not rolled up.
    pub(super) fn fill_edges(&mut self) -> Result<(), LargeFillError> {
        let (latest, earliest) = (self.now(), self.earliest());
        // The coarsest first: its points may lie over finer points without a place.
        for ring in self.source.rings.clone().into_iter().rev() {
            let here = ring.oldest(latest);
            self.fill_edge(&ring, ring.oldest(earliest), here - 1)?;
            if let Some(same) = self.destination.same(ring.step()) {
                let from = same.oldest(earliest).max(here);
                self.fill_edge(&ring, from, same.oldest(latest) - 1)?;
            }
        }
        Ok(())
    }

    fn fill_edge(&mut self, ring: &Ring, from: i64, until: i64) -> Result<(), LargeFillError> {
        let earliest = self.earliest();
        let Some((first, slots)) = ring.span(from, until, earliest) else { return Ok(()) };
        let stored = self.source.stored(ring, first, slots)?;
        for (t, slot) in (0..).map(|number| first + ring.step() * number).zip(&stored) {
            if is_valid(slot, t) {
                self.fill_one(ring.step(), t, slot)?;
            }
        }
        Ok(())
    }

    /// Fills the points in the future, which a clock that was ahead has written. None of them displaces a
    /// valid point.
    pub(super) fn fill_future(&mut self, window_slots: u32) -> Result<(), LargeFillError> {
        if !self.has_future_points {
            return Ok(());
        }
        for ring in self.source.rings.clone() {
            for piece in ring.pieces(window_slots) {
                for (t, slot) in self.source.future_points(&ring, piece, self.now())? {
                    self.fill_one(ring.step(), t, &slot)?;
                }
            }
        }
        Ok(())
    }

    /// Fills one slot outside the later clock's window, and counts it.
    fn fill_one(&mut self, step: i64, t: i64, slot: &Slot) -> Result<(), LargeFillError> {
        let same = self.destination.ring_of(step).map(|ring| (ring, self.destination.rings[ring]));
        let Some((number, same)) = same.filter(|(_, same)| t >= same.oldest(self.earliest()))
        else {
            return self.note_without_place(step, t);
        };
        let there = self.destination.slot(&same, t)?;
        if is_valid(&there, t) || same.is_newer_turn(&there, t, self.now()) {
            self.note(step, |archive| archive.held += 1);
            return Ok(());
        }
        let counts = |turn| t > i64::from(self.now()) && turn >= same.oldest(self.earliest());
        if timestamp(&there) > t || same.other_turn(&there, t).is_some_and(counts) {
            self.note(step, |archive| archive.displaced += 1);
            return Ok(());
        }
        match self.mode {
            FillMode::Fill => self.destination.write(self.file, number, t, &[*slot])?,
            FillMode::Preview => {}
            FillMode::Count => {
                self.note(step, |archive| archive.missing += 1);
                return Ok(());
            }
        }
        self.done.points_filled += 1;
        self.note(step, |archive| archive.held += 1);
        Ok(())
    }
}

fn parse(bytes: &[u8]) -> io::Result<Image<'_>> {
    Image::parse(bytes).map_err(|error| io::Error::other(error.to_string()))
}
