//! What is looked at together: the metrics of all nodes in the order of their names, in batches for the same nodes.
//!
//! Names are read page by page and put into windows; what a window finds is sorted and told before the next one's.
//! Within a window, metrics that are asked of the same nodes go together. So memory is bounded by a window, whatever
//! the number of metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use bucky_api::ClientError;

use super::finding::{Finding, What};
use super::sample::{Sample, Size, Smallest};
use super::subject::Subject;
use crate::holders::{Holders, Listed, Place, Placer};

/// Metrics in a window: some hundred bytes each.
const WINDOW: usize = 20_000;
/// Metrics in a batch: enough that a request is cheap, few enough that all workers have something.
const BATCH: usize = 500;

/// Metrics to be looked at together, in the order of their names.
pub(crate) struct Batch {
    /// The window that it is part of, from 0.
    pub(crate) window: u64,
    /// The metrics; all are asked of the same nodes.
    pub(crate) subjects: Vec<Subject>,
    /// What is known of names without looking.
    pub(crate) findings: Vec<Finding>,
}

impl Placer {
    fn subject(&self, listed: Listed) -> Result<Subject, Vec<Finding>> {
        let place = self.place(&listed);
        let metric = listed.metric().map_err(|reason| self.unusable(&listed, &reason))?;
        let mut nodes = listed.nodes;
        if let Place::Owners(owners) = &place {
            nodes.extend(owners);
        }
        nodes.sort_unstable();
        nodes.dedup();
        Ok(Subject { metric, place, nodes })
    }

    fn unusable(&self, listed: &Listed, reason: &str) -> Vec<Finding> {
        let finding = |node: &usize| Finding {
            metric: listed.name.clone(),
            node: self.addr(*node),
            what: What::Unusable { reason: reason.to_owned() },
        };
        listed.nodes.iter().map(finding).collect()
    }
}

/// The metrics to be looked at, batch by batch.
pub(crate) struct Batches {
    holders: Holders,
    sample: Option<Sample>,
    /// What was picked of all names; none where each is looked at as it comes.
    picked: Option<std::vec::IntoIter<Listed>>,
    placer: Arc<Placer>,
    /// Those of the window that is handed out, the next one last.
    ready: Vec<Batch>,
    window: u64,
}

impl Batches {
    /// The metrics of `holders`, or a sample of them.
    ///
    /// # Errors
    /// Where the lists have to be read to their end first and cannot be.
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

    /// The next batch; none at the end.
    ///
    /// # Errors
    /// [`ClientError`] where a node's list breaks off: without it nothing can be said.
    pub(crate) async fn next(&mut self) -> Result<Option<Batch>, ClientError> {
        if self.ready.is_empty() {
            self.fill_window().await?;
        }
        Ok(self.ready.pop())
    }

    /// Names that were asked for and that no node lists.
    pub(crate) fn not_found(&self) -> impl Iterator<Item = &str> {
        self.holders.sought().names()
    }

    async fn fill_window(&mut self) -> Result<(), ClientError> {
        let mut by_nodes: BTreeMap<Vec<usize>, Vec<Subject>> = BTreeMap::new();
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
            let batches = subjects.chunks(BATCH).map(|subjects| Batch {
                window,
                subjects: subjects.to_vec(),
                findings: Vec::new(),
            });
            self.ready.extend(batches);
        }
        if !findings.is_empty() {
            self.ready.push(Batch { window, subjects: Vec::new(), findings });
        }
        Ok(())
    }

    /// The next name, and who lists it.
    async fn listed(&mut self) -> Result<Option<Listed>, ClientError> {
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
