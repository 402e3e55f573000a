//! Gathers misplaced metrics of one source into batches with the same owners, within limits of bytes and
//! count.
//!
//! Pure. A source's metrics come in the order of their names, with mixed owners. Each set of owners has a
//! bucket, and a full bucket is a batch. If too many metrics wait in half-full buckets, the fullest one
//! becomes a batch early, so what is held (`held`) does not grow with the store. A bucket that fills too
//! slowly becomes a batch when many others have overtaken it, so that it does not hold back the journal's
//! mark. Each batch has a [`Ticket`]. With it, the journal knows how far a source is finished, although
//! batches end in another order than their names came.

pub(super) mod held;
mod limits;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;

use bucky_whisper::MetricName;

use self::held::{HeldStrays, HoldingRoom};
pub(crate) use self::limits::BatchLimits;
use crate::fleet::OwnerIndex;

/// A metric on a node that should not have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stray {
    /// The metric.
    pub(crate) metric: MetricName,
    /// The length of its file; `None` if it is not known.
    pub(crate) bytes: Option<NonZeroU64>,
}

/// A stray with an unknown length.
pub(crate) fn unmeasured(metric: MetricName) -> Stray {
    Stray { metric, bytes: None }
}

/// Metrics of one source with the same owners.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The owners: sorted, each once.
    pub(crate) owners: Vec<OwnerIndex>,
    /// The metrics, in the order of their names.
    pub(crate) strays: Vec<Stray>,
    /// The ticket for [`LowWater`], to hand back when all metrics are finished.
    pub(crate) ticket: Ticket,
}

/// Gathers the metrics of one source.
#[derive(Debug)]
pub(crate) struct Batcher {
    limits: BatchLimits,
    buckets: HashMap<Vec<OwnerIndex>, Bucket>,
    by_age: BTreeMap<u64, Vec<OwnerIndex>>,
    room: HoldingRoom,
    held_bytes: usize,
    count: u64,
    low_water: LowWater,
}

#[derive(Debug)]
struct Bucket {
    strays: HeldStrays,
    bytes: u64,
    opened: u64,
    ticket: Ticket,
}

impl Batcher {
    /// Empty buckets. The names up to `through` were finished in an earlier run. What waits counts against
    /// `room`.
    pub(crate) fn new(limits: BatchLimits, room: HoldingRoom, through: Option<MetricName>) -> Self {
        Self {
            limits,
            buckets: HashMap::new(),
            by_age: BTreeMap::new(),
            room,
            held_bytes: 0,
            count: 0,
            low_water: LowWater::new(through),
        }
    }

    /// Takes the next metric, and returns a batch if one is ready. `owners` is sorted, each once.
    pub(crate) fn push(&mut self, owners: Vec<OwnerIndex>, stray: Stray) -> Option<Batch> {
        let Stray { metric, bytes } = stray;
        let bytes = bytes.map_or(0, NonZeroU64::get);
        let early = self
            .buckets
            .get(&owners)
            .is_some_and(|bucket| {
                self.limits.has_no_room_for(bytes, bucket.strays.len(), bucket.bytes)
            })
            .then(|| self.take(&owners))
            .flatten();
        self.count += 1;
        let (low_water, by_age, count) = (&mut self.low_water, &mut self.by_age, self.count);
        let bucket = self.buckets.entry(owners.clone()).or_insert_with(|| {
            by_age.insert(count, owners.clone());
            let strays = HeldStrays::default();
            Bucket { strays, bytes: 0, opened: count, ticket: low_water.open() }
        });
        bucket.bytes = bucket.bytes.saturating_add(bytes);
        let before = bucket.strays.len_bytes();
        bucket.strays.push(metric.as_str(), bytes);
        let is_full = self.limits.is_full(bucket.strays.len(), bucket.bytes);
        let grown = bucket.strays.len_bytes() - before;
        self.hold(self.held_bytes + grown);
        self.low_water.read(metric);
        // An early batch leaves a bucket of one metric behind. That is full only with odd settings; the next
        // push or the end takes it then.
        early.or_else(|| {
            if is_full {
                self.take(&owners)
            } else if self.room.is_short_for(self.held_bytes) {
                self.take_fullest()
            } else {
                self.take_overdue()
            }
        })
    }

    /// The oldest bucket as a batch, if it has waited too long.
    fn take_overdue(&mut self) -> Option<Batch> {
        let (opened, owners) = self.by_age.first_key_value()?;
        let is_overdue = self.count - opened >= self.limits.patience;
        let owners = owners.clone();
        if is_overdue { self.take(&owners) } else { None }
    }

