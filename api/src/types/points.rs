//! `POST /v1/points`: which slots of a part of a file hold points.

use bucky_whisper::{MetricName, WindowPoints};
use serde::{Deserialize, Serialize};

use super::schema::{base64_of, bytes_of};
use crate::Problem;

/// The most slots in one request.
pub const POINTS_SLOTS_MOST: u32 = 1 << 20;

/// Body of `POST /v1/points`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointsRequest {
    /// The metric.
    pub metric: MetricName,
    /// The resolution of the archive.
    pub seconds_per_point: u32,
    /// The time of the first slot, Unix seconds, a multiple of the resolution.
    pub first: u32,
    /// How many slots; at most [`POINTS_SLOTS_MOST`].
    pub slots: u32,
    /// The time by which points expire, Unix seconds.
    pub now: u32,
    /// The latest time that is not in the future, Unix seconds.
    pub latest: u32,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "found", rename_all = "snake_case")]
pub enum PointsFound {
    /// The archive was read.
    Points {
        /// A bit for each slot that holds a valid point, the lowest bit of each byte first, in base64. Zeros
        /// at the end are left out.
        valid: String,
        /// A bit for each slot that holds a newer timestamp, in the same form.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        taken: String,
        /// The times of points in the future that are in these slots, Unix seconds.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ahead: Vec<u32>,
    },
    /// The file has no archive of this resolution.
    NoArchive,
    /// The file was not read.
    Unread {
        /// The kind of problem.
        problem: Problem,
        /// The problem in words.
        reason: String,
    },
}

impl From<WindowPoints> for PointsFound {
    fn from(points: WindowPoints) -> Self {
        let WindowPoints { valid, taken, ahead } = points;
        Self::Points { valid: text_of(&valid), taken: text_of(&taken), ahead }
    }
}

impl PointsFound {
    /// The points that were found. `None` if there is no such archive or file, or if it cannot be read.
    pub fn to_points(&self) -> Option<WindowPoints> {
        let Self::Points { valid, taken, ahead } = self else { return None };
        Some(WindowPoints {
            valid: words_of(valid)?,
            taken: words_of(taken)?,
            ahead: ahead.clone(),
        })
    }
}

fn text_of(words: &[u64]) -> String {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let filled = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(filled);
    base64_of(&bytes)
}

fn words_of(text: &str) -> Option<Vec<u64>> {
    let bytes = bytes_of(text)?;
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    Some(words.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_travel_and_are_the_same_afterwards() {
        for (valid, taken, ahead) in [
            (vec![u64::MAX, 0x8000_0000_0000_0001, 0x0100], vec![1 << 63], vec![1_800_000_000]),
            (vec![1], Vec::new(), Vec::new()),
            (Vec::new(), Vec::new(), Vec::new()),
        ] {
            let points = WindowPoints { valid, taken, ahead };
            let text = serde_json::to_string(&PointsFound::from(points.clone())).unwrap();
            let back: PointsFound = serde_json::from_str(&text).unwrap();
            assert_eq!(back.to_points(), Some(points), "{text}");
        }
        let zeros = PointsFound::from(WindowPoints { valid: vec![0; 4], ..Default::default() });
        assert_eq!(serde_json::to_string(&zeros).unwrap(), r#"{"found":"points","valid":""}"#);
        let broken = PointsFound::Points { valid: "!".into(), taken: String::new(), ahead: vec![] };
        assert!(broken.to_points().is_none() && PointsFound::NoArchive.to_points().is_none());
    }
}
