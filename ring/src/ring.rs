//! A ring that is ready for lookups: which nodes own a series.
//!
//! Everything that depends only on the spec is computed when the ring is built. A lookup then costs one hash
//! and, depending on the kind of ring, one table access (16-bit rings), a binary search (mmh3), a division
//! (fast) or the jumps.

use crate::{
    Algorithm, Node, Owners, RingError, RingSpec, check,
    finder::{self, Circle, Finder},
    hash::{Bytes, Key, KeyHash, fnv1a_64},
    jump::{JumpWalk, bucket_order, jump},
    kinds::{count_distinct, count_kinds, kinds},
    owners::OwnerLists,
    routed::RoutedRings,
    warnings,
};

/// What to do if a ring has fewer copies than its replication factor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortfall {
    /// Refuse the spec, with the reason.
    Refuse,
    /// Return the owners that exist, each once. carbon does this; carbon-c-relay would not start, or never
    /// answer.
    GiveWhatThereIs,
}

/// A hash ring that returns which nodes own a series. Built once from a [`RingSpec`], and never changed.
#[derive(Clone, Debug)]
pub struct Ring {
    spec: RingSpec,
    placement: Placement,
    copies: usize,
}

/// How the owners of a key are found.
#[derive(Clone, Debug)]
enum Placement {
    /// By a place on a circle of nodes, with its list of owners.
    Circle { finder: Finder, lists: OwnerLists },
    /// By jumps over buckets; `order` is the node of each bucket.
    Buckets { bytes: Bytes, order: Vec<u32> },
    /// By the rings that routing rules lead to.
    Routed(RoutedRings),
}

impl Ring {
    /// The ring that `spec` describes.
    ///
    /// # Errors
    /// [`RingError`] says why the relay could not use it, or which nodes are missing for the copies.
    pub fn new(spec: RingSpec) -> Result<Self, RingError> {
        Self::with_shortfall(spec, Shortfall::Refuse)
    }

    /// The ring that `spec` describes; with [`Shortfall::GiveWhatThereIs`] also if there are fewer nodes or
    /// hosts than copies.
    ///
    /// # Errors
    /// [`RingError`], as for [`Ring::new`]; with [`Shortfall::GiveWhatThereIs`] never for too few nodes or
    /// hosts.
    pub fn with_shortfall(spec: RingSpec, shortfall: Shortfall) -> Result<Self, RingError> {
        check::check(&spec)?;
        if let Some(rings) = RoutedRings::of(&spec, shortfall)? {
            let copies = rings.copies();
            return Ok(Self { spec, placement: Placement::Routed(rings), copies });
        }
        let kinds = kinds(&spec);
        let copies_of = |circle: &[u32]| {
            let reachable = count_kinds(circle, &kinds);
            if reachable < spec.replication_factor && shortfall == Shortfall::Refuse {
                return Err(check::shortage(&spec, count_distinct(&kinds), reachable));
            }
            Ok(reachable.min(spec.replication_factor))
        };
        let (placement, copies) = if spec.algorithm == Algorithm::JumpFnv1a {
            let order = bucket_order(&spec.nodes, spec.relay);
            let copies = copies_of(&order)?;
            (Placement::Buckets { bytes: finder::fnv_bytes(spec.relay), order }, copies)
        } else {
            let Circle { finder, nodes, begins } = finder::circle(&spec);
            let copies = copies_of(&nodes)?;
            let mut lists = OwnerLists::of_circle(&nodes, &kinds, copies);
            if let Some(begins) = begins {
                lists = lists.of_places(&begins);
            }
            (Placement::Circle { finder, lists }, copies)
        };
        Ok(Self { spec, placement, copies })
    }

    /// The spec that the ring was built from.
    pub fn spec(&self) -> &RingSpec {
        &self.spec
    }

    /// The nodes, in the order of the configuration; owners are indices into them.
    pub fn nodes(&self) -> &[Node] {
        &self.spec.nodes
    }

    /// The node that holds the first copy of `series`, as an index into [`Ring::nodes`].
    ///
    /// `series` is the name of the series with its tags, if it has any: the ring removes the part that the
    /// relay does not hash. It is not normalised or cleaned in any other way.
    ///
    /// With rules, a metric has no first copy: this is the first of [`Ring::owners`], or the first node if it
    /// has none.
    pub fn owner(&self, series: &str) -> usize {
        if self.spec.has_rules() {
            return self.owners(series).next().unwrap_or_default();
        }
        let key = Key { series, tagged_names: self.spec.tagged_names };
        match &self.placement {
            Placement::Circle { finder, lists } => lists.first_at(finder.place(key)),
            Placement::Buckets { bytes, order } => {
                order[jump(fnv1a_64(key, *bytes), buckets(order)) as usize] as usize
            }
            Placement::Routed(_) => self.owners(series).next().unwrap_or_default(),
        }
    }

