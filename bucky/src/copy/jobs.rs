//! What each owner of a new name fetches, from which node, and in which order.
//!
//! Pure. Every owner of a new name fetches every copy of every old name of it (D48). If several copies go
//! into one new name, all its owners fetch them in the same order, one after the other. Where two copies have
//! different values for one time, the first copy's value is kept, so all owners keep the same one.

use std::ops::Range;

use bucky_whisper::MetricName;

use super::name_map::{MapEntry, NameMap};

/// A copy that an owner fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FetchJob {
    /// How many copies go into the same new name before this one.
    pub(super) rank: u32,
    /// The node that has the copy.
    pub(super) from: u32,
    /// The node that fetches it.
    pub(super) to: u32,
    /// The index of the entry in the map.
    pub(super) entry: u32,
}

/// The jobs for the entries of `map`, sorted. `holders` gives the nodes that have an old name, `owners` the
/// owners of a new one.
pub(super) fn jobs(
    map: &NameMap,
    holders: impl Fn(u32) -> Vec<u32>,
    owners: impl Fn(&MetricName) -> Vec<u32>,
) -> Vec<FetchJob> {
    let mut jobs = Vec::new();
    let (mut rank, mut last): (u32, Option<&MapEntry>) = (0, None);
    for index in map.by_new() {
        let Some(entry) = map.get(index) else { continue };
        if last.is_none_or(|last| last.new != entry.new) {
            rank = 0;
        }
        last = Some(entry);
        let owners = owners(&entry.new);
        for from in holders(index) {
            let targets = owners.iter().filter(|to| **to != from || entry.old != entry.new);
            jobs.extend(targets.map(|to| FetchJob { rank, from, to: *to, entry: index }));
            rank = rank.saturating_add(1);
        }
    }
    jobs.sort_unstable();
    jobs
}

/// Splits `jobs`, which are sorted and of one rank, into batches. `full` gives how many metrics a source
/// sends in one batch. The first batch of every pair of nodes comes before the second batch of any pair.
pub(super) fn batches(jobs: &[FetchJob], full: impl Fn(u32) -> usize) -> Vec<Range<usize>> {
    let mut batches: Vec<(usize, Range<usize>)> = Vec::new();
    let mut start = 0;
    for pair in jobs.chunk_by(|one, other| (one.from, one.to) == (other.from, other.to)) {
        let full = pair.first().map_or(1, |job| full(job.from)).max(1);
        for (number, part) in pair.chunks(full).enumerate() {
            batches.push((number, start..start + part.len()));
            start += part.len();
        }
    }
    batches.sort_by_key(|(number, part)| (*number, part.start));
    batches.into_iter().map(|(_, part)| part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `RANK FROM>TO OLD`.
    fn shown(text: &str, holders: impl Fn(&str) -> Vec<u32>, owners: &[u32]) -> Vec<String> {
        let map = NameMap::read(text.as_bytes()).unwrap();
        let holders = |index| holders(map.get(index).unwrap().old.as_str());
        let jobs = jobs(&map, holders, |_| owners.to_vec());
        let shown = jobs.iter().map(|job| {
            format!("{} {}>{} {}", job.rank, job.from, job.to, map.get(job.entry).unwrap().old)
        });
        shown.collect()
    }

    /// D48: of two copies that differ the Go tool takes one, by chance.
    #[test]
    fn every_copy_goes_to_every_owner_and_to_all_in_one_order() {
        assert_eq!(
            shown(r#"{"old": "new"}"#, |_| vec![0, 2], &[1, 2]),
            ["0 0>1 old", "0 0>2 old", "1 2>1 old", "1 2>2 old"]
        );
    }

    #[test]
    fn old_names_that_become_one_follow_each_other_as_the_map_has_them() {
        let holders = |old: &str| if old == "b" { vec![0, 1] } else { vec![0] };
        assert_eq!(
            shown(r#"{"z": "n", "b": "n", "c": "m"}"#, holders, &[3]),
            ["0 0>3 z", "0 0>3 c", "1 0>3 b", "2 1>3 b"]
        );
    }

    #[test]
    fn a_name_that_stays_is_not_fetched_by_who_has_it() {
        assert_eq!(shown(r#"{"a": "a"}"#, |_| vec![0, 1], &[0]), ["1 1>0 a"]);
        assert_eq!(shown(r#"{"a": "a"}"#, |_| vec![0], &[0]), [""; 0]);
        assert_eq!(shown(r#"{"a": "b"}"#, |_| vec![0], &[0]), ["0 0>0 a"], "itself, renamed");
    }

    proptest! {
        /// Every job is in one batch. No batch mixes pairs or is too long. Pairs take turns.
        #[test]
        fn jobs_are_in_one_batch_each(
            pairs in prop::collection::vec((0u32..3, 0u32..3), 0..60),
            full in 1usize..7,
        ) {
            let mut jobs: Vec<FetchJob> = (0u32..)
                .zip(&pairs)
                .map(|(entry, (from, to))| FetchJob { rank: 0, from: *from, to: *to, entry })
                .collect();
            jobs.sort_unstable();
            let batches = batches(&jobs, |_| full);
            let mut seen: Vec<FetchJob> = Vec::new();
            for batch in &batches {
                let part = &jobs[batch.clone()];
                prop_assert!((1..=full).contains(&part.len()));
                prop_assert!(part.iter().all(|job| (job.from, job.to) == (part[0].from, part[0].to)));
                seen.extend(part);
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, jobs);
        }
    }
}
