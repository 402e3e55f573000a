//! The metrics that are archived, and the nodes that are asked for each.

use std::sync::Arc;

use bucky_api::ClientError;
use bucky_whisper::MetricName;

use crate::holders::{Holders, ListedName, MetricPlace, Placer};

/// A metric to archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArchiveSubject {
    /// The metric.
    pub(crate) metric: MetricName,
    /// The nodes that list it.
    pub(super) listed_by: Vec<usize>,
    /// The nodes that are asked for it: first its owners, then other nodes that list it.
    pub(super) nodes: Vec<usize>,
}

/// The metrics to archive, in the order of their names.
pub(crate) struct ArchiveSubjects {
    holders: Holders,
    placer: Option<Arc<Placer>>,
}

impl ArchiveSubjects {
    /// The metrics of `holders`. If `placer` knows the owners, owners that do not list a metric are asked for
    /// it too: it may be moving there now.
    pub(crate) fn new(holders: Holders, placer: Option<Arc<Placer>>) -> Self {
        Self { holders, placer }
    }

    /// The next metrics, this many at most, or `None` at the end. Paths that are not a metric's name are
    /// skipped.
    ///
    /// # Errors
    /// [`ClientError`] if a node's list breaks off.
    pub(crate) async fn next(
        &mut self,
        metrics: u64,
    ) -> Result<Option<Vec<ArchiveSubject>>, ClientError> {
        let mut subjects = Vec::new();
        while (subjects.len() as u64) < metrics {
            let Some(listed) = self.holders.next().await? else { break };
            let Ok(metric) = listed.metric() else { continue };
            let nodes = self.nodes(&listed);
            subjects.push(ArchiveSubject { metric, listed_by: listed.nodes, nodes });
        }
        Ok((!subjects.is_empty()).then_some(subjects))
    }

    fn nodes(&self, listed: &ListedName) -> Vec<usize> {
        let mut nodes = match self.placer.as_ref().map(|placer| placer.place(listed)) {
            Some(MetricPlace::Owners(owners)) => owners,
            Some(MetricPlace::Local | MetricPlace::Unplaceable) | None => Vec::new(),
        };
        nodes.extend(listed.nodes.iter().filter(|node| !nodes.contains(node)).collect::<Vec<_>>());
        nodes
    }
}
