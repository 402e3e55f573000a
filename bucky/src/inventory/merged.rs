//! The lists of many nodes as one list, in the order of the names.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

use bucky_api::{ClientError, chain};

use super::{ListedMetric, Listing, Query, page_len, refresh};
use crate::cluster::{Cluster, Member};
use crate::outcome::Outcome;
use crate::output::Output;

/// The lists of many nodes in one order: by name, then by node.
pub(crate) struct MergedLists {
    listings: Vec<Option<Listing>>,
    heads: BinaryHeap<Reverse<Head>>,
    failures: Vec<ClientError>,
    /// How many metrics each node has returned so far.
    counts: Vec<u64>,
}

/// The next metric of one node.
#[derive(PartialEq, Eq)]
struct Head {
    index: usize,
    entry: ListedMetric,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.entry.name.cmp(&other.entry.name).then(self.index.cmp(&other.index))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl MergedLists {
    /// Begins to read from all members of `cluster` that answered, after a new scan if `fresh`.
    ///
    /// # Errors
    /// If a new scan fails.
    pub(crate) async fn begin(
        cluster: &Cluster,
        query: Query,
        fresh: bool,
        output: &Arc<Output>,
    ) -> anyhow::Result<Self> {
        if fresh {
            refresh(cluster.present(), output).await?;
        }
        let query = Arc::new(query);
        let page_len = page_len(cluster.members.len());
        let begin = |member: &Member| {
            let begin = || Listing::begin(member, Arc::clone(&query), page_len, Arc::clone(output));
            member.is_there().then(begin)
        };
        let listings: Vec<Option<Listing>> = cluster.members.iter().map(begin).collect();
        let mut merged = Self {
            heads: BinaryHeap::with_capacity(listings.len()),
            counts: vec![0; listings.len()],
            listings,
            failures: Vec::new(),
        };
        for index in 0..merged.listings.len() {
            merged.advance(index).await;
        }
        Ok(merged)
    }

    /// The next metric and the index of its node among the members, or `None` at the end of all lists.
    pub(crate) async fn next(&mut self) -> Option<(usize, ListedMetric)> {
        let Reverse(Head { index, entry }) = self.heads.pop()?;
        self.advance(index).await;
        Some((index, entry))
    }

    /// Adds the next metric of a node to the heads, if there is one.
    async fn advance(&mut self, index: usize) {
        let Some(slot) = self.listings.get_mut(index) else { return };
        let Some(listing) = slot else { return };
        match listing.next().await {
            Ok(Some(entry)) => {
                self.heads.push(Reverse(Head { index, entry }));
                if let Some(count) = self.counts.get_mut(index) {
                    *count += 1;
                }
            }
            Ok(None) => *slot = None,
            Err(error) => {
                self.failures.push(error);
                *slot = None;
            }
        }
    }

    /// Reports how many metrics each node returned; call it when all have been taken.
    pub(crate) fn report_returned(&self, cluster: &Cluster, output: &Output) {
        for (member, count) in cluster.members.iter().zip(&self.counts) {
            if member.is_there() {
                report_returned(member, *count, output);
            }
        }
    }

    /// The reason why a node's list broke off, once. That list is not read any further.
    pub(crate) fn take_failure(&mut self) -> Option<ClientError> {
        self.failures.pop()
    }

    /// Reports the nodes whose lists broke off.
    pub(crate) fn report_failures(&self, output: &Output) -> Outcome {
        report_failures(&self.failures, output)
    }
}

/// Reports, in the Go tool's words, how many metrics a node returned. At a terminal the metrics, or their
/// sum, are shown.
pub(crate) fn report_returned(member: &Member, count: u64, output: &Output) {
    if !output.is_terminal() {
        output.say(format_args!("{} returned {count} metrics", member.addr()));
    }
}

/// Reports what failed at which node.
pub(crate) fn report_failures(failures: &[ClientError], output: &Output) -> Outcome {
    for error in failures {
        output.say(format_args!("bucky: {}", chain(error)));
    }
    if failures.is_empty() { Outcome::Done } else { Outcome::SomeFailed }
}
