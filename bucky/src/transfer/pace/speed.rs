//! How fast a node with a watched carbon may go, by how full carbon's cache is.
//!
//! Pure; time and chance are arguments. A node begins with a base rate. It falls back to the base rate if the
//! cache is full, or if carbon does not answer: then it has no time for more work either. Otherwise it gets
//! faster step by step. Once it is fast, it slows down at random now and then, so that a rate that is
//! slightly too high does not last.

use std::time::{Duration, Instant};

use bucky_api::CarbonCache;

use crate::transfer::options::HealthOptions;

/// A node may slow down from this many times the base rate on.
const FAST: f64 = 3.0;
/// The share of steps in which it does.
const LETS_UP: f64 = 0.1;
/// The largest increase of a step, in metrics a second; the smallest is 1.
const LARGEST_STEP: f64 = 5.0;

/// The state of a node's carbon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CacheState {
    /// Its cache has room.
    Fine,
    /// Its cache is full.
    Full,
    /// It does not answer.
    Silent,
}

/// The rate of one node.
#[derive(Clone, Debug)]
pub(crate) struct Speed {
    base: f64,
    rate: f64,
    stepped: Instant,
    state: CacheState,
}

impl Speed {
    /// Starts with `base` metrics a second.
    pub(crate) fn new(base: f64, now: Instant) -> Self {
        Self { base, rate: base, stepped: now, state: CacheState::Fine }
    }

    /// The rate in metrics a second.
    pub(crate) fn rate(&self) -> f64 {
        self.rate
    }

    /// Notes what carbon reported, or that it did not answer. Returns its state if that has changed. `chance`
    /// returns numbers from 0 to 1.
    pub(crate) fn see(
        &mut self,
        cache: Option<CarbonCache>,
        options: &HealthOptions,
        now: Instant,
        mut chance: impl FnMut() -> f64,
    ) -> Option<CacheState> {
        let state = match cache {
            None => CacheState::Silent,
            Some(cache) if cache.is_full(options.threshold) => CacheState::Full,
            Some(_) => CacheState::Fine,
        };
        let is_due = |interval: Duration| now.duration_since(self.stepped) >= interval;
        if state != CacheState::Fine {
            (self.rate, self.stepped) = (self.base, now);
        } else if options.speed_up_interval.is_some_and(is_due) {
            self.stepped = now;
            let may_let_up = options.eases_at_random && self.rate >= self.base * FAST;
            if may_let_up && chance() < LETS_UP {
                self.rate = self.base + (self.rate - self.base) * chance();
            } else {
                self.rate += (1.0 + (chance() * LARGEST_STEP).floor()).min(LARGEST_STEP);
            }
        }
        let before = std::mem::replace(&mut self.state, state);
        (before != state).then_some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn options() -> HealthOptions {
        HealthOptions {
            port: 8080,
            interval: SECOND,
            threshold: 0.75,
            speed_up_interval: Some(SECOND * 10),
            eases_at_random: true,
        }
    }

    fn cache(size: f64) -> Option<CarbonCache> {
        Some(CarbonCache { size, limit: 100.0 })
    }

    #[test]
    fn a_node_with_room_gets_one_to_five_faster_each_interval() {
        let start = Instant::now();
        let mut speed = Speed::new(2.0, start);
        let mut see = |after, chance: f64| {
            speed.see(cache(10.0), &options(), start + SECOND * after, || chance);
            speed.rate()
        };
        assert_eq!([see(1, 0.0), see(9, 0.0)], [2.0, 2.0], "not before its time");
        assert_eq!(
            [see(10, 0.0), see(19, 0.0), see(20, 0.999), see(30, 1.0)],
            [3.0, 3.0, 8.0, 13.0]
        );
    }

    #[test]
    fn a_full_cache_and_a_silent_carbon_bring_it_back_to_the_start() {
        let start = Instant::now();
        for (seen, state) in [(cache(75.0), CacheState::Full), (None, CacheState::Silent)] {
            let mut speed = Speed::new(2.0, start);
            let mut see =
                |cache, after| speed.see(cache, &options(), start + SECOND * after, || 0.5);
            assert_eq!(see(cache(74.0), 10), None, "no news");
            assert_eq!(see(seen, 11), Some(state));
            assert_eq!(see(seen, 12), None, "said once");
            assert_eq!(see(cache(74.0), 13), Some(CacheState::Fine));
            assert_eq!(speed.rate(), 2.0);
            speed.see(cache(0.0), &options(), start + SECOND * 21, || 0.5);
            assert_eq!(speed.rate(), 2.0, "the interval starts again");
        }
    }

    #[test]
    fn a_fast_node_lets_up_by_chance_unless_that_is_off() {
        let start = Instant::now();
        for (eases_at_random, expected) in [(true, 2.1), (false, 11.0)] {
            let options = HealthOptions { eases_at_random, ..options() };
            let mut speed = Speed::new(2.0, start);
            speed.rate = 10.0;
            speed.see(cache(0.0), &options, start + SECOND * 10, || 0.0125);
            assert!((speed.rate() - expected).abs() < 0.1, "{}", speed.rate());
        }
    }

    #[test]
    fn without_an_interval_it_stays_as_it_is() {
        let start = Instant::now();
        let options = HealthOptions { speed_up_interval: None, ..options() };
        let mut speed = Speed::new(2.0, start);
        speed.see(cache(0.0), &options, start + SECOND * 1_000_000, || 0.5);
        assert_eq!(speed.rate(), 2.0);
    }

    proptest! {
        /// Whatever carbon reports, a node is never slower than at the start, and never faster than its steps
        /// allow.
        #[test]
        fn a_rate_stays_within_its_bounds(
            seen in prop::collection::vec((prop::option::of(0.0..200.0f64), 0.0..1.0f64), 0..200),
        ) {
            let start = Instant::now();
            let mut speed = Speed::new(1.0, start);
            for (number, (size, chance)) in (1u32..).zip(seen) {
                let now = start + SECOND * 10 * number;
                let before = speed.rate();
                speed.see(size.and_then(cache), &options(), now, || chance);
                prop_assert!(speed.rate() >= 1.0 && speed.rate() <= before + 5.0);
            }
        }
    }
}
