//! Has one owner fetch metrics from one source.
//!
//! Failures that may pass are tried again. A batch that fails as a whole is halved until the metric that
//! causes it is alone. The failure of one metric never stops the others.

use std::collections::HashMap;
use std::sync::Arc;

use bucky_api::{ClientError, HealLine, HealOutcome, Problem, PullRequest};
use bucky_whisper::MetricName;

use super::batch::{Stray, unmeasured};
use super::mover::Mover;
use super::options::Travel;
use super::renames::Renames;
use crate::chain;
use crate::fleet::Node;
use crate::patience::{NextStep, Patience, Trouble, halves, jitter};
use crate::run::failure::Failure;
use crate::run::failure_kind::FailureKind;

/// The result of pulling to one owner.
#[derive(Debug, Default)]
pub(super) struct Pulled {
    /// Healed, each with its digest.
    pub(super) lines: Vec<HealLine>,
    /// Gone at the source.
    pub(super) gone: Vec<MetricName>,
    /// Failed.
    pub(super) failed: Vec<(MetricName, Failure)>,
    /// Not tried, or not tried again, because the operator stopped the run.
    pub(super) left: Vec<Stray>,
}

/// One owner that pulls from one source.
pub(super) struct Pull<'a> {
    pub(super) mover: &'a Mover,
    pub(super) source: &'a Arc<Node>,
    pub(super) owner: &'a Arc<Node>,
    /// The names of the metrics at the owner.
    pub(super) renames: &'a Renames,
    /// Whether none of the metrics has been sent yet: then a stop takes effect before the first request.
    pub(super) is_first: bool,
}

/// Metrics that are pulled together.
struct PullWork {
    strays: Vec<Stray>,
    patience: Patience,
    /// Why single metrics failed the last time.
    reasons: HashMap<MetricName, Failure>,
}

/// Why an attempt left something undone.
struct PullSetback {
    trouble: Trouble,
    /// Whether halving the batch may help.
    halves: bool,
    failure: Failure,
}

