//! What a run has done so far: counts, and what did not make it, each named once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bucky_api::{DaemonAddr, HealOutcome};

use super::Task;
use super::failure::{Failure, Naming, STILL_WRITTEN_TO, is_of_delete};
use super::failure_files::FailureFiles;
use crate::output::{Output, human_bytes, human_count, human_duration};

/// What was put in place of one metric, at all its owners together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effect {
    /// The most that happened at an owner.
    pub(crate) outcome: HealOutcome,
    /// Points put into files that were there.
    pub(crate) points: u64,
    /// What travelled.
    pub(crate) bytes: u64,
}

impl Effect {
    /// The effect at several owners, or in several rounds.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        let rank = |outcome| match outcome {
            HealOutcome::Replaced => 3,
            HealOutcome::Created => 2,
            HealOutcome::Filled => 1,
            HealOutcome::Unchanged | HealOutcome::Refused | HealOutcome::Failed => 0,
        };
        let outcome =
            if rank(other.outcome) > rank(self.outcome) { other.outcome } else { self.outcome };
        Self { outcome, points: self.points + other.points, bytes: self.bytes + other.bytes }
    }
}

/// Counts of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Metrics that are finished, in whatever way.
    pub(crate) finished: u64,
    /// Metrics whose owners have all of them; and, unless `--no-delete`, whose source is gone.
    pub(crate) moved: u64,
    /// Of these, created at an owner.
    pub(crate) created: u64,
    /// Of these, put in the place of a corrupt file at an owner.
    pub(crate) replaced: u64,
    /// Of these, filled.
    pub(crate) filled: u64,
    /// Of these, complete before.
    pub(crate) unchanged: u64,
    /// Metrics that were gone at their source when it was their turn.
    pub(crate) gone: u64,
    /// Points put into files that were there.
    pub(crate) points: u64,
    /// Bytes that travelled.
    pub(crate) bytes: u64,
    /// Metrics that did not make it, by kind of failure.
    pub(crate) failed: BTreeMap<&'static str, u64>,
    /// Nodes that could not be read to their end.
    pub(crate) broken_sources: u64,
}

impl Counts {
    /// How many did not make it.
    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// How many of these are at their owners, and only not deleted since somebody writes to their sources.
    fn still_written_to(&self) -> u64 {
        self.failed.get(STILL_WRITTEN_TO).copied().unwrap_or_default()
    }

    /// How many were not copied.
    pub(crate) fn copy_failures(&self) -> u64 {
        self.failures() - self.delete_failures()
    }

    /// How many were copied, and not deleted at their sources.
    pub(crate) fn delete_failures(&self) -> u64 {
        let of_delete = self.failed.iter().filter(|(kind, _)| is_of_delete(kind));
        of_delete.map(|(_, count)| count).sum()
    }

    /// Whether less was done than was to be, with so many failures of either kind put up with.
    pub(crate) fn is_failure(&self, tolerance: u64) -> bool {
        self.broken_sources > 0
            || self.copy_failures() > tolerance
            || self.delete_failures() > tolerance
    }

    /// What was not done, and why: a line each.
    pub(crate) fn tell_shortfalls(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.gone > 0 {
            writeln!(f, "{} were gone when it was their turn.", human_count(self.gone))?;
        }
        let written_to = self.still_written_to();
        if written_to > 0 {
            writeln!(
                f,
                "{} were copied, and stay at their sources for now, where they are still written to.",
                human_count(written_to)
            )?;
        }
        let failures = self.failures() - written_to;
        if failures > 0 {
            let failed = self.failed.iter().filter(|(kind, _)| **kind != STILL_WRITTEN_TO);
            let kinds: Vec<String> =
                failed.map(|(kind, count)| format!("{} {kind}", human_count(*count))).collect();
            writeln!(f, "{} did not make it: {}.", human_count(failures), kinds.join(", "))?;
        }
        if self.broken_sources > 0 {
            writeln!(f, "{} nodes could not be read to their end.", self.broken_sources)?;
        }
        Ok(())
    }
}

/// Keeps count, and names what fails.
pub(crate) struct Tally {
    counts: Mutex<Counts>,
    naming: Mutex<Naming>,
    files: Mutex<FailureFiles>,
    started: Instant,
    output: Arc<Output>,
}

impl Tally {
    /// Nothing done yet. Every failure goes to `files`, too.
    pub(crate) fn begin(files: FailureFiles, output: Arc<Output>) -> Self {
        let (counts, naming, files) = (Mutex::default(), Mutex::default(), Mutex::new(files));
        Self { counts, naming, files, started: Instant::now(), output }
    }

