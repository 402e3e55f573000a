//! What an archive keeps, in the form that operators write: `60s:1d`, `1m:30d`, `10:8640`.
//!
//! The texts are those of whisper.py's `parseRetentionDef`; the rules for a list of retentions are those of
//! its `validateArchiveList`. Both apply to *creating* a file. An existing file may hold more: see
//! [`crate::Header::parse`].

use std::fmt;
use std::str::FromStr;

/// whisper.py's units, with their seconds. A unit may be written as any prefix of its name; if several match,
/// the first in this order is used.
const UNITS: [(&str, u64); 6] = [
    ("seconds", 1),
    ("minutes", 60),
    ("hours", 3_600),
    ("days", 86_400),
    ("weeks", 604_800),
    ("years", 31_536_000),
];

/// The resolution of an archive and how many points it keeps. Neither is ever zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Retention {
    seconds_per_point: u32,
    points: u32,
}

impl Retention {
    /// A retention of `points` points with an interval of `seconds_per_point`.
    ///
    /// # Errors
    /// [`RetentionParseError::ZeroPrecision`] or [`RetentionParseError::ZeroPoints`].
    pub fn new(seconds_per_point: u32, points: u32) -> Result<Self, RetentionParseError> {
        if seconds_per_point == 0 {
            return Err(RetentionParseError::ZeroPrecision);
        }
        if points == 0 {
            return Err(RetentionParseError::ZeroPoints);
        }
        Ok(Self { seconds_per_point, points })
    }

    /// The resolution in seconds.
    pub fn seconds_per_point(self) -> u32 {
        self.seconds_per_point
    }

    /// How many points are kept.
    pub fn points(self) -> u32 {
        self.points
    }

    /// How far back the archive reaches, in seconds.
    pub fn seconds(self) -> u64 {
        u64::from(self.seconds_per_point) * u64::from(self.points)
    }
}

/// A text that is not a retention.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetentionParseError {
    /// There is no `:` between precision and points.
    #[error(
        "not a valid retention: {text:?} (PRECISION:POINTS or PRECISION:TIME, such as 60s:1d or 60:1440)"
    )]
    NoColon {
        /// The text that was found.
        text: String,
    },
    /// One side of the `:` is neither a number nor a number with a unit.
    #[error("{text:?} is neither a number nor a number with one of the units s, m, h, d, w, y")]
    NotATime {
        /// That side of the text.
        text: String,
    },
    /// A number does not fit the file format's 32 bits.
    #[error("{text:?} is more than a Whisper file can hold")]
    TooLarge {
        /// The side of the `:` that holds the number.
        text: String,
    },
    /// The precision is zero.
    #[error("a retention needs a precision of at least 1 second")]
    ZeroPrecision,
    /// The archive would have no point: the time is shorter than the precision, or zero.
    #[error("a retention needs at least one point; its time is shorter than its precision")]
    ZeroPoints,
}

impl FromStr for Retention {
    type Err = RetentionParseError;

    /// Source: `parseRetentionDef` in whisper.py. Refuses what would make whisper.py create an unusable file:
    /// zero points, and numbers beyond 32 bits.
    fn from_str(text: &str) -> Result<Self, RetentionParseError> {
        let (precision, points) = text
            .trim()
            .split_once(':')
            .ok_or_else(|| RetentionParseError::NoColon { text: text.to_owned() })?;
        let too_large = |side: &str| RetentionParseError::TooLarge { text: side.to_owned() };

        let seconds_per_point = match parse_time(precision)? {
            Time::Plain(number) | Time::Seconds(number) => {
                u32::try_from(number).map_err(|_| too_large(precision))?
            }
        };
        if seconds_per_point == 0 {
            return Err(RetentionParseError::ZeroPrecision);
        }
        let count = match parse_time(points)? {
            Time::Plain(count) => count,
            Time::Seconds(seconds) => seconds / u64::from(seconds_per_point),
        };
        Self::new(seconds_per_point, u32::try_from(count).map_err(|_| too_large(points))?)
    }
}

enum Time {
    /// A number without a unit.
    Plain(u64),
    /// A number with a unit, in seconds.
    Seconds(u64),
}

fn parse_time(text: &str) -> Result<Time, RetentionParseError> {
    let not_a_time = || RetentionParseError::NotATime { text: text.to_owned() };
    let too_large = || RetentionParseError::TooLarge { text: text.to_owned() };

    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    if digits.is_empty() {
        return Err(not_a_time());
    }
    // The text has only digits, so parsing fails only if there are too many.
    let number: u64 = digits.parse().map_err(|_| too_large())?;
    if unit.is_empty() {
        return Ok(Time::Plain(number));
    }
    let (_, seconds) =
        UNITS.iter().find(|(name, _)| name.starts_with(unit)).ok_or_else(not_a_time)?;
    number.checked_mul(*seconds).map(Time::Seconds).ok_or_else(too_large)
}

impl fmt::Display for Retention {
    /// Writes each side in the largest unit that gives a whole number: `60:1440` is `1m:1d`. The text parses
    /// to the same retention.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let precision = in_largest_unit(u64::from(self.seconds_per_point));
        out.pad(&format!("{precision}:{}", in_largest_unit(self.seconds())))
    }
}

/// A resolution and how long its points are kept, as operators write them: up to a minute in seconds,
/// `60s:30d`.
pub(crate) fn retention_text(seconds_per_point: u32, points: u32) -> String {
    let seconds = u64::from(seconds_per_point);
    let precision = if seconds <= 60 { format!("{seconds}s") } else { in_largest_unit(seconds) };
    format!("{precision}:{}", in_largest_unit(seconds * u64::from(points)))
}

