//! Conditional deletes.

use bucky_whisper::{Digest, MetricName};
use serde::{Deserialize, Serialize};

use super::{OnSchemaDifference, Problem, is_zero};
use crate::DaemonAddr;

/// Body of `POST /v1/delete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRequest {
    /// The metrics to delete.
    #[serde(deserialize_with = "crate::bounded::metrics")]
    pub metrics: Vec<DeleteMetric>,
    /// Files that were written to in the last `rest_seconds` stay. 0 deletes them too.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rest_seconds: u64,
    /// Whether a file that was cut off is kept aside: its owners have the rest of it. Without this it stays
    /// in place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub salvage: bool,
}

/// One metric to delete, if its content is still the one that was healed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteMetric {
    /// The metric.
    pub name: MetricName,
    /// The digest of the content that the owners hold.
    pub digest: Digest,
    /// The daemons of the owners. They are asked again before the file is removed for good.
    #[serde(deserialize_with = "crate::bounded::owners")]
    pub owners: Vec<DaemonAddr>,
    /// What can replace a point that has no place at an owner, as in the heal.
    #[serde(default, skip_serializing_if = "OnSchemaDifference::is_keep")]
    pub on_schema_difference: OnSchemaDifference,
    /// How many points had no place at an owner when it was healed, if that is allowed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub points_given_up: u64,
}

/// A line of the answer of `POST /v1/delete`, one for each metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteLine {
    /// The metric.
    pub metric: MetricName,
    /// What was done.
    pub outcome: DeleteOutcome,
    /// The path at the daemon if a file that was cut off is kept aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
    /// If it failed: the kind of problem, if the daemon names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// The reason why it failed or is in use. For a deleted file, what was unusual about its times.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What a conditional delete did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeleteOutcome {
    /// The file is gone from its place. Its tombstone waits to be confirmed.
    Deleted,
    /// The content has changed. Heal it again first.
    Changed,
    /// It was written to within [`DeleteRequest::rest_seconds`]. The file stays.
    InUse,
    /// There was no such file.
    Missing,
    /// It failed. The file stays.
    Failed,
}
