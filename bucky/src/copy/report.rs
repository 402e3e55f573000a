//! What a run over a map of names prints: its plan, and its summary.

use std::fmt;
use std::time::Duration;

use crate::counted::{self, counted};
use crate::output::human_count;
use crate::plan::Plan;
use crate::run::tally::RunCounts;

/// The plan as it is printed before the run.
pub(super) struct BackfillPlan<'a> {
    /// From which node to which.
    pub(super) plan: &'a Plan,
    /// How many entries the map has.
    pub(super) entries: usize,
    /// How many of their old names some node has.
    pub(super) found: usize,
}

impl fmt::Display for BackfillPlan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = counted(self.entries as u64, "name", "names");
        let found = if self.found == self.entries {
            names
        } else {
            format!("{} of {names}", human_count(self.found as u64))
        };
        write!(
            f,
            "{}\n\n{} to fill, for {found}; sizes are estimated from a sample.",
            self.plan.tables(),
            counted::copies(self.plan.metrics),
        )
    }
}

/// The summary of a run.
#[derive(Clone, Debug)]
pub(super) struct BackfillSummary {
    /// What was done.
    pub(super) counts: RunCounts,
    /// How long it took.
    pub(super) elapsed: Duration,
    /// Whether the operator stopped it.
    pub(super) stopped: bool,
    /// How many copies were planned.
    pub(super) planned: u64,
    /// Whether something was not done as ordered; old names that no node has count.
    pub(super) failed: bool,
}

impl fmt::Display for BackfillSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        writeln!(
            f,
            "{} created under new names, {}. The old metrics stay.",
            counted::metrics(counts.created),
            counts.rest_of_line(self.elapsed),
        )?;
        counts.write_shortfalls(f)?;
        if self.stopped {
            let left = human_count(self.planned.saturating_sub(counts.finished));
            let planned = human_count(self.planned);
            return write!(
                f,
                "{left} of {planned} are left.\nStopped. Run the same command again to continue."
            );
        }
        f.write_str("Backfill request complete.")?;
        if self.failed {
            f.write_str("\nErrors are present.")?;
        }
        if counts.failures() > 0 || counts.broken_sources > 0 {
            f.write_str(" Fix the errors above and run the same command again.")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::failure_kind::FailureKind;
    use std::collections::BTreeMap;

    fn summary() -> BackfillSummary {
        let counts =
            RunCounts { finished: 7, moved: 7, created: 4, filled: 3, ..RunCounts::default() };
        let elapsed = Duration::from_secs(2);
        BackfillSummary { counts, elapsed, stopped: false, planned: 9, failed: false }
    }

    fn last(summary: &BackfillSummary) -> String {
        summary.to_string().lines().last().unwrap().to_owned()
    }

    #[test]
    fn the_last_line_says_how_it_ended() {
        assert_eq!(last(&summary()), "Backfill request complete.");
        let missing = BackfillSummary { failed: true, ..summary() };
        assert!(missing.to_string().ends_with("Backfill request complete.\nErrors are present."));
        let mut failed = missing;
        failed.counts.failed = BTreeMap::from([(FailureKind::NoSpace, 2)]);
        assert!(last(&failed).starts_with("Errors are present. Fix the errors"));
        let stopped = BackfillSummary { stopped: true, ..summary() }.to_string();
        assert!(stopped.contains("2 of 9 are left."), "{stopped}");
        assert!(!stopped.contains("complete."), "{stopped}");
    }
}
