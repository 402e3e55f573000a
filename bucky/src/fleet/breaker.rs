//! Stops asking a node that does not answer. After some failures in a row, over some time, every request
//! fails at once, except for a probe from time to time that finds out whether the node answers again.
//!
//! Pure; the time is an argument.

use std::time::{Duration, Instant};

/// How long after a failure the node is probed again.
const PROBE_INTERVAL: Duration = Duration::from_secs(30);

/// What one more failure in a row means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureRow {
    /// It is the first failure.
    Begins,
    /// There are not enough failures yet, or the breaker is open already.
    GoesOn,
    /// There are enough failures now: the breaker opens.
    IsEnough,
}

/// Whether to ask a node, by its recent answers and failures.
#[derive(Debug)]
pub(crate) struct Breaker {
    threshold: u32,
    lasting: Duration,
    failures: u32,
    began: Option<Instant>,
    probed: Option<Instant>,
    reason: String,
}

impl Breaker {
    /// A breaker that opens after `threshold` failures in a row that lasted for at least `lasting`.
    pub(crate) fn new(threshold: u32, lasting: Duration) -> Self {
        Self { threshold, lasting, failures: 0, began: None, probed: None, reason: String::new() }
    }

    /// Allows a request; the error is the reason why not.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<(), String> {
        let Some(probed) = self.probed else { return Ok(()) };
        if now.duration_since(probed) < PROBE_INTERVAL {
            return Err(self.reason.clone());
        }
        self.probed = Some(now);
        Ok(())
    }

    /// Notes that the node answered.
    pub(crate) fn succeeded(&mut self) {
        (self.failures, self.began, self.probed) = (0, None, None);
    }

    /// Notes that the node did not answer.
    pub(crate) fn failed(&mut self, now: Instant, reason: &str) -> FailureRow {
        self.failures = self.failures.saturating_add(1);
        let is_first = self.began.is_none();
        let began = *self.began.get_or_insert(now);
        if self.failures < self.threshold || now.duration_since(began) < self.lasting {
            return if is_first { FailureRow::Begins } else { FailureRow::GoesOn };
        }
        reason.clone_into(&mut self.reason);
        if self.probed.replace(now).is_none() { FailureRow::IsEnough } else { FailureRow::GoesOn }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_given_up_after_failures_in_a_row_and_probed_from_time_to_time() {
        let start = Instant::now();
        let mut breaker = Breaker::new(3, Duration::ZERO);
        assert_eq!(breaker.failed(start, "x"), FailureRow::Begins);
        assert_eq!(breaker.failed(start, "x"), FailureRow::GoesOn);
        breaker.succeeded();
        assert_eq!(breaker.failed(start, "x"), FailureRow::Begins);
        assert_eq!(breaker.failed(start, "x"), FailureRow::GoesOn);
        assert_eq!(breaker.admit(start), Ok(()));
        assert_eq!(breaker.failed(start, "away"), FailureRow::IsEnough);
        assert_eq!(breaker.failed(start, "away"), FailureRow::GoesOn, "given up once only");
        assert_eq!(breaker.admit(start + PROBE_INTERVAL / 2), Err("away".into()));
        let later = start + PROBE_INTERVAL;
        assert_eq!(breaker.admit(later), Ok(()), "one probe");
        assert_eq!(breaker.admit(later), Err("away".into()), "and no second");
        breaker.succeeded();
        assert_eq!(breaker.admit(later), Ok(()));
    }

    #[test]
    fn a_node_that_fails_often_within_a_short_time_is_still_asked() {
        let start = Instant::now();
        let lasting = Duration::from_secs(60);
        let mut breaker = Breaker::new(3, lasting);
        for _ in 0..100 {
            assert_ne!(breaker.failed(start + lasting / 2, "x"), FailureRow::IsEnough);
        }
        assert_eq!(breaker.admit(start + lasting / 2), Ok(()));
        breaker.succeeded();
        assert_eq!(
            breaker.failed(start + lasting, "x"),
            FailureRow::Begins,
            "the time starts again"
        );
        assert_eq!(breaker.failed(start + lasting, "x"), FailureRow::GoesOn);
        assert_eq!(breaker.failed(start + lasting * 2, "away"), FailureRow::IsEnough);
    }
}
