//! What is noted of metrics once they are over: for each node, and in the file of finished jobs.

use std::sync::{Arc, Mutex, PoisonError};

use bucky_api::DaemonAddr;
use bucky_whisper::MetricName;

use super::super::batch::OwnerIndex;
use super::super::failure::Failure;
use super::super::job_state::{Job, JobState};
use super::super::nodes::Node;
use super::super::statistics::Figures;
use super::{Mover, Renames};
use crate::chain;
use crate::output::{Output, log_time};

/// The job state file as the sources' tasks share it. One that cannot be written any more does not end the run.
pub(crate) struct JobDesk {
    state: Mutex<Option<JobState>>,
    output: Arc<Output>,
}

impl JobDesk {
    /// A desk for this file, or for none.
    pub(crate) fn new(state: Option<JobState>, output: Arc<Output>) -> Self {
        Self { state: Mutex::new(state), output }
    }

    /// Whether earlier runs did all of `jobs`.
    pub(crate) fn are_done<'a>(&self, jobs: impl IntoIterator<Item = Job<'a>>) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.as_ref().is_some_and(|state| jobs.into_iter().all(|job| state.is_done(job)))
    }

    /// Notes what is done.
    pub(crate) fn note<'a>(&self, jobs: impl IntoIterator<Item = Job<'a>>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(error)) = state.as_mut().map(|state| state.note(jobs)) {
            self.output.say(format_args!("bucky: {}; the run goes on without it", chain(&error)));
            *state = None;
        }
    }
}

impl Mover {
    /// Notes what metrics of `source` that belong to `owners`, by these names, came to.
    pub(super) fn conclude(
        &self,
        source: &Node,
        owners: &[Arc<Node>],
        done: &[MetricName],
        gone: &[MetricName],
        failed: &[(MetricName, Failure)],
        renames: &Renames,
    ) {
        let over = (done.len() + gone.len() + failed.len()) as u64;
        for node in owners.iter().map(|owner| owner.addr()).chain([source.addr()]) {
            self.nodes.note(node, |counts| counts.finished += over);
        }
        for (_, failure) in failed {
            self.nodes.note(&failure.node, |counts| {
                if failure.is_of_delete() {
                    counts.delete_errors += 1;
                } else {
                    counts.copy_errors += 1;
                }
            });
        }
        self.jobs.note(done.iter().flat_map(|metric| {
            let new = renames.of(metric).unwrap_or(metric);
            owners.iter().map(move |owner| job(source.addr(), owner.addr(), metric, new))
        }));
    }

    /// Whether earlier runs copied `metric` to all of its owners. Where sources are deleted it would not be here if they
    /// had: it has come back, and is moved again.
    pub(super) fn is_done(
        &self,
        source: &Node,
        owners: &[OwnerIndex],
        metric: &MetricName,
    ) -> bool {
        let mut owners = owners.iter().filter_map(|owner| self.fleet.member(*owner)).peekable();
        let may_be = !self.deletes && owners.peek().is_some();
        may_be
            && self
                .jobs
                .are_done(owners.map(|owner| job(source.addr(), owner.addr(), metric, metric)))
    }

    /// Whether an earlier run copied `old` to `owner`, where it is called `new`.
    pub(crate) fn is_copied(
        &self,
        source: &Node,
        owner: &Node,
        old: &MetricName,
        new: &MetricName,
    ) -> bool {
        self.jobs.are_done([job(source.addr(), owner.addr(), old, new)])
    }

    /// Names the metrics whose sources are deleted, where that is asked for.
    pub(super) fn tell_deleted<'a>(&self, metrics: impl IntoIterator<Item = &'a MetricName>) {
        if self.sync.tells_deletions {
            let time = log_time(std::time::SystemTime::now());
            for metric in metrics {
                self.output.say(format_args!("{time} DELETED: {metric}"));
            }
        }
    }

    /// What there is to tell of the run, of so many metrics, at this moment.
    pub(super) fn figures(&self, total: u64) -> Figures {
        let addrs = self.addrs();
        let paces = addrs
            .iter()
            .filter_map(|addr| Some((addr.host().to_owned(), self.pace.figures(addr)?)))
            .collect();
        Figures { total, counts: self.tally.counts(), nodes: self.nodes.counts(), paces }
    }

    /// The nodes that send or get metrics, each once.
    pub(super) fn addrs(&self) -> Vec<&DaemonAddr> {
        addrs(&self.fleet)
    }
}

/// The nodes of a fleet that send or get metrics, each once.
pub(super) fn addrs(fleet: &super::super::nodes::Fleet) -> Vec<&DaemonAddr> {
    let sources = fleet.sources.iter().map(|source| source.node.addr());
    let mut addrs: Vec<&DaemonAddr> =
        fleet.members.iter().map(|node| node.addr()).chain(sources).collect();
    addrs.sort();
    addrs.dedup();
    addrs
}

fn job<'a>(
    source: &'a DaemonAddr,
    destination: &'a DaemonAddr,
    old: &'a MetricName,
    new: &'a MetricName,
) -> Job<'a> {
    Job { source, destination, old: old.as_str(), new: new.as_str() }
}
