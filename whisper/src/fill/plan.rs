//! The result of a fill, as data: which bytes of the destination change, and to what.

use std::ops::Range;

use super::archive::ArchiveFilling;
use super::marks::Marks;
use super::slots::Slot;
use crate::Point;

/// How many unchanged slots a stretch may have between two runs: less than a page. So a stretch touches only
/// pages that its runs touch, and the disk writes no additional page.
const BRIDGED_SLOTS: usize = 4095 / Point::SIZE_BYTES;
/// How many slots a stretch may have in total. One write of this size must take a negligible time.
const STRETCH_SLOTS_MAX: usize = (64 << 10) / Point::SIZE_BYTES;

/// What a fill changes in the destination. Applying it twice has the same effect as applying it once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FillPlan {
    /// The changes by archive, the finest first.
    changes: Vec<Changes>,
    /// The counts for each archive, in the same order.
    archives: Vec<ArchiveFill>,
}

/// The changes of one archive.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Changes {
    /// Where the archive begins in the file.
    offset: u64,
    /// All its slots as they will be. The whole archive is kept, since runs may be many and small.
    after: Vec<Slot>,
    /// Which slots change.
    changed: Marks,
}

impl Changes {
    fn run(&self, positions: Range<usize>) -> Option<Run<'_>> {
        let offset = self.offset + (positions.start * Point::SIZE_BYTES) as u64;
        Some(Run { offset, bytes: self.after.get(positions)?.as_flattened() })
    }

    fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        self.changed.runs().filter_map(|positions| self.run(positions))
    }

    fn stretches(&self) -> impl Iterator<Item = Stretch<'_>> {
        let positions = self.changed.stretches(BRIDGED_SLOTS, STRETCH_SLOTS_MAX);
        positions.filter_map(|positions| {
            let whole = self.run(positions.clone())?;
            Some(Stretch { changes: self, positions, whole })
        })
    }
}

/// Runs of one archive that lie close to each other, with the unchanged slots between them.
#[derive(Clone, Debug)]
pub(crate) struct Stretch<'p> {
    changes: &'p Changes,
    positions: Range<usize>,
    /// The whole stretch. Between its runs it has the bytes that the destination held when the plan was made.
    pub(crate) whole: Run<'p>,
}

impl<'p> Stretch<'p> {
    /// The changed slots in it, as in [`FillPlan::runs`]. A run that continues in the next stretch is cut.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Run<'p>> {
        let changes = self.changes;
        let runs = changes.changed.runs_in(self.positions.clone());
        runs.filter_map(|positions| changes.run(positions))
    }
}

/// Consecutive slots of the file that all change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run<'a> {
    /// Where the run begins, in bytes from the beginning of the file.
    pub offset: u64,
    /// The bytes to write there: whole slots of 12 bytes.
    pub bytes: &'a [u8],
}

/// What a fill did to one archive of the destination. Each slot is counted once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveFill {
    /// The number of the archive in the file, from 0.
    pub archive: usize,
    /// Its resolution.
    pub seconds_per_point: u32,
    /// The number of slots that were not valid and got the source's value (R2).
    pub points_filled: u64,
    /// The number of slots that a new roll-up (R3) changed.
    pub points_rolled_up: u64,
    /// The number of slots that the source has a value for and the destination still lacks, because their
    /// position holds a newer timestamp, or, for a slot after `now`, another valid slot.
    pub points_left_out: u64,
}

impl FillPlan {
    /// The plan that consists of these archives, the finest first.
    pub(super) fn new(fillings: Vec<ArchiveFilling<'_>>) -> Self {
        let mut plan = Self::default();
        for filling in fillings {
            let archive = filling.before.archive;
            if filling.filled + filling.rolled_up + filling.left_out > 0 {
                plan.archives.push(ArchiveFill {
                    archive: filling.before.number,
                    seconds_per_point: archive.seconds_per_point,
                    points_filled: filling.filled,
                    points_rolled_up: filling.rolled_up,
                    points_left_out: filling.left_out,
                });
            }
            if filling.filled + filling.rolled_up > 0 {
                let (after, changed) = (filling.after, filling.changed);
                plan.changes.push(Changes { offset: archive.offset.into(), after, changed });
            }
        }
        plan
    }

    /// The changes, as contiguous runs of changed slots, in the order in which they must be written.
    ///
    /// The coarsest archive comes first; within an archive, runs are ordered by position. If writing is
    /// interrupted, the gaps of finer archives are still there, and the next fill rolls up again what was not
    /// written. In an archive that was empty, the first slot to write is the base, which decides where all
    /// the others lie.
    pub fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        self.changes.iter().rev().flat_map(Changes::runs)
    }

    /// The same changes in the same order, with runs that lie close to each other joined.
    pub(crate) fn stretches(&self) -> impl Iterator<Item = Stretch<'_>> {
        self.changes.iter().rev().flat_map(Changes::stretches)
    }

    /// How many runs there are.
    pub(crate) fn count_runs(&self) -> usize {
        self.changes.iter().map(|changes| changes.changed.count_runs()).sum()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many bytes must be written.
    pub fn len_bytes(&self) -> u64 {
        (self.points_filled() + self.points_rolled_up()) * Point::SIZE_BYTES as u64
    }

    /// The number of slots that were not valid and got the source's value (R2), in all archives.
    pub fn points_filled(&self) -> u64 {
        self.archives.iter().map(|archive| archive.points_filled).sum()
    }

    /// The number of slots that a new roll-up (R3) changed, in all archives.
    pub fn points_rolled_up(&self) -> u64 {
        self.archives.iter().map(|archive| archive.points_rolled_up).sum()
    }

    /// The number of slots that the source has a value for and the destination has no free slot for, in all
    /// archives. Zero unless clocks disagree or the destination is damaged; see
    /// [`ArchiveFill::points_left_out`].
    pub fn points_left_out(&self) -> u64 {
        self.archives.iter().map(|archive| archive.points_left_out).sum()
    }

    /// The archives that the fill changed, or where it had to leave out a point, the finest first.
    pub fn archives(&self) -> &[ArchiveFill] {
        &self.archives
    }

    /// Writes the changes into `bytes`, the image of the destination that the plan was made for.
    ///
    /// # Panics
    /// If `bytes` is shorter than that image.
    pub fn apply(&self, bytes: &mut [u8]) {
        for run in self.runs() {
            let start = usize::try_from(run.offset).unwrap_or(usize::MAX);
            bytes[start..start + run.bytes.len()].copy_from_slice(run.bytes);
        }
    }
}
