//! What a run of `bucky heal` prints: its plan, and its summary.

use std::fmt;
use std::time::Duration;

use super::survey::HealSurvey;
use crate::counted::{self, counted};
use crate::output::human_count;
use crate::run::tally::RunCounts;

/// The plan as it is printed before the run.
pub(crate) struct HealPlan<'a>(pub(crate) &'a HealSurvey);

impl fmt::Display for HealPlan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HealSurvey { plan, compared, .. } = self.0;
        if !plan.is_empty() {
            writeln!(f, "{}\n", plan.tables())?;
        }
        write!(f, "{} missing at owners", counted(plan.metrics, "copy is", "copies are"))?;
        if !plan.is_empty() {
            f.write_str("; sizes are estimated from a sample")?;
        }
        f.write_str(".")?;
        if *compared > 0 {
            let compared = counted(*compared, "copy of an owner is", "copies of owners are");
            write!(f, "\n{compared} compared with another owner's copy, and filled from it.")?;
        }
        Ok(())
    }
}

/// The summary of a run.
#[derive(Clone, Debug)]
pub(crate) struct HealSummary {
    /// What was done.
    pub(crate) counts: RunCounts,
    /// How long it took.
    pub(crate) elapsed: Duration,
    /// Whether the operator stopped it.
    pub(crate) stopped: bool,
    /// How many fetches were planned.
    pub(crate) planned: u64,
    /// How many metrics came from another owner than the first that was asked.
    pub(crate) refetched: u64,
    /// Metrics that only other nodes than their owners have.
    pub(crate) to_rebalance: u64,
    /// The address that was given with `-h`.
    pub(crate) seed: String,
}

impl fmt::Display for HealSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        writeln!(
            f,
            "{} created, {}. Nothing was deleted.",
            counted::copies(counts.created),
            counts.rest_of_line(self.elapsed),
        )?;
        if self.refetched > 0 {
            writeln!(
                f,
                "{} from another owner, because the first one could not send its copy; to see why: bucky verify -h {}",
                counted(self.refetched, "copy came", "copies came"),
                self.seed
            )?;
        }
        counts.write_shortfalls(f)?;
        let left = self.planned.saturating_sub(counts.finished);
        // Metrics that have left the lists since they were counted are not left to do.
        if left > 0 && (self.stopped || counts.broken_sources > 0) {
            writeln!(f, "{} of {} are left.", human_count(left), human_count(self.planned))?;
        }
        if let Some(advice) = to_rebalance(self.to_rebalance, &self.seed) {
            writeln!(f, "{advice}")?;
        }
        self.next_step(f)
    }
}

impl HealSummary {
    fn next_step(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stopped {
            f.write_str("Stopped. Run the same command again to continue.")
        } else if self.counts.failures() > 0 || self.counts.broken_sources > 0 {
            f.write_str("Fix the errors above and run the same command again.")
        } else {
            write!(f, "Done. To check every copy: bucky verify -h {}", self.seed)
        }
    }
}

/// The advice about metrics that `bucky rebalance` must move, or `None` if there are none.
pub(crate) fn to_rebalance(metrics: u64, seed: &str) -> Option<String> {
    (metrics > 0).then(|| {
        format!(
            "{} only on nodes that do not own them; to move them to their owners: bucky rebalance -h {seed}",
            counted::metrics_are(metrics)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::failure_kind::FailureKind;
    use std::collections::BTreeMap;

    fn summary() -> HealSummary {
        let counts = RunCounts {
            finished: 1_020,
            moved: 1_020,
            created: 1_000,
            filled: 17,
            unchanged: 3,
            points: 345,
            bytes: 35 << 20,
            ..RunCounts::default()
        };
        HealSummary {
            counts,
            elapsed: Duration::from_millis(8_250),
            stopped: false,
            planned: 1_020,
            refetched: 0,
            to_rebalance: 0,
            seed: "graphite-1:4242".into(),
        }
    }

    #[test]
    fn a_good_run_says_what_was_done_and_how_to_prove_it() {
        assert_eq!(
            summary().to_string(),
            "1,000 copies created, 17 filled, 3 unchanged; 345 points filled, 35.0 MiB in 8s. Nothing was deleted.\n\
             Done. To check every copy: bucky verify -h graphite-1:4242"
        );
    }

    #[test]
    fn a_bad_run_says_what_failed_what_is_left_and_what_to_do() {
        let mut summary = summary();
        summary.counts.failed = BTreeMap::from([(FailureKind::SourceDamaged, 2)]);
        (summary.planned, summary.refetched, summary.to_rebalance) = (1_100, 4, 12);
        assert!(!summary.to_string().contains("are left"), "it was not broken off");
        summary.counts.broken_sources = 1;
        let text = summary.to_string();
        for line in [
            "4 copies came from another owner, because the first one could not send its copy",
            "2 failed: 2 source damaged.",
            "80 of 1,100 are left.",
            "12 metrics are only on nodes that do not own them; to move them to their owners: bucky rebalance -h graphite-1:4242",
        ] {
            assert!(text.contains(line), "{line:?} is not in {text}");
        }
        assert!(text.ends_with("Fix the errors above and run the same command again."), "{text}");
        summary.stopped = true;
        assert!(summary.to_string().ends_with("Stopped. Run the same command again to continue."));
    }
}
