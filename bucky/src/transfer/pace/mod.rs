//! How fast a run goes: metrics a second for each node, bytes a second for the whole run.
//!
//! Everything that is about to travel waits for its turn here first. Metrics go in small portions, so that a
//! rate holds from second to second and not only on average over a batch. A portion waits until the metrics
//! before it are accounted for. A portion of bytes starts when the bytes before it are accounted for, and the
//! daemon that fetches it keeps to the rate while it reads.

pub(crate) mod speed;
mod watch;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bucky_api::archive::member_bytes;
use bucky_api::{Bucket, CarbonCache, DaemonAddr};

use self::speed::Speed;
pub(crate) use self::watch::Watched;
use super::batch::Stray;
use super::options::{HealthOptions, PaceOptions};
use crate::run::stop::Stop;

/// A portion is what a rate allows in this time.
const PORTION: Duration = Duration::from_millis(500);
/// The assumed length of a file whose node does not report it, before any has arrived.
const FIRST_GUESS_BYTES: f64 = 256.0 * 1024.0;
/// The weight of the latest files in that estimate.
const LAST_COUNTS: f64 = 0.25;

/// How much each node may send and receive, and when.
pub(crate) struct Pace {
    options: PaceOptions,
    state: Mutex<Paces>,
}

struct Paces {
    bytes: Option<Bucket>,
    /// The assumed length of a file whose node does not report it.
    guess_bytes: f64,
    nodes: BTreeMap<DaemonAddr, NodePace>,
}

/// The pace of one node.
struct NodePace {
    bucket: Bucket,
    speed: Speed,
    cache: Option<CarbonCache>,
}

/// What is known of a node with a watched cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NodeFigures {
    /// Its current rate.
    pub(crate) metrics_per_second: f64,
    /// The last state of its carbon's cache, or `None` if carbon did not report it.
    pub(crate) cache: Option<CarbonCache>,
}

impl Pace {
    /// The pace of a run that begins at `now`.
    pub(crate) fn new(options: PaceOptions, now: Instant) -> Self {
        let bytes = options.bytes_per_second.map(|rate| Bucket::new(float(rate.get()), now));
        Self {
            options,
            state: Mutex::new(Paces {
                bytes,
                guess_bytes: FIRST_GUESS_BYTES,
                nodes: BTreeMap::new(),
            }),
        }
    }

    /// The most bytes a second of a single transfer.
    pub(crate) fn bytes_per_second(&self) -> Option<NonZeroU64> {
        self.options.bytes_per_second
    }

    /// How much longer than otherwise a transfer of this many bytes takes.
    pub(crate) fn time_for(&self, bytes: u64) -> Duration {
        let rate = self.options.bytes_per_second;
        rate.map_or(Duration::ZERO, |rate| Duration::from_secs(bytes / rate.get() + 1))
    }

