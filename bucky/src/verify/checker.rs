//! Reads the copies of a batch, and again those that something is wrong with.

use std::sync::Arc;

use bucky_api::Daemon;

use super::batches::VerifyBatch;
use super::clock;
use super::copies::{Clock, Comparison};
use super::finding::{FindingKind, MetricFinding};
use super::read::CopyReader;
use super::report::VerifyCounts;
use super::subject::VerifySubject;
use crate::copy_streams::ReadError;
use crate::holders::{MetricPlace, Placer};

/// How metrics are read.
pub(super) struct Checker {
    pub(super) reader: CopyReader,
    pub(super) placer: Arc<Placer>,
    /// All nodes: their answers show their clocks.
    pub(super) daemons: Vec<Daemon>,
    /// Whether a metric that no node has any more is a finding; it is not if the list may be old.
    pub(super) gone_counts: bool,
}

/// The result of a batch.
pub(super) struct CheckedBatch {
    pub(super) window: u64,
    pub(super) counts: VerifyCounts,
    pub(super) findings: Vec<MetricFinding>,
}

impl Checker {
    pub(super) async fn batch(&self, batch: VerifyBatch) -> Result<CheckedBatch, ReadError> {
        let VerifyBatch { window, subjects, mut findings } = batch;
        let mut counts = VerifyCounts { metrics: findings.len() as u64, ..VerifyCounts::default() };
        let first = self.reader.examine(&subjects, self.clock()).await?;
        let mut suspicious: Vec<VerifySubject> = Vec::new();
        for (subject, examined) in subjects.into_iter().zip(first) {
            if examined.findings(&subject.place).is_empty() {
                note(&subject, &examined, &mut counts);
                counts.in_place += 1;
            } else {
                suspicious.push(subject);
            }
        }
        // Read again: what moved, appeared or vanished in the meantime is not reported wrongly.
        let second = self.reader.examine(&suspicious, self.clock()).await?;
        for (subject, examined) in suspicious.into_iter().zip(second) {
            note(&subject, &examined, &mut counts);
            let found = examined.findings(&subject.place);
            let is_gone = found.iter().any(|(_, kind)| *kind == FindingKind::Gone);
            if found.is_empty() || (is_gone && !self.gone_counts) {
                counts.changed += 1;
                counts.in_place += 1;
            } else {
                let is_misplacement = |(_, kind): &(usize, FindingKind)| kind.is_misplacement();
                counts.in_place += u64::from(!found.iter().any(is_misplacement));
                counts.differ += u64::from(!found.iter().all(is_misplacement));
                findings.extend(found.into_iter().map(|found| self.finding(&subject, found)));
            }
        }
        Ok(CheckedBatch { window, counts, findings })
    }

    fn clock(&self) -> Clock {
        clock::among(
            bucky_api::clock::unix_now(),
            self.daemons.iter().filter_map(Daemon::clock_offset),
        )
    }

    fn finding(
        &self,
        subject: &VerifySubject,
        (node, kind): (usize, FindingKind),
    ) -> MetricFinding {
        let owners = match &subject.place {
            MetricPlace::Owners(owners) => owners.as_slice(),
            MetricPlace::Local | MetricPlace::Unplaceable => &[],
        };
        MetricFinding {
            metric: subject.metric.to_string(),
            node: self.placer.addr(node),
            what: kind.with_addresses(owners, |node| self.placer.addr(node)),
        }
    }
}

fn note(subject: &VerifySubject, examined: &Comparison, counts: &mut VerifyCounts) {
    counts.metrics += 1;
    counts.copies += examined.copies;
    counts.points += examined.points;
    counts.bytes += examined.bytes;
    counts.compressed += examined.compressed();
    counts.unplaceable += u64::from(subject.place == MetricPlace::Unplaceable);
    counts.local += u64::from(subject.place == MetricPlace::Local);
}
