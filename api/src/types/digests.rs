//! `POST /v1/digests`: what files hold, as figures that can be compared.

use bucky_whisper::{Archive, Digest, Filled, MetricName, PointSummary, Summary, Window};
use serde::{Deserialize, Serialize};

use crate::Problem;

/// Body of `POST /v1/digests`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestRequest {
    /// The metrics to read.
    #[serde(deserialize_with = "crate::bounded::metrics")]
    pub metrics: Vec<MetricName>,
    /// The time at which points count as valid, Unix seconds. All nodes get the same, so that a point that
    /// expires between two answers is in both or in neither.
    pub now: u32,
    /// Points before this time are also counted separately, Unix seconds.
    pub settled: u32,
    /// Whether the header and the figures of each archive are requested.
    #[serde(default)]
    pub archives: bool,
}

impl DigestRequest {
    /// Which points count.
    pub fn window(&self) -> Window {
        Window { now: self.now, settled: self.settled, with_times: self.archives }
    }
}

/// A line of the answer of `POST /v1/digests`, one for each metric in the order of the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DigestLine {
    /// The metric.
    pub metric: MetricName,
    /// What the file is.
    #[serde(flatten)]
    pub found: DigestFound,
}

/// What a node found in the place of a metric's file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "found", rename_all = "snake_case")]
pub enum DigestFound {
    /// A valid Whisper file, which was read to its end.
    Whole {
        /// Its length.
        bytes: u64,
        /// The digest of its content.
        digest: Digest,
        /// Its valid points in all archives.
        points: u64,
        /// Its header and the figures of each archive, if they were requested.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        layout: Option<LayoutDigest>,
    },
    /// A file in go-carbon's compressed format, whose points cannot be read.
    Compressed {
        /// Its length.
        bytes: u64,
        /// The digest of its content.
        digest: Digest,
    },
    /// Not a valid Whisper file.
    Damaged {
        /// Its length.
        bytes: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The file was not read.
    Unread {
        /// The kind of problem.
        problem: Problem,
        /// The problem in words.
        reason: String,
    },
}

/// A header, and the figures of each archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayoutDigest {
    /// The code of the aggregation method.
    pub aggregation: u32,
    /// The x-files factor.
    pub x_files_factor: f32,
    /// The archives in the order of the file.
    pub archives: Vec<ArchiveDigest>,
}

/// What an archive holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveDigest {
    /// Its resolution.
    pub seconds_per_point: u32,
    /// How many slots it has.
    pub slots: u32,
    /// The slots that are filled.
    pub all: TimesDigest,
    /// Those of them before [`DigestRequest::settled`].
    pub settled: TimesDigest,
}

/// Some filled slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimesDigest {
    /// How many.
    pub points: u64,
    /// The digest of their times in any order: the sum, modulo 2^128, of the XXH3 of each time's four bytes.
    pub times: Digest,
}

impl DigestFound {
    /// The result for `summary`. `archives` says whether the figures of each archive are requested.
    pub fn of(summary: Summary, archives: bool) -> Self {
        use bucky_whisper::ImageError;
        let Summary { digest, bytes, points } = summary;
        match points {
            Ok(points) => Self::Whole {
                bytes,
                digest,
                points: points.points(),
                layout: archives.then(|| LayoutDigest::of(&points)),
            },
            Err(ImageError::Compressed) => Self::Compressed { bytes, digest },
            Err(error) => Self::Damaged { bytes, reason: crate::chain(&error) },
        }
    }
}

impl LayoutDigest {
    fn of(summary: &PointSummary) -> Self {
        let archive = |one: &bucky_whisper::ArchiveSummary| {
            let Archive { seconds_per_point, points, .. } = one.archive;
            let (all, settled) = (one.all.into(), one.settled.into());
            ArchiveDigest { seconds_per_point, slots: points, all, settled }
        };
        Self {
            aggregation: summary.header.aggregation.code(),
            x_files_factor: summary.header.x_files_factor.get(),
            archives: summary.archives.iter().map(archive).collect(),
        }
    }
}

impl From<Filled> for TimesDigest {
    fn from(filled: Filled) -> Self {
        Self { points: filled.points, times: filled.times() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_as_it_was_written() {
        let times = TimesDigest { points: 7, times: Digest::of(b"x") };
        let archive =
            ArchiveDigest { seconds_per_point: 60, slots: 1440, all: times, settled: times };
        let layout =
            LayoutDigest { aggregation: 1, x_files_factor: 0.3, archives: vec![archive; 2] };
        let digest = Digest::of(b"a file");
        for found in [
            DigestFound::Whole { bytes: 17_308, digest, points: 9, layout: None },
            DigestFound::Whole { bytes: 17_308, digest, points: 9, layout: Some(layout) },
            DigestFound::Compressed { bytes: 1, digest },
            DigestFound::Damaged { bytes: 0, reason: "archive count is 0".into() },
            DigestFound::Unread { problem: Problem::SourceMissing, reason: "gone".into() },
        ] {
            let line = DigestLine { metric: "größe.a".parse().unwrap(), found };
            let text = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<DigestLine>(&text).unwrap(), line, "{text}");
        }
        let text = r#"{"metric":"a","found":"a new kind"}"#;
        assert!(serde_json::from_str::<DigestLine>(text).is_err());
        assert!(serde_json::from_str::<DigestLine>(r#"{"metric":"a"}"#).is_err());
    }
}
