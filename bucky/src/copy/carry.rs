//! Has the owners of new names fetch and fill them.

use std::num::NonZeroU64;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::jobs::{FetchJob, batches};
use super::name_map::NameMap;
use crate::fleet::Node;
use crate::transfer::mover::Mover;
use crate::transfer::renames::Renames;

/// Carries out the jobs of a map.
pub(super) struct JobRunner {
    /// Moves the batches.
    pub(super) mover: Mover,
    /// The map.
    pub(super) map: NameMap,
    /// All nodes; the jobs refer to them by index.
    pub(super) nodes: Vec<Arc<Node>>,
    /// By node, the average length of the files that it sends, if known.
    pub(super) averages: Vec<Option<u64>>,
    /// By node, how many metrics it sends in one batch.
    pub(super) full: Vec<usize>,
}

impl JobRunner {
    /// Carries out `jobs`, which are sorted. The jobs of one rank run together; a rank starts when the one
    /// below it has ended.
    pub(super) async fn run(self: &Arc<Self>, jobs: &[FetchJob]) {
        let full = |from: u32| self.full.get(from as usize).copied().unwrap_or(1);
        for rank in jobs.chunk_by(|one, other| one.rank == other.rank) {
            let mut running = JoinSet::new();
            for batch in batches(rank, full) {
                if self.mover.stop.is_asked() {
                    break;
                }
                let Some(batch) = rank.get(batch) else { continue };
                self.launch(batch.to_vec(), &mut running).await;
            }
            while let Some(ended) = running.join_next().await {
                self.note(ended);
            }
        }
    }

    async fn launch(self: &Arc<Self>, batch: Vec<FetchJob>, running: &mut JoinSet<()>) {
        let permit = self.mover.permit_for(batch.len()).await;
        let runner = Arc::clone(self);
        running.spawn(async move {
            let _permit = permit;
            runner.batch(&batch).await;
        });
        // This batch enters the queues before the next one does.
        tokio::task::yield_now().await;
        while let Some(ended) = running.try_join_next() {
            self.note(ended);
        }
    }

    fn note(&self, ended: Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended {
            self.mover.records.tally.source_broke(format_args!("a batch failed: {error}"));
        }
    }

    /// Carries out one batch: jobs with one source and one destination.
    async fn batch(&self, batch: &[FetchJob]) {
        let Some(first) = batch.first() else { return };
        let node = |index: u32| self.nodes.get(index as usize);
        let (Some(source), Some(owner)) = (node(first.from), node(first.to)) else { return };
        let average = self.averages.get(first.from as usize).copied().flatten();
        let bytes = average.and_then(NonZeroU64::new);
        let mut entries = Vec::with_capacity(batch.len());
        for entry in batch.iter().filter_map(|job| self.map.get(job.entry)) {
            if self.mover.is_copied(source, owner, &entry.old, &entry.new) {
                self.mover.records.tally.skipped();
            } else {
                entries.push(entry);
            }
        }
        let renames: Renames =
            entries.iter().map(|entry| (entry.old.clone(), entry.new.clone())).collect();
        let metrics = entries.iter().map(|entry| entry.old.clone()).collect();
        let report = self.mover.bring_as(source, owner, metrics, bytes, &renames).await;
        if self.mover.verbose {
            for old in &report.done {
                let new = renames.of(old).unwrap_or(old);
                self.mover.output.say(format_args!(
                    "Backfilling [{}] {old} => [{}] {new}",
                    source.addr(),
                    owner.addr()
                ));
            }
        }
        for _ in report.gone {
            self.mover.records.tally.gone();
        }
        for (metric, failure) in report.failed {
            self.mover.records.tally.failed(metric.as_str(), source.addr(), &failure);
        }
    }
}
