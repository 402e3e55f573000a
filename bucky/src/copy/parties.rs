//! Which nodes send and which receive, if they are not one cluster.
//!
//! Nodes are distinguished by their stores: one store under two addresses is one node. A copy that is already
//! on an owner is never deleted there (D29).

use std::net::IpAddr;
use std::sync::Arc;

use bucky_api::DaemonAddr;
use bucky_ring::{Algorithm, Node as RingNode, Ring, RingSpec};

use crate::chain;
use crate::cluster::{Cluster, Member};
use crate::fleet::{Fleet, Node, Source, away, is_same, refuse_older_daemons, require_writable};
use crate::outcome::UsageError;
use crate::strays::StrayMethod;

/// A ring of `addr` alone, so that every metric belongs there.
///
/// # Errors
/// [`UsageError`] if it cannot be a node of a ring.
pub(super) fn ring_of_one(addr: &DaemonAddr) -> anyhow::Result<Arc<Ring>> {
    let refused = |reason: String| UsageError::because(format!("-dst {addr}: {reason}"));
    let node: RingNode = addr.to_string().parse().map_err(|error| refused(chain(&error)))?;
    let (relay, tagged_names) = bucky_ring::resolve(Algorithm::JumpFnv1a, None, None)
        .map_err(|error| refused(chain(&error)))?;
    let spec = RingSpec {
        nodes: vec![node],
        algorithm: Algorithm::JumpFnv1a,
        relay,
        replication_factor: 1,
        diverse_replicas: false,
        tagged_names,
        aggregation: None,
        routes: None,
    };
    Ring::new(spec).map(Arc::new).map_err(|error| refused(chain(&error)))
}

/// The fleet that copies everything from one node to another.
///
/// # Errors
/// [`UsageError`] if the two are one node; [`crate::outcome::UnhealthyError`] if one of them did not answer.
pub(super) fn of_two(source: &Member, destination: &Member) -> anyhow::Result<Fleet> {
    refuse_older_daemons([source, destination].into_iter())?;
    let from = Node::of(source).ok_or_else(|| away(source))?;
    let to = Node::of(destination).ok_or_else(|| away(destination))?;
    if is_same(&from, &to) {
        return Err(UsageError::because(format!(
            "{} and {} are the same node ({}), so there is nothing to copy",
            from.addr(),
            to.addr(),
            to.store
        )));
    }
    let method = StrayMethod::whole(from.kind, vec![0]);
    Ok(Fleet::to_one(Arc::new(to), vec![Source { node: Arc::new(from), method }]))
}

/// The fleet that copies from the nodes of one cluster to the owners in another. The two may be the same
/// cluster, or share nodes.
///
/// # Errors
/// [`UsageError`] if it cannot be determined whether two nodes are one; [`crate::outcome::UnhealthyError`] if
/// one did not answer.
pub(super) fn of_clusters(sources: &Cluster, destinations: &Cluster) -> anyhow::Result<Fleet> {
    let ring = destinations.ring()?;
    refuse_older_daemons(sources.members.iter())?;
    let mut fleet = Fleet::of_cluster(destinations, &ring, &[], None)?;
    let mut from = Vec::with_capacity(sources.members.len());
    for member in &sources.members {
        let node = Node::of(member).ok_or_else(|| away(member))?;
        require_writable(member)?;
        let method = StrayMethod::of_stranger(node.kind);
        let node = match fleet.members.iter().find(|other| is_same(other, &node)) {
            Some(same) if !node.kind.reports_its_store() && same.addr() != node.addr() => {
                return Err(UsageError::because(format!(
                    "{} and {} have the same name ({}) and may be one node, as Go daemons do not report which \
                     files they serve; start one of them with another -node, or run buckyd there",
                    node.addr(),
                    same.addr(),
                    node.store
                )));
            }
            Some(same) => Arc::clone(same),
            None => Arc::new(node),
        };
        from.push(Source { node, method });
    }
    fleet.sources = from;
    Ok(fleet)
}

/// Refuses addresses that mean "this host". A destination fetches from its source, and the source asks the
/// destination to confirm a delete, both by the addresses that are given here. They would look for each other
/// at themselves.
///
/// # Errors
/// [`UsageError`] names such a node.
pub(super) fn refuse_local_addresses(fleet: &Fleet) -> anyhow::Result<()> {
    let sources = || fleet.sources.iter().map(|source| source.node.addr());
    let members = || fleet.members.iter().map(|node| node.addr());
    for (ones, others) in [
        (sources().collect::<Vec<_>>(), members().collect::<Vec<_>>()),
        (members().collect(), sources().collect()),
    ] {
        let local = ones.iter().find(|addr| is_local(addr));
        let other = others.iter().find(|addr| !is_local(addr));
        if let (Some(local), Some(other)) = (local, other) {
            return Err(UsageError::because(format!(
                "the daemons connect to each other by these addresses, and {other} would not find {local} \
                 under this one; give an address that all of them can reach"
            )));
        }
    }
    Ok(())
}

