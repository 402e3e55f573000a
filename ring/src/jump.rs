//! Jump rings: consistent hashing without a ring, in which only the order of the nodes matters.
//!
//! The algorithm is Lamping and Veach's ("A Fast, Minimal Memory, Consistent Hash Algorithm", 2014). The
//! order of the nodes and the further copies follow the relays.

use std::cmp::Ordering;

use smallvec::SmallVec;

use crate::{Node, Relay};

/// The bucket of `key` among `buckets` (at least 1, less than 2^16). With one more bucket a key stays or
/// moves to the new one.
pub(crate) fn jump(mut key: u64, buckets: u32) -> u32 {
    let buckets = u64::from(buckets);
    let mut bucket = 0;
    loop {
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let next = landing(bucket, (key >> 33) + 1);
        if next >= buckets {
            return u32::try_from(bucket).unwrap_or(u32::MAX);
        }
        bucket = next;
    }
}

/// Where a jump from `bucket` lands with a random `divisor` of 1 to 2^31. This is the paper's floating-point
/// `(bucket + 1) * (2^31 / divisor)`, rounded down, if that is less than 2^16. Otherwise the result is any
/// number that is not less than 2^16.
///
/// Integers with 32 binary places are enough. Each jump waits for the previous one; with integers it waits
/// for a multiplication instead of two conversions. Their error is less than `bucket + 1` in the last place,
/// and the rounding of the floating-point numbers adds less than one more. Only if that could reach the next
/// integer, the floating-point numbers decide.
#[inline]
fn landing(bucket: u64, divisor: u64) -> u64 {
    let from = bucket + 1;
    // The product of the two fits into 64 bits.
    let share = ((1 << 63) / divisor).min(1 << 48);
    let product = from * share;
    let places = product & 0xffff_ffff;
    if (places + from) & 0xffff_ffff <= from {
        return landing_as_the_paper(bucket, divisor);
    }
    product >> 32
}

#[cold]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the paper's own arithmetic: positive, below 2^63, both operands exact"
)]
fn landing_as_the_paper(bucket: u64, divisor: u64) -> u64 {
    ((bucket + 1) as f64 * ((1_u64 << 31) as f64 / divisor as f64)) as u64
}

/// The buckets that hold the copies of a key, first copy first.
///
/// This is carbon-c-relay's method: after each copy the hash goes through xorshift, the **last** bucket moves
/// into the place of the one that was taken, and there is one bucket less. The bucket in a place is found by
/// going back through the places taken, so that no list of buckets is copied. Up to eight copies need no
/// allocation.
#[derive(Clone, Debug)]
pub(crate) struct JumpWalk {
    hash: u64,
    buckets: u32,
    taken: SmallVec<[u32; 8]>,
}

impl JumpWalk {
    /// The walk of a key with the hash `hash`, over `buckets` buckets, at least one.
    pub(crate) fn new(hash: u64, buckets: u32) -> Self {
        Self { hash, buckets, taken: SmallVec::new() }
    }

    /// The bucket of the next copy, or `None` if there is none left.
    pub(crate) fn next(&mut self) -> Option<u32> {
        if self.buckets == 0 {
            return None;
        }
        let place = jump(self.hash, self.buckets);
        let bucket = self.bucket_in(place);
        self.taken.push(place);
        self.hash = xorshift(self.hash);
        self.buckets -= 1;
        Some(bucket)
    }

    /// Undoes the moves, last one first: the bucket in a place that was filled came from the end at that
    /// time.
    fn bucket_in(&self, place: u32) -> u32 {
        let moves = (self.buckets..).zip(self.taken.iter().rev());
        moves.fold(place, |bucket, (last, filled)| if bucket == *filled { last } else { bucket })
    }
}

fn xorshift(mut hash: u64) -> u64 {
    hash ^= hash >> 12;
    hash ^= hash << 25;
    hash ^= hash >> 27;
    hash.wrapping_mul(2_685_821_657_736_338_717)
}

/// The nodes in the order of the buckets, as indices into `nodes`.
///
/// carbon and carbon-relay-ng have no jump rings; for them this returns buckytools' order.
pub(crate) fn bucket_order(nodes: &[Node], relay: Relay) -> Vec<u32> {
    let configured: Vec<u32> = (0..).take(nodes.len()).collect();
    match relay {
        Relay::CarbonCRelay => sorted_like_c(nodes, &configured),
        Relay::Buckytools | Relay::Carbon | Relay::CarbonRelayNg => {
            inserted_one_by_one(nodes, &configured)
        }
    }
}

