//! Watches over the tombstones: a deleted source is unlinked only when its owners have confirmed its points.
//!
//! Once the grace time is over, a batch of tombstones is read again. If one has changed, because a writer
//! still had the file open, it is healed to its owners. For the rest, each owner is asked whether its file is
//! the same, byte for byte. If not, it is asked whether it holds every point of the tombstone, and points
//! that it lacks are healed again: carbon looks for a file and then creates it, which empties a file that was
//! put there in between. A tombstone is unlinked only if every owner has confirmed it and it has not changed
//! since. A sample confirms nothing. A file that is not a valid Whisper file waits for an operator.
//!
//! An owner that is down delays only its own tombstones. It is asked once in a while, however many batches it
//! has. A sweep needs no orderly end: it can be interrupted anywhere, and is repeated.

mod away;
mod exchange;
mod fetched;
mod here;
mod owner;
mod round;
mod sending;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bucky_api::clock::unix_now;
use bucky_api::{HeldTombstones, TombstoneStatus, chain};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use tokio::sync::{Notify, watch};

use self::away::Away;
use self::round::Reason;
use crate::auth::Peers;
use crate::blocking::blocking;
use crate::store::{BatchId, Volumes};

/// How long to wait before a batch that could not be confirmed, or an owner that did not answer, is tried
/// again: at first, and at most.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_MOST: Duration = Duration::from_secs(15);
/// How often the folder of tombstones is read. New batches are announced by [`Sweeper::added`].
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The shortest time from the end of one sweep to the next, however many deletes arrive. The pause is also a
/// multiple of the time that it took to find due batches, up to a limit: there may be many batches that must
/// wait.
const REST_LEAST: Duration = Duration::from_millis(10);
const REST_TIMES: u32 = 10;
const REST_MOST: Duration = Duration::from_millis(200);
/// How many batches are worked on at once.
const BATCHES_AT_ONCE: usize = 3;
/// The most reasons in `/v1/status`.
const REASONS_MOST: usize = 20;

/// The tombstones of one store, and what is known about them.
pub(crate) struct Sweeper {
    store: Arc<Volumes>,
    peers: Peers,
    grace: Duration,
    news: Notify,
    batches: Mutex<BTreeMap<BatchId, Waiting>>,
    away: Away,
}

/// A batch of tombstones.
struct Waiting {
    /// How many tombstones are left.
    count: u64,
    age: Duration,
    /// When its age was read.
    looked_at: Instant,
    held: Option<HeldBatch>,
}

/// Why a batch could not be confirmed, and when it is tried again.
struct HeldBatch {
    retry_at: Instant,
    pause: Duration,
    reasons: BTreeMap<String, Reason>,
}

impl Sweeper {
    /// A sweeper that leaves tombstones alone for `grace`.
    pub(crate) fn new(store: Arc<Volumes>, peers: Peers, grace: Duration) -> Self {
        Self {
            store,
            peers,
            grace,
            news: Notify::new(),
            batches: Mutex::default(),
            away: Away::default(),
        }
    }

    /// Adds a new batch with `count` tombstones.
    pub(crate) fn added(&self, batch: BatchId, count: u64) {
        let looked_at = Instant::now();
        let waiting = Waiting { count, age: Duration::ZERO, looked_at, held: None };
        self.batches().entry(batch).or_insert(waiting);
        self.news.notify_one();
    }

    /// When the delete of a batch ended, in Unix seconds. `None` if the batch is unknown.
    fn deleted_at(&self, batch: &BatchId) -> Option<u32> {
        let age =
            self.batches().get(batch).map(|waiting| waiting.age + waiting.looked_at.elapsed())?;
        Some(unix_now().saturating_sub(u32::try_from(age.as_secs()).unwrap_or(u32::MAX)))
    }

    /// How many tombstones wait, and why.
    pub(crate) fn status(&self) -> TombstoneStatus {
        let batches = self.batches();
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        let held = batches.values().filter_map(|batch| batch.held.as_ref());
        for (text, reason) in held.flat_map(|held| &held.reasons) {
            *reasons.entry(text).or_default() += reason.count;
        }
        let ages = batches.values().map(|batch| batch.age + batch.looked_at.elapsed());
        TombstoneStatus {
            waiting: batches.values().map(|batch| batch.count).sum(),
            oldest_seconds: ages.max().unwrap_or_default().as_secs(),
            held: reasons
                .into_iter()
                .take(REASONS_MOST)
                .map(|(reason, count)| HeldTombstones { count, reason: reason.to_owned() })
                .collect(),
        }
    }

