//! The rules of a heal, and whether its result allows the source to be deleted.

use std::path::Path;

use bucky_api::clock::unix_now;
use bucky_api::counted::{self, counted};
use bucky_api::{ClockOffset, OnSchemaDifference, Problem, SchemaDifference};
use bucky_whisper::{AggregationSix, Clocks, Coverage, FillOptions, Header};

use super::failure::{Failure, Holding};

/// What a heal does with an existing file that is not a Whisper file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnCorrupt {
    /// Report it.
    #[default]
    Leave,
    /// Keep it aside, and put the received file in its place.
    Replace,
}

impl OnCorrupt {
    /// The value for a request's switch.
    pub(crate) fn of(replaces: bool) -> Self {
        if replaces { Self::Replace } else { Self::Leave }
    }
}

/// What a heal does with a source that was cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnCut {
    /// Refuse it. It stays at its source.
    #[default]
    Refuse,
    /// Take the rest of it. Its source keeps it aside.
    Salvage,
}

impl OnCut {
    /// The value for a request's switch.
    pub(crate) fn of(salvages: bool) -> Self {
        if salvages { Self::Salvage } else { Self::Refuse }
    }
}

/// The rules of a heal.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HealRules {
    /// What to do with an existing file that is not a Whisper file.
    pub(crate) on_corrupt: OnCorrupt,
    /// What to do with a source that was cut off.
    pub(crate) on_cut: OnCut,
    /// What to do about points that have no place in an existing file.
    pub(crate) on_schema_difference: OnSchemaDifference,
    /// Whether nothing is written: the lines say what a heal would do.
    pub(crate) preview: bool,
    /// How far the clock at the source is ahead of ours. `None` if it is unknown: then it counts as equal.
    pub(crate) sender: Option<ClockOffset>,
}

impl HealRules {
    /// Our time and the earliest possible time at the source.
    pub(crate) fn clocks(&self) -> Clocks {
        let now = unix_now();
        let Some(offset) = self.sender else { return Clocks::at(now) };
        let there = offset.seconds_at(now);
        let error = u32::try_from(offset.error().as_secs()).unwrap_or(u32::MAX);
        Clocks { earliest: now.min(there.saturating_sub(error)), latest: now.max(there) }
    }

    /// Whether the received file takes the place of the existing one, which could not be filled because of
    /// `failure`: a corrupt file is replaced if that was asked for, and kept aside. Otherwise it stays, and
    /// the metric at its source too.
    pub(super) fn replaces(&self, failure: &Failure) -> bool {
        self.may_replace() && failure.problem == Problem::DestinationDamaged
    }

    /// Whether a received file may take the place of a corrupt one.
    pub(super) fn may_replace(&self) -> bool {
        self.on_corrupt == OnCorrupt::Replace
    }

    /// Whether a file that lacks places for points gets more archives.
    pub(super) fn reshapes(&self) -> bool {
        self.on_schema_difference == OnSchemaDifference::Reshape && !self.preview
    }

    pub(super) fn fill_options(&self, aggregation_six: AggregationSix) -> FillOptions {
        FillOptions { clocks: self.clocks(), aggregation_six }
    }
}

/// Whether the file at `path`, with the header `owner`, holds enough of a source with the header `source` for
/// the source to be deleted.
///
/// # Errors
/// Why the source must stay, with the difference between the files.
pub(super) fn judge(
    path: &Path,
    (source, owner): (&Header, &Header),
    coverage: &Coverage,
    points: u64,
    rules: &HealRules,
) -> Result<Holding, Failure> {
    let difference = SchemaDifference::of(source, owner, coverage).map(Box::new);
    let held = Some(coverage.held());
    if rules.on_schema_difference.accepts(coverage) {
        return Ok(Holding { points, held, difference });
    }
    let failure = if coverage.without_place() + coverage.displaced() > 0 {
        Failure::refused(Problem::NoPlace, no_place(path, source, owner, coverage))
    } else if has_twice(source) {
        let reason = "the source has two archives of one resolution, and a fill reads only the first; the source is \
                      kept";
        Failure::refused(Problem::NoPlace, reason)
    } else {
        let reason = format!(
            "{} lacks {} after the fill: another process writes to it, or the clocks are more than a day \
             apart; the source is kept",
            path.display(),
            counted::points(coverage.missing())
        );
        Failure::failed(Problem::Busy, reason)
    };
    Err(failure.with(Holding { points, held, difference }))
}

/// Whether two archives have one resolution, which whisper.py refuses to create.
fn has_twice(header: &Header) -> bool {
    let numbers = header.finest_first();
    let steps = numbers.iter().filter_map(|number| header.archives.get(*number));
    let steps: Vec<u32> = steps.map(|archive| archive.seconds_per_point).collect();
    steps.windows(2).any(|pair| pair[0] == pair[1])
}

/// The beginning of a message about points without a place: their number, with the verb.
fn of_points(count: u64) -> String {
    counted(count, "of the source's points has", "of the source's points have")
}

/// Why points of the source are not in the owner's file.
fn no_place(path: &Path, source: &Header, owner: &Header, coverage: &Coverage) -> String {
    let (path, schema) = (path.display(), coverage.without_place());
    let displaced = coverage.displaced();
    if schema == 0 {
        return format!(
            "{} no place in {path}: newer timestamps are there, from a clock that was ahead or from damage; the \
             source is kept",
            of_points(displaced)
        );
    }
    let coarser = match coverage.coarser() {
        0 => String::new(),
        coarser => format!(" (it has {coarser} of them as coarser averages)"),
    };
    format!(
        "{} no place in {path}{coarser}: the source has {}, the owner's file {}; the source is kept",
        of_points(schema),
        source.layout(),
        owner.layout()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_point_is_singular_where_points_have_no_place() {
        assert_eq!(of_points(1), "1 of the source's points has");
        assert_eq!(of_points(1200), "1,200 of the source's points have");
    }
}
