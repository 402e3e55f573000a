//! Archives: what is asked for, and the report at the end of a stream.

use bucky_whisper::{Digest, MetricName};
use serde::{Deserialize, Serialize};

use super::Problem;

/// Body of `POST /v1/archive`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveRequest {
    /// The metrics to send.
    #[serde(deserialize_with = "crate::bounded::metrics")]
    pub metrics: Vec<MetricName>,
    /// Whether files may come that are longer than what is held in memory. Without this they are left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub large: bool,
}

/// One member that an archive stream left out, as its report says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The metric.
    pub metric: MetricName,
    /// What kind of problem.
    pub problem: Problem,
    /// The same in words.
    pub reason: String,
}

/// The digest of a member, as the report of its stream has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberDigest {
    /// The metric.
    pub metric: MetricName,
    /// The digest of what was sent.
    pub digest: Digest,
}

/// The last member of an archive stream, `.bucky-report.json`: what it holds and what it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveReport {
    /// How many metrics the stream holds.
    pub metrics: u64,
    /// The ones it was asked for and does not hold.
    #[serde(deserialize_with = "crate::bounded::metrics")]
    pub left_out: Vec<LeftOut>,
    /// The digests of members that were not known before they had been sent.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::bounded::metrics"
    )]
    pub digests: Vec<MemberDigest>,
    /// For how long the sender read and encoded, in milliseconds, beside waiting for the network to take it; none from one
    /// that does not measure it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worked_ms: Option<u64>,
}
