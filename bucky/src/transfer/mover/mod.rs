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
use crate::fleet::breaker::Row;
use crate::fleet::{Fleet, Node};
use crate::output::{Output, human_duration};
use crate::plan::survey::Selection;
use crate::run::stop::Stop;

/// Metrics in all batches that are handed out, over all sources. Each takes some hundreds of bytes on its
/// way, so this bounds the memory; that many small files keep any number of workers busy.
const UNDER_WAY: u32 = 12_000;

/// As how many metrics a batch counts at least: its requests and buffers cost as much.
const BATCH_COST: u32 = 100;

/// What all parts of a run share.
pub(crate) struct Mover {
    /// The nodes.
    pub(crate) fleet: Arc<Fleet>,
    /// Which metrics are moved.
    pub(crate) selection: Selection,
    /// In which batches, how many at once.
    pub(crate) batching: Batching,
    /// What becomes of the sources.
    pub(crate) sources: SourceRules,
    /// How fast it may go, and where it reports.
    pub(crate) sync: SyncOptions,
    /// Whether every metric that is done is named.
    pub(crate) verbose: bool,
    /// What was done.
    pub(crate) records: Records,
    /// Whether the operator wants it to stop.
    pub(crate) stop: Stop,
    /// Where people are told.
    pub(crate) output: Arc<Output>,
    /// What was done, by node.
    pub(super) nodes: NodeLedger,
    /// Whether the clocks allow a delete.
    pub(super) clocks: ClockWatch,
    /// What bounds the work that is under way.
    pub(super) flow: Flow,
}

/// What bounds the work that is under way.
pub(super) struct Flow {
    /// How fast it goes.
    pub(super) pace: Pace,
    /// Which links between nodes work.
    pub(super) links: Links,
    /// What the half-full batches of all sources take.
    pub(super) room: HoldingRoom,
    workers: Semaphore,
    under_way: Arc<Semaphore>,
}

/// What a run is made of, beside what it makes itself.
pub(crate) struct MoverParts {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) selection: Selection,
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

    /// Waits until a batch of so many metrics may be handed out.
    pub(crate) async fn place_for(&self, metrics: usize) -> Option<OwnedSemaphorePermit> {
        let wanted = u32::try_from(metrics).unwrap_or(UNDER_WAY).clamp(BATCH_COST, UNDER_WAY);
        // None only if the semaphore were closed, which nothing does.
        Arc::clone(&self.flow.under_way).acquire_many_owned(wanted).await.ok()
    }

    /// Notes that a node could not be reached, and tells people what that means.
    pub(super) fn unreachable(&self, node: &Node, reason: &str) {
        match node.unreachable(reason) {
            Row::Begins => self.output.say(format_args!(
                "bucky: {reason}; retrying for up to {}",
                human_duration(node.daemon.timeouts().away)
            )),
            Row::GoesOn => {}
            Row::IsEnough => self.output.say(format_args!(
                "bucky: gave up on {}: {reason}; metrics that need it fail now, and it is tried again from \
                 time to time",
                node.addr()
            )),
        }
    }

    /// Waits until one more piece of work may run.
    pub(super) async fn worker(&self) -> Option<SemaphorePermit<'_>> {
        // None only if the semaphore were closed, which nothing does.
        self.flow.workers.acquire().await.ok()
    }
}
