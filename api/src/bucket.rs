//! A rate limit without bursts: an amount per second, and nothing is saved up while it is idle.
//!
//! Pure: the time is an argument.

use std::time::{Duration, Instant};

/// The longest time that one take is accounted for. It is longer than any run.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A rate limiter. Each take learns when it may begin and when it is paid for. The next take begins at that
/// time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    per_second: f64,
    paid_until: Instant,
}

/// When an amount may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// All earlier takes are paid for. Begin here if the amount is used at the bucket's rate.
    pub begins: Instant,
    /// This take is paid for as well. Begin here if the amount is used at once.
    pub paid: Instant,
}

impl Bucket {
    /// A bucket of `per_second`, which must be greater than 0, that starts at `now`.
    pub fn new(per_second: f64, now: Instant) -> Self {
        Self { per_second: per_second.max(f64::MIN_POSITIVE), paid_until: now }
    }

    /// The rate per second.
    pub fn per_second(&self) -> f64 {
        self.per_second
    }

    /// Takes `amount`.
    pub fn take(&mut self, amount: f64, now: Instant) -> Turn {
        let begins = self.paid_until.max(now);
        self.paid_until = begins + self.time_for(amount);
        Turn { begins, paid: self.paid_until }
    }

    /// Corrects the last take: `difference` more was used, or less if it is negative.
    pub fn correct(&mut self, difference: f64, now: Instant) {
        if difference >= 0.0 {
            self.paid_until = self.paid_until.max(now) + self.time_for(difference);
        } else {
            let less = self.time_for(-difference);
            self.paid_until = self.paid_until.checked_sub(less).unwrap_or(now).max(now);
        }
    }

    /// Changes the rate at `now`. Takes that are not yet paid for are paid for at the new rate.
    pub fn set_rate(&mut self, per_second: f64, now: Instant) {
        let unpaid = self.paid_until.saturating_duration_since(now).as_secs_f64() * self.per_second;
        self.per_second = per_second.max(f64::MIN_POSITIVE);
        self.paid_until = now + self.time_for(unpaid);
    }

    fn time_for(&self, amount: f64) -> Duration {
        Duration::try_from_secs_f64(amount / self.per_second).unwrap_or(LONGEST).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(turn: Turn, start: Instant) -> (f64, f64) {
        let since = |at: Instant| at.duration_since(start).as_secs_f64();
        (since(turn.begins), since(turn.paid))
    }

    #[test]
    fn each_take_begins_when_the_one_before_is_paid_for() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, start);
        assert_eq!(seconds(bucket.take(5.0, start), start), (0.0, 0.5));
        assert_eq!(seconds(bucket.take(20.0, start), start), (0.5, 2.5));
        let late = start + Duration::from_secs(10);
        assert_eq!(seconds(bucket.take(1.0, late), start), (10.0, 10.1), "nothing is saved up");
    }

    #[test]
    fn a_take_can_be_corrected_up_or_down() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, start);
        bucket.take(10.0, start);
        bucket.correct(10.0, start);
        assert_eq!(seconds(bucket.take(0.0, start), start).0, 2.0);
        bucket.correct(-15.0, start);
        assert_eq!(seconds(bucket.take(0.0, start), start).0, 0.5);
        bucket.correct(-100.0, start);
        assert_eq!(seconds(bucket.take(0.0, start), start).0, 0.0, "never in advance");
    }

    #[test]
    fn unpaid_takes_are_paid_for_at_the_new_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1.0, start);
        bucket.take(10.0, start);
        bucket.set_rate(10.0, start);
        assert_eq!(seconds(bucket.take(0.0, start), start).0, 1.0);
        bucket.set_rate(0.5, start);
        assert_eq!(seconds(bucket.take(0.0, start), start).0, 20.0);
    }

    #[test]
    fn no_amount_is_too_large() {
        let start = Instant::now();
        let mut bucket = Bucket::new(0.0, start);
        let turn = bucket.take(f64::MAX, start);
        assert!(turn.paid > start);
    }
}
