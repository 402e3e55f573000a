//! What each metric needs: which owner fetches it from which other owner.
//!
//! Pure. An owner without a copy gets one from an owner that has it, never from a misplaced copy. Misplaced
//! copies are the work of `bucky rebalance`, which fills all owners from them and then removes them. Owners
//! that have a copy take turns as sources, so that no node sends much more than the others.

use crate::holders::MetricPlace;

/// What a metric needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing.
    Nothing,
    /// These fetches.
    Copies(Vec<Fetch>),
    /// No owner has it, but other nodes do: `bucky rebalance` must move it.
    Rebalance,
    /// It is unplaceable.
    Unplaceable,
}

/// One fetch by an owner from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fetch {
    /// The owner that has a copy.
    pub(crate) from: usize,
    /// The owner that is healed.
    pub(crate) to: usize,
    /// Other owners with a copy, in case `from` cannot give it.
    pub(crate) others: Box<[usize]>,
    /// Whether this fetch creates the copy, as far as is known.
    pub(crate) is_new: bool,
}

/// Decides what each metric needs.
#[derive(Clone, Debug)]
pub(crate) struct Needs {
    /// Whether owners that have a copy are healed from each other too.
    points: bool,
    /// The one node that is healed, or `None` for all.
    only: Option<usize>,
    /// By node, how many copies it is to send so far.
    sent: Vec<u64>,
}

impl Needs {
    /// Needs for `nodes` nodes. With `points`, owners that have a copy are healed too; with `only`, only that
    /// node is healed.
    pub(crate) fn new(nodes: usize, points: bool, only: Option<usize>) -> Self {
        Self { points, only, sent: vec![0; nodes] }
    }

    /// What a metric needs, by its `place` on the ring and the nodes that have it.
    pub(crate) fn of(&mut self, place: &MetricPlace, holders: &[usize]) -> Need {
        let owners = match place {
            MetricPlace::Owners(owners) => owners,
            MetricPlace::Local => return Need::Nothing,
            MetricPlace::Unplaceable => return Need::Unplaceable,
        };
        let having: Vec<usize> =
            owners.iter().copied().filter(|owner| holders.contains(owner)).collect();
        let wanted = owners.iter().copied().filter(|to| self.only.is_none_or(|only| only == *to));
        if having.is_empty() {
            return if wanted.count() > 0 { Need::Rebalance } else { Need::Nothing };
        }
        let wanted: Vec<usize> = wanted.filter(|to| self.points || !having.contains(to)).collect();
        let copies: Vec<Fetch> =
            wanted.into_iter().flat_map(|to| self.fetches(to, &having)).collect();
        if copies.is_empty() { Need::Nothing } else { Need::Copies(copies) }
    }

