//! The relay's own statistics, sent as metrics with the others. They count from the start.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters.
#[derive(Debug, Default)]
pub(super) struct RelayCounts {
    pickles: AtomicU64,
    seen: AtomicU64,
    sent: AtomicU64,
}

impl RelayCounts {
    /// Counts a pickle.
    pub(super) fn pickle(&self) {
        self.pickles.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the datapoints of a pickle.
    pub(super) fn seen(&self, metrics: u64) {
        self.seen.fetch_add(metrics, Ordering::Relaxed);
    }

    /// Counts lines that were written to the upstream.
    pub(super) fn sent(&self, metrics: u32) {
        self.sent.fetch_add(u64::from(metrics), Ordering::Relaxed);
    }

    /// The statistics as lines, at a time in Unix seconds.
    pub(super) fn lines(&self, prefix: &str, queued: u64, memory_bytes: u64, now: u64) -> String {
        let figures = [
            ("seenPickles", self.pickles.load(Ordering::Relaxed)),
            ("seenMetrics", self.seen.load(Ordering::Relaxed)),
            ("sentMetrics", self.sent.load(Ordering::Relaxed)),
            ("queueLength", queued),
            ("systemMemory", memory_bytes),
        ];
        figures.iter().map(|(name, value)| format!("{prefix}.{name} {value} {now}\n")).collect()
    }
}

/// The resident memory of the process in bytes, or 0 if the system does not report it.
pub(super) fn memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_have_the_go_relays_names() {
        let counts = RelayCounts::default();
        counts.pickle();
        counts.seen(7);
        counts.sent(5);
        assert_eq!(
            counts.lines("relay.h", 2, 4096, 60),
            "relay.h.seenPickles 1 60\nrelay.h.seenMetrics 7 60\nrelay.h.sentMetrics 5 60\n\
             relay.h.queueLength 2 60\nrelay.h.systemMemory 4096 60\n"
        );
        assert!(memory_bytes() > 100_000);
    }
}