/// buckytools: a node without instance goes to the end. A node with an instance goes before the first node
/// whose instance is greater as bytes; no instance counts as the empty string. So the order of the
/// configuration has an effect.
fn inserted_one_by_one(nodes: &[Node], configured: &[u32]) -> Vec<u32> {
    let mut order: Vec<u32> = Vec::with_capacity(configured.len());
    let instance_of = |index: u32| nodes[index as usize].instance();
    for index in configured {
        let place = match instance_of(*index) {
            None => order.len(),
            instance => {
                order.iter().position(|other| instance_of(*other) > instance).unwrap_or(order.len())
            }
        };
        order.insert(place, *index);
    }
    order
}

/// carbon-c-relay: a stable sort by its comparison. The comparison contradicts itself for some mixtures of
/// numbers and words (9 < 10 as numbers, but "10" < "1a" < "9" as bytes). So this repeats the merge sort of
/// the C library that the relay uses, step by step: it gives the same order in that case too, and never
/// panics.
fn sorted_like_c(nodes: &[Node], indices: &[u32]) -> Vec<u32> {
    if indices.len() < 2 {
        return indices.to_vec();
    }
    let (left, right) = indices.split_at(indices.len() / 2);
    let left = sorted_like_c(nodes, left);
    let right = sorted_like_c(nodes, right);
    let mut order = Vec::with_capacity(indices.len());
    let instance_of = |index: u32| nodes[index as usize].instance();
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(l), Some(r)) = (left.peek(), right.peek()) {
        let comparison = compare_in_c_relay(instance_of(*l), instance_of(*r));
        let smaller = if comparison == Ordering::Greater { &mut right } else { &mut left };
        order.extend(smaller.next());
    }
    order.extend(left);
    order.extend(right);
    order
}

/// Compares two instances as numbers if both are numbers, otherwise as bytes; no instance is the greatest.
fn compare_in_c_relay(left: Option<&str>, right: Option<&str>) -> Ordering {
    match (left, right) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(left), Some(right)) => match (number(left), number(right)) {
            (Some(left_number), Some(right_number)) => {
                low_half(left_number.wrapping_sub(right_number)).cmp(&0)
            }
            _ => left.cmp(right),
        },
    }
}

/// The relay returns the difference of two `long` values as an `int`.
#[expect(clippy::cast_possible_truncation, reason = "the relay truncates here, so do we")]
fn low_half(difference: i64) -> i32 {
    difference as i32
}

