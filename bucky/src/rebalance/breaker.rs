//! Stops asking what does not answer: after some failures in a row, over some time, everything fails at once, but
//! for a probe from time to time that finds out when it answers again.
//!
//! Pure; the time is an argument.

use std::time::{Duration, Instant};

/// How long after a failure something that is given up is tried again.
const PROBE_INTERVAL: Duration = Duration::from_secs(30);

/// Whether something answers, by what was seen of it.
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
    /// Given up after `threshold` failures in a row that go on for `lasting`.
    pub(crate) fn new(threshold: u32, lasting: Duration) -> Self {
        Self { threshold, lasting, failures: 0, began: None, probed: None, reason: String::new() }
    }

    /// Allows a request, or says why not.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<(), String> {
        let Some(probed) = self.probed else { return Ok(()) };
        if now.duration_since(probed) < PROBE_INTERVAL {
            return Err(self.reason.clone());
        }
        self.probed = Some(now);
        Ok(())
    }

    /// It answered.
    pub(crate) fn succeeded(&mut self) {
        (self.failures, self.began, self.probed) = (0, None, None);
    }

    /// It did not answer. True where it is given up by this.
    pub(crate) fn failed(&mut self, now: Instant, reason: &str) -> bool {
        self.failures = self.failures.saturating_add(1);
        let began = *self.began.get_or_insert(now);
        if self.failures < self.threshold || now.duration_since(began) < self.lasting {
            return false;
        }
        reason.clone_into(&mut self.reason);
        self.probed.replace(now).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_given_up_after_failures_in_a_row_and_probed_from_time_to_time() {
        let start = Instant::now();
        let mut breaker = Breaker::new(3, Duration::ZERO);
        assert!(!breaker.failed(start, "x"));
        assert!(!breaker.failed(start, "x"));
        breaker.succeeded();
        assert!(!breaker.failed(start, "x"));
        assert!(!breaker.failed(start, "x"));
        assert_eq!(breaker.admit(start), Ok(()));
        assert!(breaker.failed(start, "away"));
        assert!(!breaker.failed(start, "away"), "given up once only");
        assert_eq!(breaker.admit(start + PROBE_INTERVAL / 2), Err("away".into()));
        let later = start + PROBE_INTERVAL;
        assert_eq!(breaker.admit(later), Ok(()), "one probe");
        assert_eq!(breaker.admit(later), Err("away".into()), "and no second");
        breaker.succeeded();
        assert_eq!(breaker.admit(later), Ok(()));
    }

    #[test]
    fn what_fails_often_within_a_short_time_is_not_given_up_yet() {
        let start = Instant::now();
        let lasting = Duration::from_secs(60);
        let mut breaker = Breaker::new(3, lasting);
        for _ in 0..100 {
            assert!(!breaker.failed(start + lasting / 2, "x"));
        }
        assert_eq!(breaker.admit(start + lasting / 2), Ok(()));
        breaker.succeeded();
        assert!(!breaker.failed(start + lasting, "x"), "the time begins anew");
        assert!(!breaker.failed(start + lasting, "x"));
        assert!(breaker.failed(start + lasting * 2, "away"));
    }
}
