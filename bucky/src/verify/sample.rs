//! Which metrics are in a sample: chosen by a hash of the name and a seed, so the same seed gives the same
//! sample.

use std::collections::BinaryHeap;
use std::str::FromStr;

use bucky_whisper::Digest;

/// How large the sample is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Size {
    /// This many metrics, or all if there are fewer.
    Metrics(usize),
    /// This many of each 100,000, on average.
    Share(u32),
}

/// The most metrics in a sample by number: their names are held in memory.
const METRICS_MAX: usize = 1_000_000;
/// The steps in a share.
const WHOLE: u32 = 100_000;

/// Which metrics are read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// How many.
    pub(crate) size: Size,
    /// The seed that chooses them.
    pub(crate) seed: u64,
}

/// A text that is not the size of a sample.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid sample: {0} (try 1% or 1000; at most {METRICS_MAX} metrics)")]
pub(crate) struct SizeError(String);

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let bad = || SizeError(text.to_owned());
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| bad())?;
            let steps = (percent * f64::from(WHOLE / 100)).round();
            if !(1.0..=f64::from(WHOLE)).contains(&steps) {
                return Err(bad());
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it lies between 1 and 100,000"
            )]
            return Ok(Self::Share(steps as u32));
        }
        let metrics = text.parse().ok().filter(|metrics| (1..=METRICS_MAX).contains(metrics));
        metrics.map(Self::Metrics).ok_or_else(bad)
    }
}

impl Sample {
    /// The rank of a name in the order of this sample.
    fn rank(&self, name: &str) -> u128 {
        let mut bytes = Vec::with_capacity(name.len() + 8);
        bytes.extend(self.seed.to_be_bytes());
        bytes.extend(name.as_bytes());
        u128::from_str_radix(&Digest::of(&bytes).to_string(), 16).unwrap_or_default()
    }

    /// Whether a sample by share has this name. A sample by number must see all names first: see
    /// [`Smallest`].
    pub(crate) fn takes(&self, name: &str) -> bool {
        match self.size {
            Size::Metrics(_) => true,
            Size::Share(steps) => self.rank(name) % u128::from(WHOLE) < u128::from(steps),
        }
    }
}

/// The metrics of a sample by number: those with the lowest ranks.
pub(crate) struct Smallest<T> {
    sample: Sample,
    limit: usize,
    heap: BinaryHeap<Ranked<T>>,
}

struct Ranked<T> {
    rank: u128,
    item: T,
}

impl<T> PartialEq for Ranked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl<T> Eq for Ranked<T> {}

impl<T> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Ranked<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl<T> Smallest<T> {
    /// An empty sample of at most `limit` items.
    pub(crate) fn new(sample: Sample, limit: usize) -> Self {
        Self { sample, limit, heap: BinaryHeap::new() }
    }

    /// Keeps the item called `name` if its rank is lower than that of a kept one.
    pub(crate) fn offer(&mut self, name: &str, item: impl FnOnce() -> T) {
        let rank = self.sample.rank(name);
        if self.heap.len() == self.limit {
            if self.heap.peek().is_none_or(|last| rank >= last.rank) {
                return;
            }
            self.heap.pop();
        }
        self.heap.push(Ranked { rank, item: item() });
    }

    /// The items that were kept, in no order.
    pub(crate) fn into_items(self) -> Vec<T> {
        self.heap.into_iter().map(|ranked| ranked.item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        (0..10_000).map(|number| format!("app.web.m{number:05}")).collect()
    }

    fn by_number(seed: u64, limit: usize, names: &[String]) -> Vec<String> {
        let sample = Sample { size: Size::Metrics(limit), seed };
        let mut smallest = Smallest::new(sample, limit);
        names.iter().for_each(|name| smallest.offer(name, || name.clone()));
        let mut taken = smallest.into_items();
        taken.sort_unstable();
        taken
    }

    #[test]
    fn a_sample_is_a_number_or_a_share() {
        assert_eq!("1".parse(), Ok(Size::Metrics(1)));
        assert_eq!("1000".parse(), Ok(Size::Metrics(1000)));
        assert_eq!("1%".parse(), Ok(Size::Share(1000)));
        assert_eq!("0.5%".parse(), Ok(Size::Share(500)));
        assert_eq!("100%".parse(), Ok(Size::Share(WHOLE)));
        for text in ["", "0", "-1", "0%", "101%", "x%", "1.5", "NaN%", "1000001", "%"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_same_seed_takes_the_same_metrics_in_whatever_order_they_come() {
        let names = names();
        let mut reversed = names.clone();
        reversed.reverse();
        let taken = by_number(7, 100, &names);
        assert_eq!(taken.len(), 100);
        assert_eq!(by_number(7, 100, &reversed), taken);
        assert_ne!(by_number(8, 100, &names), taken);
        assert_eq!(by_number(7, 20_000, &names), names, "fewer than were asked for");
    }

    #[test]
    fn a_share_is_about_as_large_as_it_says() {
        let sample = Sample { size: "10%".parse().unwrap(), seed: 42 };
        let taken = names().iter().filter(|name| sample.takes(name)).count();
        assert!((800..1200).contains(&taken), "{taken} of 10,000");
        let whole = Sample { size: "100%".parse().unwrap(), seed: 42 };
        assert!(names().iter().all(|name| whole.takes(name)));
    }
}
