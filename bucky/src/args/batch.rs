//! Arguments of the commands that send metrics from node to node.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use bucky_api::Encoding;

use super::cluster::ClusterArgs;
use super::heading;
use super::schema::SchemaArgs;
use super::units::{bandwidth, bytes, rate, workers};
use crate::plan::room::Reserve;
use crate::transfer::batch::BatchLimits;
use crate::transfer::options::{Batching, PaceOptions, Preparation, SyncOptions, Travel};

/// How many bytes half-full batches of all sources together may hold, at some 20 bytes a metric. With 200
/// sources and 200 owners, batches get about 25 metrics with this limit.
const HELD_BYTES: usize = 16 << 20;

/// How many full batches may overtake a half-full one.
pub(crate) const PASSED: u64 = 20;

/// How metrics travel, and how many at once.
#[derive(clap::Args, Debug)]
pub(crate) struct BatchArgs {
    /// Concurrent batches in the whole cluster
    ///
    /// A node takes part in at most half as many transfers as its buckyd permits.
    #[arg(short = 'w', long, value_name = "N", default_value = "8", value_parser = workers, help_heading = heading::LIMITS)]
    pub(crate) workers: usize,
    /// Compression on the wire: auto, identity, zstd, gzip or snappy
    ///
    /// With auto, files travel uncompressed until a daemon finds that the network is the bottleneck and that
    /// zstd is faster.
    #[arg(long, default_value = "auto", value_name = "CODING", help_heading = heading::LIMITS, hide_short_help = true)]
    encoding: Travel,
    /// At most this many bytes in a batch (K, M, G are powers of 1024)
    #[arg(long, default_value = "32M", value_name = "BYTES", value_parser = bytes, help_heading = heading::LIMITS, hide_short_help = true)]
    batch_bytes: u64,
    /// At most this many metrics in a batch
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = bucky_flags::integer::<u64>(1..=10_000), help_heading = heading::LIMITS, hide_short_help = true)]
    batch_metrics: u64,
    /// At most this many bytes a second, all nodes together, such as 50M or 400Mbit
    ///
    /// No node and no link carries more for this run. K, M and G are powers of 1024; Kbit, Mbit and Gbit are
    /// powers of 1000.
    #[arg(long, value_name = "BYTES", value_parser = bandwidth, help_heading = heading::LIMITS)]
    bandwidth: Option<NonZeroU64>,
    /// At most N metrics a second to and from each node
    ///
    /// What a node sends and what it receives count together.
    #[arg(long, value_name = "N", value_parser = rate, help_heading = heading::LIMITS)]
    metrics_per_second: Option<NonZeroU32>,
    #[command(flatten)]
    pub(crate) schema: SchemaArgs,
    /// Start even if destinations lack space
    #[arg(long, help_heading = heading::LIMITS)]
    pub(crate) ignore_free_space: bool,
    /// Space to keep free on destinations, as 5% or 50G
    ///
    /// Every destination keeps this much free for carbon. A share counts for bytes and for inodes.
    #[arg(long, value_name = "SPACE", default_value = "5%", help_heading = heading::LIMITS)]
    pub(crate) reserve: Reserve,
    /// Write every failed metric to this file, with node and reason
    #[arg(long, value_name = "FILE", help_heading = heading::OUTPUT)]
    pub(crate) errors: Option<PathBuf>,
}

impl BatchArgs {
    /// How fast metrics may travel.
    pub(crate) fn pace(&self) -> PaceOptions {
        PaceOptions {
            bytes_per_second: self.bandwidth,
            metrics_per_second: self.metrics_per_second,
            health: None,
        }
    }

    /// What the commands go by that fill and delete nothing.
    ///
    /// # Errors
    /// [`crate::outcome::UsageError`] if points may be lost and `--yes` was not given.
    pub(crate) fn fill_options(&self) -> anyhow::Result<SyncOptions> {
        Ok(SyncOptions {
            pace: self.pace(),
            on_schema_difference: self.schema.confirmed()?,
            errors: self.errors.clone(),
            ..SyncOptions::default()
        })
    }

    /// How large batches are, and how many run at once; `passed` full batches may overtake a half-full one.
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

    /// What is prepared before the first batch.
    pub(crate) fn preparation(&self, fresh: bool, dry_run: bool) -> Preparation {
        Preparation {
            fresh,
            dry_run,
            ignore_free_space: self.ignore_free_space,
            reserve: self.reserve,
        }
    }
}
