//! Writes points exactly as whisper.py writes them: the same slots, the same roll-ups, the same bytes.
//!
//! A point goes to the first archive that covers its age. From there it is rolled up into the coarser ones,
//! as long as each has enough known points. Source: `file_update`, `file_update_many`,
//! `__archive_update_many` and `__propagate` in whisper.py. It differs from whisper.py in these cases:
//! - If the steps of two archives do not divide each other, nothing is rolled up between them. whisper.py
//!   cannot create such a file, and computes nonsense on one.
//! - A batch that reaches far enough into the future to wrap around an archive twice stays inside that
//!   archive. whisper.py writes on into the next one.
//! - Points for the slot of time 0 are dropped from a batch. They would look like an empty slot, and
//!   whisper.py may overwrite other points with them.
//! - The slots of one coarser archive are rolled up oldest first. whisper.py uses the order of a Python set.
//!   That order decides which slot of an empty archive becomes its first. If a batch spans a whole coarser
//!   archive, it also decides which of two slots at one position stays: here always the newer one.

use std::path::PathBuf;

use crate::file::WhisperFile;
use crate::header::Archive;
use crate::image::{Point, position_of};
use crate::slots::AccessError;

/// Why a point was not written.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// The point lies in the future, or is older than the file keeps.
    #[error(
        "{} does not accept a point of {timestamp}: at {now} it accepts points of the last {max_retention} seconds",
        path.display()
    )]
    NotCovered {
        /// The file.
        path: PathBuf,
        /// The point's time.
        timestamp: u32,
        /// The time of the update.
        now: u32,
        /// The retention that the header states, in seconds.
        max_retention: u32,
    },
    /// Reading or writing failed. Some of the points may have been written.
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl WhisperFile {
    /// Writes one point at the time `now` and rolls it up. Source: `file_update` in whisper.py.
    ///
    /// # Errors
    /// [`UpdateError::NotCovered`] for the future and for ages of `max_retention` and more, where whisper.py
    /// raises `TimestampNotCovered`.
    pub fn update(&mut self, value: f64, timestamp: u32, now: u32) -> Result<(), UpdateError> {
        let not_covered = || UpdateError::NotCovered {
            path: self.path().to_owned(),
            timestamp,
            now,
            max_retention: self.header().max_retention,
        };
        let age = now.checked_sub(timestamp).ok_or_else(not_covered)?;
        if age >= self.header().max_retention {
            return Err(not_covered());
        }
        let covers = |archive: &&Archive| archive.retention() >= u64::from(age);
        let archive = *self.header().archives.iter().find(covers).ok_or_else(not_covered)?;

        let interval = round_down(timestamp, archive.seconds_per_point);
        let point = Point { timestamp: interval, value };
        let base = self.slots().base(&archive)?;
        self.slots().write(&archive, base, interval, &[point])?;
        self.roll_up(archive, &[interval])?;
        Ok(())
    }

    /// Writes a batch of points, in any order, at the time `now`, and rolls them up.
    ///
    /// Points that are older than every archive are dropped; those in the future are written to the first
    /// archive. Of several points in one slot the newest is used; of several with the same time, the one that
    /// comes first in `points`. Source: `file_update_many` in whisper.py.
    ///
    /// # Errors
    /// [`UpdateError::Access`].
    pub fn update_many(&mut self, points: &[Point], now: u32) -> Result<(), UpdateError> {
        let mut newest_first = points.to_vec();
        newest_first.sort_by_key(|point| std::cmp::Reverse(point.timestamp));

        let mut left = newest_first.as_slice();
        for archive in self.header().archives.clone() {
            let covered = |point: &Point| {
                u64::from(now.saturating_sub(point.timestamp)) <= archive.retention()
            };
            let (here, rest) =
                left.split_at(left.iter().take_while(|point| covered(point)).count());
            if !here.is_empty() {
                self.update_archive(archive, here)?;
            }
            left = rest;
        }
        Ok(())
    }

    /// Writes points, newest first, into one archive, and rolls them up from there.
    pub(crate) fn update_archive(
        &self,
        archive: Archive,
        newest_first: &[Point],
    ) -> Result<(), AccessError> {
        let step = archive.seconds_per_point;
        let aligned: Vec<Point> = newest_first
            .iter()
            .rev()
            .map(|point| Point { timestamp: round_down(point.timestamp, step), ..*point })
            .filter(|point| point.timestamp != 0)
            .collect();
        let runs = contiguous_runs(&aligned, step);
        let first_start = runs.first().map_or(0, |run| run.start);
        let base = match self.slots().base(&archive)? {
            0 => first_start,
            base => base,
        };
        for run in &runs {
            self.slots().write(&archive, base, run.start, &run.points)?;
        }
        let intervals: Vec<u32> = aligned.iter().map(|point| point.timestamp).collect();
        self.roll_up(archive, &intervals)
    }

    /// Rolls up the slots of `intervals`, oldest first, from `finest` into all coarser archives, until one of
    /// them gets no point.
    fn roll_up(&self, finest: Archive, intervals: &[u32]) -> Result<(), AccessError> {
        let by_step = self.header().finest_first();
        let coarser = by_step
            .into_iter()
            .filter_map(|number| self.header().archives.get(number).copied())
            .filter(|archive| archive.seconds_per_point > finest.seconds_per_point);
        let mut finer = finest;
        for coarser in coarser {
            if !coarser.seconds_per_point.is_multiple_of(finer.seconds_per_point) {
                break;
            }
            let mut slots: Vec<u32> =
                intervals.iter().map(|t| round_down(*t, coarser.seconds_per_point)).collect();
            slots.dedup();
            let mut any = false;
            for slot in slots {
                any |= self.roll_up_slot(&finer, &coarser, slot)?;
            }
            if !any {
                break;
            }
            finer = coarser;
        }
        Ok(())
    }

    /// Rolls up one slot of `coarser` from `finer` if enough of its points are known, and returns whether it
    /// did.
    fn roll_up_slot(
        &self,
        finer: &Archive,
        coarser: &Archive,
        slot: u32,
    ) -> Result<bool, AccessError> {
        let step = finer.seconds_per_point;
        let first = position_of(finer, self.slots().base(finer)?, slot).unwrap_or(0);
        // A finer archive that is shorter than the slot wraps around itself; the remainder is used.
        let count = match (coarser.seconds_per_point / step) % finer.points {
            0 => finer.points,
            count => count,
        };
        let expected = (u64::from(slot)..).step_by(step as usize);
        let stored = self.slots().read(finer, first, count)?;
        let values: Vec<Option<f64>> = stored
            .into_iter()
            .zip(expected)
            .map(|(point, expected)| {
                (u64::from(point.timestamp) == expected).then_some(point.value)
            })
            .collect();

        let known = values.iter().flatten().count();
        // At most `count`, which has 32 bits.
        let known = u32::try_from(known).unwrap_or(u32::MAX);
        if !self.header().x_files_factor.is_met(known, count) {
            return Ok(false);
        }
        let Some(value) = self.header().aggregation.roll_up(self.aggregation_six(), &values) else {
            return Ok(false);
        };
        let base = self.slots().base(coarser)?;
        self.slots().write(coarser, base, slot, &[Point { timestamp: slot, value }])?;
        Ok(true)
    }
}

/// Consecutive points without a gap, beginning in the slot of `start`.
struct PointRun {
    start: u32,
    points: Vec<Point>,
}

/// The runs in `aligned`, oldest first. Of several points in one slot the last is used.
fn contiguous_runs(aligned: &[Point], step: u32) -> Vec<PointRun> {
    let mut runs: Vec<PointRun> = Vec::new();
    for (number, point) in aligned.iter().enumerate() {
        if aligned.get(number + 1).is_some_and(|next| next.timestamp == point.timestamp) {
            continue;
        }
        let previous = runs.last_mut().and_then(|run| Some((run.points.last()?.timestamp, run)));
        match previous {
            Some((previous, run)) if follows(previous, point.timestamp, step) => {
                run.points.push(*point);
            }
            _ => runs.push(PointRun { start: point.timestamp, points: vec![*point] }),
        }
    }
    runs
}

fn follows(previous: u32, timestamp: u32, step: u32) -> bool {
    u64::from(previous) + u64::from(step) == u64::from(timestamp)
}

/// The start of the slot that `timestamp` belongs to.
pub(crate) fn round_down(timestamp: u32, step: u32) -> u32 {
    timestamp - timestamp % step
}
