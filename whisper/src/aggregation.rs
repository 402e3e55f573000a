//! How finer points become one coarser point.
//!
//! The rules are those of `aggregate` in whisper.py 1.1.10, as CPython up to 3.11 runs it. So is the order of
//! the floating-point operations, which is easily missed: sums go from left to right and begin at `0.0`, and
//! the first of equal extremes counts. A roll-up made here therefore has the same bits as one made by carbon.
//! [`crate::XFilesFactor::is_met`] decides whether enough finer points are known.

use std::fmt;
use std::str::FromStr;

/// The aggregation method of a Whisper file, by the names and codes of whisper.py.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aggregation {
    /// Code 1: the mean of the known points.
    Average,
    /// Code 2: the sum of the known points.
    Sum,
    /// Code 3: the newest known point.
    Last,
    /// Code 4: the greatest known point.
    Max,
    /// Code 5: the least known point.
    Min,
    /// Code 6: the mean of all slots, with unknown ones as zero. See [`AggregationSix`].
    AvgZero,
    /// Code 7: the known point that is farthest from zero, with its sign.
    AbsMax,
    /// Code 8: the known point that is nearest to zero, with its sign.
    AbsMin,
}

/// What code 6 in a header means: whisper.py and go-carbon disagree, and the file does not say who wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AggregationSix {
    /// whisper.py's `avg_zero`: the mean of all slots, unknown ones as zero.
    #[default]
    AvgZero,
    /// go-carbon's `first`: the oldest known point.
    First,
}

impl Aggregation {
    /// All methods, in the order of their codes.
    pub const ALL: [Self; 8] = [
        Self::Average,
        Self::Sum,
        Self::Last,
        Self::Max,
        Self::Min,
        Self::AvgZero,
        Self::AbsMax,
        Self::AbsMin,
    ];

    /// The method that a header's first field names; `None` for a code that whisper.py does not know.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.code() == code)
    }

    /// The code that a header holds for this method, 1 to 8.
    pub fn code(self) -> u32 {
        match self {
            Self::Average => 1,
            Self::Sum => 2,
            Self::Last => 3,
            Self::Max => 4,
            Self::Min => 5,
            Self::AvgZero => 6,
            Self::AbsMax => 7,
            Self::AbsMin => 8,
        }
    }

    /// whisper.py's name for the method, as used in carbon's `storage-aggregation.conf`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Average => "average",
            Self::Sum => "sum",
            Self::Last => "last",
            Self::Max => "max",
            Self::Min => "min",
            Self::AvgZero => "avg_zero",
            Self::AbsMax => "absmax",
            Self::AbsMin => "absmin",
        }
    }

    /// The coarser point of the slots `finer`, oldest first; an unknown slot is `None`.
    ///
    /// `None` if no slot is known. A NaN that is passed as known behaves as in whisper.py: sums and means
    /// become NaN, and an extreme does only if the NaN comes first. Source: `aggregate` in whisper.py.
    pub fn roll_up(self, six: AggregationSix, finer: &[Option<f64>]) -> Option<f64> {
        let known = finer.iter().copied().flatten();
        self.over(six, known, finer.len())
    }

    /// The coarser point of `slots` slots, of which only the values `known` are known, oldest first.
    pub(crate) fn roll_up_known(
        self,
        six: AggregationSix,
        known: &[f64],
        slots: usize,
    ) -> Option<f64> {
        self.over(six, known.iter().copied(), slots)
    }

    fn over(
        self,
        six: AggregationSix,
        mut known: impl DoubleEndedIterator<Item = f64> + Clone,
        slots: usize,
    ) -> Option<f64> {
        match self {
            Self::Average => {
                let count = known.clone().count();
                mean(known, count)
            }
            Self::Sum => {
                let first = known.next()?;
                Some(known.fold(0.0 + first, |sum, value| sum + value))
            }
            Self::Last => known.next_back(),
            Self::Max => known.reduce(|best, value| if value > best { value } else { best }),
            Self::Min => known.reduce(|best, value| if value < best { value } else { best }),
            Self::AvgZero => match six {
                AggregationSix::First => known.next(),
                AggregationSix::AvgZero => mean(known, slots),
            },
            Self::AbsMax => {
                known.reduce(|best, value| if value.abs() > best.abs() { value } else { best })
            }
            Self::AbsMin => {
                known.reduce(|best, value| if value.abs() < best.abs() { value } else { best })
            }
        }
    }
}

/// The sum of `known` divided by `slots`, or `None` if nothing is known. Unknown slots are left out: the sum
/// begins at zero, and adding another zero would never change it.
#[expect(
    clippy::cast_precision_loss,
    reason = "whisper.py divides by float(len(...)); slot counts are far below 2^53"
)]
fn mean(mut known: impl Iterator<Item = f64>, slots: usize) -> Option<f64> {
    let first = known.next()?;
    let sum = known.fold(0.0 + first, |sum, value| sum + value);
    Some(sum / slots as f64)
}

impl fmt::Display for Aggregation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

/// A text that does not name an aggregation method.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown aggregation method {found:?}; use one of average, sum, last, max, min, avg_zero, absmax, absmin"
)]
pub struct UnknownAggregation {
    /// The text that was found.
    pub found: String,
}

impl FromStr for Aggregation {
    type Err = UnknownAggregation;