    /// Notes a name that needs no work.
    pub(crate) fn skip(&mut self, name: MetricName) {
        self.low_water.read(name);
    }

    /// At the end of the source: the fullest bucket as a batch, or `None` if all buckets are empty.
    pub(crate) fn take_fullest(&mut self) -> Option<Batch> {
        let fullest = self.buckets.iter().max_by(|(a_owners, a), (b_owners, b)| {
            a.strays.len().cmp(&b.strays.len()).then_with(|| b_owners.cmp(a_owners))
        });
        let owners = fullest.map(|(owners, _)| owners.clone())?;
        self.take(&owners)
    }

    /// Notes that all metrics of a batch are finished.
    pub(crate) fn finish(&mut self, ticket: Ticket) {
        self.low_water.close(ticket);
    }

    /// The last name up to which everything of this source is finished.
    pub(crate) fn through(&self) -> Option<&MetricName> {
        self.low_water.through()
    }

    fn take(&mut self, owners: &[OwnerIndex]) -> Option<Batch> {
        let (owners, bucket) = self.buckets.remove_entry(owners)?;
        self.hold(self.held_bytes - bucket.strays.len_bytes());
        self.by_age.remove(&bucket.opened);
        Some(Batch { owners, strays: bucket.strays.into_strays(), ticket: bucket.ticket })
    }

    fn hold(&mut self, bytes: usize) {
        self.room.note(self.held_bytes, bytes);
        self.held_bytes = bytes;
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.hold(0);
    }
}

/// Stands for the metrics of a bucket, and then of its batch, until they are finished.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// How far a source is finished, although its metrics finish out of order.
///
/// For every open ticket it keeps the name that was read just before the bucket's first metric. All names up
/// to the smallest of these are finished.
#[derive(Debug)]
struct LowWater {
    next: u64,
    before: BTreeMap<u64, Option<MetricName>>,
    last_read: Option<MetricName>,
}

impl LowWater {
    fn new(through: Option<MetricName>) -> Self {
        Self { next: 0, before: BTreeMap::new(), last_read: through }
    }

    fn open(&mut self) -> Ticket {
        let ticket = self.next;
        self.next += 1;
        self.before.insert(ticket, self.last_read.clone());
        Ticket(ticket)
    }

    /// A name before the mark of an earlier run does not lower the mark.
    fn read(&mut self, name: MetricName) {
        if self.last_read.as_ref().is_none_or(|last| *last < name) {
            self.last_read = Some(name);
        }
    }

    fn close(&mut self, ticket: Ticket) {
        self.before.remove(&ticket.0);
    }

