//! Lists that are requested with `force`: which scan answers such a request.
//!
//! A Go client that gets 202 sends the same request again, with `force`, until it gets 200. If each of them
//! started a scan, a store whose scan takes longer than an answer may wait would scan without end and never
//! answer. The rule: a request that got 202 is owed the scan that was started for it. The same question
//! (regular expression and list), asked again within [`OWED_FOR`] of its last 202, is answered from that scan
//! and starts no other. Any other forced request is answered from a scan that begins after it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bucky_whisper::Digest;

/// How long a question is remembered after its last 202. The Go client asks again after 55 seconds at the
/// latest.
const OWED_FOR: Duration = Duration::from_secs(90);
/// The most questions that are remembered at once.
const QUESTIONS_MOST: usize = 1024;

/// The questions that got 202, and the scan that each is owed.
#[derive(Default)]
pub(super) struct OwedScans(Mutex<HashMap<Digest, Owed>>);

struct Owed {
    scan: u64,
    answered_at: Instant,
}

impl OwedScans {
    /// The scan that `question` is owed, if it got 202 a moment ago.
    pub(super) fn owed(&self, question: Digest, now: Instant) -> Option<u64> {
        let owed = self.locked();
        owed.get(&question).filter(|owed| is_known(owed, now)).map(|owed| owed.scan)
    }

    /// `question` gets 202: it is owed `scan`.
    pub(super) fn owe(&self, question: Digest, scan: u64, now: Instant) {
        let mut owed = self.locked();
        owed.retain(|_, owed| is_known(owed, now));
        if owed.len() >= QUESTIONS_MOST
            && let Some(oldest) =
                owed.iter().min_by_key(|(_, owed)| owed.answered_at).map(|(question, _)| *question)
        {
            owed.remove(&oldest);
        }
        owed.insert(question, Owed { scan, answered_at: now });
    }

    /// `question` gets its answer: it is owed nothing any more.
    pub(super) fn settle(&self, question: Digest) {
        self.locked().remove(&question);
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Digest, Owed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_known(owed: &Owed, now: Instant) -> bool {
    now.saturating_duration_since(owed.answered_at) <= OWED_FOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_owed_its_scan_until_it_is_answered_or_not_asked_again() {
        let scans = OwedScans::default();
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let start = Instant::now();
        scans.owe(one, 7, start);
        assert_eq!(scans.owed(one, start + OWED_FOR), Some(7));
        assert_eq!(scans.owed(other, start), None);
        assert_eq!(scans.owed(one, start + OWED_FOR + Duration::from_millis(1)), None);
        scans.settle(one);
        assert_eq!(scans.owed(one, start), None);
    }

    #[test]
    fn only_so_many_questions_are_known() {
        let scans = OwedScans::default();
        let start = Instant::now();
        let question = |n: usize| Digest::of(&n.to_be_bytes());
        for n in 0..=QUESTIONS_MOST {
            scans.owe(question(n), 1, start + Duration::from_millis(n as u64));
        }
        assert_eq!(scans.locked().len(), QUESTIONS_MOST);
        assert_eq!(scans.owed(question(0), start), None);
        assert_eq!(scans.owed(question(QUESTIONS_MOST), start), Some(1));
    }
}
