//! What a run has done so far: counts, and the metrics that failed, each named once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bucky_api::{DaemonAddr, HealLine, HealOutcome, OnSchemaDifference, SchemaDifference};
use bucky_whisper::MetricName;

use super::failure::{Failure, Naming};
use super::failure_files::FailureFiles;
use super::failure_kind::FailureKind;
use super::schemas::Schemas;
use crate::counted::{self, counted};
use crate::output::{Output, human_bytes, human_count, human_duration};

/// The effect of a heal of one metric at all its owners together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effect {
    /// The largest change at any owner.
    pub(crate) outcome: HealOutcome,
    /// Points that were filled into existing files.
    pub(crate) points: u64,
    /// Bytes that travelled.
    pub(crate) bytes: u64,
}

impl Effect {
    /// The combined effect of several owners, or of several rounds.
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
pub(crate) struct RunCounts {
    /// Metrics that are finished, moved or not.
    pub(crate) finished: u64,
    /// Metrics that all owners hold. Unless `--no-delete` is given, their source is gone.
    pub(crate) moved: u64,
    /// Moved metrics that were created at an owner.
    pub(crate) created: u64,
    /// Moved metrics that replaced a corrupt file at an owner.
    pub(crate) replaced: u64,
    /// Moved metrics whose source was cut off and is kept aside.
    pub(crate) salvaged: u64,
    /// Moved metrics that were filled at an owner.
    pub(crate) filled: u64,
    /// Moved metrics that changed no owner.
    pub(crate) unchanged: u64,
    /// Metrics that were gone from their source when the run came to them.
    pub(crate) gone: u64,
    /// Points that were filled into existing files.
    pub(crate) points: u64,
    /// Bytes that travelled.
    pub(crate) bytes: u64,
    /// Metrics that failed, by kind of failure.
    pub(crate) failed: BTreeMap<FailureKind, u64>,
    /// Nodes whose lists could not be read to the end.
    pub(crate) broken_sources: u64,
}

impl RunCounts {
    /// How many metrics failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// How many of the failed metrics are at their owners, but were not deleted because something still
    /// writes to their sources.
    pub(crate) fn still_written_to(&self) -> u64 {
        self.failed.get(&FailureKind::StillWrittenTo).copied().unwrap_or_default()
    }

    /// How many were not copied.
    pub(crate) fn copy_failures(&self) -> u64 {
        self.failures() - self.delete_failures()
    }

    /// How many were copied, but not deleted at their sources.
    pub(crate) fn delete_failures(&self) -> u64 {
        let of_delete = self.failed.iter().filter(|(kind, _)| kind.is_of_delete());
        of_delete.map(|(_, count)| count).sum()
    }

    /// Whether less was done than planned; up to `tolerance` failures of each kind are tolerated.
    pub(crate) fn is_failure(&self, tolerance: u64) -> bool {
        self.broken_sources > 0
            || self.copy_failures() > tolerance
            || self.delete_failures() > tolerance
    }

    /// The second half of a summary line: what was filled, what was unchanged, and how much travelled in
    /// `elapsed`. Each command writes the first half.
    pub(crate) fn rest_of_line(&self, elapsed: Duration) -> String {
        format!(
            "{} filled, {} unchanged; {} filled, {} in {}",
            human_count(self.filled),
            human_count(self.unchanged),
            counted::points(self.points),
            human_bytes(self.bytes),
            human_duration(elapsed)
        )
    }

    /// The failures of these kinds, each with its count.
    pub(crate) fn kinds(&self, is_shown: impl Fn(FailureKind) -> bool) -> String {
        let failed = self.failed.iter().filter(|(kind, _)| is_shown(**kind));
        let kinds: Vec<String> =
            failed.map(|(kind, count)| format!("{} {kind}", human_count(*count))).collect();
        kinds.join(", ")
    }

    /// Writes what was not done, and why: one line each.
    pub(crate) fn write_shortfalls(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.gone > 0 {
            let were =
                counted(self.gone, "was gone before its turn", "were gone before their turn");
            writeln!(f, "{were}.")?;
        }
        let written_to = self.still_written_to();
        if written_to > 0 {
            writeln!(
                f,
                "{}, which {} still written to.",
                not_deleted(written_to),
                if written_to == 1 { "is" } else { "are" }
            )?;
        }
        let with_late_points =
            self.failed.get(&FailureKind::LatePoints).copied().unwrap_or_default();
        if with_late_points > 0 {
            writeln!(
                f,
                "{}, because go-carbon keeps late points in NAME.wsp.ooo.",
                not_deleted(with_late_points)
            )?;
        }
        let others = self.delete_failures() - written_to - with_late_points;
        if others > 0 {
            let were = counted(others, "was", "were");
            let sources = their_sources(others);
            writeln!(f, "{were} copied, but could not be deleted at {sources}.")?;
        }
        let failures = self.copy_failures();
        if failures > 0 {
            let kinds = self.kinds(|kind| !kind.is_of_delete());
            writeln!(f, "{} failed: {kinds}.", human_count(failures))?;
        }
        if self.broken_sources > 0 {
            let nodes = counted(self.broken_sources, "node", "nodes");
            writeln!(f, "{nodes} could not be read completely.")?;
        }
        Ok(())
    }
}

fn their_sources(metrics: u64) -> &'static str {
    if metrics == 1 { "its source" } else { "their sources" }
}