    /// The nodes that hold `series`, the first copy first; as many as the spec's replication factor says.
    ///
    /// With aggregation rules they are a set: the owners of all its aggregates, each node once, or its own
    /// owners if no rule matches. There may be more of them than the replication factor says.
    ///
    /// With routing rules they are the owners in all rings that the rules send it to, each node once: none if
    /// no rule does.
    ///
    /// Takes the same `series` as [`Ring::owner`], which returns the first of them.
    pub fn owners(&self, series: &str) -> Owners<'_> {
        let aggregates = self.aggregates(series);
        if aggregates.is_empty() {
            return self.owners_of_name(series);
        }
        Owners::set(aggregates.iter().flat_map(|name| self.owners_of_name(name)))
    }

    /// [`Ring::owners`], but with routing rules the owners in all of their rings, as if every name got to each.
    pub(crate) fn owners_past_routes(&self, series: &str) -> Owners<'_> {
        match &self.placement {
            Placement::Routed(rings) => rings.owners_in_all(series),
            Placement::Circle { .. } | Placement::Buckets { .. } => self.owners(series),
        }
    }

    /// The names whose owners hold `series` in its place: those that the aggregation rules make of it. Empty
    /// if no rule matches, or the ring has none.
    pub fn aggregates(&self, series: &str) -> Vec<String> {
        self.spec.aggregation.as_ref().map_or_else(Vec::new, |rules| rules.aggregates(series))
    }

    fn owners_of_name(&self, series: &str) -> Owners<'_> {
        self.owners_of_key(Key { series, tagged_names: self.spec.tagged_names })
    }

    /// The owners of `key`, whatever rules there are.
    pub(crate) fn owners_of_key(&self, key: Key<'_>) -> Owners<'_> {
        match &self.placement {
            Placement::Routed(rings) => rings.owners(&self.spec, key),
            Placement::Circle { finder, lists } => Owners::listed(lists.at(finder.place(key))),
            Placement::Buckets { bytes, order } => {
                let walk = JumpWalk::new(fnv1a_64(key, *bytes), buckets(order));
                Owners::walked(order, walk, self.copies)
            }
        }
    }

    /// The hash that places a name, for [`Self::owners_of_hash`].
    pub(crate) fn key_hash(&self) -> KeyHash {
        match &self.placement {
            Placement::Circle { finder, .. } => KeyHash::Position(finder.hash()),
            Placement::Buckets { bytes, .. } => KeyHash::Jump(*bytes),
            Placement::Routed(rings) => rings.key_hash(),
        }
    }

    /// The owners of a name by its [`Self::key_hash`]. Aggregation rules do not count here, and with routing
    /// rules there are none: they need the name.
    pub(crate) fn owners_of_hash(&self, hash: u64) -> Owners<'_> {
        match &self.placement {
            Placement::Circle { finder, lists } => {
                Owners::listed(lists.at(finder.place_of(KeyHash::position(hash))))
            }
            Placement::Buckets { order, .. } => {
                Owners::walked(order, JumpWalk::new(hash, buckets(order)), self.copies)
            }
            Placement::Routed(_) => Owners::none(),
        }
    }

    /// For each node, its share of all keys, 0 to 1, of which it holds the first copy. With aggregation rules a
    /// key is the name that is hashed, so this says how aggregates are spread, not metrics.
    ///
    /// On rings this is the exact share of the positions that are its own. Jump and fast hashing spread keys
    /// evenly, so each node has an equal share. With routing rules, each of
    /// their rings counts as if it got equally many names.
    pub fn share(&self) -> Vec<f64> {
        let mut shares = vec![0.0; self.spec.nodes.len()];
        match &self.placement {
            Placement::Circle { finder, lists } => {
                for (place, share) in finder.shares().into_iter().enumerate() {
                    shares[lists.first_at(place)] += share;
                }
            }
            Placement::Buckets { order, .. } => shares.fill(evenly(order.len())),
            Placement::Routed(rings) => rings.add_shares(&mut shares),
        }
        shares
    }

    /// The node that holds the first copy of the keys at `position` of a ring with 65,536 positions
    /// (carbon's, and carbon-c-relay's `fnv1a_ch`), as an index into [`Ring::nodes`]. `None` for any other
    /// kind of ring.
    pub fn owner_at(&self, position: u16) -> Option<usize> {
        match &self.placement {
            Placement::Circle { finder, lists } => Some(lists.first_at(finder.place_at(position)?)),
            Placement::Buckets { .. } | Placement::Routed(_) => None,
        }
    }

    /// For a jump ring, the node of each bucket, as indices into [`Ring::nodes`]; `None` for any other kind
    /// of ring.
    pub fn buckets(&self) -> Option<&[u32]> {
        match &self.placement {
            Placement::Buckets { order, .. } => Some(order),
            Placement::Circle { .. } | Placement::Routed(_) => None,
        }
    }

    /// What an operator should know about this ring, although the relay would build it: one sentence for each
    /// warning.
    pub fn warnings(&self) -> Vec<String> {
        match &self.placement {
            Placement::Routed(rings) => rings.warnings(),
            Placement::Circle { .. } | Placement::Buckets { .. } => {
                warnings::warnings(self, self.copies)
            }
        }
    }
}