fn in_largest_unit(seconds: u64) -> String {
    UNITS.iter().rev().find(|(_, unit)| seconds.is_multiple_of(*unit)).map_or_else(
        || format!("{seconds}s"),
        |(name, unit)| format!("{}{}", seconds / unit, &name[..1]),
    )
}

/// Why retentions cannot be the archives of one file. The errors name the retentions as given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetentionError {
    /// The list is empty.
    #[error("a Whisper file needs at least one retention")]
    None,
    /// There are more than a header can list.
    #[error("{found} retentions are too many; the limit is {limit}")]
    TooMany {
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Two have the same precision.
    #[error("{first} and {second} have the same precision; keep one of them")]
    SamePrecision {
        /// One of them.
        first: Retention,
        /// The other.
        second: Retention,
    },
    /// A coarser precision is not a multiple of the next finer one.
    #[error("the precision of {coarser} is not a multiple of that of {finer}")]
    DoesNotDivide {
        /// The finer of the two.
        finer: Retention,
        /// The coarser of the two.
        coarser: Retention,
    },
    /// A coarser retention does not reach farther back than the next finer one.
    #[error("{coarser} must reach farther back than the finer {finer}")]
    CoversNoMore {
        /// The finer of the two.
        finer: Retention,
        /// The coarser of the two.
        coarser: Retention,
    },
    /// The finer one keeps too few points for one point of the next coarser.
    #[error("{finer} has too few points: one point of {coarser} needs {needed}")]
    TooFewPoints {
        /// The finer of the two.
        finer: Retention,
        /// The coarser of the two.
        coarser: Retention,
        /// How many points the finer one needs at least.
        needed: u32,
    },
    /// A number of the header would not fit into 32 bits: the offset of an archive, or the longest retention.
    #[error(
        "{retention} makes the file larger or the retention longer than a Whisper header can express"
    )]
    BeyondFormat {
        /// The first retention that does not fit.
        retention: Retention,
    },
}

/// Whether these retentions, in any order, can be the archives of one file. Source: `validateArchiveList` in
/// whisper.py, which sorts by precision first; [`crate::Header::for_retentions`] adds the bounds of the
/// format.
///
/// # Errors
/// The first rule that is violated, checked from the finest pair on.
pub fn validate_retentions(retentions: &[Retention]) -> Result<(), RetentionError> {
    if retentions.is_empty() {
        return Err(RetentionError::None);
    }
    finest_first(retentions).windows(2).try_for_each(|pair| match *pair {
        [finer, coarser] => validate_pair(finer, coarser),
        _ => Ok(()),
    })
}

/// The retentions sorted by precision; equal ones keep their order.
pub(crate) fn finest_first(retentions: &[Retention]) -> Vec<Retention> {
    let mut sorted = retentions.to_vec();
    sorted.sort_by_key(|retention| retention.seconds_per_point);
    sorted
}

fn validate_pair(finer: Retention, coarser: Retention) -> Result<(), RetentionError> {
    if finer.seconds_per_point == coarser.seconds_per_point {
        return Err(RetentionError::SamePrecision { first: finer, second: coarser });
    }
    if !coarser.seconds_per_point.is_multiple_of(finer.seconds_per_point) {
        return Err(RetentionError::DoesNotDivide { finer, coarser });
    }
    if coarser.seconds() <= finer.seconds() {
        return Err(RetentionError::CoversNoMore { finer, coarser });
    }
    let needed = coarser.seconds_per_point / finer.seconds_per_point;
    if finer.points < needed {
        return Err(RetentionError::TooFewPoints { finer, coarser, needed });
    }
    Ok(())
}

/// The share of known finer points, 0 to 1, that a coarser point needs to be rolled up.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct XFilesFactor(f32);

/// A number that is not an x-files factor.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("an x-files factor is a number from 0 to 1, not {found}")]
pub struct XFilesFactorOutOfRange {
    /// The number that was found.
    pub found: f32,
}

impl XFilesFactor {
    /// An x-files factor of `share`.
    ///
    /// # Errors
    /// [`XFilesFactorOutOfRange`] for NaN and for anything outside `0.0..=1.0`.
    pub fn new(share: f32) -> Result<Self, XFilesFactorOutOfRange> {
        if (0.0..=1.0).contains(&share) {
            Ok(Self(share))
        } else {
            Err(XFilesFactorOutOfRange { found: share })
        }
    }

    /// The share, 0 to 1, as stored in the header.
    pub fn get(self) -> f32 {
        self.0
    }

    /// Whether `known` of `total` finer points are enough. Zero known points never are. Source: `__propagate`
    /// in whisper.py.
    pub fn is_met(self, known: u32, total: u32) -> bool {
        known > 0 && f64::from(known) / f64::from(total) >= f64::from(self.0)
    }
}

impl Default for XFilesFactor {
    /// One half, the default of whisper.py's `create`.
    fn default() -> Self {
        Self(0.5)
    }
}

impl fmt::Display for XFilesFactor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A text that is not an x-files factor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an x-files factor is a number from 0 to 1, not {found:?}")]
pub struct XFilesFactorParseError {
    /// The text that was found.
    pub found: String,
}

impl FromStr for XFilesFactor {
    type Err = XFilesFactorParseError;

    fn from_str(text: &str) -> Result<Self, XFilesFactorParseError> {
        let out_of_range = || XFilesFactorParseError { found: text.to_owned() };
        let share: f32 = text.trim().parse().map_err(|_| out_of_range())?;
        Self::new(share).map_err(|_| out_of_range())
    }
}

#[cfg(test)]
mod tests;