    /// The fetches that heal `to` from the owners that have a copy.
    fn fetches(&mut self, to: usize, having: &[usize]) -> Vec<Fetch> {
        let is_lacking = !having.contains(&to);
        let mut from: Vec<usize> = having.iter().copied().filter(|from| *from != to).collect();
        // The sort is stable: among nodes that have sent equally many, the first owner is chosen.
        from.sort_by_key(|from| self.sent.get(*from).copied().unwrap_or(0));
        let fetches: Vec<Fetch> = if self.points {
            let fetch = |(number, from): (usize, usize)| Fetch {
                from,
                to,
                others: Box::default(),
                is_new: is_lacking && number == 0,
            };
            from.into_iter().enumerate().map(fetch).collect()
        } else {
            let fetch = |(first, others): (&usize, &[usize])| Fetch {
                from: *first,
                to,
                others: others.into(),
                is_new: is_lacking,
            };
            from.split_first().map(fetch).into_iter().collect()
        };
        for fetch in &fetches {
            if let Some(sent) = self.sent.get_mut(fetch.from) {
                *sent += 1;
            }
        }
        fetches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn owners(owners: &[usize]) -> MetricPlace {
        MetricPlace::Owners(owners.to_vec())
    }

    /// `FROM>TO`, and the other nodes that have it.
    fn shown(need: &Need) -> Vec<String> {
        let Need::Copies(copies) = need else { return vec![format!("{need:?}")] };
        let shown = |fetch: &Fetch| {
            let others: String = fetch.others.iter().map(|other| format!(" or {other}")).collect();
            let new = if fetch.is_new { "" } else { " (compared)" };
            format!("{}>{}{others}{new}", fetch.from, fetch.to)
        };
        copies.iter().map(shown).collect()
    }

    #[test]
    fn an_owner_without_a_copy_gets_one_from_an_owner_that_has_it() {
        for (place, holders, expected) in [
            (owners(&[0, 1]), &[0][..], &["0>1"][..]),
            (owners(&[0, 1]), &[1], &["1>0"]),
            (owners(&[2, 0, 1]), &[0, 1], &["0>2 or 1"]),
            (owners(&[2, 0, 1]), &[1], &["1>2", "1>0"]),
            // Nothing is fetched from a misplaced copy.
            (owners(&[0, 1]), &[1, 3], &["1>0"]),
            (owners(&[0, 1]), &[2, 3], &["Rebalance"]),
            (owners(&[0, 1]), &[0, 1], &["Nothing"]),
            (owners(&[0, 1]), &[0, 1, 2], &["Nothing"]),
            (owners(&[0]), &[0], &["Nothing"]),
            (owners(&[0]), &[1], &["Rebalance"]),
            (MetricPlace::Local, &[0], &["Nothing"]),
            (MetricPlace::Unplaceable, &[0], &["Unplaceable"]),
        ] {
            let need = Needs::new(4, false, None).of(&place, holders);
            assert_eq!(shown(&need), expected, "{place:?} on {holders:?}");
        }
    }

    #[test]
    fn with_points_each_owner_is_healed_from_each_other_copy() {
        let mut needs = Needs::new(4, true, None);
        assert_eq!(
            shown(&needs.of(&owners(&[0, 1]), &[0, 1])),
            ["1>0 (compared)", "0>1 (compared)"]
        );
        let mut needs = Needs::new(4, true, None);
        let need = needs.of(&owners(&[2, 0, 1]), &[0, 1]);
        assert_eq!(shown(&need), ["0>2", "1>2 (compared)", "1>0 (compared)", "0>1 (compared)"]);
        assert_eq!(shown(&needs.of(&owners(&[3]), &[3])), ["Nothing"]);
        assert_eq!(shown(&needs.of(&owners(&[0, 3]), &[2])), ["Rebalance"]);
    }

    #[test]
    fn only_the_one_node_is_healed_where_that_is_asked_for() {
        for points in [false, true] {
            let mut needs = Needs::new(4, points, Some(1));
            assert_eq!(shown(&needs.of(&owners(&[0, 1]), &[0])), ["0>1"]);
            assert_eq!(shown(&needs.of(&owners(&[0, 1]), &[1])), ["Nothing"]);
            assert_eq!(shown(&needs.of(&owners(&[0, 2]), &[3])), ["Nothing"], "not its business");
            assert_eq!(shown(&needs.of(&owners(&[0, 1]), &[3])), ["Rebalance"]);
        }
    }

    #[test]
    fn those_that_have_a_copy_take_turns() {
        let mut needs = Needs::new(3, false, None);
        let mut sent = [0; 3];
        for _ in 0..1_000 {
            let Need::Copies(copies) = needs.of(&owners(&[0, 1, 2]), &[0, 1]) else { panic!() };
            sent[copies[0].from] += 1;
        }
        assert_eq!(sent, [500, 500, 0]);
    }

    proptest! {
        /// Whatever the nodes have: every owner without a copy gets exactly one if any owner has one. No node
        /// fetches from itself, from a node without a copy, or a metric that it does not own.
        #[test]
        fn every_owner_is_served_once_and_by_an_owner(
            place in prop::sample::subsequence((0..6usize).collect::<Vec<_>>(), 0..5),
            holders in prop::sample::subsequence((0..6usize).collect::<Vec<_>>(), 0..6),
            points: bool,
        ) {
            let need = Needs::new(6, points, None).of(&owners(&place), &holders);
            let copies = if let Need::Copies(copies) = need { copies } else { Vec::new() };
            let has = |node: &usize| place.contains(node) && holders.contains(node);
            for fetch in &copies {
                prop_assert!(place.contains(&fetch.to) && fetch.from != fetch.to);
                prop_assert!(has(&fetch.from) && fetch.others.iter().all(has));
                prop_assert!(!fetch.others.contains(&fetch.from) && !fetch.others.contains(&fetch.to));
            }
            let can_be_served = place.iter().any(has);
            for owner in &place {
                let new = copies.iter().filter(|fetch| fetch.to == *owner && fetch.is_new).count();
                prop_assert_eq!(new, usize::from(can_be_served && !has(owner)));
                let compared = copies.iter().filter(|fetch| fetch.to == *owner && !fetch.is_new).count();
                let others = place.iter().filter(|other| *other != owner && has(other)).count();
                let expected = if points { others - new } else { 0 };
                prop_assert_eq!(compared, expected);
            }
        }
    }
}
