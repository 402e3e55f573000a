//! What is looked at together: the metrics of all nodes in the order of their names, in batches for the same nodes.
//!
//! Names are read page by page and put into windows; what a window finds is sorted and told before the next one's.
//! Within a window, metrics that are asked of the same nodes go together. So memory is bounded by a window, whatever
//! the number of metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use bucky_api::ClientError;
use bucky_ring::Ring;
use bucky_whisper::MetricName;

use super::copies::Place;
use super::finding::{Finding, What};
use super::read::Subject;
use super::sample::{Sample, Size, Smallest};
use crate::inventory::{Entry, Merged, Sought};
use crate::placement;

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

/// A name, and the nodes that list it.
struct Listed {
    name: String,
    nodes: Vec<usize>,
}

/// Where metrics belong, as the nodes of a cluster have it.
pub(crate) struct Placer {
    /// The ring.
    pub(crate) ring: Arc<Ring>,
    /// The member that a node of the ring is, by the node's number.
    pub(crate) member_of: Vec<usize>,
    /// By member, what the names of its own metrics begin with.
    pub(crate) local_prefixes: Vec<Vec<String>>,
    /// By member, its address.
    pub(crate) addrs: Vec<String>,
}

impl Placer {
    fn place(&self, listed: &Listed) -> Place {
        let is_local = |node: &usize| {
            let prefixes = self.local_prefixes.get(*node);
            prefixes.is_some_and(|all| all.iter().any(|prefix| listed.name.starts_with(prefix)))
        };
        if listed.nodes.iter().any(is_local) {
            return Place::Local;
        }
        let Ok(owners) = placement::owners(&self.ring, &listed.name) else {
            return Place::Unplaceable;
        };
        let mut members: Vec<usize> = Vec::with_capacity(owners.len());
        for member in owners.iter().filter_map(|owner| self.member_of.get(*owner)) {
            if !members.contains(member) {
                members.push(*member);
            }
        }
        Place::Owners(members)
    }

    /// The address of a member.
    pub(crate) fn addr(&self, member: usize) -> String {
        self.addrs.get(member).cloned().unwrap_or_default()
    }

    fn subject(&self, listed: Listed) -> Result<Subject, Vec<Finding>> {
        let place = self.place(&listed);
        let metric = match MetricName::parse(&listed.name) {
            Ok(metric) if metric.as_str() == listed.name => metric,
            Ok(metric) => {
                return Err(self.unusable(&listed, &format!("it would be taken for {metric}")));
            }
            Err(error) => return Err(self.unusable(&listed, &error.to_string())),
        };
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
    names: Names,
    placer: Arc<Placer>,
    /// Those of the window that is handed out, the next one last.
    ready: Vec<Batch>,
    window: u64,
    /// Names that were asked for and not found yet.
    sought: Sought,
}

/// Where names come from.
enum Names {
    /// The nodes' lists.
    Live { merged: Merged, ahead: Option<(usize, Entry)>, sample: Option<Sample> },
    /// What was picked from them.
    Picked(std::vec::IntoIter<Listed>),
}

impl Batches {
    /// The metrics of `merged`, or a sample of them.
    ///
    /// # Errors
    /// Where the lists have to be read to their end first and cannot be.
    pub(crate) async fn begin(
        merged: Merged,
        sample: Option<Sample>,
        sought: Sought,
        placer: Arc<Placer>,
    ) -> Result<Self, ClientError> {
        let mut batches = Self {
            names: Names::Live { merged, ahead: None, sample },
            placer,
            ready: Vec::new(),
            window: 0,
            sought,
        };
        if let Some(sample @ Sample { size: Size::Metrics(limit), .. }) = sample {
            let mut smallest = Smallest::new(sample, limit);
            while let Some(listed) = batches.listed().await? {
                smallest.offer(&listed.name.clone(), || listed);
            }
            let mut picked = smallest.into_items();
            picked.sort_unstable_by(|one, other| one.name.cmp(&other.name));
            batches.names = Names::Picked(picked.into_iter());
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
        self.sought.names()
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
        let (merged, ahead, sample) = match &mut self.names {
            Names::Picked(picked) => return Ok(picked.next()),
            Names::Live { merged, ahead, sample } => (merged, ahead, sample),
        };
        loop {
            let first = match ahead.take() {
                Some(first) => Some(first),
                None => next_entry(merged).await?,
            };
            let Some((node, entry)) = first else { return Ok(None) };
            let mut listed = Listed { name: entry.name, nodes: vec![node] };
            loop {
                *ahead = next_entry(merged).await?;
                match ahead {
                    Some((node, entry)) if entry.name == listed.name => listed.nodes.push(*node),
                    _ => break,
                }
            }
            self.sought.found(&listed.name);
            if sample.is_none_or(|sample| sample.takes(&listed.name)) {
                return Ok(Some(listed));
            }
        }
    }
}

async fn next_entry(merged: &mut Merged) -> Result<Option<(usize, Entry)>, ClientError> {
    let entry = merged.next().await;
    merged.take_failure().map_or(Ok(entry), Err)
}