    /// A metric is where it belongs.
    pub(crate) fn moved(&self, effect: Effect) {
        let mut counts = self.lock();
        counts.finished += 1;
        counts.moved += 1;
        match effect.outcome {
            HealOutcome::Replaced => counts.replaced += 1,
            HealOutcome::Created => counts.created += 1,
            HealOutcome::Filled => counts.filled += 1,
            HealOutcome::Unchanged | HealOutcome::Refused | HealOutcome::Failed => {
                counts.unchanged += 1
            }
        }
        counts.points += effect.points;
        counts.bytes += effect.bytes;
    }

    /// An owner's corrupt file was replaced; `reason` says where the old one is. Each is named: it is rare, and a person
    /// has to look at what is kept.
    pub(crate) fn replaced(&self, metric: &str, owner: &DaemonAddr, reason: &str) {
        self.output.say(format_args!("bucky: {metric}: {owner}: {reason}"));
    }

    /// A metric was not there any more.
    pub(crate) fn gone(&self) {
        let mut counts = self.lock();
        counts.finished += 1;
        counts.gone += 1;
    }

    /// A metric needs nothing done: an earlier run did it.
    pub(crate) fn skipped(&self) {
        self.lock().finished += 1;
    }

    /// A metric of `source` did not make it.
    pub(crate) fn failed(&self, metric: &str, source: &DaemonAddr, failure: &Failure) {
        {
            let mut counts = self.lock();
            counts.finished += 1;
            *counts.failed.entry(failure.kind).or_default() += 1;
        }
        let told = self.naming.lock().unwrap_or_else(PoisonError::into_inner).of(metric, failure);
        told.iter().for_each(|line| self.output.say(line));
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for (flag, error) in files.write(metric, source, failure) {
            self.output
                .say(format_args!("bucky: the file of {flag} cannot be written any more: {error}"));
        }
    }

    /// A node could not be read to its end.
    pub(crate) fn source_broke(&self, reason: impl fmt::Display) {
        self.lock().broken_sources += 1;
        self.output.say(format_args!("bucky: {reason}"));
    }

    /// Writes what is held back of the files of failures.
    pub(crate) fn flush(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for (flag, error) in files.flush() {
            self.output.say(format_args!("bucky: the file of {flag} is not whole: {error}"));
        }
    }

    /// The counts by now.
    pub(crate) fn counts(&self) -> Counts {
        self.lock().clone()
    }

    /// How long it has gone on.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a run ended, for people.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    /// What for.
    pub(crate) task: Task,
    /// What was done.
    pub(crate) counts: Counts,
    /// How long it took.
    pub(crate) elapsed: Duration,
    /// Whether sources were deleted.
    pub(crate) deletes: bool,
    /// Whether the operator stopped it.
    pub(crate) stopped: bool,
    /// Whether only some metrics or nodes were looked at.
    pub(crate) is_selection: bool,
    /// How many metrics still lie astray; none where a node did not tell.
    pub(crate) still_misplaced: Option<u64>,
    /// Deleted sources that wait to be confirmed at their owners.
    pub(crate) tombstones: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        let verb = if self.deletes { "moved" } else { "copied (the sources were left)" };
        writeln!(
            f,
            "{} metrics {verb}: {} created, {} filled, {} complete before; {} points filled, {} in {}.",
            human_count(counts.moved),
            human_count(counts.created),
            human_count(counts.filled),
            human_count(counts.unchanged),
            human_count(counts.points),
            human_bytes(counts.bytes),
            human_duration(self.elapsed),
        )?;
        if counts.replaced > 0 {
            writeln!(
                f,
                "{} replaced a corrupt file, which its owner keeps aside; `bucky servers` shows how many are kept.",
                human_count(counts.replaced)
            )?;
        }
        counts.tell_shortfalls(f)?;
        if self.tombstones > 0 {
            writeln!(
                f,
                "{} deleted sources wait to be confirmed at their owners; `bucky servers` shows them.",
                human_count(self.tombstones)
            )?;
        }
        match self.still_misplaced {
            _ if self.task == Task::Copy => {}
            Some(0) if self.is_selection => {
                writeln!(f, "Nothing of what was selected is misplaced any more.")?
            }
            Some(0) => writeln!(f, "Nothing is misplaced any more.")?,
            Some(count) => writeln!(f, "{} metrics are still misplaced.", human_count(count))?,
            None => writeln!(
                f,
                "How many metrics are still misplaced is not known: not all nodes tell."
            )?,
        }
        f.write_str(self.next_step())
    }
}

impl Summary {
    /// Whether nothing failed but that some sources are still written to.
    fn is_only_written_to(&self) -> bool {
        let failures = self.counts.failures();
        failures > 0
            && self.counts.broken_sources == 0
            && self.counts.still_written_to() == failures
    }

