//! One round over one batch of tombstones: read them, collect what their owners answer, unlink those that may
//! be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bucky_api::{DaemonAddr, chain};
use bucky_whisper::{Digest, Image};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};

use super::Sweeper;
use crate::blocking::blocking;
use crate::store::{
    Answers, BatchId, ConfirmedTombstone, InspectedFile, Snapshot, StoreError, Tombstone,
    TombstoneFile, TombstoneKind, UnlinkOutcome, Waits, may_unlink,
};

/// How many tombstones are processed together.
const CHUNK: usize = 500;
/// How many owners are asked at once. What is sent to each is in memory.
const OWNERS_AT_ONCE: usize = 4;

/// What is left of a batch, and why.
#[derive(Default)]
pub(super) struct RoundOutcome {
    pub(super) left: u64,
    pub(super) reasons: BTreeMap<String, Reason>,
}

/// The tombstones that wait for one reason: how many, and one metric as an example.
#[derive(Default)]
pub(super) struct Reason {
    pub(super) count: u64,
    pub(super) example: String,
}

impl RoundOutcome {
    fn hold(&mut self, what: impl ToString, reason: String) {
        self.hold_all(1, what, reason);
    }

    fn hold_all(&mut self, count: u64, what: impl ToString, reason: String) {
        self.left += count;
        let held = self.reasons.entry(reason).or_default();
        held.count += count;
        held.example = what.to_string();
    }
}

/// A tombstone and its file as it was read in this round.
pub(super) struct ReadTombstone {
    pub(super) tombstone: Tombstone,
    pub(super) file: TombstoneFile,
    /// The file's length if it is too long for memory. Such a file has no maps; it is sent to an owner with
    /// other content.
    pub(super) large_bytes: Option<u64>,
}

impl ReadTombstone {
    fn of(tombstone: Tombstone, file: &Snapshot) -> Self {
        let kind = TombstoneKind::of(Image::parse(&file.content).map(drop));
        let file = TombstoneFile { digest: file.digest(), kind, settled: file.settled };
        Self { tombstone, file, large_bytes: None }
    }

    fn large(tombstone: Tombstone, file: InspectedFile, bytes: u64) -> Self {
        let InspectedFile { digest, kind, settled } = file;
        let file = TombstoneFile { digest, kind: TombstoneKind::of(kind), settled };
        Self { tombstone, file, large_bytes: Some(bytes) }
    }

    pub(super) fn seq(&self) -> usize {
        self.tombstone.seq
    }

    /// The digest of its content now.
    pub(super) fn digest(&self) -> Digest {
        self.file.digest
    }

    /// Whether its owners can be asked for each of its points.
    pub(super) fn has_maps(&self) -> bool {
        self.file.kind == TombstoneKind::Whisper && self.large_bytes.is_none()
    }

    /// Whether it was written to after its owners were healed from it.
    pub(super) fn has_changed(&self) -> bool {
        self.file.digest != self.tombstone.digest
    }
}

impl Sweeper {
    /// Works on `batch` once.
    pub(super) async fn round(&self, batch: &BatchId) -> RoundOutcome {
        let mut outcome = RoundOutcome::default();
        let (store, id) = (Arc::clone(&self.store), batch.clone());
        let tombstones = blocking(move || {
            store.tombstones(&id).map_err(|error| (store.count_tombstones(&id), chain(&error)))
        });
        let tombstones = match tombstones.await {
            Ok(Ok(tombstones)) => tombstones,
            Ok(Err((count, reason))) => {
                outcome.hold_all(count.max(1), batch, reason);
                return outcome;
            }
            Err(error) => {
                outcome.hold(batch, error.to_string());
                return outcome;
            }
        };
        for chunk in tombstones.chunks(CHUNK) {
            self.work_on(batch, chunk, &mut outcome).await;
        }
        if outcome.left == 0 {
            self.close(batch, &mut outcome).await;
        }
        outcome
    }

