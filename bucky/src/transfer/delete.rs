//! Deletes the sources of healed metrics. Nothing is deleted without a receipt.

use std::collections::{BTreeMap, HashMap};

use bucky_api::{ClientError, DeleteLine, DeleteOutcome, DeleteRequest, Problem};
use bucky_whisper::MetricName;

use super::heal::Healed;
use super::mover::Mover;
use crate::chain;
use crate::fleet::Node;
use crate::patience::{NextStep, Patience, Trouble, jitter};
use crate::run::failure::Failure;
use crate::run::failure_kind::FailureKind;

/// The result of deleting sources.
#[derive(Debug, Default)]
pub(super) struct DeleteReport {
    /// Metrics that are gone from the source.
    pub(super) deleted: Vec<MetricName>,
    /// Deleted sources that were cut off, and where they are kept aside.
    kept: Vec<(MetricName, String)>,
    /// Metrics whose content has changed: they must be healed again.
    pub(super) changed: Vec<MetricName>,
    /// Metrics that were healed and are still at the source.
    pub(super) failed: Vec<(MetricName, Failure)>,
    /// How many were not tried again because the operator stopped the run.
    pub(super) left: usize,
    /// How many were deleted although their times were odd, and what was odd about the first of them.
    pub(super) odd: Option<(u64, String)>,
}

impl DeleteReport {
    fn note_odd(&mut self, metric: &MetricName, oddity: String) {
        let (count, _) = self.odd.get_or_insert_with(|| (0, format!("{metric}: {oddity}")));
        *count += 1;
    }

    fn report_odd(&self, mover: &Mover, source: &Node) {
        if let Some((count, first)) = &self.odd {
            let further = if *count > 1 {
                format!(" (and {} more metrics like it)", count - 1)
            } else {
                String::new()
            };
            mover.output.say(format_args!("bucky: {}: {first}{further}", source.addr()));
        }
    }
}

/// Deletes the metrics of these receipts at `source`, if they are still what was healed.
pub(super) async fn delete(mover: &Mover, source: &Node, healed: Vec<Healed>) -> DeleteReport {
    let mut done = DeleteReport::default();
    let mut left: BTreeMap<MetricName, Healed> =
        healed.into_iter().map(|healed| (healed.metric().clone(), healed)).collect();
    let mut reasons: HashMap<MetricName, String> = HashMap::new();
    let mut patience = Patience::with(&source.daemon);
    while !left.is_empty() {
        if let Err(reason) = source.admit() {
            not_deleted(source, &mut left, &HashMap::new(), &reason, &mut done);
            break;
        }
        let (lines, error) = request(mover, source, &left).await;
        match &error {
            None => source.answered(),
            Some(error @ (ClientError::Unreachable { .. } | ClientError::TimedOut { .. })) => {
                mover.unreachable(source, &chain(error));
            }
            Some(_) => {}
        }
        let before = left.len();
        reasons.clear();
        for line in lines {
            sort(source, line, &mut left, &mut reasons, &mut done);
        }
        if left.is_empty() {
            break;
        }
        if left.len() < before {
            patience.progress();
        }
        let (trouble, reason) = match &error {
            Some(error) => (Trouble::of(error), chain(error)),
            None => (Trouble::Passing, "its answer does not mention it".to_owned()),
        };
        match patience.after(trouble, jitter()) {
            NextStep::Wait(pause) if mover.stop.asked_within(pause).await => {
                done.left = left.len();
                break;
            }
            NextStep::Wait(_) => {}
            NextStep::GiveUp => not_deleted(source, &mut left, &reasons, &reason, &mut done),
        }
    }
    mover.print_deleted(&done.deleted);
    done.report_odd(mover, source);
    for (metric, kept) in &done.kept {
        mover.records.tally.salvaged(metric.as_str(), source.addr(), kept);
    }
    done
}

/// Fails the metrics that are `left`, each with its own reason if it has one.
fn not_deleted(
    source: &Node,
    left: &mut BTreeMap<MetricName, Healed>,
    reasons: &HashMap<MetricName, String>,
    reason: &str,
    done: &mut DeleteReport,
) {
    for metric in std::mem::take(left).into_keys() {
        let reason = reasons.get(&metric).map_or(reason, String::as_str);
        let reason = not_deleted_because(reason);
        let failure =
            Failure { node: source.addr().clone(), kind: FailureKind::NotDeleted, reason };
        done.failed.push((metric, failure));
    }
}

fn not_deleted_because(reason: &str) -> String {
    format!("its owners have all of it, but it was not deleted here: {reason}")
}

async fn request(
    mover: &Mover,
    source: &Node,
    left: &BTreeMap<MetricName, Healed>,
) -> (Vec<DeleteLine>, Option<ClientError>) {
    let rule = mover.sync.on_schema_difference;
    let metrics = left.values().map(|healed| healed.to_delete(rule)).collect();
    let rest_seconds = mover.sources.rest.as_secs();
    let request = DeleteRequest { metrics, rest_seconds, salvage: mover.sync.repairs.salvage };
    let mut answer = match source.daemon.delete(&request).await {
        Ok(answer) => answer,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut lines = Vec::with_capacity(left.len());
    loop {
        match answer.next::<DeleteLine>().await {
            Ok(Some(_)) if lines.len() == left.len() => {
                let error = answer.too_many(lines.len());
                return (lines, Some(error));
            }
            Ok(Some(line)) => lines.push(line),
            Ok(None) => return (lines, None),
            Err(error) => return (lines, Some(error)),
        }
    }
}

fn sort(
    source: &Node,
    line: DeleteLine,
    left: &mut BTreeMap<MetricName, Healed>,
    reasons: &mut HashMap<MetricName, String>,
    done: &mut DeleteReport,
) {
    if line.problem == Some(Problem::LatePoints) {
        if left.remove(&line.metric).is_some() {
            let reason = not_deleted_because(&line.reason);
            let failure =
                Failure { node: source.addr().clone(), kind: FailureKind::LatePoints, reason };
            done.failed.push((line.metric, failure));
        }
    } else if line.outcome == DeleteOutcome::Failed {
        if left.contains_key(&line.metric) {
            reasons.insert(line.metric, line.reason);
        }
    } else if left.remove(&line.metric).is_some() {
        if let Some(kept) = line.kept {
            done.kept.push((line.metric.clone(), kept));
        }
        match line.outcome {
            DeleteOutcome::Changed => done.changed.push(line.metric),
            DeleteOutcome::InUse => done.failed.push((line.metric, in_use(source, &line.reason))),
            DeleteOutcome::Deleted if !line.reason.is_empty() => {
                done.note_odd(&line.metric, line.reason);
                done.deleted.push(line.metric);
            }
            // Missing: an earlier attempt deleted it and its answer was lost, or something else did. Its
            // owners have it.
            DeleteOutcome::Deleted | DeleteOutcome::Missing | DeleteOutcome::Failed => {
                done.deleted.push(line.metric)
            }
        }
    }
}

/// The failure of a source that something still writes to.
pub(super) fn in_use(source: &Node, reason: &str) -> Failure {
    let reason = format!("copied, but not deleted here: {reason}");
    Failure { node: source.addr().clone(), kind: FailureKind::StillWrittenTo, reason }
}
