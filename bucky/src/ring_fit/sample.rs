//! A sample of the names of all nodes: those with the smallest hashes, so that copies of a name meet.
//!
//! Each node answers as many names as asked. A node with many metrics ends at a smaller hash than others. Names
//! beyond the smallest of these ends are dropped: what other nodes have there cannot be known.

use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use bucky_api::{ClientError, SAMPLE_LIMIT, SampleLine, sample_hash};
use bucky_placement::key;
use futures_util::{StreamExt, stream};

use super::{FitQuery, SAMPLED_AT_MOST, SAMPLED_OF_A_NODE, host_of};
use crate::chain;
use crate::cluster::{DaemonKind, Member};
use crate::inventory::{ListDetail, Listing, Query, page_len};
use crate::names::Selection;
use crate::outcome::Outcome;
use crate::output::Output;
use crate::patience;

/// How many nodes are asked at once.
const ASKED_AT_ONCE: usize = 16;
/// A host with fewer copies than the average host, by this factor, counts as empty.
const EMPTY_BELOW: u64 = 50;

/// The names that were sampled.
pub(super) struct NameSample {
    /// The hosts whose names are known.
    pub(super) hosts: Vec<String>,
    /// What a relay hashes, and the hosts that have it.
    pub(super) names: Vec<(String, Vec<u16>)>,
    /// Unhealthy if a node did not answer.
    pub(super) outcome: Outcome,
}

/// A name in several samples.
struct Found {
    series: String,
    hosts: Vec<u16>,
}

/// The names so far, by hash, as far as all samples reach.
#[derive(Default)]
struct Merged {
    names: BTreeMap<(u64, String), Found>,
    end: Option<u64>,
}

impl NameSample {
    /// Asks all `members`. Reports those that do not answer.
    pub(super) async fn take(members: &[&Member], query: &FitQuery, output: &Arc<Output>) -> Self {
        let nodes = members.len().max(1) as u64;
        let usual = SAMPLED_OF_A_NODE.min(SAMPLED_AT_MOST / nodes);
        let count = query.sample.unwrap_or(usual).clamp(1, SAMPLE_LIMIT);
        let page = page_len(members.len());
        let mut outcome = Outcome::Done;
        let mut hosts: Vec<String> = Vec::new();
        let mut merged = Merged::default();
        let asked = members.iter().filter(|member| member.is_there()).map(|member| async move {
            (*member, sample_of(member, count, page, query, output).await)
        });
        let mut answers = stream::iter(asked).buffer_unordered(ASKED_AT_ONCE);
        while let Some((member, answer)) = answers.next().await {
            match answer {
                Ok(lines) => {
                    let host = host_of(member);
                    let known = hosts.iter().position(|other| other == host);
                    let number = known.unwrap_or_else(|| {
                        hosts.push(host.to_owned());
                        hosts.len() - 1
                    });
                    let number = u16::try_from(number).unwrap_or(u16::MAX);
                    merged.add(number, lines, count, query);
                }
                Err(error) => {
                    output.say(format_args!("bucky: {}", chain(&error)));
                    outcome = Outcome::Unhealthy;
                }
            }
        }
        drop(answers);
        for member in members.iter().filter(|member| !member.is_there()) {
            output.say(format_args!(
                "bucky: {} did not answer; its copies are unknown",
                member.addr()
            ));
            outcome = Outcome::Unhealthy;
        }
        let names = merged.names.into_values().map(|found| (found.series, found.hosts)).collect();
        Self { hosts, names, outcome }
    }

    /// The hosts with hardly any metric: new nodes that no rebalance has filled.
    pub(super) fn empty_hosts(&self) -> Vec<&str> {
        let mut counts = vec![0_u64; self.hosts.len()];
        for host in self.names.iter().flat_map(|(_, hosts)| hosts) {
            if let Some(count) = counts.get_mut(usize::from(*host)) {
                *count += 1;
            }
        }
        let all: u64 = counts.iter().sum();
        let is_empty = |count: u64| count * EMPTY_BELOW * (counts.len() as u64) < all;
        let counted = self.hosts.iter().zip(&counts);
        counted.filter(|(_, count)| is_empty(**count)).map(|(host, _)| host.as_str()).collect()
    }
}