    /// How many of the first of `strays` go together from `source` to `owners`: at least one.
    pub(crate) fn portion<'a>(
        &self,
        source: &'a DaemonAddr,
        owners: impl IntoIterator<Item = &'a DaemonAddr>,
        strays: &[Stray],
    ) -> usize {
        let now = Instant::now();
        let mut state = self.lock();
        let mut most = strays.len();
        for node in owners.into_iter().chain([source]) {
            if let Some(node) = self.node(&mut state, node, now) {
                most = most.min(whole(node.bucket.per_second() * PORTION.as_secs_f64()));
            }
        }
        if let Some(bucket) = &state.bytes {
            let room = bucket.per_second() * PORTION.as_secs_f64();
            let mut sum = 0.0;
            let fits = strays.iter().take_while(|stray| {
                sum += float(state.bytes_in_transit(stray.bytes));
                sum <= room
            });
            most = most.min(fits.count());
        }
        most.max(1)
    }

    /// Waits for the turn of `strays` from `source` to `owner`, or until a stop is asked for. Returns how
    /// many bytes were accounted for them, for [`Pace::correct_to`].
    pub(crate) async fn turn(
        &self,
        source: &DaemonAddr,
        owner: &DaemonAddr,
        strays: &[Stray],
        stop: &Stop,
    ) -> u64 {
        let bytes = {
            let state = self.lock();
            strays.iter().map(|stray| state.bytes_in_transit(stray.bytes)).sum()
        };
        let until = self.take(source, owner, strays.len(), bytes, Instant::now());
        let wait = until.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            stop.asked_within(wait).await;
        }
        bytes
    }

    /// When this much may travel.
    fn take(
        &self,
        source: &DaemonAddr,
        owner: &DaemonAddr,
        metrics: usize,
        bytes: u64,
        now: Instant,
    ) -> Instant {
        let mut state = self.lock();
        let mut until = now;
        for node in [source, owner] {
            if let Some(node) = self.node(&mut state, node, now) {
                until = until.max(node.bucket.take(float(metrics as u64), now).paid);
            }
        }
        if let Some(bucket) = &mut state.bytes {
            until = until.max(bucket.take(float(bytes), now).begins);
        }
        until
    }

    /// Corrects the account: the files that were accounted for with `accounted` bytes had these lengths.
    pub(crate) fn correct_to(&self, accounted: u64, lengths: impl IntoIterator<Item = u64>) {
        let mut state = self.lock();
        let (mut count, mut sum, mut bytes) = (0, 0, 0);
        for length in lengths {
            count += 1;
            sum += length;
            bytes += member_bytes(length);
        }
        if count > 0 {
            let mean = float(sum) / float(count);
            state.guess_bytes += (mean - state.guess_bytes) * LAST_COUNTS;
        }
        if let Some(bucket) = &mut state.bytes {
            bucket.correct(float(bytes) - float(accounted), Instant::now());
        }
    }

    /// What is known of this node, if its carbon is watched.
    pub(crate) fn figures(&self, node: &DaemonAddr) -> Option<NodeFigures> {
        self.options.health.as_ref()?;
        let mut state = self.lock();
        let node = self.node(&mut state, node, Instant::now())?;
        Some(NodeFigures { metrics_per_second: node.speed.rate(), cache: node.cache })
    }

    /// Notes what a node's carbon reported; returns its state if that has changed.
    fn note(
        &self,
        node: &DaemonAddr,
        cache: Option<CarbonCache>,
        options: &HealthOptions,
        now: Instant,
    ) -> Option<speed::CacheState> {
        let mut state = self.lock();
        let node = self.node(&mut state, node, now)?;
        node.cache = cache;
        let news = node.speed.see(cache, options, now, crate::patience::jitter);
        let rate = node.speed.rate();
        node.bucket.set_rate(rate, now);
        news
    }

    /// The pace of this node, or `None` if it has no limit.
    fn node<'a>(
        &self,
        state: &'a mut Paces,
        addr: &DaemonAddr,
        now: Instant,
    ) -> Option<&'a mut NodePace> {
        let base = f64::from(self.options.metrics_per_second?.get());
        if !state.nodes.contains_key(addr) {
            let pace = NodePace {
                bucket: Bucket::new(base, now),
                speed: Speed::new(base, now),
                cache: None,
            };
            state.nodes.insert(addr.clone(), pace);
        }
        state.nodes.get_mut(addr)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Paces> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Paces {
    /// How many bytes a file of this length takes in transit; 0 means that the length is unknown.
    fn bytes_in_transit(&self, bytes: Option<NonZeroU64>) -> u64 {
        let guess = whole(self.guess_bytes) as u64;
        member_bytes(bytes.map_or(guess, NonZeroU64::get))
    }
}