/// `instance` as C's `strtol` reads it completely: a sign and decimal digits; the nearest `long` if it is too
/// large.
pub(crate) fn number(instance: &str) -> Option<i64> {
    let digits = instance.strip_prefix(['+', '-']).unwrap_or(instance);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nearest = if instance.starts_with('-') { i64::MIN } else { i64::MAX };
    Some(instance.parse().unwrap_or(nearest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(nodes: &[&str], relay: Relay) -> Vec<String> {
        let nodes: Vec<Node> = nodes.iter().map(|node| node.parse().expect("a node")).collect();
        let name = |index: u32| {
            let node = &nodes[index as usize];
            node.instance().unwrap_or(node.host()).to_owned()
        };
        bucket_order(&nodes, relay).into_iter().map(name).collect()
    }

    #[test]
    fn jump_gives_the_buckets_of_the_paper() {
        // The first two are from the vectors' README, the others are common test values for implementations
        // of the paper.
        assert_eq!(jump(0x17ae_fa6f_58d8_7143, 12), 3);
        assert_eq!(jump(0x9562_aa50_b037_c382, 11), 0);
        assert_eq!(jump(1, 1), 0);
        assert_eq!(jump(256, 1024), 520);
        assert_eq!(jump(42, 57), 43);
        assert_eq!(jump(0xdead_10cc, 666), 361);
    }

    /// Both functions fall as the divisor grows. So if they agree on both sides of every step of one of them,
    /// they are equal.
    #[test]
    fn a_jump_lands_where_the_paper_has_it() {
        const DIVISORS: u64 = 1 << 31;
        let same = |bucket: u64, divisor: u64| {
            let paper = landing_as_the_paper(bucket, divisor);
            let ours = landing(bucket, divisor);
            assert_eq!(ours.min(1 << 16), paper.min(1 << 16), "from {bucket} with {divisor}");
        };
        for bucket in (0..300).chain([1_023, 4_095, 65_534]) {
            for landing in (1..600).chain([1_024, 4_096, 65_535]) {
                let step = (bucket + 1) * DIVISORS / landing;
                for divisor in step.saturating_sub(3)..=step + 3 {
                    same(bucket, divisor.clamp(1, DIVISORS));
                }
            }
            same(bucket, 1);
            same(bucket, DIVISORS);
        }
    }

    #[test]
    fn further_copies_follow_the_moves_of_the_last_bucket() {
        let mut walk = JumpWalk::new(0x17ae_fa6f_58d8_7143, 12);
        assert_eq!([walk.next(), walk.next(), walk.next()], [Some(3), Some(0), Some(10)]);
    }

    #[test]
    fn c_relay_sorts_numbers_as_numbers_and_none_last() {
        let nodes = ["a=010", "b=2", "c=01", "d=0", "e=11", "f=1", "g=003"];
        assert_eq!(order(&nodes, Relay::CarbonCRelay), ["0", "01", "1", "2", "003", "010", "11"]);
        let mixed = ["mx-5", "mx-1=b", "mx-2", "mx-3=a", "mx-1", "mx-4=B", "mx-2=c", "mx-3"];
        assert_eq!(
            order(&mixed, Relay::CarbonCRelay),
            ["B", "a", "b", "c", "mx-5", "mx-2", "mx-1", "mx-3"]
        );
    }

    #[test]
    fn buckytools_inserts_nodes_one_by_one() {
        let nodes = ["a=010", "b=2", "c=01", "d=0", "e=11", "f=1", "g=003"];
        assert_eq!(order(&nodes, Relay::Buckytools), ["0", "003", "01", "010", "1", "11", "2"]);
        let mixed = ["mx-5", "mx-1=b", "mx-2", "mx-3=a", "mx-1", "mx-4=B", "mx-2=c", "mx-3"];
        assert_eq!(
            order(&mixed, Relay::Buckytools),
            ["mx-5", "B", "a", "b", "mx-2", "mx-1", "c", "mx-3"]
        );
        assert_eq!(order(&["A=b", "B", "C=a"], Relay::Buckytools), ["a", "b", "B"]);
    }

    #[test]
    fn numbers_are_what_strtol_reads_to_the_end() {
        assert_eq!(number("007"), Some(7));
        assert_eq!(number("-3"), Some(-3));
        assert_eq!(number("+3"), Some(3));
        assert_eq!(number("99999999999999999999"), Some(i64::MAX));
        assert_eq!(number("-99999999999999999999"), Some(i64::MIN));
        for word in ["", "-", "1a", "0x10", "１"] {
            assert_eq!(number(word), None, "{word}");
        }
    }

    /// Figure 1 of the paper, whose buckets are signed numbers.
    #[expect(clippy::cast_possible_truncation, reason = "the paper's own arithmetic")]
    fn jump_as_the_paper(mut key: u64, buckets: u32) -> u32 {
        let (mut bucket, mut next) = (-1_i64, 0_i64);
        while next < i64::from(buckets) {
            bucket = next;
            key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
            let divisor = f64::from(u32::try_from((key >> 33) + 1).expect("31 bits"));
            let from = f64::from(u32::try_from(bucket + 1).expect("a small ring"));
            next = (from * (f64::from(1_u32 << 31) / divisor)) as i64;
        }
        u32::try_from(bucket).expect("not negative")
    }

    proptest! {
        #[test]
        fn jump_is_the_papers_program(key: u64, buckets in 1_u32..5_000) {
            prop_assert_eq!(jump(key, buckets), jump_as_the_paper(key, buckets));
        }

        #[test]
        fn one_bucket_more_moves_a_key_there_or_not_at_all(key: u64, buckets in 1_u32..2_000) {
            let (before, after) = (jump(key, buckets), jump(key, buckets + 1));
            prop_assert!(before < buckets);
            prop_assert!(after == before || after == buckets);
        }

        #[test]
        fn the_walk_is_that_of_a_list_whose_last_moves_into_the_hole(hash: u64, buckets in 1_u32..40) {
            let mut walk = JumpWalk::new(hash, buckets);
            let (mut list, mut hash) = ((0..buckets).collect::<Vec<_>>(), hash);
            while let Some(length) = u32::try_from(list.len()).ok().filter(|length| *length > 0) {
                let place = jump(hash, length) as usize;
                prop_assert_eq!(walk.next(), Some(list.swap_remove(place)));
                hash = xorshift(hash);
            }
            prop_assert_eq!(walk.next(), None);
        }

        #[test]
        fn any_mixture_of_instances_is_put_in_some_order(
            instances in prop::collection::vec("[0-9]{0,3}[a-b]{0,1}", 1..40)
        ) {
            let nodes: Vec<Node> = instances
                .iter()
                .map(|instance| Node::new("a", 1, Some(instance)).expect("a node"))
                .collect();
            for relay in [Relay::CarbonCRelay, Relay::Buckytools] {
                let mut order = bucket_order(&nodes, relay);
                order.sort_unstable();
                prop_assert_eq!(order, (0..).take(nodes.len()).collect::<Vec<u32>>());
            }
        }
    }
}
