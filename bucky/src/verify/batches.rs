//! Which metrics are read together: those of all nodes in the order of their names, in batches for the same
//! nodes.
//!
//! Names are read page by page and put into windows. The findings of a window are sorted and printed before
//! those of the next one. Within a window, metrics that are asked of the same nodes form a batch. So memory
//! is bounded by a window, however many metrics there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use bucky_api::ClientError;

use super::finding::{MetricFinding, What};
use super::sample::{Sample, Size, Smallest};
use super::subject::VerifySubject;
use crate::holders::{Holders, ListedName, MetricPlace, Placer};

/// Metrics in a window, at some hundred bytes each.
const WINDOW: usize = 20_000;
/// Metrics in a batch: enough that a request is cheap, few enough that all workers are busy.
const BATCH: usize = 500;

/// Metrics that are read together, in the order of their names.
pub(crate) struct VerifyBatch {
    /// The number of its window, from 0.
    pub(crate) window: u64,
    /// The metrics; all are asked of the same nodes.
    pub(crate) subjects: Vec<VerifySubject>,
    /// What is known from names alone.
    pub(crate) findings: Vec<MetricFinding>,
}

impl Placer {
    fn subject(&self, listed: ListedName) -> Result<VerifySubject, Vec<MetricFinding>> {
        let place = self.place(&listed);
        let metric = listed.metric().map_err(|reason| self.unusable(&listed, &reason))?;
        let mut nodes = listed.nodes;
        if let MetricPlace::Owners(owners) = &place {
            nodes.extend(owners);
        }
        nodes.sort_unstable();
        nodes.dedup();
        Ok(VerifySubject { metric, place, nodes })
    }

    fn unusable(&self, listed: &ListedName, reason: &str) -> Vec<MetricFinding> {
        let finding = |node: &usize| MetricFinding {
            metric: listed.name.clone(),
            node: self.addr(*node),
            what: What::Unusable { reason: reason.to_owned() },
        };
        listed.nodes.iter().map(finding).collect()
    }
}

/// The metrics to read, batch by batch.
pub(crate) struct Batches {
    holders: Holders,
    sample: Option<Sample>,
    /// The sample of all names, or `None` if every name is read.
    picked: Option<std::vec::IntoIter<ListedName>>,
    placer: Arc<Placer>,
    /// The batches of the current window, the next one last.
    ready: Vec<VerifyBatch>,
    window: u64,
}

impl Batches {
    /// The metrics of `holders`, or a sample of them.
    ///
    /// # Errors
    /// If a sample is wanted and the lists cannot be read to their end.
    pub(crate) async fn begin(
        holders: Holders,
        sample: Option<Sample>,
        placer: Arc<Placer>,
    ) -> Result<Self, ClientError> {
        let (picked, ready) = (None, Vec::new());
        let mut batches = Self { holders, sample, picked, placer, ready, window: 0 };
        if let Some(sample @ Sample { size: Size::Metrics(limit), .. }) = sample {
            let mut smallest = Smallest::new(sample, limit);
            while let Some(listed) = batches.listed().await? {
                smallest.offer(&listed.name.clone(), || listed);
            }
            let mut picked = smallest.into_items();
            picked.sort_unstable_by(|one, other| one.name.cmp(&other.name));
            batches.picked = Some(picked.into_iter());
        }
        Ok(batches)
    }

    /// The next batch, or `None` at the end.
    ///
    /// # Errors
    /// [`ClientError`] if a node's list breaks off: nothing can be said without it.
    pub(crate) async fn next(&mut self) -> Result<Option<VerifyBatch>, ClientError> {
        if self.ready.is_empty() {
            self.fill_window().await?;
        }
        Ok(self.ready.pop())
    }

    /// Selected names that no node lists.
    pub(crate) fn not_found(&self) -> impl Iterator<Item = &str> {
        self.holders.unfound().names()
    }

    async fn fill_window(&mut self) -> Result<(), ClientError> {
        let mut by_nodes: BTreeMap<Vec<usize>, Vec<VerifySubject>> = BTreeMap::new();
        let mut findings = Vec::new();
        for _ in 0..WINDOW {
            let Some(listed) = self.listed().await? else { break };
            match self.placer.subject(listed) {
                Ok(subject) => by_nodes.entry(subject.nodes.clone()).or_default().push(subject),
                Err(unusable) => findings.extend(unusable),
            }
        }
        let window = self.window;
        self.window += 1;
        for subjects in by_nodes.into_values() {
            let batches = subjects.chunks(BATCH).map(|subjects| VerifyBatch {
                window,
                subjects: subjects.to_vec(),
                findings: Vec::new(),
            });
            self.ready.extend(batches);
        }
        if !findings.is_empty() {
            self.ready.push(VerifyBatch { window, subjects: Vec::new(), findings });
        }
        Ok(())
    }

    /// The next name and the nodes that list it.
    async fn listed(&mut self) -> Result<Option<ListedName>, ClientError> {
        if let Some(picked) = &mut self.picked {
            return Ok(picked.next());
        }
        loop {
            let Some(listed) = self.holders.next().await? else { return Ok(None) };
            if self.sample.is_none_or(|sample| sample.takes(&listed.name)) {
                return Ok(Some(listed));
            }
        }
    }
}
