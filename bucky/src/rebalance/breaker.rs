//! Stops asking what does not answer: after some failures in a row everything fails at once, but for a probe from
//! time to time that finds out when it answers again.
//!
//! Pure; the time is an argument.

use std::time::{Duration, Instant};

/// How long after a failure something that is given up is tried again.
const PROBE_INTERVAL: Duration = Duration::from_secs(30);

/// Whether something answers, by what was seen of it.
#[derive(Debug)]
pub(crate) struct Breaker {
    threshold: u32,
    failures: u32,
    probed: Option<Instant>,
    reason: String,
}

impl Breaker {
    /// Given up after `threshold` failures in a row.
    pub(crate) fn new(threshold: u32) -> Self {
        Self { threshold, failures: 0, probed: None, reason: String::new() }
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
        (self.failures, self.probed) = (0, None);
    }

    /// It did not answer. True where it is given up by this.
    pub(crate) fn failed(&mut self, now: Instant, reason: &str) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.failures < self.threshold {
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
        let mut breaker = Breaker::new(3);
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
}
