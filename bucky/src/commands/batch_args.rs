//! Arguments of the commands that carry metrics from node to node.

use std::path::PathBuf;

use bucky_api::Encoding;

use crate::cli::{ClusterArgs, workers};
use crate::rebalance::BatchLimits;

/// How many metrics may wait in half-full batches, in all sources together: some 130 bytes each.
const HELD: usize = 50_000;

/// How metrics travel, and how many at once.
#[derive(clap::Args, Debug)]
pub(crate) struct BatchArgs {
    /// Batches on their way at once, in the whole cluster; of a node never more than half of what it allows
    #[arg(short = 'w', long, value_name = "N", default_value = "8", value_parser = workers)]
    pub(crate) workers: usize,
    /// How files travel: identity, zstd, gzip, snappy
    #[arg(long, default_value = "identity", value_name = "CODING")]
    encoding: Encoding,
    /// Length of a batch's files together; K, M, G are binary
    #[arg(long, default_value = "32M", value_name = "BYTES", value_parser = bytes)]
    batch_bytes: u64,
    /// Metrics in a batch
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = bucky_flags::integer::<u64>(1..=10_000))]
    batch_metrics: u64,
    /// Begin although the destinations do not have the room
    #[arg(long)]
    pub(crate) ignore_free_space: bool,
    /// Write every metric that did not make it to this file, with node and reason
    #[arg(long, value_name = "FILE")]
    pub(crate) errors: Option<PathBuf>,
}

impl BatchArgs {
    /// How files travel.
    pub(crate) fn encoding(&self, cluster: &ClusterArgs) -> Encoding {
        if cluster.no_encoding { Encoding::Identity } else { self.encoding }
    }

    /// How large batches are; `passed` full ones may go past a half-full one.
    pub(crate) fn limits(&self, passed: u64) -> BatchLimits {
        BatchLimits {
            bytes: self.batch_bytes,
            metrics: usize::try_from(self.batch_metrics).unwrap_or(usize::MAX),
            held: HELD,
            patience: self.batch_metrics * passed,
        }
    }
}

/// A length: a number, and K, M or G.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
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
    fn lengths_have_binary_units() {
        for (text, expected) in [("1", 1), ("32M", 32 << 20), ("8KiB", 8192), ("1g", 1 << 30)] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "0", "M", "-1", "1.5M", "99999999999999G"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
