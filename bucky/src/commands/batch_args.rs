//! Arguments of the commands that carry metrics from node to node.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use bucky_api::Encoding;

use super::schema_args::SchemaArgs;
use crate::cli::{ClusterArgs, workers};
use crate::plan::room::Reserve;
use crate::transfer::batch::BatchLimits;
use crate::transfer::options::{PaceOptions, Travel};

/// How much may wait in half-full batches, in all sources together: some 20 bytes a metric. With 200 sources and 200
/// owners batches get about 25 metrics by it.
const HELD_BYTES: usize = 16 << 20;

/// The slowest `--bandwidth`, in bytes a second: a piece that a daemon sends must be taken within its patience of a
/// minute, and files must not take days.
const LEAST_BANDWIDTH: u64 = 64 * 1024;

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
    /// How files travel.
    pub(crate) fn travel(&self, cluster: &ClusterArgs) -> Travel {
        if cluster.no_encoding { Travel::As(Encoding::Identity) } else { self.encoding }
    }

    /// How fast they may travel.
    pub(crate) fn pace(&self) -> PaceOptions {
        PaceOptions {
            bytes_per_second: self.bandwidth,
            metrics_per_second: self.metrics_per_second,
            health: None,
        }
    }

    /// How large batches are; `passed` full ones may go past a half-full one.
    pub(crate) fn limits(&self, passed: u64) -> BatchLimits {
        BatchLimits {
            bytes: self.batch_bytes,
            metrics: usize::try_from(self.batch_metrics).unwrap_or(usize::MAX),
            held_bytes: HELD_BYTES,
            patience: self.batch_metrics * passed,
        }
    }
}

/// Metrics a second.
fn rate(text: &str) -> Result<NonZeroU32, bucky_flags::BadInteger> {
    bucky_flags::integer::<u32>(1..=i64::from(u32::MAX))(text)
        .map(|rate| NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN))
}

/// Bytes a second: as a length, or in bits.
fn bandwidth(text: &str) -> Result<NonZeroU64, String> {
    let bad = || {
        format!("{text:?} is no bandwidth: give bytes a second, such as 200M, or bits, as 1600Mbit")
    };
    let in_bytes = match text.strip_suffix("bit") {
        None => bytes(text).map_err(|_| bad())?,
        Some(bits) => {
            let (digits, factor) = match bits.as_bytes() {
                [.., b'K' | b'k'] => (&bits[..bits.len() - 1], 1_000),
                [.., b'M'] => (&bits[..bits.len() - 1], 1_000_000),
                [.., b'G'] => (&bits[..bits.len() - 1], 1_000_000_000),
                _ => (bits, 1),
            };
            let number: u64 = digits.parse().map_err(|_| bad())?;
            number.checked_mul(factor).ok_or_else(bad)? / 8
        }
    };
    NonZeroU64::new(in_bytes)
        .filter(|bytes| bytes.get() >= LEAST_BANDWIDTH)
        .ok_or_else(|| format!("{text:?} is too little: give at least 64K"))
}

/// A length: a number, and K, M or G.
fn bytes(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.trim_end_matches(['B', 'b']).trim_end_matches('i') {
        text if text.ends_with(['K', 'k']) => (&text[..text.len() - 1], 1 << 10),
        text if text.ends_with(['M', 'm']) => (&text[..text.len() - 1], 1 << 20),
        text if text.ends_with(['G', 'g']) => (&text[..text.len() - 1], 1 << 30),
        text => (text, 1),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is no length, such as 32M"))?;
    number
        .checked_mul(factor)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("{text:?} is no length, such as 32M"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bandwidth_is_in_bytes_or_in_bits() {
        let units =
            [("200M", 200 << 20), ("64K", 65_536), ("1G", 1 << 30), ("1600Mbit", 200_000_000)];
        for (text, expected) in units {
            assert_eq!(bandwidth(text).map(NonZeroU64::get), Ok(expected), "{text}");
        }
        assert_eq!(bandwidth("1Gbit").map(NonZeroU64::get), Ok(125_000_000));
        for text in ["", "0", "M", "-1", "1K", "x", "bit", "Mbit", "1.5M", "0Mbit", "Ébit"] {
            assert!(bandwidth(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_have_binary_units() {
        for (text, expected) in [("1", 1), ("32M", 32 << 20), ("8KiB", 8192), ("1g", 1 << 30)] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "0", "M", "-1", "1.5M", "99999999999999G"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
