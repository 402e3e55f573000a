//! What all parts of a run share.

#[cfg(test)]
pub(super) mod fake;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::batch::BatchLimits;
use super::batch::held::HoldingRoom;
use super::clock_watch::ClockWatch;
use super::links::Links;
use super::options::{SyncOptions, Travel};
use super::pace::Pace;
use super::statistics::NodeLedger;
use crate::fleet::breaker::Row;
use crate::fleet::{Fleet, Node};
use crate::output::{Output, human_duration};
use crate::plan::survey::Selection;
use crate::run::shared_job_state::SharedJobState;
use crate::run::shared_journal::SharedJournal;
use crate::run::stop::Stop;
use crate::run::tally::Tally;

/// Metrics in all batches that are handed out, over all sources. Each takes some hundreds of bytes on its way, so this
/// bounds the memory; that many small files keep any number of workers busy.
const UNDER_WAY: u32 = 12_000;

/// As how many metrics a batch counts at least: its requests and buffers cost as much.
const BATCH_COST: u32 = 100;

/// What all parts of a run share.
pub(crate) struct Mover {
    /// The nodes.
    pub(crate) fleet: Arc<Fleet>,
    /// Which strays are moved.
    pub(crate) selection: Selection,
    /// How large batches are.
    pub(crate) limits: BatchLimits,
    /// How files travel.
    pub(crate) travel: Travel,
    /// Whether sources are deleted.
    pub(crate) deletes: bool,
    /// Whether what is on one of its owners is copied to the others, too; its source then stays whatever is ordered.
    pub(crate) copies_from_owners: bool,
    /// How long nobody may have written to a source that is deleted.
    pub(crate) rest: Duration,
    /// Whether owners' corrupt files are replaced.
    pub(crate) replace_corrupt: bool,
    /// Whether every metric that is done is named.
    pub(crate) verbose: bool,
    /// What was done.
    pub(crate) tally: Tally,
    /// What need not be done again.
    pub(crate) journal: SharedJournal,
    /// What was copied, for the Go tool's file.
    pub(crate) jobs: SharedJobState,
    /// Where it is told how the run goes.
    pub(crate) sync: SyncOptions,
    /// How fast it goes.
    pub(crate) pace: Pace,
    pub(super) nodes: NodeLedger,
    /// Whether the operator wants an end.
    pub(crate) stop: Stop,
    /// Whether the clocks allow a delete.
    pub(super) clocks: ClockWatch,
    /// Where people are told.
    pub(crate) output: Arc<Output>,
    workers: Semaphore,
    places: Arc<Semaphore>,
    pub(super) room: HoldingRoom,
    pub(super) links: Links,
}

/// What a run is made of, beside what it makes itself.
pub(crate) struct MoverParts {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) selection: Selection,
    pub(crate) limits: BatchLimits,
    pub(crate) travel: Travel,
    pub(crate) deletes: bool,
    pub(crate) copies_from_owners: bool,
    pub(crate) rest: Duration,
    pub(crate) replace_corrupt: bool,
    pub(crate) verbose: bool,
    pub(crate) tally: Tally,
    pub(crate) journal: SharedJournal,
    pub(crate) jobs: SharedJobState,
    pub(crate) sync: SyncOptions,
    pub(crate) stop: Stop,
    pub(crate) output: Arc<Output>,
    pub(crate) workers: usize,
}

impl Mover {
    /// A mover of these parts.
    pub(crate) fn new(parts: MoverParts) -> Self {
        let hosts = parts.fleet.addrs().into_iter().map(|addr| addr.host());
        Self {
            nodes: NodeLedger::new(hosts),
            pace: Pace::new(parts.sync.pace.clone(), Instant::now()),
            clocks: ClockWatch::new(parts.sync.max_clock_difference, Arc::clone(&parts.output)),
            links: Links::default(),
            workers: Semaphore::new(parts.workers),
            places: Arc::new(Semaphore::new(UNDER_WAY as usize)),
            room: HoldingRoom::new(parts.limits.held_bytes, parts.fleet.sources.len()),
            fleet: parts.fleet,
            selection: parts.selection,
            limits: parts.limits,
            travel: parts.travel,
            deletes: parts.deletes,
            copies_from_owners: parts.copies_from_owners,
            rest: parts.rest,
            replace_corrupt: parts.replace_corrupt,
            verbose: parts.verbose,
            tally: parts.tally,
            journal: parts.journal,
            jobs: parts.jobs,
            sync: parts.sync,
            stop: parts.stop,
            output: parts.output,
        }
    }

    /// Waits until a batch of so many metrics may be handed out.
    pub(crate) async fn place_for(&self, metrics: usize) -> Option<OwnedSemaphorePermit> {
        let wanted = u32::try_from(metrics).unwrap_or(UNDER_WAY).clamp(BATCH_COST, UNDER_WAY);
        // None only if the semaphore were closed, which nothing does.
        Arc::clone(&self.places).acquire_many_owned(wanted).await.ok()
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
        self.workers.acquire().await.ok()
    }
}
