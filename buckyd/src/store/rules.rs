//! What a heal goes by, and whether what it left is enough for a source to go.

use std::path::Path;

use bucky_api::clock::unix_now;
use bucky_api::counted::{self, counted};
use bucky_api::{ClockOffset, OnSchemaDifference, Problem, SchemaDifference};
use bucky_whisper::{AggregationSix, Clocks, Coverage, FillOptions, Header};

use super::failure::{Failure, Holding};

/// What a heal does with a file that is there and is no Whisper file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnCorrupt {
    /// Says so.
    #[default]
    Leave,
    /// Keeps it aside, and puts what came in its place.
    Replace,
}

impl OnCorrupt {
    /// As a request asks for it.
    pub(crate) fn of(replaces: bool) -> Self {
        if replaces { Self::Replace } else { Self::Leave }
    }
}

/// What becomes of a file that was cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnCut {
    /// It is refused, and stays at its source.
    #[default]
    Refuse,
    /// What is left of it is taken, and its source keeps it aside.
    Salvage,
}

impl OnCut {
    /// As a request asks for it.
    pub(crate) fn of(salvages: bool) -> Self {
        if salvages { Self::Salvage } else { Self::Refuse }
    }
}

/// What a heal goes by.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HealRules {
    /// What becomes of a file that is there and is no Whisper file.
    pub(crate) on_corrupt: OnCorrupt,
    /// What becomes of a source that was cut off.
    pub(crate) on_cut: OnCut,
    /// What becomes of points that have no place in a file that is there.
    pub(crate) on_schema_difference: OnSchemaDifference,
    /// Whether nothing is written: what would become of the metrics is only looked at.
    pub(crate) preview: bool,
    /// How far the clock at the source is from ours; none where it is not known, and taken for the same then.
    pub(crate) sender: Option<ClockOffset>,
}

impl HealRules {
    /// Our clock and that of the source, as it may be at the earliest.
    pub(crate) fn clocks(&self) -> Clocks {
        let now = unix_now();
        let Some(offset) = self.sender else { return Clocks::at(now) };
        let there = offset.seconds_at(now);
        let error = u32::try_from(offset.error().as_secs()).unwrap_or(u32::MAX);
        Clocks { earliest: now.min(there.saturating_sub(error)), latest: now.max(there) }
    }

    pub(super) fn fill_options(&self, aggregation_six: AggregationSix) -> FillOptions {
        FillOptions { clocks: self.clocks(), aggregation_six }
    }
}

/// Whether the file at `path`, of the header `owner`, holds enough of a source of the header `source` for that to go.
///
/// # Errors
/// The reason why the source has to stay, with all that is known of the difference.
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

/// The subject of "no place": how many of the source's points have it.
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
