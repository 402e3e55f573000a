//! How large a batch may be: the one rule, for moves and for heals. Pure.

/// The limits of a batch, and of what waits for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchLimits {
    /// The most bytes of a batch's files together. A longer file is a batch of its own.
    pub(crate) bytes: u64,
    /// The most metrics in a batch.
    pub(crate) metrics: usize,
    /// The most memory, in bytes, of everything that waits in half-full batches of all sources together.
    pub(crate) held_bytes: usize,
    /// After this many further metrics, a batch goes even if it is not full.
    pub(crate) patience: u64,
}

impl BatchLimits {
    /// Whether a batch of this many metrics and bytes is full.
    pub(crate) fn is_full(&self, metrics: usize, bytes: u64) -> bool {
        metrics >= self.metrics || bytes >= self.bytes
    }

    /// Whether such a batch must go before a further file of `next_bytes` is added.
    pub(crate) fn has_no_room_for(&self, next_bytes: u64, metrics: usize, bytes: u64) -> bool {
        metrics >= self.metrics || bytes.saturating_add(next_bytes) > self.bytes
    }

    /// The number of metrics that fill a batch if their files have this average length in bytes; at least 1.
    /// `None` means that the length is unknown.
    pub(crate) fn metrics_of_average(&self, average_bytes: Option<u64>) -> usize {
        let fitting = self.bytes / average_bytes.unwrap_or(0).max(1);
        self.metrics.min(usize::try_from(fitting).unwrap_or(usize::MAX)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BatchLimits =
        BatchLimits { bytes: 32 << 20, metrics: 1000, held_bytes: 0, patience: 0 };

    #[test]
    fn a_batch_is_full_at_either_limit() {
        assert!(!LIMITS.is_full(999, (32 << 20) - 1));
        assert!(LIMITS.is_full(1000, 0) && LIMITS.is_full(1, 32 << 20));
    }

    #[test]
    fn a_file_that_would_pass_a_limit_begins_another_batch() {
        assert!(!LIMITS.has_no_room_for(1 << 20, 10, 31 << 20));
        assert!(LIMITS.has_no_room_for((1 << 20) + 1, 10, 31 << 20));
        assert!(LIMITS.has_no_room_for(0, 1000, 0));
        assert!(LIMITS.has_no_room_for(u64::MAX, 1, u64::MAX), "no sum overflows");
    }

    #[test]
    fn a_batch_is_as_long_as_its_files_allow() {
        for (average, expected) in [
            (None, 1000),
            (Some(0), 1000),
            (Some(1 << 10), 1000),
            (Some(1 << 20), 32),
            (Some(1 << 40), 1),
        ] {
            assert_eq!(LIMITS.metrics_of_average(average), expected, "{average:?}");
        }
    }
}
