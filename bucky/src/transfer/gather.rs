//! Gathers metrics into batches by source and destination, with a limit on what is held.
//!
//! Pure. A full bucket is a batch. If all buckets together hold too much, the fullest one becomes a batch
//! early.

use std::collections::BTreeMap;

use bucky_whisper::MetricName;

/// A metric to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The metric.
    pub(crate) metric: MetricName,
    /// Other nodes that have it, in case the batch's source cannot give it.
    pub(crate) others: Box<[usize]>,
}

/// Metrics that one node fetches from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FetchBatch {
    /// The source.
    pub(crate) from: usize,
    /// The destination.
    pub(crate) to: usize,
    /// The metrics, in the order of their names.
    pub(crate) wanted: Vec<Wanted>,
}

/// Gathers batches.
#[derive(Debug)]
pub(crate) struct Gatherer {
    /// By source, how many metrics make a batch.
    full: Vec<usize>,
    /// How many metrics all buckets together may hold.
    most_held: usize,
    held: usize,
    buckets: BTreeMap<(usize, usize), Vec<Wanted>>,
}

impl Gatherer {
    /// Empty buckets. `full` gives how many metrics make a batch, by source; `most_held` is how many may wait
    /// in all.
    pub(crate) fn new(full: Vec<usize>, most_held: usize) -> Self {
        Self { full, most_held, held: 0, buckets: BTreeMap::new() }
    }

    /// Takes one more metric, and returns a batch if one is ready.
    pub(crate) fn push(&mut self, from: usize, to: usize, wanted: Wanted) -> Option<FetchBatch> {
        let bucket = self.buckets.entry((from, to)).or_default();
        bucket.push(wanted);
        self.held += 1;
        let full = self.full.get(from).copied().unwrap_or(1);
        if bucket.len() >= full {
            self.take((from, to))
        } else if self.held > self.most_held {
            self.take_fullest()
        } else {
            None
        }
    }

    /// The fullest bucket as a batch, or `None` if all buckets are empty.
    pub(crate) fn take_fullest(&mut self) -> Option<FetchBatch> {
        let fullest = self.buckets.iter().max_by_key(|(_, bucket)| bucket.len());
        let pair = fullest.map(|(pair, _)| *pair)?;
        self.take(pair)
    }

    fn take(&mut self, pair: (usize, usize)) -> Option<FetchBatch> {
        let wanted = self.buckets.remove(&pair)?;
        self.held -= wanted.len();
        let (from, to) = pair;
        Some(FetchBatch { from, to, wanted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wanted(number: usize) -> Wanted {
        Wanted { metric: format!("m{number:04}").parse().unwrap(), others: Box::default() }
    }

    #[test]
    fn a_full_bucket_is_a_batch_and_the_fullest_goes_when_too_much_is_held() {
        let mut gatherer = Gatherer::new(vec![2, 10], 4);
        assert_eq!(gatherer.push(0, 1, wanted(0)), None);
        assert_eq!(gatherer.push(0, 2, wanted(1)), None);
        let batch = gatherer.push(0, 1, wanted(2)).unwrap();
        assert_eq!((batch.from, batch.to, batch.wanted), (0, 1, vec![wanted(0), wanted(2)]));
        for number in 3..6 {
            assert_eq!(gatherer.push(1, 0, wanted(number)), None);
        }
        let early = gatherer.push(1, 2, wanted(6)).unwrap();
        assert_eq!((early.from, early.to, early.wanted.len()), (1, 0, 3));
    }

    proptest! {
        /// Every metric comes out once, from its source to its destination, in batches within the limits.
        #[test]
        fn everything_is_in_one_batch(
            pairs in prop::collection::vec((0usize..3, 0usize..4), 0..80),
            full in 1usize..6,
            most_held in 1usize..20,
        ) {
            let mut gatherer = Gatherer::new(vec![full; 3], most_held);
            let mut batches = Vec::new();
            for (number, (from, to)) in pairs.iter().enumerate() {
                batches.extend(gatherer.push(*from, *to, wanted(number)));
                prop_assert!(gatherer.held <= most_held);
            }
            batches.extend(std::iter::from_fn(|| gatherer.take_fullest()));
            let mut out: Vec<(Wanted, (usize, usize))> = Vec::new();
            for batch in batches {
                prop_assert!((1..=full).contains(&batch.wanted.len()));
                out.extend(batch.wanted.into_iter().map(|wanted| (wanted, (batch.from, batch.to))));
            }
            out.sort_by(|one, other| one.0.metric.cmp(&other.0.metric));
            let expected: Vec<_> = pairs.iter().enumerate().map(|(n, pair)| (wanted(n), *pair)).collect();
            prop_assert_eq!(out, expected);
        }
    }
}