    fn through(&self) -> Option<&MetricName> {
        match self.before.values().next() {
            Some(before) => before.as_ref(),
            None => self.last_read.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stray(name: &str, bytes: u64) -> Stray {
        Stray { metric: MetricName::parse(name).unwrap(), bytes: NonZeroU64::new(bytes) }
    }

    fn names(batch: &Batch) -> Vec<&str> {
        batch.strays.iter().map(|stray| stray.metric.as_str()).collect()
    }

    const LIMITS: BatchLimits =
        BatchLimits { bytes: 100, metrics: 3, held_bytes: 100, patience: 12 };

    fn batcher(through: Option<MetricName>) -> Batcher {
        Batcher::new(LIMITS, HoldingRoom::new(LIMITS.held_bytes, 1), through)
    }

    #[test]
    fn a_bucket_is_a_batch_when_it_has_enough_metrics() {
        let mut batcher = batcher(None);
        assert_eq!(batcher.push(vec![0], stray("a", 1)), None);
        assert_eq!(batcher.push(vec![1], stray("b", 1)), None);
        assert_eq!(batcher.push(vec![0], stray("c", 1)), None);
        let batch = batcher.push(vec![0], stray("d", 1)).unwrap();
        assert_eq!(names(&batch), ["a", "c", "d"]);
        assert_eq!(batch.owners, [0]);
        assert_eq!(names(&batcher.take_fullest().unwrap()), ["b"]);
        assert_eq!(batcher.take_fullest(), None);
    }

    #[test]
    fn a_batch_does_not_pass_its_bytes_unless_it_is_one_file() {
        let mut batcher = batcher(None);
        assert_eq!(batcher.push(vec![0], stray("a", 60)), None);
        assert_eq!(names(&batcher.push(vec![0], stray("b", 60)).unwrap()), ["a"]);
        assert_eq!(names(&batcher.push(vec![0], stray("c", 500)).unwrap()), ["b"]);
        assert_eq!(names(&batcher.push(vec![0], stray("d", 1)).unwrap()), ["c"]);
        assert_eq!(names(&batcher.take_fullest().unwrap()), ["d"]);
    }

    #[test]
    fn the_fullest_bucket_goes_when_too_much_is_held() {
        let mut batcher = batcher(None);
        for (owner, name) in [(0, "a"), (1, "b"), (2, "c"), (2, "d"), (3, "e")] {
            assert_eq!(batcher.push(vec![owner], stray(name, 1)), None);
        }
        assert_eq!(names(&batcher.push(vec![4], stray("f", 1)).unwrap()), ["c", "d"]);
    }

    #[test]
    fn a_bucket_that_fills_too_slowly_goes_as_it_is() {
        let mut batcher = batcher(None);
        assert_eq!(batcher.push(vec![9], stray("a", 1)), None);
        let mut batches = Vec::new();
        for number in 0..12 {
            batches.extend(batcher.push(vec![0], stray(&format!("m{number:02}"), 1)));
        }
        let rare: Vec<&Batch> = batches.iter().filter(|batch| batch.owners == [9]).collect();
        assert_eq!(rare.len(), 0, "a full bucket goes first");
        assert_eq!(batcher.push(vec![0], stray("n", 1)).map(|batch| batch.owners), Some(vec![9]));
    }

    #[test]
    fn the_mark_is_the_last_name_before_anything_unfinished() {
        let mut batcher = batcher(None);
        batcher.skip(MetricName::parse("a").unwrap());
        batcher.push(vec![0], stray("b", 1));
        batcher.push(vec![1], stray("c", 1));
        let first = batcher.take_fullest().unwrap();
        batcher.push(vec![1], stray("d", 1));
        let second = batcher.take_fullest().unwrap();
        assert_eq!(names(&first), ["b"]);
        assert_eq!(batcher.through().map(MetricName::as_str), Some("a"));
        batcher.finish(second.ticket);
        assert_eq!(batcher.through().map(MetricName::as_str), Some("a"));
        batcher.finish(first.ticket);
        assert_eq!(batcher.through().map(MetricName::as_str), Some("d"));
    }

    #[test]
    fn a_resumed_source_starts_at_its_old_mark() {
        let through = MetricName::parse("m").unwrap();
        let mut batcher = batcher(Some(through.clone()));
        assert_eq!(batcher.through(), Some(&through));
        batcher.skip(MetricName::parse("a").unwrap());
        batcher.push(vec![0], stray("b", 1));
        batcher.push(vec![0], stray("n", 1));
        assert_eq!(batcher.through(), Some(&through));
    }

    proptest! {
        /// Every metric comes out once, to its owners, and the mark never passes an unfinished one.
        #[test]
        fn every_stray_is_in_one_batch_and_the_mark_passes_none(
            strays in prop::collection::vec((0usize..4, 0u64..150), 0..60),
        ) {
            let mut batcher = batcher(None);
            let mut out: Vec<(Vec<usize>, String)> = Vec::new();
            let mut open = Vec::new();
            let mut expected = Vec::new();
            for (index, (owner, bytes)) in strays.iter().enumerate() {
                let name = format!("m{index:04}");
                expected.push((vec![*owner], name.clone()));
                let batch = batcher.push(vec![*owner], stray(&name, *bytes));
                // One metric and its bucket may exceed the limit.
                prop_assert!(batcher.held_bytes <= LIMITS.held_bytes + 64);
                open.extend(batch);
            }
            while let Some(batch) = batcher.take_fullest() {
                open.push(batch);
            }
            while let Some(batch) = open.pop() {
                let first_open = open.iter().chain([&batch]).map(|b| names(b)[0].to_owned()).min().unwrap();
                if let Some(through) = batcher.through() {
                    prop_assert!(through.as_str() < first_open.as_str());
                }
                prop_assert!(batch.strays.len() <= LIMITS.metrics);
                prop_assert!(batch.strays.len() == 1 || batch.strays.iter().filter_map(|stray| stray.bytes).map(NonZeroU64::get).sum::<u64>() <= LIMITS.bytes);
                out.extend(names(&batch).into_iter().map(|name| (batch.owners.clone(), name.to_owned())));
                batcher.finish(batch.ticket);
            }
            out.sort_by(|a, b| a.1.cmp(&b.1));
            prop_assert_eq!(&out, &expected);
            prop_assert_eq!(batcher.through().map(MetricName::as_str), expected.last().map(|e| e.1.as_str()));
        }
    }
}
