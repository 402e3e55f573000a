//! The rings that carbon-c-relay's routing rules lead to, side by side.

use std::collections::HashSet;

use crate::{
    ClusterDocument, Owners, Ring, RingError, RingSpec, Shortfall,
    hash::{Key, KeyHash},
};

/// The rings of a spec with routing rules; at least one.
#[derive(Clone, Debug)]
pub(crate) struct RoutedRings(Vec<RoutedRing>);

#[derive(Clone, Debug)]
struct RoutedRing {
    ring: Ring,
    /// The position of each of its nodes in the spec of all.
    nodes: Vec<u16>,
}

impl RoutedRings {
    /// The rings of `spec`, or `None` if it has no routing rules.
    ///
    /// # Errors
    /// [`RingError`] if one of them cannot be built, or does not fit to the spec.
    pub(crate) fn of(spec: &RingSpec, shortfall: Shortfall) -> Result<Option<Self>, RingError> {
        let Some(routes) = &spec.routes else { return Ok(None) };
        let refuse = |cluster: &ClusterDocument, reason: String| RingError::Cluster {
            cluster: cluster.name.clone(),
            reason,
        };
        let mut rings = Vec::new();
        let mut used: HashSet<u16> = HashSet::new();
        for cluster in &routes.document().clusters {
            let own = spec_of(spec, cluster).map_err(|reason| refuse(cluster, reason))?;
            let is_first = rings.is_empty();
            let is_same = (own.algorithm, own.replication_factor)
                == (spec.algorithm, spec.replication_factor);
            if is_first && !is_same {
                let reason = "is the first, so it must have the Algo and Replicas of the document";
                return Err(refuse(cluster, reason.to_owned()));
            }
            let ring = Ring::with_shortfall(own, shortfall)
                .map_err(|error| refuse(cluster, format!("cannot be used: {error}")))?;
            used.extend(&cluster.nodes);
            rings.push(RoutedRing { ring, nodes: cluster.nodes.clone() });
        }
        match (0_u16..).zip(&spec.nodes).find(|(position, _)| !used.contains(position)) {
            Some((_, node)) => Err(RingError::Cluster {
                cluster: routes.document().clusters[0].name.clone(),
                reason: format!("and the others do not have node {node}; leave it out"),
            }),
            None => Ok(Some(Self(rings))),
        }
    }

    /// The most copies of a metric in one of the rings.
    pub(crate) fn copies(&self) -> usize {
        self.0.iter().map(|routed| routed.ring.spec().replication_factor).max().unwrap_or_default()
    }

    /// The owners of `key` in all rings that the rules of `spec` send it to.
    pub(crate) fn owners(&self, spec: &RingSpec, key: Key<'_>) -> Owners<'_> {
        let name = key.tagged_names.hashed_part(key.series);
        let sent = spec.routes.as_ref().map(|routes| routes.sent(name)).unwrap_or_default();
        Owners::set(sent.iter().flat_map(|sent| {
            let routed = &self.0[sent.cluster];
            let owners = routed.ring.owners_of_key(Key::whole(&sent.text));
            owners.map(|owner| usize::from(routed.nodes[owner]))
        }))
    }

    /// The owners of `text` in all rings.
    pub(crate) fn owners_in_all(&self, text: &str) -> Owners<'_> {
        Owners::set(self.0.iter().flat_map(|routed| {
            let owners = routed.ring.owners_of_key(Key::whole(text));
            owners.map(|owner| usize::from(routed.nodes[owner]))
        }))
    }

    /// The hash of the first ring. It alone places no name.
    pub(crate) fn key_hash(&self) -> KeyHash {
        self.0[0].ring.key_hash()
    }

    /// Adds each node's share of each ring, as if all rings got equally many names.
    #[expect(clippy::cast_precision_loss, reason = "a few rings")]
    pub(crate) fn add_shares(&self, shares: &mut [f64]) {
        for routed in &self.0 {
            for (node, share) in routed.nodes.iter().zip(routed.ring.share()) {
                shares[usize::from(*node)] += share / self.0.len() as f64;
            }
        }
    }

    /// The warnings about each ring, with its nodes in them.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> =
            self.0.iter().flat_map(|routed| routed.ring.warnings()).collect();
        let mut seen = HashSet::new();
        warnings.retain(|warning| seen.insert(warning.clone()));
        warnings
    }
}

