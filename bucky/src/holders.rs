//! Which nodes have each metric, and which should have it. The nodes' lists are read side by side, in the
//! order of the names.
//!
//! Nodes are given as indexes of the members of the cluster. A [`Placer`] is pure. [`Holders`] reads page by
//! page and holds no more than that.

use std::sync::Arc;

use bucky_api::ClientError;
use bucky_ring::Ring;
use bucky_whisper::MetricName;

use crate::cluster::{Cluster, Member};
use crate::inventory::{ListDetail, ListedMetric, MergedLists, Query, UnfoundNames};
use crate::names::{Selection, metric_called};
use crate::outcome::UnhealthyError;
use crate::output::Output;
use crate::placement::{self, NoPlace, Series};

/// A name, and the nodes that list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedName {
    /// The name, as the nodes list it.
    pub(crate) name: String,
    /// The nodes, sorted.
    pub(crate) nodes: Vec<usize>,
}

impl ListedName {
    /// The metric of this name.
    ///
    /// # Errors
    /// The reason why it is not a metric's name.
    pub(crate) fn metric(&self) -> Result<MetricName, String> {
        metric_called(&self.name)
    }
}

/// Where a metric belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MetricPlace {
    /// On these nodes, each once.
    Owners(Vec<usize>),
    /// On whichever node has it: it is a local metric.
    Local,
    /// Unknown: it is a tagged file that is named by the hash of an unknown series.
    Unplaceable,
}

impl MetricPlace {
    /// Whether the metric may be on `node`.
    pub(crate) fn owns(&self, node: usize) -> bool {
        match self {
            Self::Owners(owners) => owners.contains(&node),
            Self::Local | Self::Unplaceable => true,
        }
    }

    /// Whether the metric must be on `node`.
    pub(crate) fn is_owner(&self, node: usize) -> bool {
        matches!(self, Self::Owners(owners) if owners.contains(&node))
    }
}

/// Where the metrics of a cluster belong.
pub(crate) struct Placer {
    /// The ring.
    ring: Arc<Ring>,
    /// The series that are known by their hash.
    series: Series,
    /// By node of the ring, the index of its member.
    member_of: Vec<usize>,
    /// By member, the prefixes of its local metrics.
    local_prefixes: Vec<Vec<String>>,
    /// By member, its address.
    addrs: Vec<String>,
}

impl Placer {
    /// A placer for the ring of `cluster`. `local_prefix` is the prefix of Go daemons' local metrics.
    ///
    /// # Errors
    /// [`UnhealthyError`] if the ring cannot be used, or names a host that is not a member.
    pub(crate) fn of(cluster: &Cluster, local_prefix: Option<&str>) -> anyhow::Result<Self> {
        let ring = cluster.ring()?;
        let member = |host: &str| {
            let of_host = |member: &Member| member.host.as_deref() == Some(host);
            cluster.members.iter().position(of_host).ok_or_else(|| {
                UnhealthyError::because(format!("no daemon answers for host {host:?} of the ring"))
            })
        };
        let member_of: anyhow::Result<Vec<usize>> =
            ring.nodes().iter().map(|node| member(node.host())).collect();
        let local_prefixes = cluster.members.iter().map(|member| match member.status() {
            Some(status) => status.local_prefixes.clone(),
            None => local_prefix.iter().map(|prefix| (*prefix).to_owned()).collect(),
        });
        Ok(Self {
            member_of: member_of?,
            local_prefixes: local_prefixes.collect(),
            addrs: cluster.members.iter().map(|member| member.addr().to_string()).collect(),
            series: cluster.series.clone(),
            ring,
        })
    }

    /// Where a metric belongs.
    pub(crate) fn place(&self, listed: &ListedName) -> MetricPlace {
        let is_local = |node: &usize| {
            let prefixes = self.local_prefixes.get(*node);
            prefixes.is_some_and(|all| all.iter().any(|prefix| listed.name.starts_with(prefix)))
        };
        if listed.nodes.iter().any(is_local) {
            return MetricPlace::Local;
        }
        let owners = match placement::owners(&self.ring, &self.series, &listed.name) {
            Ok(owners) => owners,
            // It stays where it is, like a local metric.
            Err(NoPlace::Unrouted(_)) => return MetricPlace::Local,
            Err(NoPlace::Unplaceable(_) | NoPlace::NoName(_)) => return MetricPlace::Unplaceable,
        };
        let mut members: Vec<usize> = Vec::with_capacity(owners.len());
        for member in owners.iter().filter_map(|owner| self.member_of.get(*owner)) {
            if !members.contains(member) {
                members.push(*member);
            }
        }
        MetricPlace::Owners(members)
    }

    /// The address of a member.
    pub(crate) fn addr(&self, member: usize) -> String {
        self.addrs.get(member).cloned().unwrap_or_default()
    }
}

/// The metrics of all nodes, each once, with the nodes that list it.
pub(crate) struct Holders {
    merged: MergedLists,
    ahead: Option<(usize, ListedMetric)>,
    unfound: UnfoundNames,
}

impl Holders {
    /// Begins to read the selected metrics in the lists of the members of `cluster`.
    ///
    /// # Errors
    /// The errors of [`MergedLists::begin`].
    pub(crate) async fn begin(
        cluster: &Cluster,
        selection: &Selection,
        output: &Arc<Output>,
    ) -> anyhow::Result<Self> {
        let query = Query { selection: selection.clone(), detail: ListDetail::Name, workers: 1 };
        let merged = MergedLists::begin(cluster, query, false, output).await?;
        Ok(Self { merged, ahead: None, unfound: UnfoundNames::new(selection) })
    }

    /// The next name and the nodes that list it, or `None` at the end.
    ///
    /// # Errors
    /// [`ClientError`] if a node's list breaks off: nothing can be said without it.
    pub(crate) async fn next(&mut self) -> Result<Option<ListedName>, ClientError> {
        let first = match self.ahead.take() {
            Some(first) => Some(first),
            None => self.entry().await?,
        };
        let Some((node, entry)) = first else { return Ok(None) };
        let mut listed = ListedName { name: entry.name, nodes: vec![node] };
        loop {
            self.ahead = self.entry().await?;
            match &self.ahead {
                Some((node, entry)) if entry.name == listed.name => listed.nodes.push(*node),
                _ => break,
            }
        }
        self.unfound.found(&listed.name);
        Ok(Some(listed))
    }

    /// Selected names that no node has listed; ends the reading.
    pub(crate) fn into_unfound(self) -> UnfoundNames {
        self.unfound
    }

    /// Selected names that no node has listed yet.
    pub(crate) fn unfound(&self) -> &UnfoundNames {
        &self.unfound
    }

    async fn entry(&mut self) -> Result<Option<(usize, ListedMetric)>, ClientError> {
        let entry = self.merged.next().await;
        self.merged.take_failure().map_or(Ok(entry), Err)
    }
}
