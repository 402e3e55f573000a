//! Requests and answers of the `/v1` routes.

mod digests;
mod not_served;
mod points;
mod schema;
mod status;

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use bucky_whisper::{Digest, MetricName};

pub use self::digests::*;
pub use self::not_served::*;
pub use self::points::*;
pub use self::schema::*;
pub use self::status::*;
use crate::{DaemonAddr, Encoding};

/// The level of the `/v1` contract that this build speaks.
pub const API_LEVEL: u32 = 3;
/// From this level on an owner proves that it holds every point: a heal says which have no place, and a confirmation looks for
/// all of them. Nothing is deleted on the word of a daemon below it.
pub const PROOF_LEVEL: u32 = 3;

/// A line of `GET /v1/metrics?stat=1`, and of the answer of `POST /v1/metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricLine {
    /// The metric.
    pub metric: MetricName,
    /// The length of its file; 0 where there is a reason.
    pub bytes: u64,
    /// When the file was last written, in Unix seconds; 0 where there is a reason.
    pub mtime: i64,
    /// Why the file, which is there, could not be looked at; empty where it could.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The series whose hash the file is named by, where the daemon knows it; only with `GET`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
}

/// Body of `POST /v1/metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatRequest {
    /// The metrics to look at.
    #[serde(deserialize_with = "crate::bounded::metrics")]
    pub metrics: Vec<MetricName>,
}

/// A line of `GET /v1/misplaced`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MisplacedLine {
    /// The metric.
    pub metric: MetricName,
    /// Its owners in the ring's order of replicas, as nodes of the ring (`HOST:PORT=INSTANCE`).
    #[serde(deserialize_with = "crate::bounded::owners")]
    pub owners: Vec<String>,
    /// The length of its file; only with `stat=1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The series that it was placed by, where its file is named by the hash of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
}

/// A [`MisplacedLine`] as who writes many of them has it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MisplacedEntry<'a> {
    /// The name of the metric.
    pub metric: &'a str,
    /// Its owners, as nodes of the ring.
    pub owners: &'a [&'a str],
    /// The length of its file, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The series that it was placed by, where its file is named by the hash of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series: Option<&'a str>,
}

/// Answer of `GET /v1/misplaced?count=1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MisplacedCount {
    /// How many metrics are misplaced here.
    pub metrics: u64,
    /// The length of their files together.
    pub bytes: u64,
    /// The same for each node of the ring that they belong to, in ring order; a metric with several owners counts
    /// for each of them.
    pub destinations: Vec<DestinationCount>,
    /// Files named by the hash of a series that is not known: not counted above.
    pub unplaceable: u64,
}

/// What one node of the ring is to receive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationCount {
    /// The node (`HOST:PORT=INSTANCE`).
    pub node: String,
    /// How many metrics.
    pub metrics: u64,
    /// The length of their files together.
    pub bytes: u64,
}

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

/// What kind of problem kept a metric from being healed or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// The source has no such file (any more).
    SourceMissing,
    /// The source's file is not a Whisper file, or a damaged one.
    SourceDamaged,
    /// The source's file could not be read.
    SourceUnreadable,
    /// The owner's file is damaged; it is not replaced.
    DestinationDamaged,
    /// One of the two files is compressed: points cannot be exchanged.
    Compressed,
    /// Points of the source have no place in the owner's file: it has another schema, or newer timestamps take their slots.
    NoPlace,
    /// Another process holds the file's lock.
    Busy,
    /// The content did not have the digest it was sent with.
    DigestMismatch,
    /// No room, no quota, or a read-only file system at the owner.
    NoSpace,
    /// The path leads through a symbolic link or something that is not a folder, or ends in no regular file.
    BadPath,
    /// The stream ended before this metric was there.
    CutOff,
    /// The file is larger than a transfer may be.
    TooLarge,
    /// The token does not allow it.
    Forbidden,
    /// go-carbon keeps late points of the metric in a file beside it, which does not move along.
    LatePoints,
    /// Another failure of the file system.
    #[serde(other)]
    Storage,
}

impl Problem {
    /// Whether trying again by itself may help.
    pub fn may_pass(self) -> bool {
        matches!(
            self,
            Self::Busy
                | Self::CutOff
                | Self::DigestMismatch
                | Self::Storage
                | Self::SourceUnreadable
        )
    }
}

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

/// Body of `POST /v1/delete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRequest {
    /// The metrics to delete.
    #[serde(deserialize_with = "crate::bounded::metrics")]
    pub metrics: Vec<DeleteMetric>,
    /// Files that were written to in the last so many seconds are left where they are; 0 takes them too.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rest_seconds: u64,
    /// Whether a file that was cut off is kept aside: its owners have what was left of it. Without this it stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub salvage: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One metric to delete, if its content is still the one that was healed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteMetric {
    /// The metric.
    pub name: MetricName,
    /// The digest of the content that the owners hold.
    pub digest: Digest,
    /// The daemons of the owners: they are asked once more before the file is gone for good.
    #[serde(deserialize_with = "crate::bounded::owners")]
    pub owners: Vec<DaemonAddr>,
    /// What may count at the owners for a point that has no place there: as the heal had it.
    #[serde(default, skip_serializing_if = "OnSchemaDifference::is_keep")]
    pub on_schema_difference: OnSchemaDifference,
    /// How many points had no place at an owner when it was healed, where that is allowed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub points_given_up: u64,
}

/// A line of the answer of `POST /v1/delete`, one a metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteLine {
    /// The metric.
    pub metric: MetricName,
    /// What became of it.
    pub outcome: DeleteOutcome,
    /// Where a file that was cut off is kept aside, as a path at the daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
    /// Where it failed: the kind of problem, if the daemon names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// Where it failed, or is in use: why. Where it was deleted: what was odd about its times.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What a conditional delete did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeleteOutcome {
    /// The file is gone from its place; its tombstone waits to be confirmed.
    Deleted,
    /// The content is another by now: heal it again first.
    Changed,
    /// It was written to within [`DeleteRequest::rest_seconds`], and the file is where it was.
    InUse,
    /// There was no such file.
    Missing,
    /// It did not work, and the file is where it was.
    Failed,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_written_as_the_line_that_is_read() {
        for bytes in [None, Some(146_752)] {
            let metric = "größe.\"quoted\\\" and;tagged=1";
            let owners = ["a:2003=x", "b:2003"];
            let series = bytes.map(|_| "a;b=c");
            let entry = MisplacedEntry { metric, owners: &owners, bytes, series };
            let line = MisplacedLine {
                metric: metric.parse().unwrap(),
                owners: owners.map(str::to_owned).to_vec(),
                bytes,
                series: series.map(str::to_owned),
            };
            let written = serde_json::to_string(&entry).unwrap();
            assert_eq!(written, serde_json::to_string(&line).unwrap());
            assert_eq!(serde_json::from_str::<MisplacedLine>(&written).unwrap(), line);
        }
    }
}
