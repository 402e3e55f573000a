//! How two files of one metric differ: their schemas, and the points of one that have no place in the other.

use std::fmt;
use std::str::FromStr;

use bucky_whisper::{ArchiveCoverage, Coverage, Header, PointMap};
use serde::{Deserialize, Serialize};

/// What to do about points of a source for which the owner's file has no place, because a different storage
/// schema made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSchemaDifference {
    /// Fill what has a place. The source stays, and the metric is reported.
    #[default]
    Keep,
    /// Give the owner's file the archives of both files, then fill it.
    Reshape,
    /// Accept a valid point of a coarser archive instead of the finer points under it.
    Coarsen,
    /// Give up these points.
    Drop,
}

impl OnSchemaDifference {
    /// All names, as on the command line.
    pub const NAMES: [&'static str; 4] = ["keep", "reshape", "coarsen", "drop"];

    /// The name on the command line and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Reshape => "reshape",
            Self::Coarsen => "coarsen",
            Self::Drop => "drop",
        }
    }

    /// Whether it is the default.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    pub(super) fn is_keep(&self) -> bool {
        *self == Self::Keep
    }

    /// Whether a source may be deleted later. When it was healed, `points_given_up` points had no place. If
    /// more points lose their place after that, because another schema re-created the owner's file, the
    /// operator has not given those up.
    pub fn accepts_at_most(self, coverage: &Coverage, points_given_up: u64) -> bool {
        self.accepts(coverage) && coverage.without_place() <= points_given_up
    }

    /// Whether a source may be deleted, given the `coverage` of its points.
    pub fn accepts(self, coverage: &Coverage) -> bool {
        let is_filled = coverage.missing() == 0 && coverage.displaced() == 0;
        is_filled
            && match self {
                Self::Keep | Self::Reshape => coverage.without_place() == 0,
                Self::Coarsen => coverage.without_place() == coverage.coarser(),
                Self::Drop => true,
            }
    }
}

impl fmt::Display for OnSchemaDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for OnSchemaDifference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "keep" => Ok(Self::Keep),
            "reshape" => Ok(Self::Reshape),
            "coarsen" => Ok(Self::Coarsen),
            "drop" => Ok(Self::Drop),
            _ => Err(format!(
                "not a way to treat points without a place: {text} (try {})",
                Self::NAMES.join(", ")
            )),
        }
    }
}

/// What a storage schema decides about a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileSchema {
    /// The archives as an operator writes them, the finest first: `60s:30d,1h:5y`.
    pub archives: String,
    /// The aggregation method: `average`.
    pub aggregation: String,
    /// The x-files factor: `0.5`.
    pub x_files_factor: String,
}

impl From<&Header> for FileSchema {
    fn from(header: &Header) -> Self {
        Self {
            archives: header.layout(),
            aggregation: header.aggregation.name().to_owned(),
            x_files_factor: header.x_files_factor.to_string(),
        }
    }
}

/// Why points of one archive have no place in the other file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoPlaceReason {
    /// The file has no archive of this resolution.
    NoArchive,
    /// Its archive of this resolution does not reach back far enough.
    ShorterRetention,
    /// A timestamp in the future is in the slot: a clock was ahead, or the file is damaged.
    NewerTimestamp,
    /// The file could hold them, and does not.
    #[serde(other)]
    Missing,
}

/// Points of one archive of a source that the owner's file does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveGap {
    /// The resolution of the source's archive, in seconds.
    pub seconds_per_point: u32,
    /// How many points.
    pub points: u64,
    /// The reason.
    pub reason: NoPlaceReason,
    /// The time of the oldest, in Unix seconds; 0 if it is not known.
    #[serde(default)]
    pub oldest: u32,
    /// The time of the newest, in Unix seconds; 0 if it is not known.
    #[serde(default)]
    pub newest: u32,
    /// How many of them are under a valid point of a coarser archive.
    #[serde(default)]
    pub coarser: u64,
    /// The resolution of that archive, in seconds; 0 if there is none.
    #[serde(default)]
    pub coarser_seconds_per_point: u32,
}

/// Two files of one metric whose schemas differ, and what the owner's file does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaDifference {
    /// The schema of the source's file.
    pub source: FileSchema,
    /// The schema of the owner's file.
    pub owner: FileSchema,
    /// Archives of the source that have points that the owner's file does not hold.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::bounded::owners"
    )]
    pub gaps: Vec<ArchiveGap>,
    /// The schema of the owner's file before it got the archives of both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reshaped_from: Option<FileSchema>,
}

impl SchemaDifference {
    /// The difference between a source with the header `source` and an owner's file with the header `owner`.
    /// `None` if the schemas are equal and every point is held.
    pub fn of(source: &Header, owner: &Header, coverage: &Coverage) -> Option<Self> {
        let (source, owner) = (FileSchema::from(source), FileSchema::from(owner));
        let gaps: Vec<ArchiveGap> = coverage.archives.iter().flat_map(ArchiveGap::of).collect();
        (source != owner || !gaps.is_empty()).then_some(Self {
            source,
            owner,
            gaps,
            reshaped_from: None,
        })
    }

    /// How many points have no place because of the schema.
    pub fn points_without_place(&self) -> u64 {
        let by_schema = self.gaps.iter().filter(|gap| {
            matches!(gap.reason, NoPlaceReason::NoArchive | NoPlaceReason::ShorterRetention)
        });
        by_schema.map(|gap| gap.points).sum()
    }

