//! Archives: the request, and the report at the end of a stream.

use bucky_whisper::{Digest, MetricName};
use serde::{Deserialize, Serialize};

use super::Problem;

/// Body of `POST /v1/archive`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveRequest {
    /// The metrics to send.
    #[serde(deserialize_with = "crate::bounded::metrics")]
    pub metrics: Vec<MetricName>,
    /// Whether the stream may contain files that are too long to hold in memory. Without this they are left
    /// out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub large: bool,
}

/// One member that an archive stream left out, as its report says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The metric.
    pub metric: MetricName,
    /// The kind of problem.
    pub problem: Problem,
    /// The problem in words.
    pub reason: String,
}

/// The digest of a member, in the report of its stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberDigest {
    /// The metric.
    pub metric: MetricName,
    /// The digest of what was sent.
    pub digest: Digest,
}

/// The last member of an archive stream, `.bucky-report.json`: what the stream holds and what it lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveReport {
    /// How many metrics the stream holds.
    pub metrics: u64,
    /// Metrics that were requested and are not in the stream.
    #[serde(deserialize_with = "crate::bounded::metrics")]
    pub left_out: Vec<LeftOut>,
    /// The digests of members whose digest was not known before they were sent.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::bounded::metrics"
    )]
    pub digests: Vec<MemberDigest>,
    /// How long the sender read and encoded, in milliseconds, without the time it waited for the network.
    /// `None` from a sender that does not measure it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worked_ms: Option<u64>,
}