    /// Accepts whisper.py's names, unchanged.
    fn from_str(text: &str) -> Result<Self, UnknownAggregation> {
        Self::ALL
            .into_iter()
            .find(|method| method.name() == text)
            .ok_or_else(|| UnknownAggregation { found: text.to_owned() })
    }
}

/// A text that does not name a meaning of aggregation code 6.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("aggregation 6 is either avg_zero (whisper.py) or first (go-carbon), not {found:?}")]
pub struct UnknownAggregationSix {
    /// The text that was found.
    pub found: String,
}

impl FromStr for AggregationSix {
    type Err = UnknownAggregationSix;

    fn from_str(text: &str) -> Result<Self, UnknownAggregationSix> {
        match text {
            "avg_zero" => Ok(Self::AvgZero),
            "first" => Ok(Self::First),
            _ => Err(UnknownAggregationSix { found: text.to_owned() }),
        }
    }
}

impl fmt::Display for AggregationSix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::AvgZero => "avg_zero",
            Self::First => "first",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAPPED: [Option<f64>; 5] = [None, Some(-3.0), Some(2.0), None, Some(-1.0)];

    fn roll_up(method: Aggregation, finer: &[Option<f64>]) -> Option<u64> {
        method.roll_up(AggregationSix::AvgZero, finer).map(f64::to_bits)
    }

    #[test]
    fn each_method_rolls_up_as_its_name_says() {
        let cases = [
            (Aggregation::Average, -2.0 / 3.0),
            (Aggregation::Sum, -2.0),
            (Aggregation::Last, -1.0),
            (Aggregation::Max, 2.0),
            (Aggregation::Min, -3.0),
            (Aggregation::AvgZero, -2.0 / 5.0),
            (Aggregation::AbsMax, -3.0),
            (Aggregation::AbsMin, -1.0),
        ];
        for (method, expected) in cases {
            assert_eq!(roll_up(method, &GAPPED), Some(f64::to_bits(expected)), "{method}");
        }
    }

    #[test]
    fn aggregation_six_of_go_carbon_is_the_first_known_point() {
        assert_eq!(Aggregation::AvgZero.roll_up(AggregationSix::First, &GAPPED), Some(-3.0));
        assert_eq!(Aggregation::Last.roll_up(AggregationSix::First, &GAPPED), Some(-1.0));
    }

    #[test]
    fn nothing_known_rolls_up_to_nothing() {
        for method in Aggregation::ALL {
            for six in [AggregationSix::AvgZero, AggregationSix::First] {
                assert_eq!(method.roll_up(six, &[]), None, "{method}");
                assert_eq!(method.roll_up(six, &[None, None]), None, "{method}");
            }
        }
    }

    #[test]
    fn sums_are_naive_and_from_the_left() {
        // A compensated sum (Python 3.12 and later) would be 1.0 here.
        let finer = [Some(1.0), Some(1e100), Some(-1e100)];
        assert_eq!(roll_up(Aggregation::Sum, &finer), Some(f64::to_bits(0.0)));
        let finer = [0.1, 0.2, 0.3].map(Some);
        assert_eq!(roll_up(Aggregation::Sum, &finer), Some(f64::to_bits(0.600_000_000_000_000_1)));
    }

    #[test]
    fn a_sum_begins_at_a_positive_zero_and_an_extreme_keeps_the_first_zero() {
        let zeros = [Some(-0.0), Some(0.0)];
        for method in [Aggregation::Sum, Aggregation::Average, Aggregation::AvgZero] {
            assert_eq!(roll_up(method, &[Some(-0.0)]), Some(f64::to_bits(0.0)), "{method}");
        }
        for method in [Aggregation::Max, Aggregation::Min, Aggregation::AbsMax, Aggregation::AbsMin]
        {
            assert_eq!(roll_up(method, &zeros), Some(f64::to_bits(-0.0)), "{method}");
        }
    }

    #[test]
    fn of_equally_far_points_the_first_is_the_absolute_extreme() {
        let finer = [Some(-2.0), Some(2.0)];
        assert_eq!(roll_up(Aggregation::AbsMax, &finer), Some(f64::to_bits(-2.0)));
        assert_eq!(roll_up(Aggregation::AbsMin, &finer), Some(f64::to_bits(-2.0)));
    }

    #[test]
    fn a_nan_is_an_extreme_only_where_it_comes_first() {
        for method in [Aggregation::Max, Aggregation::Min, Aggregation::AbsMax, Aggregation::AbsMin]
        {
            let last = method.roll_up(AggregationSix::AvgZero, &[Some(1.0), Some(f64::NAN)]);
            assert_eq!(last, Some(1.0), "{method}");
            let first = method.roll_up(AggregationSix::AvgZero, &[Some(f64::NAN), Some(1.0)]);
            assert!(first.is_some_and(f64::is_nan), "{method}");
        }
    }

    #[test]
    fn codes_and_names_are_whispers_own() {
        assert_eq!(Aggregation::ALL.map(Aggregation::code), [1, 2, 3, 4, 5, 6, 7, 8]);
        for method in Aggregation::ALL {
            assert_eq!(Aggregation::from_code(method.code()), Some(method));
            assert_eq!(method.to_string().parse(), Ok(method));
        }
        assert_eq!(Aggregation::from_code(0), None);
        assert_eq!(Aggregation::from_code(9), None);
        assert!("AVERAGE".parse::<Aggregation>().is_err());
    }
}