/// The number of buckets: at most the largest number of nodes of a ring.
fn buckets(order: &[u32]) -> u32 {
    u32::try_from(order.len()).unwrap_or(u32::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "rings have a few thousand nodes at most")]
fn evenly(parts: usize) -> f64 {
    1.0 / parts as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Relay, resolve};

    fn spec(algorithm: Algorithm, relay: Relay, copies: usize, nodes: &[&str]) -> RingSpec {
        let (relay, tagged_names) = resolve(algorithm, Some(relay), None).expect("a known ring");
        RingSpec {
            nodes: nodes.iter().map(|node| node.parse().expect("a node")).collect(),
            algorithm,
            relay,
            replication_factor: copies,
            diverse_replicas: false,
            tagged_names,
            aggregation: None,
            routes: None,
        }
    }

    fn refusal(spec: RingSpec) -> String {
        Ring::new(spec).expect_err("no ring").to_string()
    }

    #[test]
    fn a_tagged_series_lies_with_its_name_where_only_that_is_hashed() {
        let nodes = ["live-1:1=a", "live-2:1=b", "live-3:1=c"];
        let series =
            ["disk.used;env=stage;x_y=72", "disk.used;host=graphite-web033-g6", "disk.used"];
        let cut =
            Ring::new(spec(Algorithm::JumpFnv1a, Relay::CarbonCRelay, 2, &nodes)).expect("a ring");
        for one in series {
            assert_eq!(cut.owner(one), cut.owner("disk.used"));
            assert!(cut.owners(one).eq(cut.owners("disk.used")));
        }
        let whole = Ring::new(spec(Algorithm::Carbon, Relay::Carbon, 1, &nodes)).expect("a ring");
        let owners: Vec<usize> =
            (0..20).map(|n| whole.owner(&format!("disk.used;n={n}"))).collect();
        assert!(owners.iter().any(|owner| *owner != owners[0]));
    }

    #[test]
    fn more_copies_than_nodes_or_hosts_are_refused_with_both_numbers() {
        let nodes = ["a:1=a", "a:2=b", "b:1=a"];
        assert_eq!(
            refusal(spec(Algorithm::Carbon, Relay::Carbon, 4, &nodes)),
            "the replication factor is 4, but the ring has only 3 node(s)"
        );
        let diverse = |copies| RingSpec {
            diverse_replicas: true,
            ..spec(Algorithm::FastMmh3, Relay::Carbon, copies, &nodes)
        };
        assert_eq!(
            refusal(diverse(3)),
            "the replication factor is 3 with diverse replicas, but the nodes are on only 2 host(s)"
        );
        assert!(Ring::new(diverse(2)).is_ok());
        let lenient = Ring::with_shortfall(diverse(3), Shortfall::GiveWhatThereIs).expect("a ring");
        assert_eq!(lenient.owners("a.b").len(), 2);
    }

    #[test]
    fn copies_that_carbon_c_relay_would_search_forever_are_refused() {
        let same_entries = ["10.0.0.1:2003", "10.0.0.1:2004"];
        let refused = refusal(spec(Algorithm::Carbon, Relay::CarbonCRelay, 2, &same_entries));
        assert!(refused.contains("only 1 node(s) are left on the ring"), "{refused}");
        let same_instance = ["10.0.0.1:2003=a", "10.0.0.2:2003=a"];
        let refused = refusal(spec(Algorithm::Fnv1a, Relay::CarbonCRelay, 2, &same_instance));
        assert!(refused.contains("lose every entry"), "{refused}");
        for relay in [Relay::Carbon, Relay::Buckytools] {
            let ring = Ring::new(spec(Algorithm::Fnv1a, relay, 2, &same_instance)).expect("a ring");
            assert_eq!(ring.owners("a.b").len(), 2);
        }
    }

    #[test]
    fn nodes_that_a_relay_cannot_distinguish_are_refused() {
        let twice = ["a:1=x", "b", "a:1=x"];
        for relay in [Relay::Buckytools, Relay::Carbon, Relay::CarbonCRelay] {
            assert_eq!(
                refusal(spec(Algorithm::Carbon, relay, 1, &twice)),
                "node 1 and node 3 are both a:1=x; leave one out"
            );
        }
        let ports = ["a:1", "a:2"];
        let refused = refusal(spec(Algorithm::Fnv1a, Relay::Carbon, 1, &ports));
        assert!(refused.contains("node 1 (a:1) from node 2 (a:2)"), "{refused}");
        assert!(Ring::new(spec(Algorithm::Fnv1a, Relay::CarbonCRelay, 2, &ports)).is_ok());
        for instances in [["a=x", "a=y"], ["a=x", "a:2003=y"], ["a", "a:2003"]] {
            let refused = refusal(spec(Algorithm::Carbon, Relay::CarbonCRelay, 1, &instances));
            assert!(refused.contains("host and port"), "{refused}");
            assert!(Ring::new(spec(Algorithm::Carbon, Relay::Buckytools, 1, &instances)).is_ok());
        }
    }

    #[test]
    fn what_carbon_relay_ng_cannot_have_is_refused() {
        let spec = |algorithm, copies, nodes: &[&str]| {
            spec(algorithm, Relay::CarbonRelayNg, copies, nodes)
        };
        let (v1, v2) = (Algorithm::ConsistentHashing, Algorithm::ConsistentHashingV2);
        assert!(refusal(spec(v1, 2, &["a:1", "b:1"])).contains("keeps one copy of each metric"));
        assert!(
            refusal(spec(v2, 1, &["a:1", "[fd00::1]:1"]))
                .contains("node 2 ([fd00::1]:1) is an IPv6")
        );
        let ports = ["a:1", "a:2"];
        assert!(refusal(spec(v1, 1, &ports)).contains("left to chance"));
        assert!(Ring::new(spec(v2, 1, &ports)).is_ok());
    }

    #[test]
    fn an_impossible_spec_is_refused() {
        let nodes = ["a:1", "b:1"];
        let carbon = spec(Algorithm::Carbon, Relay::Buckytools, 1, &nodes);
        let cases = [
            (RingSpec { nodes: Vec::new(), ..carbon.clone() }, "no nodes"),
            (RingSpec { replication_factor: 0, ..carbon.clone() }, "replication factor is 0"),
            (RingSpec { replication_factor: 65, ..carbon.clone() }, "the limit is 64"),
            (RingSpec { diverse_replicas: true, ..carbon.clone() }, "only carbon does"),
            (RingSpec { algorithm: Algorithm::Mmh3, ..carbon.clone() }, "has no mmh3 ring"),
            (spec(Algorithm::JumpFnv1a, Relay::Buckytools, 2, &nodes), "no second copy"),
            (spec(Algorithm::Carbon, Relay::Carbon, 1, &["a=x\u{200b}"]), "contains '\\u{200b}'"),
        ];
        for (spec, expected) in cases {
            let refused = refusal(spec);
            assert!(refused.contains(expected), "{refused}");
        }
        let long = format!("a={}", "x".repeat(250));
        let refused = refusal(spec(Algorithm::Fnv1a, Relay::CarbonCRelay, 1, &[&long]));
        assert!(refused.contains("too long for carbon-c-relay"), "{refused}");
        let many: Vec<Node> = (0..4097).map(|n| format!("a{n}").parse().expect("a node")).collect();
        assert_eq!(
            refusal(RingSpec { nodes: many, ..carbon }),
            "the ring has 4097 nodes, the limit is 4096"
        );
    }

    #[test]
    fn shares_add_up_to_one() {
        let nodes = ["gr-a:1=a", "gr-b:1=b", "gr-c:1=c", "gr-d:1=d"];
        for relay in Relay::ALL {
            for algorithm in Algorithm::ALL {
                if resolve(algorithm, Some(relay), None).is_err() {
                    continue;
                }
                let shares = Ring::new(spec(algorithm, relay, 1, &nodes)).expect("a ring").share();
                assert_eq!(shares.len(), nodes.len());
                assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{relay} {algorithm}");
                assert!(shares.iter().all(|share| *share > 0.05), "{relay} {algorithm} {shares:?}");
            }
        }
    }
}
