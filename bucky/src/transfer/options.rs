//! How fast a run may go, and where it tells of itself: what the operator said, checked.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bucky_api::{DaemonAddr, Encoding, MAX_CLOCK_DIFFERENCE, OnSchemaDifference};
use bucky_whisper::{Digest, MetricName};

use super::batch::BatchLimits;
use crate::plan::room::Reserve;

/// A batch is what a rate gives in this time at most.
const BATCH: Duration = Duration::from_secs(5);
/// The metrics of a batch at least where a node may get faster.
const BATCH_METRICS: usize = 50;

/// How files travel from daemon to daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Travel {
    /// As each daemon that fetches finds best for the link to its source.
    Auto,
    /// Always so.
    As(Encoding),
}

impl Travel {
    /// How they travel where nobody chooses.
    pub(crate) fn encoding(self) -> Encoding {
        match self {
            Self::Auto => Encoding::Identity,
            Self::As(encoding) => encoding,
        }
    }
}

impl FromStr for Travel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        let encoding = text.parse().map(Self::As);
        encoding.map_err(|_| {
            format!("unknown encoding {text:?}; known are auto, identity, zstd, gzip, snappy")
        })
    }
}

/// In which batches metrics travel, how many at once, and how they are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batching {
    /// Batches at once.
    pub(crate) workers: usize,
    /// How files travel.
    pub(crate) travel: Travel,
    /// How large batches are.
    pub(crate) limits: BatchLimits,
}

/// What is done before anything moves, and what may keep it from moving.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Preparation {
    /// Whether the nodes scan their files first.
    pub(crate) fresh: bool,
    /// Print the plan and do nothing.
    pub(crate) dry_run: bool,
    /// Begin although it does not fit.
    pub(crate) ignore_free_space: bool,
    /// What stays free at each destination.
    pub(crate) reserve: Reserve,
}

/// What becomes of sources. By default they stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SourceRules {
    /// Whether they are deleted.
    pub(crate) deletes: bool,
    /// How long nobody may have written to a source that is deleted.
    pub(crate) rest: Duration,
    /// Whether what one owner has is copied to the others, too; such a source stays in any case.
    pub(crate) copies_from_owners: bool,
}

/// What is done about files that are not sound. By default they stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Repairs {
    /// Whether owners' corrupt files are replaced by sound misplaced copies, and kept aside.
    pub(crate) replace_corrupt: bool,
    /// Whether what is left of sources that were cut off is taken, and they are kept aside.
    pub(crate) salvage: bool,
}

/// The options that all commands have that move or copy in bulk.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SyncOptions {
    /// How fast it may go.
    pub(crate) pace: PaceOptions,
    /// Where figures about it are sent.
    pub(crate) statistics: Option<StatisticsOptions>,
    /// Where every failure is written, with its reason.
    pub(crate) errors: Option<PathBuf>,
    /// Where every failed copy is written as the Go tool does.
    pub(crate) metric_errors: Option<PathBuf>,
    /// Where every metric that is done is noted, as the Go tool does.
    pub(crate) job_state: Option<PathBuf>,
    /// How many failures of a kind (to copy, to delete) still are a success.
    pub(crate) error_tolerance: u64,
    /// What becomes of points that have no place in an owner's file.
    pub(crate) on_schema_difference: OnSchemaDifference,
    /// How many points the operator has allowed to be given up for good: all with `--yes`, else as many as
    /// were said and confirmed.
    pub(crate) give_up_most: u64,
    /// Whether the owners only look, and at which metrics; none: they fill.
    pub(crate) preview: Option<Preview>,
    /// Whether every source that is deleted is named.
    pub(crate) tells_deletions: bool,
    /// By how much clocks may differ in a run that deletes.
    pub(crate) max_clock_difference: Duration,
    /// What is done about files that are not sound.
    pub(crate) repairs: Repairs,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            pace: PaceOptions::default(),
            statistics: None,
            errors: None,
            metric_errors: None,
            job_state: None,
            error_tolerance: 0,
            on_schema_difference: OnSchemaDifference::Keep,
            give_up_most: 0,
            preview: None,
            tells_deletions: false,
            max_clock_difference: MAX_CLOCK_DIFFERENCE,
            repairs: Repairs::default(),
        }
    }
}

