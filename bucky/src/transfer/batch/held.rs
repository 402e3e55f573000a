//! What waits in half-full batches: little memory for each metric, and a limit on the total.
//!
//! With many sources and many owners, most metrics wait for others with the same owners. The more may wait,
//! the larger the batches get. Names that wait together are sorted and share their beginnings. Only the new
//! part of each name is kept, about a fifth of it.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bucky_whisper::MetricName;

use super::Stray;

/// The longest encoding of a metric's numbers: the lengths of the shared and of the new part are below 2^14,
/// the length of a file is not.
const NUMBERS_BYTES: usize = 2 + 2 + 10;

/// Metrics in the order of their names. Each is encoded as the length of the part that its name shares with
/// the one before, the new part, and the length of its file.
#[derive(Debug, Default)]
pub(super) struct HeldStrays {
    coded: Vec<u8>,
    last: Vec<u8>,
    count: usize,
}

impl HeldStrays {
    /// Adds a metric whose file has this length, 0 if it is not known.
    pub(super) fn push(&mut self, name: &str, bytes: u64) {
        let same = |(one, other): &(&u8, &u8)| one == other;
        let shared = self.last.iter().zip(name.as_bytes()).take_while(same).count();
        let new = name.as_bytes().get(shared..).unwrap_or_default();
        self.make_room(new.len() + NUMBERS_BYTES);
        for number in [shared as u64, new.len() as u64, bytes] {
            self.push_number(number);
        }
        self.coded.extend_from_slice(new);
        self.last.truncate(shared);
        self.last.extend_from_slice(new);
        self.count += 1;
    }

    /// Grows by a quarter: there are many of these, and doubling would waste memory.
    fn make_room(&mut self, len_bytes: usize) {
        if self.coded.capacity() - self.coded.len() < len_bytes {
            self.coded.reserve_exact(len_bytes.max(self.coded.len() / 4));
        }
    }

    /// Seven bits a byte, the lowest first; all but the last byte have the highest bit.
    fn push_number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.coded.push(0x80 | number.to_le_bytes()[0]);
            number >>= 7;
        }
        self.coded.push(number.to_le_bytes()[0]);
    }

    /// The number of metrics.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The memory that they take, in bytes.
    pub(super) fn len_bytes(&self) -> usize {
        self.coded.capacity() + self.last.capacity()
    }

    /// All metrics.
    pub(super) fn into_strays(self) -> Vec<Stray> {
        let mut coded = self.coded.as_slice();
        let mut name: Vec<u8> = Vec::new();
        let mut strays = Vec::with_capacity(self.count);
        for _ in 0..self.count {
            let shared = usize::try_from(number(&mut coded)).unwrap_or(usize::MAX);
            let new = usize::try_from(number(&mut coded)).unwrap_or(usize::MAX);
            let bytes = NonZeroU64::new(number(&mut coded));
            let (new, rest) = coded.split_at(new);
            coded = rest;
            name.truncate(shared);
            name.extend_from_slice(new);
            let text = std::str::from_utf8(&name).expect("it was a name when it came");
            let metric = MetricName::parse(text).expect("it was a name when it came");
            strays.push(Stray { metric, bytes });
        }
        strays
    }
}

fn number(coded: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = coded.split_first() else { break };
        *coded = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

/// The limit on what may wait, shared by the batchers of all sources. A batcher may hold more than its share
/// while others hold less, so a single source with many owners can use all of it.
#[derive(Clone, Debug)]
pub(crate) struct HoldingRoom {
    held_bytes: Arc<AtomicUsize>,
    limit_bytes: usize,
    share_bytes: usize,
}

impl HoldingRoom {
    /// Room for this many bytes, and this many batchers. Each always has its share, so together they hold at
    /// most twice as much.
    pub(crate) fn new(limit_bytes: usize, batchers: usize) -> Self {
        Self { held_bytes: Arc::default(), limit_bytes, share_bytes: limit_bytes / batchers.max(1) }
    }

    /// Notes that a batcher now holds `now` bytes instead of `before`.
    pub(super) fn note(&self, before: usize, now: usize) {
        if now >= before {
            self.held_bytes.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.held_bytes.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// Whether a batcher that holds this many bytes must give a batch away.
    pub(super) fn is_short_for(&self, own_bytes: usize) -> bool {
        own_bytes > self.share_bytes && self.held_bytes.load(Ordering::Relaxed) > self.limit_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn held_metrics_come_out_as_they_went_in(
            strays in prop::collection::vec(("[a-cé]{1,5}(\\.[a-cé]{1,200}){0,2}", any::<u64>()), 0..40),
        ) {
            let mut held = HeldStrays::default();
            let strays: Vec<Stray> = strays
                .into_iter()
                .filter_map(|(name, bytes)| Some(Stray { metric: name.parse().ok()?, bytes: NonZeroU64::new(bytes) }))
                .collect();
            for stray in &strays {
                held.push(stray.metric.as_str(), stray.bytes.map_or(0, NonZeroU64::get));
            }
            prop_assert_eq!(held.len(), strays.len());
            prop_assert_eq!(held.into_strays(), strays);
        }
    }

    #[test]
    fn names_in_order_take_a_fraction_of_their_length() {
        let mut held = HeldStrays::default();
        for number in 0..1000 {
            held.push(
                &format!("servers.rack07.host{:04}.cpu{}.user", number / 4, number % 4),
                147_000,
            );
        }
        let name_bytes = "servers.rack07.host0000.cpu0.user".len() * 1000;
        assert!(held.len_bytes() < name_bytes / 2, "{} of {name_bytes}", held.len_bytes());
    }

    #[test]
    fn a_batcher_above_its_share_gives_way_only_if_there_is_no_room() {
        let room = HoldingRoom::new(100, 4);
        room.note(0, 90);
        assert!(!room.is_short_for(90), "the others have left it");
        room.note(0, 20);
        assert!(room.is_short_for(90) && !room.is_short_for(20));
        room.note(90, 10);
        assert!(!room.is_short_for(30));
    }
}