impl Merged {
    /// Adds the sample of a host, which was asked for `count` names.
    fn add(&mut self, host: u16, lines: Vec<SampleLine>, count: u64, query: &FitQuery) {
        let end = lines.iter().map(|line| sample_hash(line.metric.as_str())).max();
        if lines.len() as u64 >= count {
            self.end = self.end.into_iter().chain(end).min();
        }
        for line in lines {
            let name = line.metric.as_str();
            let hash = sample_hash(name);
            if self.end.is_some_and(|end| hash > end) {
                continue;
            }
            if let Some(found) = self.names.get_mut(&(hash, name.to_owned())) {
                if !found.hosts.contains(&host) {
                    found.hosts.push(host);
                }
                continue;
            }
            let known = query.series.with_reported(line.series.as_deref());
            let Some(key) = key(&known, name) else { continue };
            let found = Found { series: key.as_str().to_owned(), hosts: vec![host] };
            self.names.insert((hash, name.to_owned()), found);
        }
        if let Some(after) = self.end.and_then(|end| end.checked_add(1)) {
            self.names.split_off(&(after, String::new()));
        }
    }
}

/// The sample of one node.
async fn sample_of(
    member: &Member,
    count: u64,
    page: usize,
    query: &FitQuery,
    output: &Arc<Output>,
) -> Result<Vec<SampleLine>, ClientError> {
    if member.can(DaemonKind::pages_its_list) {
        let limit = usize::try_from(count).unwrap_or(usize::MAX);
        let ask = || async { member.daemon.sample(count).await?.collect_at_most(limit).await };
        let wait = |error: &ClientError| {
            output.say(format_args!("Results from {} not available. Sleeping.", error.addr()));
        };
        match patience::ask(&member.daemon, ask, wait).await {
            // A buckyd from before this route.
            Err(error) if error.status().is_some_and(|status| status.as_u16() == 404) => {}
            answer => return answer,
        }
    }
    sample_of_list(member, count, page, query, output).await
}

/// Samples the whole list of a node that has no samples.
async fn sample_of_list(
    member: &Member,
    count: u64,
    page: usize,
    query: &FitQuery,
    output: &Arc<Output>,
) -> Result<Vec<SampleLine>, ClientError> {
    let wanted = Query { selection: Selection::All, detail: ListDetail::Name, workers: 1 };
    let mut list = Listing::begin(member, Arc::new(wanted), page, Arc::clone(output));
    let mut found: BinaryHeap<(u64, String)> = BinaryHeap::new();
    while let Some(entry) = list.next().await? {
        if is_local(&entry.name, query) || key(&query.series, &entry.name).is_none() {
            continue;
        }
        found.push((sample_hash(&entry.name), entry.name));
        if found.len() as u64 > count {
            found.pop();
        }
    }
    let line =
        |(_, name): (u64, String)| Some(SampleLine { metric: name.parse().ok()?, series: None });
    Ok(found.into_iter().filter_map(line).collect())
}

fn is_local(name: &str, query: &FitQuery) -> bool {
    query.local_prefix.as_ref().is_some_and(|prefix| name.starts_with(prefix.as_str()))
}

/// A metric with its hosts, with what a relay hashes in place of its name. `None` if a ring does not place it.
pub(super) fn placeable(
    (name, hosts): (String, Vec<u16>),
    query: &FitQuery,
) -> Option<(String, Vec<u16>)> {
    if is_local(&name, query) {
        return None;
    }
    Some((key(&query.series, &name)?.as_str().to_owned(), hosts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(names: &[&str]) -> Vec<SampleLine> {
        names
            .iter()
            .map(|name| SampleLine { metric: name.parse().unwrap(), series: None })
            .collect()
    }

    #[test]
    fn names_beyond_the_end_of_any_sample_do_not_count() {
        let mut names: Vec<String> = (0..40).map(|number| format!("a.m{number}")).collect();
        names.sort_by_key(|name| sample_hash(name));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let query = FitQuery::default();
        for is_cut_first in [true, false] {
            let mut merged = Merged::default();
            let mut cut = || merged.add(0, lines(&names[..10]), 10, &query);
            if is_cut_first {
                cut();
                merged.add(1, lines(&names[5..14]), 10, &query);
            } else {
                merged.add(1, lines(&names[5..14]), 10, &query);
                merged.add(0, lines(&names[..10]), 10, &query);
            }
            let hosts: Vec<usize> = merged.names.values().map(|found| found.hosts.len()).collect();
            assert_eq!(hosts, [1, 1, 1, 1, 1, 2, 2, 2, 2, 2], "cut first: {is_cut_first}");
        }
    }

    #[test]
    fn a_host_with_hardly_any_metric_counts_as_empty() {
        let mut names: Vec<(String, Vec<u16>)> =
            (0..1_000).map(|number| (format!("m{number}"), vec![number % 2])).collect();
        names.push(("stray".into(), vec![2]));
        let hosts = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let sample = NameSample { hosts, names, outcome: Outcome::Done };
        assert_eq!(sample.empty_hosts(), ["c", "d"]);
    }
}
