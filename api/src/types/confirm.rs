//! Confirmations: whether a file holds all points of another one.

use bucky_whisper::{Digest, MetricName};
use serde::{Deserialize, Serialize};

use super::{ArchivePoints, OnSchemaDifference, is_zero};

/// Body of `POST /v1/confirm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmRequest {
    /// The metrics to check.
    #[serde(deserialize_with = "crate::bounded::metrics")]
    pub metrics: Vec<ConfirmMetric>,
}

/// One metric, and what its file must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmMetric {
    /// The metric.
    pub name: MetricName,
    /// The content that the file has if no process wrote to it. Equal content holds every point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// All valid points of the other file, by archive. They are looked up if there is no digest, or if the
    /// content differs. Without them only the digest can confirm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archives: Option<Vec<ArchivePoints>>,
    /// What can replace a point that has no place here.
    #[serde(default, skip_serializing_if = "OnSchemaDifference::is_keep")]
    pub on_schema_difference: OnSchemaDifference,
    /// How many points may have no place here, as the heal counted them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub points_given_up: u64,
    /// The time at which the points had to have a place here, in Unix seconds. A slot that newer points have
    /// taken since then counts as held. `None` means now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<u32>,
}

/// A line of the answer of `POST /v1/confirm`, one for each metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmLine {
    /// The metric.
    pub metric: MetricName,
    /// What was found.
    pub outcome: ConfirmOutcome,
    /// How many of the requested points are not here, with or without a place.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub points_missing: u64,
    /// The reason why the file could not be read.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// The result of looking for points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfirmOutcome {
    /// The file has the requested content, or holds every point.
    Complete,
    /// It does not, or the request has nothing that could prove it.
    Incomplete,
    /// There is no such file.
    Missing,
    /// The file exists and cannot be read.
    Unreadable,
}