#[expect(clippy::cast_precision_loss, reason = "rates and what is taken need not be exact")]
fn float(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float becomes the nearest number that there is"
)]
fn whole(number: f64) -> usize {
    number as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn addr(text: &str) -> DaemonAddr {
        text.parse().unwrap()
    }

    fn strays(count: usize, bytes: u64) -> Vec<Stray> {
        let stray = |number| Stray {
            metric: format!("m{number}").parse().unwrap(),
            bytes: NonZeroU64::new(bytes),
        };
        (0..count).map(stray).collect()
    }

    fn pace(bytes: Option<u64>, metrics: Option<u32>, now: Instant) -> Pace {
        let options = PaceOptions {
            bytes_per_second: bytes.and_then(NonZeroU64::new),
            metrics_per_second: metrics.and_then(NonZeroU32::new),
            health: None,
        };
        Pace::new(options, now)
    }

    #[test]
    fn without_a_rate_everything_goes_at_once() {
        let now = Instant::now();
        let pace = pace(None, None, now);
        assert_eq!(pace.portion(&addr("a"), [&addr("b")], &strays(1000, 1 << 20)), 1000);
        for _ in 0..100 {
            assert_eq!(pace.take(&addr("a"), &addr("b"), 1000, 1 << 40, now), now);
        }
        assert_eq!(pace.time_for(1 << 40), Duration::ZERO);
    }

    /// D34: in the Go tool, `-metrics-per-second` has no effect until the first speed-up or overload.
    #[test]
    fn metrics_a_second_hold_from_the_first_one_on_and_for_each_node() {
        let now = Instant::now();
        let pace = pace(None, Some(100), now);
        let seconds = |at: Instant| (at.duration_since(now).as_secs_f64() * 100.0).round() / 100.0;
        let mut last = now;
        for _ in 0..20 {
            let portion = pace.portion(&addr("a"), [&addr("b")], &strays(1000, 1));
            assert_eq!(portion, 50);
            last = pace.take(&addr("a"), &addr("b"), portion, 1, now);
        }
        assert_eq!(seconds(last), 10.0, "1,000 metrics");
        let to_c = pace.take(&addr("a"), &addr("c"), 100, 1, now);
        assert_eq!(seconds(to_c), 11.0, "a sends no more than that");
        let others = pace.take(&addr("x"), &addr("y"), 100, 1, now);
        assert_eq!(seconds(others), 1.0, "other nodes do not wait for it");
    }

    #[test]
    fn a_bandwidth_is_shared_by_all_nodes() {
        let now = Instant::now();
        let pace = pace(Some(1 << 20), None, now);
        let portion = pace.portion(&addr("a"), [&addr("b")], &strays(1000, 100 << 10));
        assert_eq!(portion, 5, "half a second's");
        assert_eq!(
            pace.portion(&addr("a"), [&addr("b")], &strays(9, 100 << 20)),
            1,
            "one at least"
        );
        let first = pace.take(&addr("a"), &addr("b"), 1, 1 << 20, now);
        let second = pace.take(&addr("c"), &addr("d"), 1, 1 << 20, now);
        let third = pace.take(&addr("a"), &addr("b"), 1, 1 << 20, now);
        let after = |at: Instant| at.duration_since(now).as_secs_f64();
        assert_eq!([first, second, third].map(after), [0.0, 1.0, 2.0]);
    }

    #[test]
    fn a_wrong_estimate_of_bytes_is_corrected() {
        let now = Instant::now();
        let pace = pace(Some(1 << 20), None, now);
        let accounted = pace.lock().bytes_in_transit(None);
        pace.take(&addr("a"), &addr("b"), 1, accounted, now);
        pace.correct_to(accounted, [4 << 20]);
        // Time that passes while nothing is sent is not saved up.
        let late = now.elapsed().as_secs_f64();
        let next = pace.take(&addr("a"), &addr("b"), 1, 1, now).duration_since(now);
        assert!((4.0..4.2 + late).contains(&next.as_secs_f64()), "{next:?}, {late} s late");
    }

    #[test]
    fn unknown_lengths_are_estimated_from_known_ones() {
        let pace = pace(Some(1 << 20), None, Instant::now());
        for _ in 0..40 {
            pace.correct_to(0, [10_000; 5]);
        }
        let guess = pace.lock().bytes_in_transit(None);
        assert!(guess.abs_diff(member_bytes(10_000)) <= 512, "{guess}");
        assert_eq!(
            pace.lock().bytes_in_transit(NonZeroU64::new(5)),
            member_bytes(5),
            "a reported length counts"
        );
    }
}
