//! Fill: add to one file the points that another file of the same metric has and it lacks.
//!
//! Pure: takes two images and a time, returns a [`FillPlan`]. It opens no file and reads no clock;
//! [`crate::fill_file()`] locks the files and writes the plan. The rules, with drawings, are in
//! `docs/internals/fill.md`. [`crate::ArchiveView::valid`] defines when a slot is *valid*. For each archive,
//! finest first:
//!
//! * **R1** A slot that is valid in the destination keeps its value.
//! * **R2** A slot that is not valid takes the source's value: that of the source's archive of the same
//!   resolution, or, if the source has no such archive, a roll-up of a finer archive of the source. It never
//!   takes the value of a coarser archive.
//! * **R3** A coarser slot within whose span the next finer archive has just gained a point is rolled up
//!   again, if the finer archive's window still covers the whole span and enough of it is known.
//!
//! A position is written only if it holds an older timestamp, or by R3 the same timestamp with another value
//! or NaN. A slot after `now` never displaces a valid one. No known value is ever made unknown.

mod archive;
mod coverage;
mod marks;
mod plan;
mod point_map;
mod slots;
mod source;

use archive::ArchiveFilling;
pub use coverage::{ArchiveCoverage, Coverage};
pub(crate) use plan::Stretch;
pub use plan::{ArchiveFill, FillPlan, Run};
pub use point_map::{Clocks, PointMap};
use slots::{ArchiveSlots, RollUp};
use source::SourceSlots;

use crate::{AggregationSix, Image};

/// How far apart the clocks of both sides may be for a fill, in seconds. The windows grow by the difference,
/// and so does the work. A point that is valid only by a clock that is farther off is not filled, and
/// [`Coverage`] reports it as missing.
const CLOCKS_APART_MOST: u32 = 24 * 3600;

/// What a fill needs besides the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FillOptions {
    /// The times at which the archives' windows end: on this host, and on the host that the source comes
    /// from.
    pub clocks: Clocks,
    /// What aggregation method 6 means in the destination.
    pub aggregation_six: AggregationSix,
}

/// What to write into `destination` so that it gains every point that `source` has and it lacks.
///
/// Both are images of the same metric; their layouts may differ in every respect. The plan is empty if there
/// is nothing to do: for a file and its own copy, and after the plan has been applied.
pub fn fill(source: &Image<'_>, destination: &Image<'_>, options: FillOptions) -> FillPlan {
    if source.bytes() == destination.bytes() {
        return FillPlan::default();
    }
    let clocks = options.clocks.at_most_apart(CLOCKS_APART_MOST);
    let sources = ArchiveSlots::finest_first(source, clocks);
    let mut roll_up = RollUp::new(destination.header(), options.aggregation_six);
    let mut fillings: Vec<ArchiveFilling<'_>> = Vec::new();
    for before in ArchiveSlots::finest_first(destination, clocks) {
        let roll_ups = match fillings.last() {
            Some(finer) => finer.roll_up_gains(&before, &mut roll_up),
            None => Vec::new(),
        };
        let source = SourceSlots::for_destination(&sources, &before, &mut roll_up);
        fillings.push(ArchiveFilling::new(before, source, &roll_ups));
    }
    FillPlan::new(fillings)
}
