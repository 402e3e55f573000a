//! Lists of metrics: which exist, and which are misplaced.

use bucky_whisper::MetricName;
use serde::{Deserialize, Serialize};

/// A line of `GET /v1/metrics?stat=1`, and of the answer of `POST /v1/metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricLine {
    /// The metric.
    pub metric: MetricName,
    /// The length of its file; 0 if there is a reason.
    pub bytes: u64,
    /// When the file was last written, in Unix seconds; 0 if there is a reason.
    pub mtime: i64,
    /// Why the existing file could not be checked; empty if it was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The series whose hash names the file, if the daemon knows it; only with `GET`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
}

/// Body of `POST /v1/metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatRequest {
    /// The metrics to check.
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
    /// The series that was hashed, if its hash names the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
}

/// A [`MisplacedLine`] with borrowed fields, for a writer of many.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MisplacedEntry<'a> {
    /// The name of the metric.
    pub metric: &'a str,
    /// Its owners, as nodes of the ring.
    pub owners: &'a [&'a str],
    /// The length of its file, if it was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The series that was hashed, if its hash names the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series: Option<&'a str>,
}

/// Answer of `GET /v1/misplaced?count=1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MisplacedCount {
    /// How many metrics are misplaced here.
    pub metrics: u64,
    /// The total length of their files.
    pub bytes: u64,
    /// Counts for each node of the ring that they belong to, in ring order. A metric with several owners
    /// counts for each of them.
    pub destinations: Vec<DestinationCount>,
    /// Files named by the hash of an unknown series. They are not counted above.
    pub unplaceable: u64,
    /// Metrics that no rule of the relay sends to the ring. They are not counted above.
    #[serde(default)]
    pub unrouted: u64,
}

/// What one node of the ring will receive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationCount {
    /// The node (`HOST:PORT=INSTANCE`).
    pub node: String,
    /// How many metrics.
    pub metrics: u64,
    /// The total length of their files.
    pub bytes: u64,
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
