//! Notes the results of metrics: for each node, and in the job state file.

use std::sync::Arc;

use bucky_api::DaemonAddr;
use bucky_whisper::MetricName;

use super::mover::Mover;
use super::renames::Renames;
use super::statistics::Figures;
use crate::fleet::{Node, OwnerIndex};
use crate::output::log_time;
use crate::run::failure::Failure;
use crate::run::job_state::CopyJob;

impl Mover {
    /// Notes the results of metrics of `source` that belong to `owners` under these names.
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
        self.records.jobs.note(done.iter().flat_map(|metric| {
            let new = renames.of(metric).unwrap_or(metric);
            owners.iter().map(move |owner| job(source.addr(), owner.addr(), metric, new))
        }));
    }

    /// Whether earlier runs copied `metric` to all of its owners. If sources are deleted, a metric that is
    /// here has come back, and is moved again.
    pub(super) fn is_done(
        &self,
        source: &Node,
        owners: &[OwnerIndex],
        metric: &MetricName,
    ) -> bool {
        let mut owners = owners.iter().filter_map(|owner| self.fleet.member(*owner)).peekable();
        let may_be = !self.sources.deletes && owners.peek().is_some();
        may_be
            && self
                .records
                .jobs
                .are_done(owners.map(|owner| job(source.addr(), owner.addr(), metric, metric)))
    }

    /// Whether an earlier run copied `old` to `owner` as `new`.
    pub(crate) fn is_copied(
        &self,
        source: &Node,
        owner: &Node,
        old: &MetricName,
        new: &MetricName,
    ) -> bool {
        self.records.jobs.are_done([job(source.addr(), owner.addr(), old, new)])
    }

    /// Names the metrics whose sources are deleted, if that was asked for.
    pub(super) fn print_deleted<'a>(&self, metrics: impl IntoIterator<Item = &'a MetricName>) {
        if self.sync.names_deletions {
            let time = log_time(std::time::SystemTime::now());
            for metric in metrics {
                self.output.say(format_args!("{time} DELETED: {metric}"));
            }
        }
    }

    /// The statistics of the run at this moment; `total` is how many metrics were planned.
    pub(super) fn figures(&self, total: u64) -> Figures {
        let addrs = self.addrs();
        let paces = addrs
            .iter()
            .filter_map(|addr| Some((addr.host().to_owned(), self.flow.pace.figures(addr)?)))
            .collect();
        Figures { total, counts: self.records.tally.counts(), nodes: self.nodes.counts(), paces }
    }

    /// The nodes that send or receive metrics, each once.
    pub(super) fn addrs(&self) -> Vec<&DaemonAddr> {
        self.fleet.addrs()
    }
}

fn job<'a>(
    source: &'a DaemonAddr,
    destination: &'a DaemonAddr,
    old: &'a MetricName,
    new: &'a MetricName,
) -> CopyJob<'a> {
    CopyJob { source, destination, old: old.as_str(), new: new.as_str() }
}
