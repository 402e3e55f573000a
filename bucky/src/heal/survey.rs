//! What is missing on which owners. The nodes' lists are read side by side, and what a metric needs follows
//! from its name alone.
//!
//! The lists have no sizes. Each source is asked for the sizes of an even sample of what it will send. From
//! them follow roughly how many bytes will travel, and how many metrics make a batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use bucky_api::ClientError;
use bucky_whisper::MetricName;
use futures_util::{StreamExt, stream};

use super::need::{Fetch, Need, Needs};
use crate::chain;
use crate::counted::counted;
use crate::fleet::Fleet;
use crate::holders::{Holders, Placer};
use crate::inventory::UnfoundNames;
use crate::outcome::{Outcome, UnhealthyError};
use crate::output::Output;
use crate::placement::Series;
use crate::plan::Plan;
use crate::plan::copies::plan_of_copies;
use crate::sizes::{EvenSample, average};

/// How many nodes are asked at once.
const ASKED_AT_ONCE: usize = 32;

/// Reads, metric by metric, what must be fetched.
pub(crate) struct NeedReader {
    holders: Holders,
    placer: Arc<Placer>,
    needs: Needs,
    seen: ListTotals,
}

/// What was read, and how much of it is not for this command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListTotals {
    /// By node, how many metrics it lists.
    pub(crate) listed: Vec<u64>,
    /// Metrics that only other nodes than their owners have.
    pub(crate) to_rebalance: u64,
    /// Tagged files that are unplaceable.
    pub(crate) unplaceable: u64,
    /// Paths that are not a metric's name.
    pub(crate) unusable: u64,
}

impl NeedReader {
    /// Reads `holders` of `nodes` nodes.
    pub(crate) fn new(holders: Holders, placer: Arc<Placer>, needs: Needs, nodes: usize) -> Self {
        Self {
            holders,
            placer,
            needs,
            seen: ListTotals { listed: vec![0; nodes], ..ListTotals::default() },
        }
    }

    /// The next metric that needs something, with its fetches, or `None` at the end.
    ///
    /// # Errors
    /// [`ClientError`] if a node's list breaks off: what it does not list would seem to be missing there.
    pub(crate) async fn next(&mut self) -> Result<Option<(MetricName, Vec<Fetch>)>, ClientError> {
        loop {
            let Some(listed) = self.holders.next().await? else { return Ok(None) };
            for node in &listed.nodes {
                if let Some(count) = self.seen.listed.get_mut(*node) {
                    *count += 1;
                }
            }
            let Ok(metric) = listed.metric() else {
                self.seen.unusable += 1;
                continue;
            };
            match self.needs.of(&self.placer.place(&listed), &listed.nodes) {
                Need::Nothing => {}
                Need::Copies(copies) => return Ok(Some((metric, copies))),
                Need::Rebalance => self.seen.to_rebalance += 1,
                Need::Unplaceable => self.seen.unplaceable += 1,
            }
        }
    }
}

impl ListTotals {
    /// Reports unplaceable tagged files: whether an owner lacks them is unknown.
    pub(crate) fn report_unplaceable(&self, series: &Series, output: &Output) -> Outcome {
        if self.unplaceable == 0 {
            return Outcome::Done;
        }
        output.say(format_args!("bucky: {}", series.unplaceable(self.unplaceable)));
        Outcome::SomeFailed
    }
}

/// What a heal has to do.
pub(crate) struct HealSurvey {
    /// The missing copies: from which node to which.
    pub(crate) plan: Plan,
    /// How many fetches fill an owner that has a copy already.
    pub(crate) compared: u64,
    /// By node, the average length of the files that it sends, or `None` if unknown.
    pub(crate) averages: Vec<Option<u64>>,
    /// What else was found.
    pub(crate) seen: ListTotals,
    /// Selected names that no node has.
    pub(crate) unfound: UnfoundNames,
}

/// Reads all lists to their end.
///
/// # Errors
/// [`UnhealthyError`] if a list cannot be read to its end.
pub(crate) async fn survey(mut reader: NeedReader, fleet: &Fleet) -> anyhow::Result<HealSurvey> {
    let mut copies: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    let mut samples: Vec<EvenSample> =
        fleet.members.iter().map(|_| EvenSample::default()).collect();
    let mut compared = 0;
    let broken = |error: ClientError| {
        UnhealthyError::because(format!("cannot find out what is missing: {}", chain(&error)))
    };
    while let Some((metric, fetches)) = reader.next().await.map_err(broken)? {
        for fetch in fetches {
            if let Some(samples) = samples.get_mut(fetch.from) {
                samples.offer(&metric);
            }
            if fetch.is_new {
                *copies.entry((fetch.from, fetch.to)).or_default() += 1;
            } else {
                compared += 1;
            }
        }
    }
    let averages = fleet.members.iter().zip(samples);
    let averages = averages.map(|(node, samples)| average(&node.daemon, samples));
    let averages: Vec<Option<u64>> = stream::iter(averages).buffered(ASKED_AT_ONCE).collect().await;
    let plan = plan_of_copies(&copies, &averages, &fleet.members);
    Ok(HealSurvey {
        plan,
        compared,
        averages,
        seen: reader.seen,
        unfound: reader.holders.into_unfound(),
    })
}

/// Reports what was found and is not for this command, and what looks odd.
pub(crate) fn report_totals(seen: &ListTotals, fleet: &Fleet, is_selection: bool, output: &Output) {
    if seen.unusable > 0 {
        output.say(format_args!(
            "bucky: {} left out; `bucky verify` reports them",
            counted(
                seen.unusable,
                "listed name is not a metric name and is",
                "listed names are not metric names and are"
            )
        ));
    }
    if is_selection || seen.listed.iter().all(|count| *count == 0) {
        return;
    }
    for (node, _) in fleet.members.iter().zip(&seen.listed).filter(|(_, count)| **count == 0) {
        output.say(format_args!(
            "bucky: {} has no metrics: is it a new node, or is its disk not mounted?",
            node.addr()
        ));
    }
}