    /// How many of the points without a place are under a valid point of a coarser archive.
    pub fn points_coarser(&self) -> u64 {
        self.gaps.iter().map(|gap| gap.coarser).sum()
    }
}

impl ArchiveGap {
    /// The gaps of one archive, one for each reason.
    fn of(archive: &ArchiveCoverage) -> Vec<Self> {
        let (oldest, newest) = archive.span_without_place.unwrap_or_default();
        let reason = if archive.has_archive {
            NoPlaceReason::ShorterRetention
        } else {
            NoPlaceReason::NoArchive
        };
        let gap = |points, reason| Self {
            seconds_per_point: archive.seconds_per_point,
            points,
            reason,
            oldest: 0,
            newest: 0,
            coarser: 0,
            coarser_seconds_per_point: 0,
        };
        let by_schema = Self {
            oldest,
            newest,
            coarser: archive.coarser,
            coarser_seconds_per_point: archive.coarser_seconds_per_point.unwrap_or(0),
            ..gap(archive.without_place, reason)
        };
        let all = [
            by_schema,
            gap(archive.displaced, NoPlaceReason::NewerTimestamp),
            gap(archive.missing, NoPlaceReason::Missing),
        ];
        all.into_iter().filter(|gap| gap.points > 0).collect()
    }
}

/// A [`PointMap`] on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivePoints {
    /// The archive's resolution in seconds.
    pub seconds_per_point: u32,
    /// How many slots the archive has.
    pub points: u32,
    /// The time of the first bit, in Unix seconds.
    pub first: u32,
    /// A bit for each slot from `first` on, the lowest bit of each byte first, in base64.
    pub slots: String,
    /// Valid points outside that window, in Unix seconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<u32>,
}

impl From<&PointMap> for ArchivePoints {
    fn from(map: &PointMap) -> Self {
        let mut bytes: Vec<u8> = map.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let filled = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(filled);
        Self {
            seconds_per_point: map.seconds_per_point,
            points: map.points,
            first: map.first,
            slots: base64_of(&bytes),
            outside: map.outside.clone(),
        }
    }
}

impl ArchivePoints {
    /// The map. `None` if no archive can have it.
    pub fn to_map(&self) -> Option<PointMap> {
        let bytes = bytes_of(&self.slots)?;
        let words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        let map = PointMap {
            seconds_per_point: self.seconds_per_point,
            points: self.points,
            first: self.first,
            words: words.collect(),
            outside: self.outside.clone(),
        };
        map.is_sound().then_some(map)
    }
}

pub(super) fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes)
}

pub(super) fn bytes_of(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_travels_and_is_the_same_afterwards() {
        for words in [vec![], vec![0], vec![1], vec![u64::MAX, 0x8000_0000_0000_0001, 0x0100]] {
            let map = PointMap {
                seconds_per_point: 60,
                points: 192,
                first: 1_699_999_980,
                words: words.clone(),
                outside: vec![60, 1_800_000_000],
            };
            let back = ArchivePoints::from(&map).to_map().unwrap();
            let trimmed = |words: &[u64]| {
                let len = words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
                words[..len].to_vec()
            };
            assert_eq!(trimmed(&back.words), trimmed(&words));
            assert_eq!((back.first, back.outside), (map.first, map.outside));
        }
    }

    #[test]
    fn a_map_that_no_archive_has_is_refused() {
        let sound = ArchivePoints {
            seconds_per_point: 60,
            points: 64,
            first: 120,
            slots: base64_of(&[1; 8]),
            outside: Vec::new(),
        };
        assert!(sound.to_map().is_some());
        for wrong in [
            ArchivePoints { seconds_per_point: 0, ..sound.clone() },
            ArchivePoints { points: 0, ..sound.clone() },
            ArchivePoints { first: 121, ..sound.clone() },
            ArchivePoints { slots: base64_of(&[1; 9]), ..sound.clone() },
            ArchivePoints { slots: "not base64!".into(), ..sound.clone() },
            ArchivePoints { outside: vec![60; 65], ..sound.clone() },
        ] {
            assert_eq!(wrong.to_map(), None, "{wrong:?}");
        }
    }

    #[test]
    fn each_policy_accepts_what_it_says() {
        let coverage = |missing, without_place, coarser, displaced| Coverage {
            archives: vec![ArchiveCoverage {
                held: 5,
                missing,
                without_place,
                coarser,
                displaced,
                ..ArchiveCoverage::default()
            }],
        };
        let accepted = |coverage: &Coverage| {
            OnSchemaDifference::NAMES
                .map(|name| name.parse::<OnSchemaDifference>().unwrap().accepts(coverage))
        };
        assert_eq!(accepted(&coverage(0, 0, 0, 0)), [true; 4]);
        assert_eq!(accepted(&coverage(0, 3, 2, 0)), [false, false, false, true]);
        assert_eq!(accepted(&coverage(0, 3, 3, 0)), [false, false, true, true]);
        assert!(OnSchemaDifference::Drop.accepts_at_most(&coverage(0, 3, 0, 0), 3));
        assert!(!OnSchemaDifference::Drop.accepts_at_most(&coverage(0, 3, 0, 0), 2));
        assert_eq!(accepted(&coverage(1, 0, 0, 0)), [false; 4]);
        assert_eq!(accepted(&coverage(0, 0, 0, 1)), [false; 4]);
        assert!("shrink".parse::<OnSchemaDifference>().unwrap_err().contains("keep, reshape"));
    }
}
