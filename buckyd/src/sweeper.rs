//! Watches over the tombstones: a deleted source is unlinked only when its owners have confirmed its points.
//!
//! Once the grace time is over, a batch of tombstones is read again. What has changed (a writer still had the file
//! open) is healed to its owners first. Then each owner is asked whether a sample of the points is there, and what
//! it lacks is healed again: carbon looks for a file and then creates, which empties one that came in between. Only
//! what every owner has confirmed, unchanged since, is unlinked. An owner that is away keeps its tombstones waiting.

mod round;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bucky_api::{Client, HeldTombstones, TombstoneStatus, chain};
use tokio::sync::{Notify, watch};

use crate::blocking::blocking;
use crate::store::{BatchId, Store};

/// How long to wait before a batch that could not be confirmed is tried again: at first, and at most.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_MOST: Duration = Duration::from_secs(60);
/// How often the folder of tombstones is looked at even if nobody says there is something new.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How many reasons `/v1/status` tells at most.
const REASONS_TOLD: usize = 20;

/// The tombstones of one store, and what is known about them.
pub(crate) struct Sweeper {
    store: Arc<Store>,
    client: Client,
    grace: Duration,
    news: Notify,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    waiting: u64,
    oldest: Duration,
    held: BTreeMap<BatchId, Held>,
}

/// A batch that could not be confirmed.
struct Held {
    retry_at: Instant,
    pause: Duration,
    reasons: BTreeMap<String, u64>,
}

impl Sweeper {
    /// A sweeper that leaves tombstones alone for `grace`.
    pub(crate) fn new(store: Arc<Store>, client: Client, grace: Duration) -> Self {
        Self { store, client, grace, news: Notify::new(), known: Mutex::default() }
    }

    /// There are new tombstones.
    pub(crate) fn wake(&self) {
        self.news.notify_one();
    }

    /// What waits, and why.
    pub(crate) fn status(&self) -> TombstoneStatus {
        let known = self.known();
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        for (reason, count) in known.held.values().flat_map(|held| &held.reasons) {
            *reasons.entry(reason).or_default() += count;
        }
        let held = reasons.into_iter().take(REASONS_TOLD);
        TombstoneStatus {
            waiting: known.waiting,
            oldest_seconds: known.oldest.as_secs(),
            held: held
                .map(|(reason, count)| HeldTombstones { count, reason: reason.to_owned() })
                .collect(),
        }
    }

    /// Sweeps until `stopping` is true; a batch that is under way then is finished.
    pub(crate) async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        loop {
            let pause = match self.sweep(&stopping).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::error!(error, "the tombstones cannot be looked at");
                    LOOK_EVERY
                }
            };
            tokio::select! {
                () = self.news.notified() => {}
                () = tokio::time::sleep(pause) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
        }
    }

    /// Looks at every batch once; how long until the next look.
    async fn sweep(&self, stopping: &watch::Receiver<bool>) -> Result<Duration, String> {
        let batches = self.look().await?;
        let mut next = LOOK_EVERY;
        for (batch, age) in batches {
            if *stopping.borrow() {
                break;
            }
            if age < self.grace {
                next = next.min(self.grace - age);
                continue;
            }
            if let Some(wait) = self.pause_of(&batch) {
                next = next.min(wait);
                continue;
            }
            let outcome = self.round(&batch).await;
            if outcome.left > 0 {
                next = next.min(self.hold(batch, outcome.reasons));
            } else {
                self.known().held.remove(&batch);
            }
        }
        self.look().await?;
        // The manifests' times are whole seconds.
        Ok(next.max(Duration::from_millis(200)))
    }

    /// Reads the list of batches and notes what it says.
    async fn look(&self) -> Result<Vec<(BatchId, Duration)>, String> {
        let store = Arc::clone(&self.store);
        let (batches, waiting) = blocking(move || -> Result<_, String> {
            let batches = store.tombstone_batches().map_err(|error| chain(&error))?;
            let waiting: u64 = batches.iter().map(|(batch, _)| store.count_tombstones(batch)).sum();
            Ok((batches, waiting))
        })
        .await
        .map_err(|error| error.to_string())??;
        let mut known = self.known();
        known.waiting = waiting;
        known.oldest = if waiting == 0 {
            Duration::ZERO
        } else {
            batches.first().map_or(Duration::ZERO, |(_, age)| *age)
        };
        known.held.retain(|held, _| batches.iter().any(|(batch, _)| batch == held));
        Ok(batches)
    }

    /// How long a held batch is still left alone.
    fn pause_of(&self, batch: &BatchId) -> Option<Duration> {
        let wait = self.known().held.get(batch)?.retry_at.saturating_duration_since(Instant::now());
        (!wait.is_zero()).then_some(wait)
    }

    /// Leaves a batch alone for a while, longer each time.
    fn hold(&self, batch: BatchId, reasons: BTreeMap<String, u64>) -> Duration {
        for (reason, count) in &reasons {
            tracing::warn!(count, reason, "tombstones wait");
        }
        let mut known = self.known();
        let pause =
            known.held.get(&batch).map_or(RETRY_FIRST, |held| (held.pause * 2).min(RETRY_MOST));
        known.held.insert(batch, Held { retry_at: Instant::now() + pause, pause, reasons });
        pause
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