/// How many metrics were copied and are still at their sources.
fn not_deleted(metrics: u64) -> String {
    let were = counted(metrics, "was", "were");
    format!("{were} copied, but not deleted at {}", their_sources(metrics))
}

/// Counts what is done, and names what fails.
pub(crate) struct Tally {
    counts: Mutex<RunCounts>,
    schemas: Mutex<Schemas>,
    given_up: AtomicU64,
    naming: Mutex<Naming>,
    files: Mutex<FailureFiles>,
    started: Instant,
    output: Arc<Output>,
}

impl Tally {
    /// A tally with nothing done yet. Every failure is also written to `files`.
    pub(crate) fn begin(files: FailureFiles, output: Arc<Output>) -> Self {
        let (counts, naming, files) = (Mutex::default(), Mutex::default(), Mutex::new(files));
        let (schemas, given_up) = (Mutex::default(), AtomicU64::new(0));
        Self { counts, schemas, given_up, naming, files, started: Instant::now(), output }
    }

    /// Counts a metric that is where it belongs.
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

    /// Reports that an owner's corrupt file was replaced; `reason` says where the old file is. Each is named:
    /// this is rare, and a person must look at the file that is kept.
    pub(crate) fn replaced(&self, metric: &str, owner: &DaemonAddr, reason: &str) {
        self.output.say(format_args!("bucky: {metric}: {owner}: {reason}"));
    }

    /// Reports that the rest of a source that was cut off is at its owners; the file is kept at `kept`. Each
    /// is named, as a corrupt file that was replaced is.
    pub(crate) fn salvaged(&self, metric: &str, source: &DaemonAddr, kept: &str) {
        self.lock().salvaged += 1;
        self.output.say(format_args!(
            "bucky: {metric}: {source}: the file was cut off; its owners have what was left, and it is kept as \
             {kept}; remove that folder when it is no longer needed"
        ));
    }

    /// Notes what an owner reported of a metric whose files have different schemas.
    pub(crate) fn schema(&self, line: &HealLine) {
        self.lock_schemas().note(line);
    }

    /// Notes the difference of a metric's schemas at an owner that does not report it itself.
    pub(crate) fn schema_found(
        &self,
        metric: &MetricName,
        difference: Option<&SchemaDifference>,
        is_healed: bool,
    ) {
        if let Some(difference) = difference {
            self.lock_schemas().add(metric, difference, is_healed);
        }
    }

    /// Whether this many more points may be given up for good, of at most `most` in the run. If so, they are
    /// counted.
    pub(crate) fn may_give_up(&self, points: u64, most: u64) -> bool {
        let add = |given_up: u64| given_up.checked_add(points).filter(|sum| *sum <= most);
        points == 0 || self.given_up.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    /// The pairs of schemas that were found so far.
    pub(crate) fn schemas(&self) -> Schemas {
        self.lock_schemas().clone()
    }

    /// Prints the pairs of schemas; `policy` is how points without a place are treated.
    pub(crate) fn print_schemas(&self, policy: OnSchemaDifference) {
        let is_kept = self.counts().failed.contains_key(&FailureKind::OtherSchema);
        let policy = match policy {
            // Not everything that `policy` allows to give up was given up.
            OnSchemaDifference::Drop if is_kept => OnSchemaDifference::Reshape,
            policy => policy,
        };
        for line in self.schemas().lines(policy) {
            self.output.say(format_args!("bucky: {line}"));
        }
    }

    /// Counts a metric that is gone from its source.
    pub(crate) fn gone(&self) {
        let mut counts = self.lock();
        counts.finished += 1;
        counts.gone += 1;
    }

    /// Counts a metric that an earlier run finished.
    pub(crate) fn skipped(&self) {
        self.lock().finished += 1;
    }

    /// Counts a metric of `source` that failed.
    pub(crate) fn failed(&self, metric: &str, source: &DaemonAddr, failure: &Failure) {
        {
            let mut counts = self.lock();
            counts.finished += 1;
            *counts.failed.entry(failure.kind).or_default() += 1;
        }
        let lines = self.naming.lock().unwrap_or_else(PoisonError::into_inner).of(metric, failure);
        lines.iter().for_each(|line| self.output.say(line));
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for (flag, error) in files.write(metric, source, failure) {
            self.output
                .say(format_args!("bucky: cannot write to the file of {flag} any more: {error}"));
        }
    }

    /// Reports a node whose list could not be read to the end.
    pub(crate) fn source_broke(&self, reason: impl fmt::Display) {
        self.lock().broken_sources += 1;
        self.output.say(format_args!("bucky: {reason}"));
    }

    /// Writes what the failure files buffer.
    pub(crate) fn flush(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for (flag, error) in files.flush() {
            self.output.say(format_args!("bucky: the file of {flag} is not complete: {error}"));
        }
    }

    /// The counts so far.
    pub(crate) fn counts(&self) -> RunCounts {
        self.lock().clone()
    }

    /// The time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn lock_schemas(&self) -> std::sync::MutexGuard<'_, Schemas> {
        self.schemas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, RunCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