    async fn close(&self, batch: &BatchId, outcome: &mut RoundOutcome) {
        let (store, id) = (Arc::clone(&self.store), batch.clone());
        match blocking(move || store.close_batch(&id)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                outcome.hold(batch, "a tombstone appeared while its batch was being closed".into())
            }
            Ok(Err(error)) => outcome.hold(batch, chain(&error)),
            Err(error) => outcome.hold(batch, error.to_string()),
        }
    }

    async fn work_on(&self, batch: &BatchId, tombstones: &[Tombstone], outcome: &mut RoundOutcome) {
        let read = self.read(batch, tombstones, outcome).await;
        let mut answers = self.answers(batch, &read).await;
        let mut confirmed = Vec::with_capacity(read.len());
        for ReadTombstone { tombstone, file, .. } in read {
            let answers = answers.remove(&tombstone.seq).unwrap_or_default();
            match may_unlink(&tombstone, &file, &answers) {
                Ok(one) => confirmed.push((tombstone, one)),
                Err(waits) => outcome.hold(&tombstone.metric, waits.to_string()),
            }
        }
        let unlinked = self.unlink(batch, &confirmed, outcome).await;
        tracing::debug!(unlinked, "tombstones confirmed and removed");
    }

    /// All answers about these tombstones, by their numbers.
    async fn answers(&self, batch: &BatchId, read: &[ReadTombstone]) -> HashMap<usize, Answers> {
        // There is no question about the points of a file that is not a Whisper file.
        let known: Vec<&ReadTombstone> =
            read.iter().filter(|one| one.file.kind != TombstoneKind::NotWhisper).collect();
        let owners: BTreeSet<&DaemonAddr> =
            known.iter().flat_map(|one| &one.tombstone.owners).collect();
        let ask = |owner| -> BoxFuture<'_, _> {
            let is_theirs = |one: &&ReadTombstone| one.tombstone.owners.contains(owner);
            let theirs = known.iter().copied().filter(is_theirs).collect();
            Box::pin(async move { (owner, self.ask_owner(batch, owner, theirs).await) })
        };
        let asked: Vec<_> = owners.into_iter().map(ask).collect();
        let answered: Vec<_> = stream::iter(asked).buffer_unordered(OWNERS_AT_ONCE).collect().await;
        let mut answers: HashMap<usize, Answers> = HashMap::new();
        for (owner, of_owner) in answered {
            for (seq, answer) in of_owner {
                answers.entry(seq).or_default().owners.insert(owner.clone(), answer);
            }
        }
        // The old file of a metric that was reshaped: only the metric's own file can hold its points.
        let old_files = known.into_iter().filter(|one| one.tombstone.owners.is_empty()).collect();
        for (seq, answer) in self.ask_here(batch, old_files).await {
            answers.entry(seq).or_default().here = Some(answer);
        }
        answers
    }

    /// Unlinks these tombstones unless they were written to since they were read. Returns how many are gone.
    async fn unlink(
        &self,
        batch: &BatchId,
        confirmed: &[(Tombstone, ConfirmedTombstone)],
        outcome: &mut RoundOutcome,
    ) -> usize {
        let tombstones: Vec<ConfirmedTombstone> = confirmed.iter().map(|(_, one)| *one).collect();
        let (store, id) = (Arc::clone(&self.store), batch.clone());
        let ends = match blocking(move || store.unlink_confirmed(&id, &tombstones)).await {
            Ok(Ok(ends)) => ends,
            Ok(Err(error)) => {
                outcome.hold_all(confirmed.len() as u64, batch, chain(&error));
                return 0;
            }
            Err(error) => {
                outcome.hold_all(confirmed.len() as u64, batch, error.to_string());
                return 0;
            }
        };
        let mut unlinked = 0;
        for ((tombstone, _), end) in confirmed.iter().zip(ends) {
            match end {
                Ok(UnlinkOutcome::Unlinked) => unlinked += 1,
                Ok(UnlinkOutcome::Changed) => {
                    outcome.hold(&tombstone.metric, Waits::WrittenTo.to_string());
                }
                Err(error) => outcome.hold(&tombstone.metric, chain(&error)),
            }
        }
        unlinked
    }

    /// The tombstones and their files as they are now; those that cannot be read wait.
    async fn read(
        &self,
        batch: &BatchId,
        tombstones: &[Tombstone],
        outcome: &mut RoundOutcome,
    ) -> Vec<ReadTombstone> {
        let (store, id, wanted) = (Arc::clone(&self.store), batch.clone(), tombstones.to_vec());
        let read = blocking(move || {
            store.read_tombstones(&id, wanted.iter(), |tombstone, file| match file {
                Ok(file) => Ok(ReadTombstone::of(tombstone.clone(), file)),
                Err(StoreError::TooLarge { bytes, .. }) => store
                    .inspect_large_tombstone(&id, tombstone.seq)
                    .map(|file| ReadTombstone::large(tombstone.clone(), file, bytes))
                    .map_err(|error| (tombstone.metric.clone(), chain(&error))),
                Err(error) => Err((tombstone.metric.clone(), chain(&error))),
            })
        });
        let read = match read.await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => {
                outcome.hold_all(tombstones.len() as u64, batch, chain(&error));
                return Vec::new();
            }
            Err(error) => {
                outcome.hold_all(tombstones.len() as u64, batch, error.to_string());
                return Vec::new();
            }
        };
        let held = |read: Result<ReadTombstone, (_, String)>| {
            read.map_err(|(metric, reason)| outcome.hold(metric, reason)).ok()
        };
        read.into_iter().filter_map(held).collect()
    }
}
