//! Waiting for the locks of many files, within one limit for all of them.
//!
//! One lock is waited for up to `--lock-timeout`. A process that holds the locks of many files would delay a
//! batch that long for each. The client would then stop waiting for the whole batch, including its other
//! metrics. So a batch waits the full time for a few locks, and tries the others once.

use std::cell::Cell;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Store;
use super::error::StoreError;

/// How many locks are waited for in full.
const FULL_WAITS: u32 = 3;

/// How long a request may still wait for locks.
#[derive(Debug)]
pub(crate) struct LockBudget {
    each: Duration,
    left: Cell<Duration>,
}

impl LockBudget {
    /// `each` is the time for a single lock.
    pub(super) fn new(each: Duration) -> Self {
        Self { each, left: Cell::new(each.saturating_mul(FULL_WAITS)) }
    }

    fn spend<T>(&self, wait: impl FnOnce(Duration) -> T) -> T {
        let begun = Instant::now();
        let result = wait(self.each.min(self.left.get()));
        self.left.set(self.left.get().saturating_sub(begun.elapsed()));
        result
    }
}

impl Store {
    /// The time that a request may wait for locks.
    pub(crate) fn lock_budget(&self) -> LockBudget {
        LockBudget::new(self.options.lock_limit)
    }

    pub(super) fn lock_shared(
        &self,
        file: &File,
        path: &Path,
        budget: &LockBudget,
    ) -> Result<(), StoreError> {
        budget
            .spend(|limit| bucky_whisper::lock_shared(file, limit))
            .map_err(|error| StoreError::lock(path, error))
    }

    pub(super) fn lock_exclusive(
        &self,
        file: &File,
        path: &Path,
        budget: &LockBudget,
    ) -> Result<(), StoreError> {
        budget
            .spend(|limit| bucky_whisper::lock_exclusive(file, limit))
            .map_err(|error| StoreError::lock(path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_locks_are_waited_for_in_full_and_the_others_not_at_all() {
        let each = Duration::from_millis(20);
        let budget = LockBudget::new(each);
        let waits: Vec<Duration> = (0..20)
            .map(|_| {
                budget.spend(|limit| {
                    std::thread::sleep(limit);
                    limit
                })
            })
            .collect();
        assert_eq!(waits[0], each);
        assert_eq!(waits[19], Duration::ZERO);
        assert!(waits.iter().sum::<Duration>() <= each * FULL_WAITS, "{waits:?}");
    }
}
