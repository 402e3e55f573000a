//! Has owners fetch what they lack, batch by batch.
//!
//! If a source cannot give a metric, it is fetched from the next owner that has it.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bucky_api::DaemonAddr;
use bucky_whisper::MetricName;
use tokio::task::JoinSet;

use super::survey::NeedReader;
use crate::chain;
use crate::run::failure::Failure;
use crate::transfer::gather::{FetchBatch, Gatherer, Wanted};
use crate::transfer::mover::Mover;

/// How many metrics are named whose first source could not give them.
const NAMED: u64 = 100;

/// Has the owners fetch their batches.
pub(crate) struct HealRunner {
    /// Moves the batches.
    pub(crate) mover: Mover,
    refetched: AtomicU64,
}

impl HealRunner {
    /// A carrier that uses `mover`.
    pub(crate) fn new(mover: Mover) -> Self {
        Self { mover, refetched: AtomicU64::new(0) }
    }

    /// How many metrics came from another owner because the first could not give them.
    pub(crate) fn refetched(&self) -> u64 {
        self.refetched.load(Ordering::Relaxed)
    }

    /// Fetches everything that `reader` returns.
    pub(crate) async fn run(self: &Arc<Self>, mut reader: NeedReader, mut gatherer: Gatherer) {
        let mut running = JoinSet::new();
        let stop = self.mover.stop.clone();
        while !stop.is_asked() {
            // This may wait a long time for a busy node.
            let next = tokio::select! {
                next = reader.next() => next,
                () = stop.asked() => break,
            };
            match next {
                Ok(Some((metric, fetches))) => {
                    for fetch in fetches {
                        let wanted = Wanted { metric: metric.clone(), others: fetch.others };
                        if let Some(batch) = gatherer.push(fetch.from, fetch.to, wanted) {
                            self.launch(batch, &mut running).await;
                        }
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    self.mover.records.tally.source_broke(chain(&error));
                    break;
                }
            }
        }
        while !stop.is_asked() {
            let Some(batch) = gatherer.take_fullest() else { break };
            self.launch(batch, &mut running).await;
        }
        while let Some(ended) = running.join_next().await {
            self.note(ended);
        }
    }

    async fn launch(self: &Arc<Self>, batch: FetchBatch, running: &mut JoinSet<()>) {
        let permit = self.mover.permit_for(batch.wanted.len()).await;
        let runner = Arc::clone(self);
        running.spawn(async move {
            let _permit = permit;
            runner.batch(batch).await;
        });
        while let Some(ended) = running.try_join_next() {
            self.note(ended);
        }
    }

    fn note(&self, ended: Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended {
            self.mover.records.tally.source_broke(format_args!("a batch failed: {error}"));
        }
    }

    /// Fetches one batch, and what it lacks then from other sources.
    async fn batch(&self, batch: FetchBatch) {
        let mut open = vec![batch];
        while let Some(batch) = open.pop() {
            open.extend(self.fetch(batch).await);
        }
    }

    /// Fetches one batch; returns what must be fetched from other sources.
    async fn fetch(&self, batch: FetchBatch) -> Vec<FetchBatch> {
        let FetchBatch { from, to, wanted } = batch;
        let members = &self.mover.fleet.members;
        let (Some(source), Some(owner)) = (members.get(from), members.get(to)) else {
            return Vec::new();
        };
        let mut others: HashMap<MetricName, Box<[usize]>> = HashMap::new();
        let mut metrics = Vec::with_capacity(wanted.len());
        for Wanted { metric, others: also } in wanted {
            if !also.is_empty() {
                others.insert(metric.clone(), also);
            }
            metrics.push(metric);
        }
        let report = self.mover.bring(source, owner, metrics).await;
        if self.mover.verbose {
            for metric in &report.done {
                self.mover.output.say(format_args!("{}: {metric}", owner.addr()));
            }
        }
        let mut next: BTreeMap<usize, Vec<Wanted>> = BTreeMap::new();
        let mut turn = |metric: &MetricName, others: Box<[usize]>| {
            let Some((from, others)) = others.split_first() else { return };
            let wanted = Wanted { metric: metric.clone(), others: others.into() };
            next.entry(*from).or_default().push(wanted);
        };
        for metric in report.gone {
            match others.remove(&metric) {
                Some(others) => turn(&metric, others),
                None => self.mover.records.tally.gone(),
            }
        }
        for (metric, failure) in report.failed {
            let others = others.remove(&metric).filter(|_| is_source(&failure, source.addr()));
            match others {
                Some(others) => {
                    self.report_other_source(&metric, &failure);
                    turn(&metric, others);
                }
                None => self.mover.records.tally.failed(metric.as_str(), source.addr(), &failure),
            }
        }
        next.into_iter().map(|(from, wanted)| FetchBatch { from, to, wanted }).collect()
    }

    fn report_other_source(&self, metric: &MetricName, failure: &Failure) {
        let number = self.refetched.fetch_add(1, Ordering::Relaxed);
        if number < NAMED {
            self.mover.output.say(format_args!(
                "bucky: {metric}: {}: {}; trying the next owner",
                failure.node, failure.reason
            ));
        }
    }
}

/// Whether another source may help: the failure is at this source, or between it and the destination.
fn is_source(failure: &Failure, source: &DaemonAddr) -> bool {
    failure.node == *source || failure.kind.may_be_of_source()
}