    /// Sweeps until `stopping` is true. An owner may still work on what was sent. An unlink that has begun is
    /// finished.
    pub(crate) async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        tokio::select! {
            () = self.sweep_for_ever() => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    async fn sweep_for_ever(&self) {
        let mut next_look = Instant::now();
        loop {
            if Instant::now() >= next_look {
                if let Err(error) = self.refresh().await {
                    tracing::error!(error, "cannot check the tombstones");
                }
                next_look = Instant::now() + LOOK_EVERY;
            }
            let begun = Instant::now();
            let queue = self.queue();
            let rest = (begun.elapsed() * REST_TIMES).clamp(REST_LEAST, REST_MOST);
            let pause = self.sweep(queue).await;
            let pause = pause.min(next_look.saturating_duration_since(Instant::now()));
            tokio::time::sleep(rest).await;
            tokio::select! {
                () = self.news.notified() => {}
                () = tokio::time::sleep(pause.saturating_sub(rest)) => {}
            }
        }
    }

    /// Works on every batch of `queue` that is due. Returns how long it is until the next one is.
    async fn sweep(&self, queue: Vec<(BatchId, Duration)>) -> Duration {
        let (due, early): (Vec<_>, Vec<_>) =
            queue.into_iter().partition(|(_, wait)| wait.is_zero());
        let next = early.into_iter().map(|(_, wait)| wait).min();
        let rounds = due.into_iter().map(|(batch, _)| self.work_through(batch));
        // While one batch is read and unlinked here, owners check another.
        let held: Vec<Option<Duration>> =
            stream::iter(rounds).buffer_unordered(BATCHES_AT_ONCE).collect().await;
        held.into_iter().flatten().chain(next).fold(LOOK_EVERY, Duration::min)
    }

    /// Works on `batch` once. Returns how long it is until the next try, if anything is left of it.
    fn work_through(&self, batch: BatchId) -> BoxFuture<'_, Option<Duration>> {
        Box::pin(async move {
            let outcome = self.round(&batch).await;
            if outcome.left == 0 {
                self.batches().remove(&batch);
                return None;
            }
            Some(self.hold(&batch, outcome.left, outcome.reasons))
        })
    }

    /// Reads the list of batches. Only new ones are counted, because a visible batch does not grow.
    async fn refresh(&self) -> Result<(), String> {
        let known: Vec<BatchId> = self.batches().keys().cloned().collect();
        let store = Arc::clone(&self.store);
        let seen = blocking(move || -> Result<_, String> {
            let batches = store.tombstone_batches().map_err(|error| chain(&error))?;
            let count = |batch: &BatchId| {
                known.binary_search(batch).is_err().then(|| store.count_tombstones(batch))
            };
            let seen = batches.into_iter().map(|(batch, age)| (count(&batch), batch, age));
            Ok((seen.collect::<Vec<_>>(), known))
        });
        let (seen, known) = seen.await.map_err(|error| error.to_string())??;
        let looked_at = Instant::now();
        let mut batches = self.batches();
        let mut before = std::mem::take(&mut *batches);
        for (count, batch, age) in seen {
            let waiting = before.remove(&batch);
            let count = count.or(waiting.as_ref().map(|waiting| waiting.count)).unwrap_or_default();
            let held = waiting.and_then(|waiting| waiting.held);
            batches.insert(batch, Waiting { count, age, looked_at, held });
        }
        // Keeps those that were added in the meantime. The others are gone.
        before.retain(|batch, _| known.binary_search(batch).is_err());
        batches.append(&mut before);
        Ok(())
    }

    /// The batches, and how long each must still wait. Those that were not tried yet come first.
    fn queue(&self) -> Vec<(BatchId, Duration)> {
        let batches = self.batches();
        let (held, new): (Vec<_>, Vec<_>) =
            batches.iter().partition(|(_, waiting)| waiting.held.is_some());
        let wait = |waiting: &Waiting| match &waiting.held {
            None => self.grace.saturating_sub(waiting.age + waiting.looked_at.elapsed()),
            Some(held) => held.retry_at.saturating_duration_since(Instant::now()),
        };
        new.into_iter().chain(held).map(|(batch, waiting)| (batch.clone(), wait(waiting))).collect()
    }

    /// Leaves a batch alone for a while, longer each time. A reason is logged only when it is new: an owner
    /// may be down for days, with thousands of batches.
    fn hold(&self, batch: &BatchId, left: u64, reasons: BTreeMap<String, Reason>) -> Duration {
        let mut batches = self.batches();
        let Some(waiting) = batches.get_mut(batch) else { return RETRY_FIRST };
        let before = waiting.held.take();
        for (reason, Reason { count, example }) in &reasons {
            if before.as_ref().is_none_or(|held| !held.reasons.contains_key(reason)) {
                tracing::warn!(%batch, count, reason, example, "tombstones wait");
            }
        }
        let pause = before.map_or(RETRY_FIRST, |held| (held.pause * 2).min(RETRY_MOST));
        waiting.count = left;
        waiting.held = Some(HeldBatch { retry_at: Instant::now() + pause, pause, reasons });
        pause
    }

    fn batches(&self) -> MutexGuard<'_, BTreeMap<BatchId, Waiting>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
