//! Arguments of the commands that carry metrics from node to node.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use bucky_api::Encoding;

use super::cluster::ClusterArgs;
use super::schema::SchemaArgs;
use super::units::workers;
use super::units::{bandwidth, bytes, rate};
use crate::plan::room::Reserve;
use crate::transfer::batch::BatchLimits;
use crate::transfer::options::{Batching, PaceOptions, Preparation, Travel};

/// How much may wait in half-full batches, in all sources together: some 20 bytes a metric. With 200 sources and 200
/// owners batches get about 25 metrics by it.
const HELD_BYTES: usize = 16 << 20;

/// How many full batches may go past a half-full one.
pub(crate) const PASSED: u64 = 20;

/// How metrics travel, and how many at once.
#[derive(clap::Args, Debug)]
pub(crate) struct BatchArgs {
    /// Batches on their way at once, in the whole cluster; of a node never more than half of what it allows
    #[arg(short = 'w', long, value_name = "N", default_value = "8", value_parser = workers)]
    pub(crate) workers: usize,
    /// How files travel: identity, zstd, gzip, snappy; or auto, which is plain, and zstd where a daemon finds that the
    /// link limits and zstd is faster
    #[arg(long, default_value = "auto", value_name = "CODING")]
    encoding: Travel,
    /// Length of a batch's files together; K, M, G are binary
    #[arg(long, default_value = "32M", value_name = "BYTES", value_parser = bytes)]
    batch_bytes: u64,
    /// Metrics in a batch
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = bucky_flags::integer::<u64>(1..=10_000))]
    batch_metrics: u64,
    /// The most bytes a second that daemons send each other for this run, all of them together, so that no node and no
    /// link carries more: 200M (binary: K, M, G) or 1600Mbit (decimal: Kbit, Mbit, Gbit)
    #[arg(long, value_name = "BYTES", value_parser = bandwidth)]
    bandwidth: Option<NonZeroU64>,
    /// The most metrics a second that a node sends and gets, both together
    #[arg(long, value_name = "N", value_parser = rate)]
    metrics_per_second: Option<NonZeroU32>,
    #[command(flatten)]
    pub(crate) schema: SchemaArgs,
    /// Begin although the destinations do not have the room
    #[arg(long)]
    pub(crate) ignore_free_space: bool,
    /// What every destination keeps free for carbon: a share of its bytes and inodes, such as 5%, or bytes, such as 50G
    #[arg(long, value_name = "SHARE|BYTES", default_value = "5%")]
    pub(crate) reserve: Reserve,
    /// Write every metric that failed to this file, with node and reason
    #[arg(long, value_name = "FILE")]
    pub(crate) errors: Option<PathBuf>,
}

impl BatchArgs {
    /// How fast they may travel.
    pub(crate) fn pace(&self) -> PaceOptions {
        PaceOptions {
            bytes_per_second: self.bandwidth,
            metrics_per_second: self.metrics_per_second,
            health: None,
        }
    }

    /// In which batches, how many at once; `passed` full ones may go past a half-full one.
    pub(crate) fn batching(&self, cluster: &ClusterArgs, passed: u64) -> Batching {
        let travel =
            if cluster.no_encoding { Travel::As(Encoding::Identity) } else { self.encoding };
        let limits = BatchLimits {
            bytes: self.batch_bytes,
            metrics: usize::try_from(self.batch_metrics).unwrap_or(usize::MAX),
            held_bytes: HELD_BYTES,
            patience: self.batch_metrics * passed,
        };
        Batching { workers: self.workers, travel, limits }
    }

    /// What is done first.
    pub(crate) fn preparation(&self, fresh: bool, dry_run: bool) -> Preparation {
        Preparation {
            fresh,
            dry_run,
            ignore_free_space: self.ignore_free_space,
            reserve: self.reserve,
        }
    }
}