/// Which metrics are looked at without changing anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preview {
    /// One in so many, by a hash of their names; at least 1.
    pub(crate) one_in: u64,
}

impl Preview {
    /// Whether this one is looked at.
    pub(crate) fn takes(self, metric: &MetricName) -> bool {
        let hash = Digest::of(metric.as_str().as_bytes()).to_string();
        // 60 of its bits are enough.
        let bits = hash.get(..15).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        bits.unwrap_or(0) % self.one_in.max(1) == 0
    }
}

/// How fast a run may go.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PaceOptions {
    /// The most that daemons send each other, all together.
    pub(crate) bytes_per_second: Option<NonZeroU64>,
    /// The most metrics that a node sends, and that it gets; with `health` what it begins with.
    pub(crate) metrics_per_second: Option<NonZeroU32>,
    /// Whether and how the nodes' carbons are watched.
    pub(crate) health: Option<HealthOptions>,
}

impl PaceOptions {
    /// Batches that take no longer than some seconds at this pace: the journal's step.
    pub(crate) fn limits(&self, mut limits: BatchLimits) -> BatchLimits {
        if let Some(rate) = self.bytes_per_second {
            limits.bytes = limits.bytes.min(rate.get().saturating_mul(BATCH.as_secs()));
        }
        if let Some(rate) = self.metrics_per_second {
            let least = if self.health.is_some() { BATCH_METRICS } else { 1 };
            let metrics = u64::from(rate.get()) * BATCH.as_secs();
            let metrics = usize::try_from(metrics).unwrap_or(usize::MAX).max(least);
            limits.metrics = limits.metrics.min(metrics);
        }
        limits
    }
}

/// How the caches of the nodes' carbons are watched.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HealthOptions {
    /// The port of carbon's `/admin/info`.
    pub(crate) port: u16,
    /// How often.
    pub(crate) interval: Duration,
    /// From which share of its limit on a cache counts as full.
    pub(crate) threshold: f64,
    /// How often a node whose cache is not full gets faster; none: never.
    pub(crate) speed_up_interval: Option<Duration>,
    /// Whether a fast node sometimes gets a lower rate by chance.
    pub(crate) eases_at_random: bool,
}

/// Where figures about a run are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StatisticsOptions {
    /// A carbon's line receiver.
    pub(crate) endpoint: DaemonAddr,
    /// What the figures' names begin with, without the dot.
    pub(crate) prefix: String,
    /// How often.
    pub(crate) interval: Duration,
    /// Whether nodes that are addresses are named by their host names.
    pub(crate) names_hosts: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(bytes: Option<u64>, metrics: Option<u32>) -> PaceOptions {
        PaceOptions {
            bytes_per_second: bytes.and_then(NonZeroU64::new),
            metrics_per_second: metrics.and_then(NonZeroU32::new),
            health: None,
        }
    }

    #[test]
    fn files_travel_as_the_daemons_choose_or_always_in_one_way() {
        let travel = |text: &str| text.parse::<Travel>();
        assert_eq!(travel("auto"), Ok(Travel::Auto));
        assert_eq!(travel("Zstd"), Ok(Travel::As(Encoding::Zstd)));
        assert_eq!(travel("identity"), Ok(Travel::As(Encoding::Identity)));
        assert!(travel("rot13").unwrap_err().contains("auto, identity, zstd"));
    }

    #[test]
    fn batches_take_some_seconds_at_most() {
        let limits =
            BatchLimits { bytes: 32 << 20, metrics: 1000, held_bytes: 1 << 20, patience: 20_000 };
        let slow = pace(Some(1 << 20), Some(10)).limits(limits);
        assert_eq!((slow.bytes, slow.metrics), (5 << 20, 50));
        assert_eq!(pace(Some(1 << 30), Some(10_000)).limits(limits), limits);
        assert_eq!(pace(None, None).limits(limits), limits);
    }
}
