//! The summary of a run: what was done, what was not and why, and what to do next.

use std::fmt;
use std::time::Duration;

use super::Task;
use crate::counted::{self, counted};
use crate::output::human_count;
use crate::run::tally::RunCounts;

/// The summary of a run.
#[derive(Clone, Debug)]
pub(crate) struct MoveSummary {
    /// What the run was for.
    pub(crate) task: Task,
    /// What was done.
    pub(crate) counts: RunCounts,
    /// How long it took.
    pub(crate) elapsed: Duration,
    /// Whether sources were deleted.
    pub(crate) deletes: bool,
    /// Whether the operator stopped it.
    pub(crate) stopped: bool,
    /// Whether only some metrics or nodes were selected.
    pub(crate) is_selection: bool,
    /// How many metrics are still misplaced, or `None` if a node did not answer.
    pub(crate) still_misplaced: Option<u64>,
    /// Unplaceable tagged files: they stay where they are.
    pub(crate) unplaceable: u64,
    /// Tombstones that wait for their owners to confirm them.
    pub(crate) tombstones: u64,
}

impl fmt::Display for MoveSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        let verb = if self.deletes { "moved" } else { "copied (sources kept)" };
        writeln!(
            f,
            "{} {verb}: {} created, {}.",
            counted::metrics(counts.moved),
            human_count(counts.created),
            counts.rest_of_line(self.elapsed),
        )?;
        if counts.replaced > 0 {
            writeln!(
                f,
                "{} replaced a corrupt file, which the owner keeps aside; `bucky servers` shows how many are kept.",
                human_count(counts.replaced)
            )?;
        }
        if counts.salvaged > 0 {
            writeln!(
                f,
                "{} cut off: the owners have what was left, and the nodes keep the files aside.",
                counted(counts.salvaged, "source was", "sources were")
            )?;
        }
        counts.write_shortfalls(f)?;
        if self.tombstones > 0 {
            writeln!(
                f,
                "{} for the owners to confirm; `bucky servers` shows them.",
                counted(self.tombstones, "tombstone waits", "tombstones wait")
            )?;
        }
        if self.unplaceable > 0 {
            writeln!(
                f,
                "{}, because the owner is unknown.",
                counted(
                    self.unplaceable,
                    "tagged file was not moved",
                    "tagged files were not moved"
                )
            )?;
        }
        match self.still_misplaced {
            _ if self.task == Task::Copy => {}
            Some(0) if self.is_selection => {
                writeln!(f, "None of the selected metrics is misplaced any more.")?
            }
            Some(0) if self.unplaceable > 0 => writeln!(f, "Nothing else is misplaced any more.")?,
            Some(0) => writeln!(f, "Nothing is misplaced any more.")?,
            Some(count) => {
                writeln!(f, "{} still misplaced.", counted::metrics_are(count))?;
            }
            None => writeln!(
                f,
                "It is unknown how many metrics are still misplaced: not all nodes answered."
            )?,
        }
        f.write_str(self.next_step())
    }
}

impl MoveSummary {
    /// Whether the only failures are sources that are still written to.
    fn is_only_written_to(&self) -> bool {
        let failures = self.counts.failures();
        failures > 0
            && self.counts.broken_sources == 0
            && self.counts.still_written_to() == failures
    }

    fn next_step(&self) -> &'static str {
        if self.stopped {
            "Stopped. Run the same command again to continue."
        } else if self.is_only_written_to() {
            "When the relays no longer send to these sources and carbon has written its cache, run the same \
             command again."
        } else if self.counts.failures() > 0 || self.counts.broken_sources > 0 {
            "Fix the errors above and run the same command again."
        } else if self.unplaceable > 0 && self.still_misplaced.is_none_or(|count| count == 0) {
            "Give the series of the tagged files with --series FILE and run the same command again."
        } else if self.task == Task::Copy {
            if self.deletes {
                "Done."
            } else {
                "Done. Run the same command again to copy what is written there meanwhile."
            }
        } else if !self.deletes {
            "When all relays have switched to the new ring, run it again without --no-delete to delete the sources."
        } else if self.still_misplaced.is_none_or(|count| count > 0) {
            "Run the same command again; `bucky inconsistent` lists the metrics that are left."
        } else {
            "Done."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::failure_kind::FailureKind;
    use std::collections::BTreeMap;

    fn summary() -> MoveSummary {
        let counts = RunCounts {
            finished: 1_000,
            moved: 1_000,
            created: 900,
            filled: 60,
            unchanged: 40,
            points: 12_345,
            bytes: 35 << 20,
            ..RunCounts::default()
        };
        let elapsed = Duration::from_millis(8_250);
        MoveSummary {
            task: Task::Rebalance,
            counts,
            elapsed,
            deletes: true,
            stopped: false,
            is_selection: false,
            still_misplaced: Some(0),
            unplaceable: 0,
            tombstones: 0,
        }
    }

    #[test]
    fn a_good_run_says_what_was_done_and_that_nothing_is_left() {
        insta::assert_snapshot!(summary().to_string());
    }

    #[test]
    fn a_bad_run_says_what_failed_and_what_to_do() {
        let mut summary = summary();
        summary.counts.failed =
            BTreeMap::from([(FailureKind::NoSpace, 12), (FailureKind::SourceDamaged, 1)]);
        summary.counts.gone = 3;
        summary.counts.broken_sources = 1;
        summary.still_misplaced = Some(13);
        summary.tombstones = 987;
        insta::assert_snapshot!(summary.to_string());
    }

    #[test]
    fn the_last_line_is_the_next_step() {
        let last = |change: fn(&mut MoveSummary)| {
            let mut summary = summary();
            change(&mut summary);
            summary.to_string().lines().last().unwrap().to_owned()
        };
        assert_eq!(
            last(|summary| summary.stopped = true),
            "Stopped. Run the same command again to continue."
        );
        assert!(last(|summary| summary.deletes = false).contains("without --no-delete"));
        let written_to = |summary: &mut MoveSummary| {
            summary.counts.failed = BTreeMap::from([(FailureKind::StillWrittenTo, 12)]);
        };
        assert!(last(written_to).contains("When the relays no longer send"));
        assert!(last(|summary| summary.still_misplaced = None).contains("bucky inconsistent"));
        assert!(last(|summary| summary.unplaceable = 2).contains("--series FILE"));
        let copied = MoveSummary { task: Task::Copy, still_misplaced: None, ..summary() };
        assert_eq!(copied.to_string().lines().last(), Some("Done."));
        let copied = MoveSummary { deletes: false, ..copied }.to_string();
        assert!(copied.ends_with("to copy what is written there meanwhile."), "{copied}");
        assert!(!copied.contains("misplaced"), "{copied}");
    }

    #[test]
    fn unplaceable_files_are_reported_and_not_called_in_place() {
        let text = MoveSummary { unplaceable: 1_234, ..summary() }.to_string();
        assert!(text.contains("1,234 tagged files were not moved"), "{text}");
        assert!(text.contains("Nothing else is misplaced any more."), "{text}");
    }

    #[test]
    fn a_run_over_a_selection_does_not_speak_for_the_cluster() {
        let text = MoveSummary { is_selection: true, ..summary() }.to_string();
        assert!(text.contains("None of the selected metrics is misplaced any more."), "{text}");
    }
}
