//! Heals and pulls: what is asked for, and what became of each metric.

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
    /// The metrics to fetch and heal. Left out where only [`Self::renamed`] ones are asked for: a daemon below
    /// level 2, which would store those under their old names, refuses a request without it.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::bounded::metrics"
    )]
    pub metrics: Vec<MetricName>,
    /// The metrics to fetch and heal under other names than their own. None is among [`Self::metrics`], nor here twice.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::bounded::metrics"
    )]
    pub renamed: Vec<RenamedMetric>,
    /// How the bytes travel between the two daemons.
    #[serde(default)]
    pub encoding: Encoding,
    /// Whether the daemon that fetches chooses by what it measures, in place of [`Self::encoding`]. One that does not know
    /// the field keeps to that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chooses_encoding: bool,
    /// Whether a corrupt file here is replaced by a sound one, and kept aside.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace_corrupt: bool,
    /// Whether what is left of a file that was cut off is taken. A daemon below level 3 does not know the field.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub salvage: bool,
    /// What to do about points that have no place in the file here.
    #[serde(default, skip_serializing_if = "OnSchemaDifference::is_keep")]
    pub on_schema_difference: OnSchemaDifference,
    /// Whether nothing is written: the lines say what a pull would come to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preview: bool,
    /// The most bytes a second that are read of the peer's answer; none: as fast as it comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<NonZeroU64>,
}

/// A metric that is to be stored under another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenamedMetric {
    /// Its name at the source.
    pub name: MetricName,
    /// The name that it is stored under.
    pub to: MetricName,
}

/// What a heal does where a file is in the way, as the query of `POST /v1/heal` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealOrders {
    /// Whether a corrupt file is replaced by a sound one, and kept aside.
    pub replace_corrupt: bool,
    /// What becomes of points that have no place in the file that is there.
    pub on_schema_difference: OnSchemaDifference,
}

/// A line of the answer of `POST /v1/heal` and `POST /v1/pull`, one a metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealLine {
    /// The metric, by its name at the source.
    pub metric: MetricName,
    /// Where it was stored under another name, that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_as: Option<MetricName>,
    /// What became of it.
    pub outcome: HealOutcome,
    /// How many points were put into the file; for a created one, all that came are there and this is 0.
    pub points: u64,
    /// How many points of the source the file holds now, those that were put in among them; none where the file is the source's
    /// byte for byte, and where nothing was filled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<u64>,
    /// Where the two files have different schemas, or points of the source have no place in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Box<SchemaDifference>>,
    /// The length of the content that was healed from.
    pub bytes: u64,
    /// The digest of the content that was healed from: the receipt that the delete asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Where it was refused or failed: what kind of problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// The same in words; where a file was replaced, where the old one lies.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl HealLine {
    /// The number of points of the source that have no place in the owner's file because of its schema.
    pub fn points_without_place(&self) -> u64 {
        self.difference.as_ref().map_or(0, |difference| difference.points_without_place())
    }
}

/// What a heal did with one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealOutcome {
    /// The file was not there and is now, byte for byte.
    Created,
    /// The file was there and got points.
    Filled,
    /// The file was there and had every point already.
    Unchanged,
    /// The file that was there was corrupt. It was kept aside, and is now what came, byte for byte.
    Replaced,
    /// It cannot be done, now or later, without a person.
    Refused,
    /// It did not work this time.
    Failed,
}

impl HealOutcome {
    /// Whether the owner's copy is now complete and durable.
    pub fn is_healed(self) -> bool {
        matches!(self, Self::Created | Self::Filled | Self::Unchanged | Self::Replaced)
    }
}
