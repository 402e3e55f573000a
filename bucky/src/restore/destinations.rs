//! The nodes that metrics are restored to, and which metrics each of them gets.

use std::sync::Arc;

use bucky_ring::Ring;
use bucky_whisper::MetricName;

use crate::cluster::Cluster;
use crate::fleet::{Node, away};
use crate::outcome::{UnhealthyError, UsageError};
use crate::placement::{self, NoPlace, Series};

/// The nodes that metrics are restored to.
pub(crate) struct Destinations {
    nodes: Vec<Arc<Node>>,
    ring: Arc<Ring>,
    /// The series that are known by their hash.
    series: Series,
    /// By node of the ring, its index in `nodes`, or `None` if it is not restored to.
    index_of: Vec<Option<usize>>,
}

impl Destinations {
    /// All members of a healthy cluster.
    ///
    /// # Errors
    /// [`UnhealthyError`] if a node of the ring is not a member.
    pub(crate) fn all(cluster: &Cluster) -> anyhow::Result<Self> {
        let destinations = Self::of(cluster, |host| {
            cluster.members.iter().position(|member| member.host.as_deref() == Some(host))
        })?;
        if destinations.index_of.iter().any(Option::is_none) {
            return Err(UnhealthyError::because(
                "the ring has a node that is not a member of the cluster",
            ));
        }
        Ok(destinations)
    }

    /// Only the node at `-h`, which is the only member of `cluster`. It gets what it owns; other owners get
    /// nothing.
    ///
    /// # Errors
    /// [`UsageError`] if the ring does not have this host.
    pub(crate) fn only_seed(cluster: &Cluster) -> anyhow::Result<Self> {
        let own_name = cluster.members.first().and_then(|member| member.document());
        let own_name = own_name.map(|document| document.name.clone()).unwrap_or_default();
        // Its name in -h counts; the daemon may be asked at an address that resolves differently.
        let ring = cluster.ring()?;
        let hosts = [cluster.seed.host().to_owned(), own_name];
        let is_host = |host: &&String| ring.nodes().iter().any(|node| node.host() == host.as_str());
        let host = hosts.iter().find(is_host).ok_or_else(|| {
            UsageError::because(format!(
                "cannot find out which metrics {0} owns: the ring has no host {1:?} or {2:?}; give -h as the \
                 ring has it",
                cluster.seed, hosts[0], hosts[1]
            ))
        })?;
        Self::of(cluster, |other| (other == host).then_some(0))
    }

    fn of(cluster: &Cluster, index: impl Fn(&str) -> Option<usize>) -> anyhow::Result<Self> {
        let ring = cluster.ring()?;
        let node = |member| {
            let node = Node::of(member).map(Arc::new);
            node.ok_or_else(|| away(member))
        };
        let nodes: anyhow::Result<Vec<Arc<Node>>> = cluster.members.iter().map(node).collect();
        let index_of = ring.nodes().iter().map(|node| index(node.host())).collect();
        Ok(Self { nodes: nodes?, ring, series: cluster.series.clone(), index_of })
    }

    /// The nodes, by index.
    pub(crate) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// The nodes that `metric` is restored to, each once; empty if none of its owners is among them.
    ///
    /// # Errors
    /// [`NoPlace`] if the ring does not say who owns it.
    pub(crate) fn owners(&self, metric: &MetricName) -> Result<Vec<usize>, NoPlace> {
        let mut owners = Vec::new();
        for node in placement::owners(&self.ring, &self.series, metric.as_str())? {
            let index = self.index_of.get(node).copied().flatten();
            owners.extend(index.filter(|index| !owners.contains(index)));
        }
        Ok(owners)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::test_cluster::{document, member, v1};

    fn cluster(nodes: &[&str], members: &[&str]) -> Cluster {
        let mut ring = document(nodes);
        ring.replicas = 2;
        let member = |(number, host): (usize, &&str)| {
            member(host, v1(&ring, host, &format!("store {number}")))
        };
        let members = members.iter().enumerate().map(member).collect();
        Cluster::from_answers(ring.clone(), members)
    }

    #[test]
    fn a_metric_goes_to_each_of_its_owners_once() {
        let nodes = ["a:2003=x", "a:2003=y", "b:2003=x", "c:2003=x"];
        let all = Destinations::all(&cluster(&nodes, &["a", "b", "c"])).unwrap();
        assert_eq!(all.nodes().len(), 3);
        for number in 0..100 {
            let owners = all.owners(&format!("m{number}").parse().unwrap()).unwrap();
            assert!(!owners.is_empty() && owners.len() <= 2, "{owners:?}");
            assert!(owners.len() < 2 || owners[0] != owners[1], "{owners:?}");
        }
        assert!(Destinations::all(&cluster(&nodes, &["a", "b"])).is_err());
    }

    /// D7: the Go tool's `restore -s` uploads nothing.
    #[test]
    fn a_single_node_gets_what_it_owns_and_nothing_else() {
        let nodes = ["a", "b", "c"];
        let all = Destinations::all(&cluster(&nodes, &nodes)).unwrap();
        let single = Destinations::only_seed(&cluster(&nodes, &["b"])).unwrap();
        let mut own = 0;
        for number in 0..100 {
            let metric = format!("m{number}").parse().unwrap();
            let is_own = all.owners(&metric).unwrap().contains(&1);
            assert_eq!(single.owners(&metric).unwrap(), if is_own { vec![0] } else { vec![] });
            own += u32::from(is_own);
        }
        assert!((20..90).contains(&own), "{own}");
        let stranger = Destinations::only_seed(&cluster(&nodes, &["x"]));
        assert!(stranger.err().unwrap().downcast_ref::<UsageError>().is_some());
    }
}
