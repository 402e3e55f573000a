//! Brings the files of an archive to their owners: in batches to daemons with `/v1`, one by one to Go
//! daemons.
//!
//! Memory is limited, however many nodes there are: if there is no room for the next file, the fullest batch
//! goes early. A file that is too long for memory is in a temporary file, and is sent alone, piece by piece.
//! An owner counts as restored only if it reports that itself, which it does once the batch is durable there.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bucky_api::archive::FileMeta;
use bucky_api::{ClientError, Encoding, HealLine, HealOrders, OnSchemaDifference, Problem};
use bucky_whisper::{Digest, MetricName};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::batch_body::{BatchFile, batch_body};
use super::long_body::long_body;
use crate::chain;
use crate::fleet::Node;
use crate::patience::{NextStep, Patience, Trouble, halves, jitter};
use crate::run::failure::Failure;
use crate::run::failure_kind::FailureKind;
use crate::run::stop::Stop;
use crate::run::tally::{Effect, Tally};
use crate::spool::{Content, Spool};
use crate::transfer::go::owner::GoUpload;

/// How many KiB all held files together may have: those that wait for a full batch, and those in transit.
const HELD_KIB: u32 = 32 * 1024;
/// The most bytes of a batch's files together, and the most files.
const BATCH_BYTES: usize = 4 << 20;
const BATCH_FILES: usize = 500;
/// What a file takes in addition to its content.
const FILE_COST_BYTES: usize = 1024;
/// The longest file that is sent to a Go daemon: it goes in one piece, from memory.
const GO_FILE_BYTES: u64 = 256 << 20;

/// A file of an archive.
pub(crate) struct Restored {
    pub(crate) metric: MetricName,
    pub(crate) meta: FileMeta,
    pub(crate) content: Content,
    pub(crate) digest: Digest,
    /// Whether the archive stores it with holes. Its owners then store it with holes too.
    pub(crate) is_sparse: bool,
}

/// A file that not all of its owners have settled yet.
pub(crate) struct PendingFile {
    metric: MetricName,
    meta: FileMeta,
    digest: Digest,
    is_sparse: bool,
    content: FileContent,
    open: Mutex<FileProgress>,
    _room: Option<OwnedSemaphorePermit>,
}

/// The content of a file.
enum FileContent {
    Held(Bytes),
    Spooled(Spool),
}

/// What its owners have reported so far.
struct FileProgress {
    owners: usize,
    effect: Option<Effect>,
    failures: Vec<Failure>,
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
    files.len() >= BATCH_FILES
        || files.iter().map(|file| file.bytes()).sum::<usize>() >= BATCH_BYTES
}

impl PendingFile {
    fn bytes(&self) -> usize {
        let held = match &self.content {
            FileContent::Held(content) => content.len(),
            FileContent::Spooled(_) => 0,
        };
        held + FILE_COST_BYTES
    }

    /// The file for a batch, or `None` if it goes alone.
    fn to_send(&self) -> Option<BatchFile> {
        let FileContent::Held(content) = &self.content else { return None };
        let Self { metric, meta, digest, is_sparse, .. } = self;
        Some(BatchFile {
            metric: metric.clone(),
            meta: *meta,
            digest: *digest,
            is_sparse: *is_sparse,
            content: content.clone(),
        })
    }

    /// The file for a Go daemon.
    async fn go_upload(&self, node: &Node) -> Result<GoUpload, Failure> {
        let content = match &self.content {
            FileContent::Held(content) => content.clone(),
            FileContent::Spooled(spool) if spool.len_bytes() > GO_FILE_BYTES => {
                let bytes = spool.len_bytes();
                let reason = format!(
                    "it has {bytes} bytes, and a daemon of the Go tool is given at most {GO_FILE_BYTES}; run buckyd there"
                );
                return Err(failure(node, FailureKind::of(Some(Problem::TooLarge)), reason));
            }
            FileContent::Spooled(spool) => {
                let spool = spool.clone();
                let read = tokio::task::spawn_blocking(move || spool.content()).await;
                let read = read.map_err(io::Error::other).and_then(|read| read);
                read.map_err(|error| failure(node, FailureKind::Storage, error.to_string()))?.into()
            }
        };
        let Self { metric, meta, digest, .. } = self;
        Ok(GoUpload { metric: metric.clone(), meta: *meta, digest: *digest, content })
    }
}

