//! One look at one batch of tombstones: have every owner confirm, unlink what all have confirmed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bucky_api::{DaemonAddr, chain};
use bucky_whisper::{Digest, Image, ImageError};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};

use super::Sweeper;
use crate::blocking::blocking;
use crate::store::{BatchId, Burial, LargeLook, Snapshot, Stamp, StoreError, Tombstone, Unburied};

/// Why a tombstone waits whose content is not what was confirmed.
pub(super) const WRITTEN_TO: &str = "a writer still writes to it";

/// How many tombstones are worked on together.
const CHUNK: usize = 500;
/// How many owners are spoken to at once: what is sent to each lies in memory.
const OWNERS_AT_ONCE: usize = 4;

/// Why a tombstone waits that is no Whisper file.
const NOT_WHOLE: &str = "it is not a valid Whisper file, so the points that its owners must hold cannot be \
                         determined; check the file in the folder of tombstones, and remove it by hand if you do not \
                         need it";

/// What is left of a batch, and why.
#[derive(Default)]
pub(super) struct RoundOutcome {
    pub(super) left: u64,
    pub(super) reasons: BTreeMap<String, Reason>,
}

/// How many tombstones wait for one reason, and one of them.
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

/// A tombstone as it is now.
pub(super) struct Body {
    pub(super) tombstone: Tombstone,
    /// The digest of its content now.
    pub(super) digest: Digest,
    /// How its points can be looked for.
    pub(super) content: BodyContent,
    /// What its file has as long as nobody writes to it.
    settled: Option<Stamp>,
    /// Its length, where it is too long for memory: then it has no maps, and is sent where the owner has another content.
    pub(super) large_bytes: Option<u64>,
}

/// What a tombstone's file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyContent {
    /// A whole Whisper file: its owners have to hold each of its points.
    Whole,
    /// In go-carbon's compressed format: only the same content holds its points.
    Compressed,
    /// Neither: nobody can tell what its owners would have to hold.
    NotWhole,
}

impl BodyContent {
    fn of(parsed: Result<(), ImageError>) -> Self {
        match parsed {
            Ok(()) => Self::Whole,
            Err(ImageError::Compressed) => Self::Compressed,
            Err(ImageError::Header(_)) => Self::NotWhole,
        }
    }
}

impl Body {
    fn of(tombstone: Tombstone, file: &Snapshot) -> Self {
        let content = BodyContent::of(Image::parse(&file.content).map(drop));
        let (digest, settled) = (file.digest(), file.settled);
        Self { tombstone, digest, content, settled, large_bytes: None }
    }

    /// Of a tombstone that is too long for memory.
    fn large(tombstone: Tombstone, file: LargeLook, bytes: u64) -> Self {
        let LargeLook { digest, kind, settled } = file;
        let content = BodyContent::of(kind);
        Self { tombstone, digest, content, settled, large_bytes: Some(bytes) }
    }

    /// Whether the owners can be asked for each of its points.
    pub(super) fn has_maps(&self) -> bool {
        self.content == BodyContent::Whole && self.large_bytes.is_none()
    }

    fn unburied(&self) -> Unburied {
        Unburied { seq: self.tombstone.seq, digest: self.digest, settled: self.settled }
    }

    pub(super) fn has_changed(&self) -> bool {
        self.digest != self.tombstone.digest
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
        let bodies = self.read(batch, tombstones, outcome).await;
        let bodies = hold_what_is_not_whole(bodies, outcome);
        let owners: BTreeSet<&DaemonAddr> =
            bodies.iter().flat_map(|body| &body.tombstone.owners).collect();
        let ask = |owner| -> BoxFuture<'_, _> {
            let is_theirs = |body: &&Body| body.tombstone.owners.contains(owner);
            Box::pin(self.confirm_at(batch, owner, bodies.iter().filter(is_theirs).collect()))
        };
        let asked: Vec<_> = owners.into_iter().map(ask).collect();
        // Why a tombstone must wait, by its number.
        let waits: Vec<Vec<(usize, String)>> =
            stream::iter(asked).buffer_unordered(OWNERS_AT_ONCE).collect().await;
        let mut waits: HashMap<usize, String> = waits.into_iter().flatten().collect();
        // The old file of a metric that was reshaped has no owners but the metric's own file.
        let old_files = bodies.iter().filter(|body| body.tombstone.owners.is_empty()).collect();
        waits.extend(self.confirm_here(batch, old_files).await);
        let (held, confirmed): (Vec<_>, Vec<_>) =
            bodies.into_iter().partition(|body| waits.contains_key(&body.tombstone.seq));
        for body in held {
            let reason = waits.remove(&body.tombstone.seq).unwrap_or_default();
            outcome.hold(&body.tombstone.metric, reason);
        }
        let buried = self.bury(batch, &confirmed, outcome).await;
        tracing::debug!(buried, "tombstones confirmed and removed");
    }

    /// Unlinks what all owners have confirmed; how many those are.
    async fn bury(&self, batch: &BatchId, confirmed: &[Body], outcome: &mut RoundOutcome) -> usize {
        let tombstones: Vec<Unburied> = confirmed.iter().map(Body::unburied).collect();
        let (store, id) = (Arc::clone(&self.store), batch.clone());
        let ends = match blocking(move || store.bury(&id, &tombstones)).await {
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
        let mut buried = 0;
        for (body, end) in confirmed.iter().zip(ends) {
            match end {
                Ok(Burial::Done) => buried += 1,
                Ok(Burial::Changed) => {
                    outcome.hold(&body.tombstone.metric, self::WRITTEN_TO.into());
                }
                Err(error) => outcome.hold(&body.tombstone.metric, chain(&error)),
            }
        }
        buried
    }

    /// The tombstones as they are now; those that cannot be read wait.
    async fn read(
        &self,
        batch: &BatchId,
        tombstones: &[Tombstone],
        outcome: &mut RoundOutcome,
    ) -> Vec<Body> {
        let (store, id, wanted) = (Arc::clone(&self.store), batch.clone(), tombstones.to_vec());
        let read = blocking(move || {
            store.read_tombstones(&id, wanted.iter(), |tombstone, file| match file {
                Ok(file) => Ok(Body::of(tombstone.clone(), file)),
                Err(StoreError::TooLarge { bytes, .. }) => store
                    .look_at_large_tombstone(&id, tombstone.seq)
                    .map(|file| Body::large(tombstone.clone(), file, bytes))
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
        let held = |body: Result<Body, (_, String)>| {
            body.map_err(|(metric, reason)| outcome.hold(metric, reason)).ok()
        };
        read.into_iter().filter_map(held).collect()
    }
}

/// Takes out what can never be confirmed.
fn hold_what_is_not_whole(bodies: Vec<Body>, outcome: &mut RoundOutcome) -> Vec<Body> {
    let (whole, broken): (Vec<_>, Vec<_>) =
        bodies.into_iter().partition(|body| body.content != BodyContent::NotWhole);
    for body in broken {
        outcome.hold(&body.tombstone.metric, NOT_WHOLE.into());
    }
    whole
}
