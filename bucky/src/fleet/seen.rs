//! Since when a node is known, for files whose times are still to come by its clock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Node;

/// Since when a node is known, and whether it has files whose times are still to come.
#[derive(Debug)]
pub(crate) struct Seen {
    since: Instant,
    is_ahead: AtomicBool,
}

impl Seen {
    /// Seen for the first time.
    pub(crate) fn now() -> Self {
        Self { since: Instant::now(), is_ahead: false.into() }
    }
}

impl Node {
    /// For how long it has been known.
    pub(crate) fn seen_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.seen.since)
    }

    /// Whether nothing was told yet of times that are still to come.
    pub(crate) fn is_first_ahead(&self) -> bool {
        !self.seen.is_ahead.swap(true, Ordering::AcqRel)
    }
}
