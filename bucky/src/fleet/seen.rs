//! When a node was first seen. Needed for files with modification times in the future of its clock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Node;

/// When a node was first seen, and whether it has files with modification times in the future.
#[derive(Debug)]
pub(crate) struct FirstSeen {
    since: Instant,
    is_ahead: AtomicBool,
}

impl FirstSeen {
    /// First seen now.
    pub(crate) fn now() -> Self {
        Self { since: Instant::now(), is_ahead: false.into() }
    }
}

impl Node {
    /// For how long it has been known.
    pub(crate) fn seen_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.seen.since)
    }

    /// Whether this is the first file with a time in the future that is reported for the node.
    pub(crate) fn is_first_future_time(&self) -> bool {
        !self.seen.is_ahead.swap(true, Ordering::AcqRel)
    }
}
