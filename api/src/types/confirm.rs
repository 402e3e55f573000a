//! Confirmations: whether a file holds all points of another one.

use bucky_whisper::{Digest, MetricName};
use serde::{Deserialize, Serialize};

use super::{ArchivePoints, OnSchemaDifference, is_zero};

/// Body of `POST /v1/confirm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmRequest {
    /// The metrics to look at.
    #[serde(deserialize_with = "crate::bounded::metrics")]
    pub metrics: Vec<ConfirmMetric>,
}

/// What one metric's file is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmMetric {
    /// The metric.
    pub name: MetricName,
    /// The content that the whole file has if nobody wrote to it: equal content holds every point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// All valid points of the other file, by archive: looked for where there is no digest, or the content is another. Without
    /// them nothing but the digest can confirm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archives: Option<Vec<ArchivePoints>>,
    /// What may count for a point that has no place here.
    #[serde(default, skip_serializing_if = "OnSchemaDifference::is_keep")]
    pub on_schema_difference: OnSchemaDifference,
    /// How many points may be without a place here, as the heal found it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub points_given_up: u64,
    /// When the points had to have a place here, in Unix seconds: what a newer turn of the ring has taken since counts as held.
    /// None: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<u32>,
}

/// A line of the answer of `POST /v1/confirm`, one a metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmLine {
    /// The metric.
    pub metric: MetricName,
    /// What was found.
    pub outcome: ConfirmOutcome,
    /// How many of the points that were asked for are not here, whether they have a place or not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub points_missing: u64,
    /// Where the file could not be read: why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What a node found when it looked for points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfirmOutcome {
    /// The file has the content that was asked for, or holds every point.
    Complete,
    /// It does not; or nothing was asked for that could prove it.
    Incomplete,
    /// There is no such file.
    Missing,
    /// The file is there and cannot be read.
    Unreadable,
}