    fn next_step(&self) -> &'static str {
        if self.stopped {
            "Stopped. Run the same command again to go on."
        } else if self.is_only_written_to() {
            "Once the relays send nothing there any more, and carbon has written what it holds, run the same command again."
        } else if self.counts.failures() > 0 || self.counts.broken_sources > 0 {
            "Repair what is named above and run the same command again."
        } else if self.task == Task::Copy {
            if self.deletes {
                "Done."
            } else {
                "Done. The same command again brings over what is written there meanwhile."
            }
        } else if !self.deletes {
            "When all relays have switched, run it again without --no-delete to delete the sources."
        } else if self.still_misplaced.is_none_or(|count| count > 0) {
            "Run the same command again; `bucky inconsistent` lists what is left."
        } else {
            "Done."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bucky_whisper::MetricName;

    fn summary() -> Summary {
        let counts = Counts {
            finished: 1_000,
            moved: 1_000,
            created: 900,
            filled: 60,
            unchanged: 40,
            points: 12_345,
            bytes: 35 << 20,
            ..Counts::default()
        };
        let elapsed = Duration::from_millis(8_250);
        Summary {
            task: Task::Rebalance,
            counts,
            elapsed,
            deletes: true,
            stopped: false,
            is_selection: false,
            still_misplaced: Some(0),
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
        summary.counts.failed = BTreeMap::from([("no space", 12), ("source damaged", 1)]);
        summary.counts.gone = 3;
        summary.counts.broken_sources = 1;
        summary.still_misplaced = Some(13);
        summary.tombstones = 987;
        insta::assert_snapshot!(summary.to_string());
    }

    #[test]
    fn the_last_line_is_the_next_step() {
        let last = |change: fn(&mut Summary)| {
            let mut summary = summary();
            change(&mut summary);
            summary.to_string().lines().last().unwrap().to_owned()
        };
        assert_eq!(
            last(|summary| summary.stopped = true),
            "Stopped. Run the same command again to go on."
        );
        assert!(last(|summary| summary.deletes = false).contains("without --no-delete"));
        let written_to = |summary: &mut Summary| {
            summary.counts.failed = BTreeMap::from([(STILL_WRITTEN_TO, 12)]);
        };
        assert!(last(written_to).contains("Once the relays send nothing there any more"));
        assert!(last(|summary| summary.still_misplaced = None).contains("bucky inconsistent"));
        let copied = Summary { task: Task::Copy, still_misplaced: None, ..summary() };
        assert_eq!(copied.to_string().lines().last(), Some("Done."));
        let copied = Summary { deletes: false, ..copied }.to_string();
        assert!(copied.ends_with("brings over what is written there meanwhile."), "{copied}");
        assert!(!copied.contains("misplaced"), "{copied}");
    }

    #[test]
    fn a_run_over_a_selection_does_not_speak_for_the_cluster() {
        let text = Summary { is_selection: true, ..summary() }.to_string();
        assert!(text.contains("Nothing of what was selected is misplaced any more."), "{text}");
    }

    #[test]
    fn the_effect_at_several_owners_is_the_most_that_happened() {
        let effect = |outcome, points| Effect { outcome, points, bytes: 10 };
        let both = effect(HealOutcome::Unchanged, 0).and(effect(HealOutcome::Filled, 5));
        assert_eq!(both, Effect { outcome: HealOutcome::Filled, points: 5, bytes: 20 });
        let both = both.and(effect(HealOutcome::Created, 0)).and(effect(HealOutcome::Filled, 1));
        assert_eq!(both.outcome, HealOutcome::Created);
    }

    #[test]
    fn failures_of_each_kind_are_put_up_with_up_to_the_tolerance() {
        let failed = BTreeMap::from([("busy", 2), (STILL_WRITTEN_TO, 1), ("not deleted", 2)]);
        let mut counts = Counts { failed, gone: 100, ..Counts::default() };
        assert_eq!((counts.copy_failures(), counts.delete_failures()), (2, 3));
        assert!(counts.is_failure(0) && counts.is_failure(2) && !counts.is_failure(3));
        counts.broken_sources = 1;
        assert!(counts.is_failure(1000), "a node that was not read is no such failure");
        assert!(
            !Counts { gone: 1, ..Counts::default() }.is_failure(0),
            "what is gone is no failure"
        );
    }

    #[test]
    fn all_failures_are_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("errors");
        let output = Output::to_writers(Box::new(std::io::sink()), Box::new(std::io::sink()));
        let files = FailureFiles::open(Some(&path), None).unwrap();
        let tally = Tally::begin(files, Arc::new(output));
        let node: DaemonAddr = "a".parse().unwrap();
        for number in 0..1_005 {
            let failure = Failure { node: node.clone(), kind: "busy", reason: "locked".into() };
            let metric = MetricName::parse(&format!("m{number}")).unwrap();
            tally.failed(metric.as_str(), &node, &failure);
        }
        tally.flush();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count() as u64, 1_005);
        assert_eq!(text.lines().next(), Some("a:4242\tm0\tlocked"));
        assert_eq!(tally.counts().failed["busy"], 1_005);
    }
}
