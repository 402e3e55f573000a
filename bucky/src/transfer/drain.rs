//! Drains one source: reads its misplaced metrics in order, gathers them into batches, and runs each batch.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::batch::{Batch, Batcher, Stray, Ticket};
use super::batch_end::BatchEnd;
use super::batch_run::run_batch;
use super::mover::Mover;
use crate::chain;
use crate::fleet::{Node, Source};
use crate::run::resume::Resume;
use crate::strays::{Item, MisplacedMetric, StrayListing, StrayQuery};

/// How many batches of a source are started for each that it may send at once, so that one is waiting when
/// another ends.
const HANDED_OUT: usize = 2;

/// Moves what all sources of a run have; `resume` is what earlier runs did, by store.
pub(super) async fn drain_all(mover: &Arc<Mover>, mut resume: BTreeMap<String, Resume>) {
    let mut drains = JoinSet::new();
    for source in mover.fleet.sources.clone() {
        let resume = resume.remove(&source.node.store).unwrap_or_default();
        drains.spawn(drain(Arc::clone(mover), source, resume));
    }
    while let Some(ended) = drains.join_next().await {
        if let Err(error) = ended {
            mover.records.tally.source_broke(format_args!("a source failed: {error}"));
        }
    }
}

/// Moves the misplaced metrics of `source`, except those that an earlier run finished.
async fn drain(mover: Arc<Mover>, source: Source, resume: Resume) {
    let query = StrayQuery {
        after: resume.read_after().cloned(),
        ..mover.selection.query(&mover.fleet, &source)
    };
    let mut listing =
        StrayListing::begin(source.node.daemon.clone(), query, Arc::clone(&mover.output));
    let mut drain = Drain::new(mover, source.node, resume);
    let mut is_whole = false;
    let stop = drain.mover.stop.clone();
    while !stop.is_asked() {
        // This may wait a long time for a busy source.
        let next = tokio::select! {
            next = listing.next() => next,
            () = stop.asked() => break,
        };
        match next {
            Ok(Some(item)) => drain.take(item).await,
            Ok(None) => {
                is_whole = true;
                break;
            }
            Err(error) => {
                drain.mover.records.tally.source_broke(chain(&error));
                break;
            }
        }
    }
    drain.end(is_whole).await;
}

struct Drain {
    mover: Arc<Mover>,
    source: Arc<Node>,
    resume: Resume,
    batcher: Batcher,
    running: JoinSet<(Ticket, BatchEnd)>,
    noted: Option<String>,
}

impl Drain {
    fn new(mover: Arc<Mover>, source: Arc<Node>, resume: Resume) -> Self {
        let limits = mover.sync.pace.limits(mover.batching.limits);
        let batcher = Batcher::new(limits, mover.flow.room.clone(), resume.through().cloned());
        Self { mover, source, resume, batcher, running: JoinSet::new(), noted: None }
    }

    /// Takes an item that was read, and runs a batch if one is full.
    async fn take(&mut self, item: Item) {
        let Item::Stray(MisplacedMetric { metric, owners, bytes }) = item else { return };
        if self.mover.sync.preview.is_some_and(|preview| !preview.takes(&metric)) {
            return self.batcher.skip(metric);
        }
        let owners = self.mover.fleet.owners(&owners);
        if !self.mover.selection.allows(&owners)
            || self.mover.fleet.is_only_owner(&self.source, &owners)
        {
            return self.batcher.skip(metric);
        }
        if self.resume.is_finished(&metric) || self.mover.is_done(&self.source, &owners, &metric) {
            self.mover.records.tally.skipped();
            return self.batcher.skip(metric);
        }
        if let Some(batch) =
            self.batcher.push(owners, Stray { metric, bytes: bytes.and_then(NonZeroU64::new) })
        {
            self.launch(batch).await;
        }
    }

    async fn launch(&mut self, batch: Batch) {
        while self.running.len() >= self.source.gate.limit() * HANDED_OUT {
            self.settle_one().await;
        }
        let permit = self.mover.permit_for(batch.strays.len()).await;
        let (mover, source) = (Arc::clone(&self.mover), Arc::clone(&self.source));
        self.running.spawn(async move {
            let _permit = permit;
            run_batch(&mover, &source, batch).await
        });
        // This batch enters the queues before the next one does. So batches begin in the order of the names,
        // and the journal's mark can advance.
        tokio::task::yield_now().await;
        while let Some(ended) = self.running.try_join_next() {
            self.settle(ended);
        }
    }

    async fn settle_one(&mut self) {
        if let Some(ended) = self.running.join_next().await {
            self.settle(ended);
        }
    }

    fn settle(&mut self, ended: Result<(Ticket, BatchEnd), tokio::task::JoinError>) {
        let (ticket, end) = match ended {
            Ok(ended) => ended,
            // The batch's ticket stays open, so the journal's mark does not pass it.
            Err(error) => {
                let addr = self.source.addr();
                return self
                    .mover
                    .records
                    .tally
                    .source_broke(format_args!("a batch of {addr} failed: {error}"));
            }
        };
        let store = &self.source.store;
        for (metric, failure) in &end.failed {
            let reason = format!("{}: {}", failure.node, failure.reason);
            self.mover.records.tally.failed(metric.as_str(), self.source.addr(), failure);
            self.mover.records.journal.failed(store, metric, &reason);
        }
        if self.mover.verbose {
            for metric in end.done.iter().chain(&end.gone) {
                self.mover.output.say(format_args!("{}: {metric}", self.source.addr()));
            }
        }
        let settled = end.done.iter().chain(&end.gone);
        for metric in settled.filter(|metric| self.resume.has_failed(metric)) {
            self.mover.records.journal.moved(store, metric);
        }
        if end.is_finished {
            self.batcher.finish(ticket);
            self.note_mark();
        }
    }

    fn note_mark(&mut self) {
        let Some(through) = self.batcher.through() else { return };
        if self.noted.as_deref() != Some(through.as_str()) {
            self.mover.records.journal.through(&self.source.store, through);
            self.noted = Some(through.to_string());
        }
    }

    /// Runs the rest if the source was read to its end, and waits for all running batches.
    async fn end(&mut self, is_whole: bool) {
        while !self.mover.stop.is_asked() {
            let Some(batch) = self.batcher.take_fullest() else { break };
            self.launch(batch).await;
        }
        while !self.running.is_empty() {
            self.settle_one().await;
        }
        if is_whole {
            self.note_mark();
        }
    }
}
