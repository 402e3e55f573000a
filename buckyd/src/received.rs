//! What this node received in the last run of a move: batches that follow each other. A plan takes its rate from
//! that.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bucky_api::ReceivedRun;

/// Batches that are further apart belong to two runs.
const PAUSE_MOST: Duration = Duration::from_secs(120);
/// A shorter run says nothing about the rate of a long one.
const RUN_LEAST: Duration = Duration::from_secs(5);

/// The batches that were received.
#[derive(Debug, Default)]
pub(crate) struct Received(Mutex<Runs>);

#[derive(Debug, Default)]
struct Runs {
    /// The latest run.
    latest: Option<Run>,
    /// The last run before it that was long enough.
    before: Option<Run>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    bytes: u64,
    began: Instant,
    ended: Instant,
}

impl Received {
    /// Counts a batch: the files that came have `bytes` together.
    pub(crate) fn add(&self, bytes: u64, began: Instant, ended: Instant) {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut runs.latest {
            Some(run) if began.saturating_duration_since(run.ended) <= PAUSE_MOST => {
                run.bytes = run.bytes.saturating_add(bytes);
                run.began = run.began.min(began);
                run.ended = run.ended.max(ended);
            }
            latest => {
                let ended_run = latest.replace(Run { bytes, began, ended });
                runs.before = ended_run.filter(Run::is_long).or(runs.before);
            }
        }
    }

    /// The last run that was long enough, as of `now`.
    pub(crate) fn status(&self, now: Instant) -> Option<ReceivedRun> {
        let runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let run = runs.latest.filter(Run::is_long).or(runs.before)?;
        Some(ReceivedRun {
            bytes: run.bytes,
            seconds: run.length().as_secs(),
            ended_seconds_ago: now.saturating_duration_since(run.ended).as_secs(),
        })
    }
}

impl Run {
    fn length(&self) -> Duration {
        self.ended.saturating_duration_since(self.began)
    }

    fn is_long(&self) -> bool {
        self.length() >= RUN_LEAST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_that_follow_each_other_are_a_run_and_a_short_one_hides_no_long_one() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let received = Received::default();
        assert_eq!(received.status(at(0)), None);
        received.add(100, at(0), at(2));
        assert_eq!(received.status(at(2)), None, "too short");
        // Batches run side by side: this one began before the first ended.
        received.add(200, at(1), at(30));
        received.add(300, at(100), at(110));
        let run = ReceivedRun { bytes: 600, seconds: 110, ended_seconds_ago: 10 };
        assert_eq!(received.status(at(120)), Some(run));
        received.add(5, at(1000), at(1001));
        let run = ReceivedRun { ended_seconds_ago: 1000, ..run };
        assert_eq!(received.status(at(1110)), Some(run));
        received.add(50, at(1002), at(1010));
        let run = ReceivedRun { bytes: 55, seconds: 10, ended_seconds_ago: 0 };
        assert_eq!(received.status(at(1010)), Some(run));
    }
}