impl Pull<'_> {
    /// Has all of `strays` fetched, as far as possible.
    pub(super) async fn run(&self, strays: Vec<Stray>) -> Pulled {
        let mut pulled = Pulled::default();
        let mut stack = vec![PullWork::new(strays, Patience::with(&self.owner.daemon))];
        while let Some(mut work) = stack.pop() {
            if work.strays.is_empty() {
                continue;
            }
            let Some(setback) = self.attempt(&mut work, &mut pulled).await else { continue };
            match work.patience.after(setback.trouble, jitter()) {
                NextStep::Wait(pause) => {
                    if self.mover.stop.asked_within(pause).await {
                        pulled.left.extend(work.strays);
                    } else {
                        stack.push(work);
                    }
                }
                NextStep::GiveUp if setback.halves && work.strays.len() > 1 => {
                    for half in halves(work.strays) {
                        stack.push(PullWork::new(half, Patience::with_half(&self.owner.daemon)));
                    }
                }
                NextStep::GiveUp => {
                    for stray in work.strays {
                        let failure = work.reasons.remove(&stray.metric);
                        pulled.failed.push((
                            stray.metric,
                            failure.unwrap_or_else(|| setback.failure.clone()),
                        ));
                    }
                }
            }
        }
        pulled
    }

    /// Sends one request. Settled metrics are removed from `work`; `None` if that is all of them.
    async fn attempt(&self, work: &mut PullWork, pulled: &mut Pulled) -> Option<PullSetback> {
        if let Some(setback) = self.refused() {
            return Some(setback);
        }
        let (source, owner) = (self.source.addr(), self.owner.addr());
        let accounted =
            self.mover.flow.pace.turn(source, owner, &work.strays, &self.mover.stop).await;
        // First the owner's permit, then the source's, then ours: a task that waits holds nothing that others
        // need first.
        let _receiving = self.owner.gate.receive().await;
        let _sending = self.source.gate.send().await;
        let _worker = self.mover.worker().await;
        if self.is_first && self.mover.stop.is_asked() {
            pulled.left.append(&mut work.strays);
            return None;
        }
        // Other batches may have filled it while this one waited for its permit.
        if let Some(failure) = self.owner.full.failure(self.owner.addr()) {
            return Some(PullSetback { trouble: Trouble::Lasting, halves: false, failure });
        }
        let (lines, error) = self.request(work, accounted).await;
        if error.is_none() {
            self.mover.flow.pace.correct_to(accounted, lines.iter().map(|line| line.bytes));
        }
        let gone = pulled.gone.len();
        let settled = self.settle(lines, work, pulled) - self.check_gone(gone, work, pulled).await;
        if settled > 0 {
            work.patience.progress();
        }
        match error {
            Some(error) => Some(self.judge(&error).await),
            None => {
                self.source.answered();
                self.owner.answered();
                self.mover.flow.links.worked(self.source, self.owner);
                (!work.strays.is_empty()).then(|| self.unsettled(work))
            }
        }
    }

    /// The reason why nothing should be asked for now.
    fn refused(&self) -> Option<PullSetback> {
        // In this order: admitting a request uses up the probe of a node that the run gave up on.
        let (node, reason) = if let Err(reason) = self.owner.admit() {
            (self.owner, reason)
        } else if let Err(reason) = self.source.admit() {
            (self.source, reason)
        } else {
            (self.owner, self.mover.flow.links.admit(self.source, self.owner).err()?)
        };
        let failure = failure(node, FailureKind::NodeAway, reason);
        Some(PullSetback { trouble: Trouble::Lasting, halves: false, failure })
    }

    /// Asks for `work`, which should have about this many bytes.
    async fn request(&self, work: &PullWork, bytes: u64) -> (Vec<HealLine>, Option<ClientError>) {
        let asked = work.strays.len();
        let (metrics, renamed) = self.renames.parted(work.strays.iter().map(|stray| &stray.metric));
        let request = PullRequest {
            from: self.source.addr().clone(),
            metrics,
            renamed,
            encoding: self.mover.batching.travel.encoding(),
            chooses_encoding: self.mover.batching.travel == Travel::Auto,
            replace_corrupt: self.mover.sync.repairs.replace_corrupt,
            salvage: self.mover.sync.repairs.salvage,
            on_schema_difference: self.mover.sync.on_schema_difference,
            preview: self.mover.sync.preview.is_some(),
            bytes_per_second: self.mover.flow.pace.bytes_per_second(),
        };
        let paced = self.mover.flow.pace.time_for(bytes);
        let mut answer = match self.owner.daemon.pull(&request, paced).await {
            Ok(answer) => answer,
            Err(error) => return (Vec::new(), Some(error)),
        };
        let mut lines = Vec::with_capacity(asked);
        loop {
            match answer.next::<HealLine>().await {
                Ok(Some(_)) if lines.len() == asked => {
                    let error = answer.too_many(lines.len());
                    return (lines, Some(error));
                }
                Ok(Some(line)) => lines.push(line),
                Ok(None) => return (lines, None),
                Err(error) => return (lines, Some(error)),
            }
        }
    }

    /// Sorts the lines of the answer; returns how many metrics they settled.
    fn settle(&self, lines: Vec<HealLine>, work: &mut PullWork, pulled: &mut Pulled) -> usize {
        let mut open: HashMap<MetricName, Stray> =
            work.strays.drain(..).map(|stray| (stray.metric.clone(), stray)).collect();
        let before = open.len();
        work.reasons.clear();
        for line in lines {
            let Some(stray) = open.remove(&line.metric) else { continue };
            if line.outcome == HealOutcome::Replaced {
                let owner = self.owner.addr();
                self.mover.records.tally.replaced(line.metric.as_str(), owner, &line.reason);
            }
            if line.outcome.is_healed() && line.stored_as.as_ref() != self.renames.of(&line.metric)
            {
                let failure = self.stored_elsewhere(&line);
                pulled.failed.push((line.metric, failure));
                continue;
            }
            if line.outcome.is_healed() && line.digest.is_some() {
                self.mover.records.tally.schema(&line);
                pulled.lines.push(line);
                continue;
            }
            match line.problem {
                Some(Problem::SourceMissing) => pulled.gone.push(line.metric),
                problem if problem.is_some_and(Problem::may_pass) => {
                    work.reasons.insert(line.metric.clone(), self.failure_of(&line));
                    open.insert(line.metric, stray);
                }
                _ => {
                    self.mover.records.tally.schema(&line);
                    let failure = self.failure_of(&line);
                    self.owner.full.note(&failure);
                    pulled.failed.push((line.metric, failure));
                }
            }
        }
        work.strays = open.into_values().collect();
        work.strays.sort_by(|a, b| a.metric.cmp(&b.metric));
        before - work.strays.len()
    }

    /// Asks the source itself for the metrics that the owner reports as gone there, from `first` on. Returns
    /// how many are not gone.
    ///
    /// For some owners the source's address leads somewhere else (`localhost`, another entry in /etc/hosts).
    /// Such an owner finds nothing there, and everything would seem to be done.
    async fn check_gone(&self, first: usize, work: &mut PullWork, pulled: &mut Pulled) -> usize {
        let before = work.strays.len();
        let mut silent = None;
        for metric in pulled.gone.split_off(first) {
            let answer = match &silent {
                // If the source did not answer once, it is not asked again.
                Some(reason) => Err(String::clone(reason)),
                None => {
                    let stat = self.source.daemon.go_stat(metric.as_str()).await;
                    stat.map_err(|error| silent.insert(chain(&error)).clone())
                }
            };
            let reason = match answer {
                Ok(None) => {
                    pulled.gone.push(metric);
                    continue;
                }
                Ok(Some(_)) => format!(
                    "it does not find the metric at {0}, which has it; does {0} lead to the same daemon from there?",
                    self.source.addr()
                ),
                Err(reason) => format!("it does not find the metric at the source: {reason}"),
            };
            work.reasons
                .insert(metric.clone(), failure(self.owner, FailureKind::SourceMissing, reason));
            work.strays.push(unmeasured(metric));
        }
        work.strays.len() - before
    }

    /// The failure in a line. A problem of the source's file is reported for the source.
    fn failure_of(&self, line: &HealLine) -> Failure {
        // If no content arrived, the source left it out and said why. The exceptions: the stream broke off,
        // or the owner was not allowed to ask for it.
        let is_owners = matches!(line.problem, Some(Problem::CutOff | Problem::Forbidden));
        let never_came = line.digest.is_none() && !is_owners;
        let is_source = never_came
            || matches!(
                line.problem,
                Some(
                    Problem::SourceDamaged
                        | Problem::SourceUnreadable
                        | Problem::SourceMissing
                        | Problem::TooLarge
                )
            );
        let node = if is_source { self.source } else { self.owner };
        let reason = match (line.reason.is_empty(), line.digest) {
            (false, _) => line.reason.clone(),
            (true, None) if line.outcome.is_healed() => {
                "the owner sent no digest of the content it received".into()
            }
            (true, _) => "it gave no reason".into(),
        };
        failure(node, FailureKind::of_line(line), reason)
    }

    /// The failure of an owner that stored a metric under another name than it was asked to.
    fn stored_elsewhere(&self, line: &HealLine) -> Failure {
        let wanted = self.renames.of(&line.metric).unwrap_or(&line.metric);
        let stored = line.stored_as.as_ref().unwrap_or(&line.metric);
        let reason =
            format!("it stored it as {stored} instead of {wanted}; check both names there");
        failure(self.owner, FailureKind::WrongName, reason)
    }

    fn unsettled(&self, work: &PullWork) -> PullSetback {
        let reason = "the owner's answer does not mention it".to_owned();
        let halves = work.reasons.len() < work.strays.len();
        PullSetback {
            trouble: Trouble::Passing,
            halves,
            failure: failure(self.owner, FailureKind::NoAnswer, reason),
        }
    }

    /// Which node an error is charged to, and whether smaller batches may help.
    async fn judge(&self, error: &ClientError) -> PullSetback {
        let trouble = Trouble::of(error);
        let reason = chain(error);
        let mut setback = PullSetback {
            trouble,
            halves: true,
            failure: failure(self.owner, FailureKind::TransferFailed, reason.clone()),
        };
        match error {
            _ if trouble == Trouble::Busy => {}
            ClientError::Unreachable { .. } => {
                setback.halves = false;
                self.away(self.owner, error, &mut setback);
            }
            ClientError::TimedOut { .. } => {
                setback.halves = false;
                // An owner that waits for a source without an answer does not answer either.
                if let Some((node, away)) = self.silent().await {
                    self.away(node, &away, &mut setback);
                } else {
                    self.mover.flow.links.failed(self.source, self.owner, &reason);
                }
            }
            _ => {
                // The owner answers. If it cannot get the batch, the source may be the cause.
                if error.status().is_some_and(|status| status.as_u16() == 502)
                    && let Err(away) = self.source.daemon.status().await
                {
                    setback.halves = false;
                    self.away(self.source, &away, &mut setback);
                } else if self.mover.flow.links.failed(self.source, self.owner, &reason) {
                    self.mover.output.say(format_args!(
                        "bucky: {} cannot fetch from {}: {reason}; the remaining metrics fail now, and it is \
                         tried again from time to time",
                        self.owner.addr(),
                        self.source.addr()
                    ));
                }
            }
        }
        setback
    }
}

impl Pull<'_> {
    /// Notes that `node` does not answer, and charges the failure to it.
    fn away(&self, node: &Node, error: &ClientError, setback: &mut PullSetback) {
        let reason = chain(error);
        setback.trouble = Trouble::of(error);
        self.mover.unreachable(node, &reason);
        setback.failure = failure(node, FailureKind::NodeAway, reason);
    }

    /// Which of the two does not answer, with the error; `None` if both do.
    async fn silent(&self) -> Option<(&Node, ClientError)> {
        for node in [self.source, self.owner] {
            if let Err(error) = node.daemon.status().await {
                return Some((node, error));
            }
        }
        None
    }
}

impl PullWork {
    fn new(strays: Vec<Stray>, patience: Patience) -> Self {
        Self { strays, patience, reasons: HashMap::new() }
    }
}

fn failure(node: &Node, kind: FailureKind, reason: String) -> Failure {
    Failure { node: node.addr().clone(), kind, reason }
}
