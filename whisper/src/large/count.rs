//! Which points of the source the destination holds, as [`Coverage::of`] counts them for files in memory, but
//! window by window.
//!
//! [`Coverage::of`]: crate::Coverage::of

use super::LargeFillError;
use super::filling::WindowedFilling;
use super::side::{Ring, Side, is_valid};
use super::window::Part;
use crate::fill::{ArchiveCoverage, Coverage};
use crate::header::Archive;
use crate::image::Image;

/// A coverage that has counted nothing yet.
pub(super) fn coverage_of(source: &Side<'_>, destination: &Side<'_>) -> Coverage {
    let of = |archive: &Archive| ArchiveCoverage {
        seconds_per_point: archive.seconds_per_point,
        has_archive: destination.ring_of(archive.seconds_per_point.into()).is_some(),
        ..ArchiveCoverage::default()
    };
    Coverage { archives: source.header.archives.iter().map(of).collect() }
}

impl WindowedFilling<'_> {
    /// Counts which points of `sources` the destination holds. `parts` and `image`, with its own time, are
    /// the destination's part of this window; `image` is `None` if the destination does not reach back to the
    /// window.
    pub(super) fn count(
        &mut self,
        sources: &[Part],
        parts: &[Part],
        image: Option<(&Image<'_>, u32)>,
    ) -> Result<(), LargeFillError> {
        let stored = |step: i64, t: i64| {
            let part = parts.iter().find(|part| part.step == step)?;
            let (image, now) = image.filter(|_| !part.is_taken(t))?;
            let same =
                |view: &crate::ArchiveView<'_>| i64::from(view.archive().seconds_per_point) == step;
            image.archives().find(same)?.valid(u32::try_from(t).ok()?, now)
        };
        let (earliest, latest) = (self.options.clocks.earliest, self.now());
        let coarser: Vec<Ring> = self.destination.rings.clone();
        for part in sources {
            let same = self.destination.same(part.step);
            let coarser = coarser.iter().filter(|ring| ring.step() > part.step);
            for (t, _) in part.times().filter(|(t, slot)| is_valid(slot, *t)) {
                if same.is_none_or(|ring| t < ring.oldest(earliest)) {
                    let covers = |ring: &&Ring| {
                        let slot = t - t.rem_euclid(ring.step());
                        slot >= ring.oldest(latest) && stored(ring.step(), slot).is_some()
                    };
                    let under = coarser.clone().find(covers).copied();
                    self.note(part.step, |archive| without_place(archive, t, under));
                } else if same.is_some_and(|ring| t < ring.oldest(latest)) {
                    // At the edge of the window: counted separately.
                } else if stored(part.step, t).is_some() {
                    self.note(part.step, |archive| archive.held += 1);
                } else {
                    self.note(part.step, |archive| archive.missing += 1);
                }
            }
        }
        Ok(())
    }

    pub(super) fn note_displaced(&mut self, step: i64, t: i64) -> Result<(), LargeFillError> {
        let earliest = self.options.clocks.earliest;
        if self.destination.same(step).is_none_or(|ring| t < ring.oldest(earliest)) {
            return self.note_without_place(step, t);
        }
        self.note(step, |archive| archive.displaced += 1);
        Ok(())
    }

    /// Counts a point for which the layout has no place, and looks up the coarser points in the file itself.
    pub(super) fn note_without_place(&mut self, step: i64, t: i64) -> Result<(), LargeFillError> {
        let mut under = None;
        for ring in self.destination.rings.iter().filter(|ring| ring.step() > step) {
            let slot = t - t.rem_euclid(ring.step());
            if slot >= ring.oldest(self.now()) && self.destination.holds(ring, slot)? {
                under = Some(*ring);
                break;
            }
        }
        self.note(step, |archive| without_place(archive, t, under));
        Ok(())
    }

    pub(super) fn note(&mut self, step: i64, what: impl FnOnce(&mut ArchiveCoverage)) {
        let mut archives = self.done.coverage.archives.iter_mut();
        if let Some(archive) = archives.find(|one| i64::from(one.seconds_per_point) == step) {
            what(archive);
        }
    }
}

/// Counts a point at `t` that has no place. `under` is the coarser archive that has a point over it, if any.
fn without_place(archive: &mut ArchiveCoverage, t: i64, under: Option<Ring>) {
    archive.without_place += 1;
    let t = u32::try_from(t).unwrap_or(u32::MAX);
    let (oldest, newest) = archive.span_without_place.unwrap_or((t, t));
    archive.span_without_place = Some((oldest.min(t), newest.max(t)));
    if let Some(ring) = under {
        archive.coarser += 1;
        let finest = archive.coarser_seconds_per_point.unwrap_or(u32::MAX);
        archive.coarser_seconds_per_point = Some(finest.min(ring.archive.seconds_per_point));
    }
}
