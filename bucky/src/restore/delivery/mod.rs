//! Brings the files of an archive to their owners: in batches to daemons with `/v1`, one by one to Go
//! daemons.
//!
//! Memory is limited, however many nodes there are: if there is no room for the next file, the fullest batch
//! goes early. A file that is too long for memory is in a temporary file, and is sent alone, piece by piece.
//! An owner counts as restored only if it reports that itself, which it does once the batch is durable there.

mod pending;
mod sending;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use bucky_api::OnSchemaDifference;
use bucky_api::archive::FileMeta;
use bucky_whisper::{Digest, MetricName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

pub(crate) use self::pending::PendingFile;
use self::pending::{FILE_COST_BYTES, FileContent, FileProgress};
use self::sending::{DeliverySetback, heal, outcome, setback};
use crate::fleet::Node;
use crate::patience::{NextStep, Patience, Trouble, halves, jitter};
use crate::run::failure::Failure;
use crate::run::failure_kind::FailureKind;
use crate::run::stop::Stop;
use crate::run::tally::{Effect, Tally};
use crate::spool::Content;
use crate::transfer::batch::BatchLimits;

/// How many KiB all held files together may have: those that wait for a full batch, and those in transit.
const HELD_KIB: u32 = 32 * 1024;
/// When a batch of files is full. [`HELD_KIB`] limits what waits; a batch goes early only because of it.
const LIMITS: BatchLimits = BatchLimits {
    bytes: 4 << 20,
    metrics: 500,
    held_bytes: HELD_KIB as usize * 1024,
    patience: u64::MAX,
};

/// A file of an archive.
pub(crate) struct Restored {
    pub(crate) metric: MetricName,
    pub(crate) meta: FileMeta,
    pub(crate) content: Content,
    pub(crate) digest: Digest,
    /// Whether the archive stores it with holes. Its owners then store it with holes too.
    pub(crate) is_sparse: bool,
}

/// Brings files to their owners.
pub(crate) struct Delivery {
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
    /// The files that wait for a full batch, by node.
    waiting: Vec<Vec<Arc<PendingFile>>>,
    running: JoinSet<()>,
}

/// What all batches in transit share.
struct Shared {
    nodes: Vec<Arc<Node>>,
    workers: Semaphore,
    stop: Stop,
    tally: Tally,
    /// What happens to points that have no place in an owner's file.
    rule: OnSchemaDifference,
    /// The metrics whose files are held.
    held: Mutex<HashSet<MetricName>>,
}

impl Delivery {
    /// Brings files to these nodes, with up to `workers` batches at once.
    pub(crate) fn new(
        nodes: &[Arc<Node>],
        (workers, rule): (usize, OnSchemaDifference),
        stop: Stop,
        tally: Tally,
    ) -> Self {
        let shared = Shared {
            nodes: nodes.to_vec(),
            workers: Semaphore::new(workers),
            stop,
            tally,
            rule,
            held: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            room: Arc::new(Semaphore::new(HELD_KIB as usize)),
            waiting: nodes.iter().map(|_| Vec::new()).collect(),
            running: JoinSet::new(),
        }
    }

    /// The counts so far.
    pub(crate) fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    /// Takes a file for the nodes with these indexes; waits while too much is held.
    pub(crate) async fn push(&mut self, file: Restored, owners: Vec<usize>) {
        let Restored { metric, meta, content, digest, is_sparse } = file;
        // Of two files of one metric, the first in the archive wins: it is delivered before the second is
        // sent.
        if self.shared.held().contains(&metric) {
            self.finish().await;
        }
        // A long file takes all the room: the next one waits until it is delivered.
        let bytes = match &content {
            Content::Held(content) => content.len(),
            Content::Spooled(_) => HELD_KIB as usize * 1024,
        };
        let room = self.make_room(bytes).await;
        self.shared.held().insert(metric.clone());
        let open = FileProgress { owners: owners.len(), effect: None, failures: Vec::new() };
        let (content, is_long) = match content {
            Content::Held(content) => (FileContent::Held(content.into()), false),
            Content::Spooled(spool) => (FileContent::Spooled(spool), true),
        };
        let open = Mutex::new(open);
        let file = PendingFile { metric, meta, digest, is_sparse, content, open, _room: room };
        let file = Arc::new(file);
        for owner in owners {
            let Some(waiting) = self.waiting.get_mut(owner) else { continue };
            waiting.push(Arc::clone(&file));
            // Once all the room is taken, nothing else waits.
            if is_long || is_full(waiting) {
                self.launch(owner);
            }
        }
        while self.running.try_join_next().is_some() {}
    }

    /// Sends everything that waits, and waits until it is delivered.
    pub(crate) async fn finish(&mut self) {
        while let Some(fullest) = self.fullest() {
            self.launch(fullest);
        }
        // A batch that panicked has not settled its files. They are missing in the counts, which the summary
        // reports.
        while self.running.join_next().await.is_some() {}
    }

    async fn make_room(&mut self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from((bytes + FILE_COST_BYTES).div_ceil(1024)).unwrap_or(HELD_KIB);
        let kib = kib.min(HELD_KIB);
        loop {
            if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(kib) {
                return Some(room);
            }
            // `None` only if the semaphore were closed, which never happens.
            let Some(fullest) = self.fullest() else {
                return Arc::clone(&self.room).acquire_many_owned(kib).await.ok();
            };
            self.launch(fullest);
        }
    }

    fn fullest(&self) -> Option<usize> {
        let bytes =
            |files: &[Arc<PendingFile>]| files.iter().map(|file| file.bytes()).sum::<usize>();
        let waiting = self.waiting.iter().enumerate().filter(|(_, files)| !files.is_empty());
        waiting.max_by_key(|(_, files)| bytes(files)).map(|(node, _)| node)
    }

    fn launch(&mut self, node: usize) {
        let files = self.waiting.get_mut(node).map(std::mem::take).unwrap_or_default();
        let shared = Arc::clone(&self.shared);
        self.running.spawn(async move { shared.deliver(node, files).await });
    }
}

fn is_full(files: &[Arc<PendingFile>]) -> bool {
    LIMITS.is_full(files.len(), files.iter().map(|file| file.bytes() as u64).sum())
}

/// Files that are sent together.
struct DeliveryWork {
    files: Vec<Arc<PendingFile>>,
    patience: Patience,
}

impl Shared {
    fn held(&self) -> std::sync::MutexGuard<'_, HashSet<MetricName>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn deliver(&self, node: usize, files: Vec<Arc<PendingFile>>) {
        let Some(node) = self.nodes.get(node) else { return };
        let _receiving = node.gate.receive().await;
        let _worker = self.workers.acquire().await;
        match node.kind.exchanges_archives() {
            true => self.deliver_together(node, files).await,
            false => self.deliver_one_by_one(node, files).await,
        }
    }

    async fn deliver_together(&self, node: &Node, files: Vec<Arc<PendingFile>>) {
        let mut stack = vec![DeliveryWork { files, patience: Patience::with(&node.daemon) }];
        while let Some(mut work) = stack.pop() {
            let Some(setback) = self.attempt(node, &mut work.files).await else { continue };
            match work.patience.after(setback.trouble, jitter()) {
                NextStep::Wait(pause) if !self.stop.asked_within(pause).await => stack.push(work),
                // One file may make the others fail.
                NextStep::GiveUp
                    if !matches!(
                        setback.failure.kind,
                        FailureKind::NodeAway | FailureKind::NoSpace
                    ) && work.files.len() > 1 =>
                {
                    for files in halves(work.files) {
                        let patience = Patience::with_half(&node.daemon);
                        stack.push(DeliveryWork { files, patience });
                    }
                }
                NextStep::Wait(_) | NextStep::GiveUp => {
                    for file in work.files {
                        self.settle(&file, Err(setback.failure.clone()));
                    }
                }
            }
        }
    }

    /// Sends `files`. Those that may succeed the next time stay; `None` if all are settled.
    async fn attempt(
        &self,
        node: &Node,
        files: &mut Vec<Arc<PendingFile>>,
    ) -> Option<DeliverySetback> {
        if let Err(reason) = node.admit() {
            let failure = Failure::at(node.addr(), FailureKind::NodeAway, reason);
            return Some(DeliverySetback { trouble: Trouble::Lasting, failure });
        }
        if let Some(failure) = node.full.failure(node.addr()) {
            return Some(DeliverySetback { trouble: Trouble::Lasting, failure });
        }
        let lines = match heal(node, files, self.rule).await {
            Ok(lines) => lines,
            Err(error) => return Some(setback(node, error).await),
        };
        node.answered();
        let mut again = Vec::new();
        let mut last = None;
        let mut lines = lines.into_iter().peekable();
        for file in std::mem::take(files) {
            // The lines are in the order in which the files were sent; a file without a line was not healed.
            let line = lines.next_if(|line| line.metric == file.metric);
            if let Some(line) = &line {
                self.tally.schema(line);
            }
            match outcome(node, &file, line) {
                Ok(effect) => self.settle(&file, Ok(effect)),
                Err(setback) if setback.trouble == Trouble::Passing => {
                    last = Some(setback);
                    again.push(file);
                }
                Err(setback) => {
                    node.full.note(&setback.failure);
                    self.settle(&file, Err(setback.failure));
                }
            }
        }
        *files = again;
        last
    }

    async fn deliver_one_by_one(&self, node: &Node, files: Vec<Arc<PendingFile>>) {
        for file in files {
            if self.stop.is_asked() {
                let stopped = Failure::at(
                    node.addr(),
                    FailureKind::NotTried,
                    "the restore was stopped".into(),
                );
                self.settle(&file, Err(stopped));
                continue;
            }
            let go_upload = match file.go_upload(node).await {
                Ok(go_upload) => {
                    go_upload.send_to_go_daemon(node, self.rule, &self.tally, &self.stop).await
                }
                Err(failure) => Err(failure),
            };
            self.settle(&file, go_upload);
        }
    }

    /// Notes an owner's result. The last owner's result settles the metric.
    fn settle(&self, file: &PendingFile, result: Result<Effect, Failure>) {
        let mut open = file.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.owners = open.owners.saturating_sub(1);
        match result {
            Ok(effect) => open.effect = Some(open.effect.map_or(effect, |all| all.and(effect))),
            Err(failure) => open.failures.push(failure),
        }
        if open.owners > 0 {
            return;
        }
        self.held().remove(&file.metric);
        let others = open.failures.len().saturating_sub(1);
        match (open.failures.first(), open.effect) {
            (Some(first), _) => {
                let mut failure = first.clone();
                if others > 0 {
                    failure.reason = format!("{} (and at {others} more owners)", failure.reason);
                }
                self.tally.failed(file.metric.as_str(), &failure.node, &failure);
            }
            (None, Some(effect)) => self.tally.moved(effect),
            (None, None) => {}
        }
    }
}
