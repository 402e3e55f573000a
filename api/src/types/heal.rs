//! Heals and pulls: the request, and the result for each metric.

use std::num::NonZeroU64;

use bucky_whisper::{Digest, MetricName};
use serde::{Deserialize, Serialize};

use super::{OnSchemaDifference, Problem, SchemaDifference};
use crate::{DaemonAddr, Encoding};

/// Body of `POST /v1/pull`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// The daemon to fetch from.
    pub from: DaemonAddr,
    /// The metrics to fetch and heal. Absent if only [`Self::renamed`] ones are requested. A daemon below
    /// level 2 would store those under their old names. It refuses a request without this field.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::bounded::metrics"
    )]
    pub metrics: Vec<MetricName>,
    /// The metrics to fetch and to store under other names. None of them is in [`Self::metrics`], and each is
    /// here once.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::bounded::metrics"
    )]
    pub renamed: Vec<RenamedMetric>,
    /// How the bytes travel between the two daemons.
    #[serde(default)]
    pub encoding: Encoding,
    /// Whether the fetching daemon chooses the encoding by its own measurements, instead of
    /// [`Self::encoding`]. A daemon that does not know this field uses [`Self::encoding`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chooses_encoding: bool,
    /// Whether a corrupt file here is replaced by a valid one, and kept aside.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace_corrupt: bool,
    /// Whether the rest of a file that was cut off is accepted. A daemon below level 3 does not know the
    /// field.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub salvage: bool,
    /// What to do about points that have no place in the file here.
    #[serde(default, skip_serializing_if = "OnSchemaDifference::is_keep")]
    pub on_schema_difference: OnSchemaDifference,
    /// Whether nothing is written: the lines say what a pull would do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preview: bool,
    /// The most bytes per second that are read of the peer's answer. `None` means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<NonZeroU64>,
}

/// A metric that will be stored under another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenamedMetric {
    /// Its name at the source.
    pub name: MetricName,
    /// The name under which it will be stored.
    pub to: MetricName,
}

/// The options of a heal, from the query of `POST /v1/heal`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealOrders {
    /// Whether a corrupt file is replaced by a valid one, and kept aside.
    pub replace_corrupt: bool,
    /// What to do about points that have no place in the existing file.
    pub on_schema_difference: OnSchemaDifference,
}

/// A line of the answer of `POST /v1/heal` and `POST /v1/pull`, one for each metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealLine {
    /// The metric, by its name at the source.
    pub metric: MetricName,
    /// The name under which it was stored, if that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_as: Option<MetricName>,
    /// What was done.
    pub outcome: HealOutcome,
    /// How many points were put into an existing file. 0 for a created file, which holds all that came.
    pub points: u64,
    /// How many points of the source the file holds now, including those that were put in. `None` if the file
    /// is a byte-for-byte copy of the source, and if nothing was filled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<u64>,
    /// Set if the two files have different schemas, or if points of the source have no place in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Box<SchemaDifference>>,
    /// The length of the source's content.
    pub bytes: u64,
    /// The digest of the source's content. It is the receipt that the delete asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The kind of problem if it was refused or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// The problem in words. For a replaced file, the path of the old one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl HealLine {
    /// The line for a metric that was not healed: it failed if another attempt may help, else it is refused.
    pub fn not_healed(metric: MetricName, problem: Problem, reason: String) -> Self {
        let outcome = if problem.may_pass() { HealOutcome::Failed } else { HealOutcome::Refused };
        Self {
            metric,
            stored_as: None,
            outcome,
            points: 0,
            held: None,
            difference: None,
            bytes: 0,
            digest: None,
            problem: Some(problem),
            reason,
        }
    }

    /// The number of points of the source that have no place in the owner's file because of its schema.
    pub fn points_without_place(&self) -> u64 {
        self.difference.as_ref().map_or(0, |difference| difference.points_without_place())
    }
}

/// What a heal did with one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealOutcome {
    /// The file did not exist. It does now, as a byte-for-byte copy.
    Created,
    /// The file existed and got points.
    Filled,
    /// The file existed and had every point already.
    Unchanged,
    /// The file was corrupt. It was kept aside, and what came has taken its place, byte for byte.
    Replaced,
    /// It cannot succeed without an operator.
    Refused,
    /// It failed this time.
    Failed,
}

impl HealOutcome {
    /// Whether the owner's copy is now complete and durable.
    pub fn is_healed(self) -> bool {
        matches!(self, Self::Created | Self::Filled | Self::Unchanged | Self::Replaced)
    }
}