/// Whether an address means the host that uses it.
fn is_local(addr: &DaemonAddr) -> bool {
    let host = addr.host();
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::test_cluster::{document, go, member, v1};

    /// D29: `bucky copy -src A -dst A -delete` of the Go tool deletes all that A has, and exits 0.
    #[test]
    fn one_store_under_two_names_is_not_copied_onto_itself() {
        let ring = document(&["a", "b"]);
        let a = member("a", v1(&ring, "a", "s1"));
        let alias = member("alias", v1(&ring, "a", "s1"));
        let error = of_two(&a, &alias).err().unwrap();
        assert_eq!(
            error.to_string(),
            "a:4242 and alias:4242 are the same node (s1), so there is nothing to copy"
        );
        assert!(error.downcast_ref::<UsageError>().is_some());
        assert!(of_two(&member("a", go(&ring, "a")), &member("a", go(&ring, "x"))).is_err());
        let fleet = of_two(&a, &member("b", v1(&ring, "b", "s2"))).unwrap();
        assert_eq!(fleet.owners(&[0]), [0]);
        assert_eq!(fleet.sources[0].method, StrayMethod::Whole { to: vec![0] });
    }

    #[test]
    fn a_node_of_both_clusters_is_one_node_whatever_it_is_called() {
        let (one, two) = (document(&["a", "b"]), document(&["bee", "c"]));
        let of = |ring, members| Cluster::from_answers(ring, members);
        let sources = of(
            one.clone(),
            vec![member("a", v1(&one, "a", "s1")), member("b", v1(&one, "b", "s2"))],
        );
        let destinations = of(
            two.clone(),
            vec![member("bee", v1(&two, "bee", "s2")), member("c", v1(&two, "c", "s3"))],
        );
        let fleet = of_clusters(&sources, &destinations).unwrap();
        assert!(Arc::ptr_eq(&fleet.sources[1].node, &fleet.members[0]));
        assert!(fleet.is_only_owner(&fleet.sources[1].node, &[0]));
        assert!(!fleet.is_only_owner(&fleet.sources[1].node, &[0, 1]));
        assert!(!fleet.is_only_owner(&fleet.sources[0].node, &[0]));
    }

    #[test]
    fn two_go_daemons_of_one_name_at_two_addresses_may_be_one_and_are_refused() {
        let (one, two) = (document(&["a"]), document(&["x"]));
        let sources = Cluster::from_answers(one.clone(), vec![member("a", go(&one, "n"))]);
        let destinations = Cluster::from_answers(two.clone(), vec![member("x", go(&two, "n"))]);
        let error = of_clusters(&sources, &destinations).err().unwrap().to_string();
        assert!(error.contains("a:4242 and x:4242 have the same name"), "{error}");
        let same = Cluster::from_answers(one.clone(), vec![member("a", go(&one, "n"))]);
        assert!(of_clusters(&sources, &same).is_ok());
    }

    #[test]
    fn an_address_that_means_another_host_elsewhere_is_refused() {
        let ring = document(&["x"]);
        let refusal = |source: &str, destination: &str| {
            let source = member(source, v1(&ring, "x", "s1"));
            let destination = member(destination, v1(&ring, "x", "s2"));
            let fleet = of_two(&source, &destination).unwrap();
            refuse_local_addresses(&fleet).err().map(|error| error.to_string())
        };
        for local in ["localhost", "127.0.0.1", "::1"] {
            let message = refusal("graphite-1", local).unwrap();
            assert!(message.contains(&format!("{local}:4242")) || local == "::1", "{message}");
            assert!(message.contains("graphite-1:4242 would not find"), "{message}");
            assert!(refusal(local, "graphite-1").is_some());
            assert!(refusal(local, "192.0.2.1").is_some());
        }
        assert_eq!(refusal("127.0.0.1", "127.0.0.2"), None);
        assert_eq!(refusal("localhost", "127.0.0.2"), None);
        assert_eq!(refusal("graphite-1", "192.0.2.1"), None);
    }
}
