//! How fast a run may go, and where it reports: the operator's options, checked.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bucky_api::{DaemonAddr, Encoding, MAX_CLOCK_DIFFERENCE, OnSchemaDifference};
use bucky_whisper::{Digest, MetricName};

use super::batch::BatchLimits;
use crate::plan::room::Reserve;

/// A batch takes at most this long at the rate.
const BATCH: Duration = Duration::from_secs(5);
/// The fewest metrics in a batch if a node may get faster.
const BATCH_METRICS: usize = 50;

/// How files travel from daemon to daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Travel {
    /// Each daemon that fetches chooses the best way for the link to its source.
    Auto,
    /// Always in this way.
    As(Encoding),
}

impl Travel {
    /// The encoding where no daemon chooses.
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

/// How large batches are, how many run at once, and how files are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batching {
    /// Batches at once.
    pub(crate) workers: usize,
    /// How files travel.
    pub(crate) travel: Travel,
    /// How large batches are.
    pub(crate) limits: BatchLimits,
}

/// What is done before anything moves, and what may prevent the move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Preparation {
    /// Whether the nodes scan their files first.
    pub(crate) fresh: bool,
    /// Whether only the plan is printed.
    pub(crate) dry_run: bool,
    /// Whether the run starts even if destinations lack space.
    pub(crate) ignore_free_space: bool,
    /// How much stays free at each destination.
    pub(crate) reserve: Reserve,
}

/// What is done with sources. By default they stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SourceRules {
    /// Whether they are deleted.
    pub(crate) deletes: bool,
    /// How long a source must not have been written to before it is deleted.
    pub(crate) rest: Duration,
    /// Whether the files of one owner are copied to the others too; such a source always stays.
    pub(crate) copies_from_owners: bool,
}

/// What is done about corrupt files. By default they stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Repairs {
    /// Whether owners' corrupt files are replaced by valid misplaced copies, and kept aside.
    pub(crate) replace_corrupt: bool,
    /// Whether the rest of sources that were cut off is moved, and the files are kept aside.
    pub(crate) salvage: bool,
}

/// The options of all commands that move or copy many metrics.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SyncOptions {
    /// How fast it may go.
    pub(crate) pace: PaceOptions,
    /// Where statistics are sent.
    pub(crate) statistics: Option<StatisticsOptions>,
    /// The file for all failures, with reasons.
    pub(crate) errors: Option<PathBuf>,
    /// The file for all failed copies, in the Go tool's format.
    pub(crate) metric_errors: Option<PathBuf>,
    /// The file for all metrics that are done, in the Go tool's format.
    pub(crate) job_state: Option<PathBuf>,
    /// How many failures of each kind (to copy, to delete) still count as success.
    pub(crate) error_tolerance: u64,
    /// What is done about points that have no place in an owner's file.
    pub(crate) on_schema_difference: OnSchemaDifference,
    /// How many points the operator has allowed to be lost: all with `--yes`, otherwise the number that was
    /// shown and confirmed.
    pub(crate) give_up_most: u64,
    /// Which metrics the owners only examine; `None` if the run fills.
    pub(crate) preview: Option<Preview>,
    /// Whether every source that is deleted is named.
    pub(crate) names_deletions: bool,
    /// How far clocks may differ in a run that deletes.
    pub(crate) max_clock_difference: Duration,
    /// What is done about corrupt files.
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
            names_deletions: false,
            max_clock_difference: MAX_CLOCK_DIFFERENCE,
            repairs: Repairs::default(),
        }
    }
}

/// Which metrics are examined without a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preview {
    /// One in this many metrics, by a hash of the name; at least 1.
    pub(crate) one_in: u64,
}

impl Preview {
    /// Whether this metric is examined.
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
    /// The most that all daemons together send each other.
    pub(crate) bytes_per_second: Option<NonZeroU64>,
    /// The most metrics that a node sends, and the most that it receives; with `health`, the rate at the
    /// start.
    pub(crate) metrics_per_second: Option<NonZeroU32>,
    /// Whether and how the nodes' carbons are watched.
    pub(crate) health: Option<HealthOptions>,
}

impl PaceOptions {
    /// Limits for batches that take at most a few seconds at this pace: the journal advances batch by batch.
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
    /// How often they are asked.
    pub(crate) interval: Duration,
    /// The share of its limit from which a cache counts as full.
    pub(crate) threshold: f64,
    /// How often a node whose cache is not full gets faster, or `None` for never.
    pub(crate) speed_up_interval: Option<Duration>,
    /// Whether a fast node sometimes gets a lower rate at random.
    pub(crate) eases_at_random: bool,
}

/// Where statistics of a run are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StatisticsOptions {
    /// A carbon's line receiver.
    pub(crate) endpoint: DaemonAddr,
    /// The prefix of their names, without the dot.
    pub(crate) prefix: String,
    /// How often they are sent.
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
