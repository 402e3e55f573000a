//! Fill: put into one file the points that another file of the same metric has and it lacks.
//!
//! Pure: two images and a time in, a [`FillPlan`] out. No file is opened and no clock is read; locking the files
//! and writing the plan is the business of [`crate::fill_file()`]. The rules, with drawings, are in `docs/internals/fill.md`. A slot
//! is *valid* as [`crate::ArchiveView::valid`] has it. Archive by archive, finest first:
//!
//! * **R1** A slot that is valid in the destination keeps its value.
//! * **R2** A slot that is not takes the source's value: that of the source's archive of the same resolution; where
//!   it has none, a roll-up of a finer archive of the source. Never that of a coarser one.
//! * **R3** A coarser slot within whose span the next finer archive has just gained a point is rolled up anew, if
//!   the finer archive's window still covers the whole span and enough of it is known.
//!
//! A position is only written where it holds an older timestamp (or the same one with another value by R3, or with
//! NaN), and a slot after `now` never displaces a valid one. Nothing is ever made unknown.

mod archive;
mod coverage;
mod marks;
mod plan;
mod point_map;
mod slots;
mod source;

use archive::Filling;
pub use coverage::{ArchiveCoverage, Coverage};
pub(crate) use plan::Stretch;
pub use plan::{ArchiveFill, FillPlan, Run};
pub use point_map::{Clocks, PointMap};
use slots::{RollUp, Slots};
use source::SourceSlots;

use crate::{AggregationSix, Image};

/// How far apart the clocks of both sides may be for a fill, in seconds: the windows grow by the difference, and so does the
/// work. What counts by a clock that is farther off is not filled, and [`Coverage`] finds it missing.
const CLOCKS_APART_MOST: u32 = 24 * 3600;

/// What fill has to be told besides the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FillOptions {
    /// The times at which the archives' windows end: here, and where the source comes from.
    pub clocks: Clocks,
    /// What aggregation method 6 means in the destination.
    pub aggregation_six: AggregationSix,
}

/// What to write into `destination` so that it has every point that `source` has and it lacks.
///
/// Both are images of the same metric; their layouts may differ in every respect. The plan is empty if there is
/// nothing to do, so for a file and its own copy, and after the plan has been applied.
pub fn fill(source: &Image<'_>, destination: &Image<'_>, options: FillOptions) -> FillPlan {
    if source.bytes() == destination.bytes() {
        return FillPlan::default();
    }
    let clocks = options.clocks.at_most_apart(CLOCKS_APART_MOST);
    let sources = Slots::finest_first(source, clocks);
    let mut roll_up = RollUp::new(destination.header(), options.aggregation_six);
    let mut fillings: Vec<Filling<'_>> = Vec::new();
    for before in Slots::finest_first(destination, clocks) {
        let anew = match fillings.last() {
            Some(finer) => finer.roll_up_gains(&before, &mut roll_up),
            None => Vec::new(),
        };
        let source = SourceSlots::for_destination(&sources, &before, &mut roll_up);
        fillings.push(Filling::new(before, source, &anew));
    }
    FillPlan::new(fillings)
}