/// The ring of `cluster`, over its own nodes of `spec`.
fn spec_of(spec: &RingSpec, cluster: &ClusterDocument) -> Result<RingSpec, String> {
    let algorithm = cluster.algo.parse().map_err(|error| format!("has a bad Algo: {error}"))?;
    let mut own = HashSet::new();
    let nodes = cluster.nodes.iter().map(|position| {
        let node = spec.nodes.get(usize::from(*position)).filter(|_| own.insert(*position));
        node.cloned().ok_or_else(|| {
            format!("names node {position} twice, or the ring has no node of this number")
        })
    });
    let nodes = nodes.collect::<Result<_, _>>()?;
    let copies = usize::try_from(cluster.replicas).ok().filter(|copies| *copies > 0);
    let replication_factor = copies.ok_or_else(|| format!("has {} Replicas", cluster.replicas))?;
    Ok(RingSpec { nodes, algorithm, replication_factor, routes: None, ..spec.clone() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        Algorithm, Relay, RingDocument, RouteRules, RoutesDocument, RuleDocument, TaggedNames,
    };

    fn cluster(name: &str, algo: &str, nodes: &[u16]) -> ClusterDocument {
        ClusterDocument { name: name.into(), algo: algo.into(), replicas: 1, nodes: nodes.into() }
    }

    fn rule(expression: Option<&str>, using: Option<&str>, to: &[&str]) -> RuleDocument {
        RuleDocument {
            r#match: expression.map(str::to_owned),
            using: using.map(str::to_owned),
            to: to.iter().map(|name| (*name).to_owned()).collect(),
            stop: true,
        }
    }

    fn spec(clusters: Vec<ClusterDocument>, rules: Vec<RuleDocument>) -> RingSpec {
        RingSpec {
            nodes: ["a:1", "b:1", "c:1", "d:1"].map(|node| node.parse().expect("a node")).into(),
            algorithm: Algorithm::Carbon,
            relay: Relay::CarbonCRelay,
            replication_factor: 1,
            diverse_replicas: false,
            tagged_names: TaggedNames::BeforeSemicolon,
            aggregation: None,
            routes: Some(Arc::new(
                RouteRules::new(RoutesDocument { clusters, rules }).expect("rules"),
            )),
        }
    }

    fn two() -> RingSpec {
        spec(
            vec![cluster("old", "carbon", &[1, 0]), cluster("new", "jump_fnv1a", &[2, 3])],
            vec![
                rule(Some(r"^old\."), None, &["old"]),
                rule(Some(r"^new\."), None, &["new"]),
                rule(Some(r"^both\.([^.]+)"), Some(r"\1"), &["new", "old"]),
            ],
        )
    }

    fn owners(ring: &Ring, name: &str) -> Vec<usize> {
        ring.owners(name).collect()
    }

    #[test]
    fn a_name_lies_in_every_ring_that_gets_it_by_the_text_that_is_hashed() {
        let ring = Ring::new(two()).expect("a ring");
        let alone = |nodes: &[&str], algorithm| {
            let nodes = nodes.iter().map(|node| node.parse().expect("a node")).collect();
            Ring::new(RingSpec { nodes, algorithm, routes: None, ..two() }).expect("a ring")
        };
        let (old, new) = (
            alone(&["b:1", "a:1"], Algorithm::Carbon),
            alone(&["c:1", "d:1"], Algorithm::JumpFnv1a),
        );
        for number in 0..50 {
            let name = format!("old.m{number}");
            assert_eq!(owners(&ring, &name), [1 - old.owner(&name)]);
            let name = format!("new.m{number}");
            assert_eq!(owners(&ring, &name), [2 + new.owner(&name)]);
            let (name, text) = (format!("both.m{number};tag=1"), format!("m{number}"));
            assert_eq!(owners(&ring, &name), [2 + new.owner(&text), 1 - old.owner(&text)]);
        }
        assert_eq!(owners(&ring, "other"), [0_usize; 0]);
        assert!((ring.share().iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(!ring.spec().has_one_owner_each());
    }

    #[test]
    fn the_document_holds_the_rules() {
        let document = RingDocument::from_spec("", &two()).to_json();
        let read = RingDocument::from_json(document.as_bytes()).expect("a document");
        assert_eq!(read.to_spec(), Ok(two()));
        let mut other = two();
        other.routes = spec(vec![cluster("old", "carbon", &[0, 1, 2, 3])], Vec::new()).routes;
        assert_ne!(two().fingerprint(), other.fingerprint());
        let said: Vec<String> = two().differences(&other).iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("routing rules "), "{said:?}");
    }

    #[test]
    fn a_cluster_that_does_not_fit_is_named() {
        let all = &[0, 1, 2, 3];
        let refused =
            |clusters| Ring::new(spec(clusters, Vec::new())).expect_err("no ring").to_string();
        let cases = [
            (vec![cluster("x", "carbon", &[0, 1])], "do not have node c:1"),
            (vec![cluster("x", "fnv1a", all)], "must have the Algo and Replicas"),
            (vec![cluster("x", "carbon", &[0, 1, 2, 9])], "names node 9 twice, or"),
            (vec![cluster("x", "carbon", &[0, 1, 2, 3, 3])], "names node 3 twice, or"),
            (vec![cluster("x", "ketama", all)], "has a bad Algo"),
            (vec![cluster("x", "carbon", all), cluster("y", "mmh3", &[0])], "no mmh3 ring"),
            (vec![cluster("x", "carbon", all), cluster("y", "carbon", &[])], "has no nodes"),
            (
                vec![
                    cluster("x", "carbon", all),
                    ClusterDocument { replicas: 2, ..cluster("y", "carbon", &[0]) },
                ],
                "the ring has only 1 node(s)",
            ),
        ];
        for (clusters, said) in cases {
            let refused = refused(clusters);
            assert!(refused.contains(said), "{refused}");
        }
        let carbon = RingSpec { relay: Relay::Carbon, tagged_names: TaggedNames::Whole, ..two() };
        assert!(
            Ring::new(carbon).expect_err("no ring").to_string().contains("only carbon-c-relay")
        );
    }
}