/// Files that are sent together.
struct DeliveryWork {
    files: Vec<Arc<PendingFile>>,
    patience: Patience,
}

/// Why an attempt left files undone.
struct DeliverySetback {
    trouble: Trouble,
    failure: Failure,
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
            let failure = failure(node, FailureKind::NodeAway, reason);
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
                let stopped =
                    failure(node, FailureKind::NotTried, "the restore was stopped".into());
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

/// The result in the owner's line about a file.
fn outcome(
    node: &Node,
    file: &PendingFile,
    line: Option<HealLine>,
) -> Result<Effect, DeliverySetback> {
    let passing = |kind, reason: &str| DeliverySetback {
        trouble: Trouble::Passing,
        failure: failure(node, kind, reason.to_owned()),
    };
    let line = line
        .ok_or_else(|| passing(FailureKind::NoAnswer, "the owner's answer does not mention it"))?;
    if line.outcome.is_healed() {
        if line.digest != Some(file.digest) {
            return Err(passing(
                FailureKind::DamagedOnTheWay,
                "the owner received different content",
            ));
        }
        return Ok(Effect { outcome: line.outcome, points: line.points, bytes: line.bytes });
    }
    let may_pass = line.problem.is_some_and(Problem::may_pass);
    let trouble = if may_pass { Trouble::Passing } else { Trouble::Lasting };
    Err(DeliverySetback {
        trouble,
        failure: failure(node, FailureKind::of_line(&line), line.reason),
    })
}

/// Why `node` did not take files. If the connection broke and the node answers nothing else either, as a
/// frozen daemon does, it does not answer, and fewer files would not help. The run also gives up on a node
/// whose connections break for long.
async fn setback(node: &Node, error: ClientError) -> DeliverySetback {
    let broke = is_broken(&error) || matches!(error, ClientError::Lines { .. });
    let silence = if broke { node.daemon.status().await.err() } else { None };
    let silence = silence.filter(|error| is_silence(error) || is_broken(error));
    let is_away = silence.is_some() || is_silence(&error);
    let error = silence.unwrap_or(error);
    let reason = chain(&error);
    if is_away || broke {
        node.unreachable(&reason);
    }
    let kind = if is_away { FailureKind::NodeAway } else { FailureKind::TransferFailed };
    DeliverySetback { trouble: Trouble::of(&error), failure: failure(node, kind, reason) }
}

fn is_silence(error: &ClientError) -> bool {
    matches!(error, ClientError::Unreachable { .. } | ClientError::TimedOut { .. })
}

fn is_broken(error: &ClientError) -> bool {
    matches!(error, ClientError::Broken { .. })
}

fn failure(node: &Node, kind: FailureKind, reason: String) -> Failure {
    Failure { node: node.addr().clone(), kind, reason }
}

async fn heal(
    node: &Node,
    files: &[Arc<PendingFile>],
    on_schema_difference: OnSchemaDifference,
) -> Result<Vec<HealLine>, ClientError> {
    let orders = HealOrders { replace_corrupt: false, on_schema_difference };
    let long = files.iter().find_map(|file| match &file.content {
        FileContent::Held(_) => None,
        FileContent::Spooled(spool) => Some((file, spool)),
    });
    let answer = match long {
        Some((file, spool)) => {
            let stream = long_body(file.metric.clone(), file.meta, file.is_sparse, spool.clone());
            node.daemon.heal_long(orders, spool.len_bytes(), stream).await?
        }
        None => {
            let stream = batch_body(files.iter().filter_map(|file| file.to_send()).collect());
            node.daemon.heal_by(orders, Encoding::Identity, stream).await?
        }
    };
    answer.collect_at_most(files.len()).await
}
