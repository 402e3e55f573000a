//! A sample of a node's metrics.

use bucky_whisper::MetricName;
use serde::{Deserialize, Serialize};

/// The most metrics of a sample.
pub const SAMPLE_LIMIT: u64 = 100_000;

/// A line of `GET /v1/sample`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleLine {
    /// The metric.
    pub metric: MetricName,
    /// The series whose hash names the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
}

/// The 64-bit XXH3 of a metric's name. A sample has the names with the smallest hashes, so the samples of all
/// nodes have the same names, as far as the smallest of their largest hashes.
pub fn sample_hash(name: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(name.as_bytes())
}
