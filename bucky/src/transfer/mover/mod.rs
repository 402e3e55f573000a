//! What all parts of a run share.

#[cfg(test)]
pub(super) mod fake;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::batch::held::HoldingRoom;
use super::clock_watch::ClockWatch;
use super::links::Links;
use super::options::{Batching, SourceRules, SyncOptions};
use super::pace::Pace;
use super::records::Records;
use super::statistics::NodeLedger;
use crate::fleet::breaker::FailureRow;
use crate::fleet::{Fleet, Node};
use crate::output::{Output, human_duration};
use crate::plan::survey::StraySelection;
use crate::run::stop::Stop;

/// How many metrics all running batches of all sources may have. Each takes some hundreds of bytes while it
/// travels, so this limits the memory. It is enough to keep any number of workers busy with small files.
const UNDER_WAY: u32 = 12_000;

/// The fewest metrics that a batch counts as: its requests and buffers cost as much.
const BATCH_COST: u32 = 100;

/// What all parts of a run share.
pub(crate) struct Mover {
    /// The nodes.
    pub(crate) fleet: Arc<Fleet>,
    /// Which metrics are moved.
    pub(crate) selection: StraySelection,
    /// How large batches are, and how many run at once.
    pub(crate) batching: Batching,
    /// What is done with the sources.
    pub(crate) sources: SourceRules,
    /// How fast it may go, and where it reports.
    pub(crate) sync: SyncOptions,
    /// Whether every metric is named when it is done.
    pub(crate) verbose: bool,
    /// The counts, and the files that are written.
    pub(crate) records: Records,
    /// Whether the operator wants it to stop.
    pub(crate) stop: Stop,
    /// Where messages are printed.
    pub(crate) output: Arc<Output>,
    /// Counts for each node.
    pub(super) nodes: NodeLedger,
    /// Whether the clocks allow a delete.
    pub(super) clocks: ClockWatch,
    /// The limits of the work in progress.
    pub(super) flow: Flow,
}

/// The limits of the work in progress.
pub(super) struct Flow {
    /// How fast it goes.
    pub(super) pace: Pace,
    /// Which pairs of nodes work together.
    pub(super) links: Links,
    /// How much the half-full batches of all sources may hold.
    pub(super) room: HoldingRoom,
    workers: Semaphore,
    under_way: Arc<Semaphore>,
}

/// The parts that a mover is made of; it creates the others itself.
pub(crate) struct MoverParts {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) selection: StraySelection,
    pub(crate) batching: Batching,
    pub(crate) sources: SourceRules,
    pub(crate) sync: SyncOptions,
    pub(crate) verbose: bool,
    pub(crate) records: Records,
    pub(crate) stop: Stop,
    pub(crate) output: Arc<Output>,
}

impl Mover {
    /// A mover of these parts.
    pub(crate) fn new(parts: MoverParts) -> Self {
        let hosts = parts.fleet.addrs().into_iter().map(|addr| addr.host());
        let Batching { workers, limits, .. } = parts.batching;
        Self {
            nodes: NodeLedger::new(hosts),
            clocks: ClockWatch::new(parts.sync.max_clock_difference, Arc::clone(&parts.output)),
            flow: Flow {
                pace: Pace::new(parts.sync.pace.clone(), Instant::now()),
                links: Links::default(),
                room: HoldingRoom::new(limits.held_bytes, parts.fleet.sources.len()),
                workers: Semaphore::new(workers),
                under_way: Arc::new(Semaphore::new(UNDER_WAY as usize)),
            },
            fleet: parts.fleet,
            selection: parts.selection,
            batching: parts.batching,
            sources: parts.sources,
            sync: parts.sync,
            verbose: parts.verbose,
            records: parts.records,
            stop: parts.stop,
            output: parts.output,
        }
    }

    /// Waits until a batch of this many metrics may start.
    pub(crate) async fn permit_for(&self, metrics: usize) -> Option<OwnedSemaphorePermit> {
        let wanted = u32::try_from(metrics).unwrap_or(UNDER_WAY).clamp(BATCH_COST, UNDER_WAY);
        // `None` only if the semaphore were closed, which never happens.
        Arc::clone(&self.flow.under_way).acquire_many_owned(wanted).await.ok()
    }

    /// Notes that a node could not be reached, and prints what follows from that.
    pub(super) fn unreachable(&self, node: &Node, reason: &str) {
        match node.unreachable(reason) {
            FailureRow::Begins => self.output.say(format_args!(
                "bucky: {reason}; retrying for up to {}",
                human_duration(node.daemon.timeouts().away)
            )),
            FailureRow::GoesOn => {}
            FailureRow::IsEnough => self.output.say(format_args!(
                "bucky: gave up on {}: {reason}; metrics that need it fail now, and it is tried again from \
                 time to time",
                node.addr()
            )),
        }
    }

    /// Waits until one more request may run.
    pub(super) async fn worker(&self) -> Option<SemaphorePermit<'_>> {
        // `None` only if the semaphore were closed, which never happens.
        self.flow.workers.acquire().await.ok()
    }
}
