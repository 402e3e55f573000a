//! Owners by carbon's aggregated hashing, as carbon's own routers and rules give them (`vectors-aggregated`).

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bucky_ring::{
    AggregationRules, Algorithm, Node, Relay, Ring, RingDocument, RingSpec, TaggedNames,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    diverse: bool,
    hash: String,
    method: String,
    metrics: BTreeMap<String, Metric>,
    nodes: Vec<String>,
    replication: usize,
    rules: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metric {
    aggregates: Vec<String>,
    owners: Vec<String>,
}

impl Case {
    fn spec(&self) -> RingSpec {
        let algorithm = match (self.method.as_str(), self.hash.as_str()) {
            ("aggregated-consistent-hashing", "carbon_ch") => Algorithm::Carbon,
            ("fast-aggregated-hashing", "carbon_ch") => Algorithm::FastCarbon,
            unknown => panic!("{unknown:?}"),
        };
        let rules = AggregationRules::parse(&self.rules.join("\n")).unwrap();
        RingSpec {
            nodes: self.nodes.iter().map(|node| node.parse().unwrap()).collect(),
            algorithm,
            relay: Relay::Carbon,
            replication_factor: self.replication,
            diverse_replicas: self.diverse,
            tagged_names: TaggedNames::Whole,
            aggregation: Some(Arc::new(rules)),
            routes: None,
        }
    }
}

fn shown(node: &Node) -> String {
    format!("{}:{}:{}", node.host(), node.port(), node.instance().unwrap_or_default())
}

#[test]
fn every_vector_holds() {
    let file: File = serde_json::from_str(include_str!("vectors-aggregated/vectors.json")).unwrap();
    assert_eq!(file.cases.len(), 11);
    let mut sizes = BTreeSet::new();
    for case in &file.cases {
        let ring = Ring::new(case.spec()).unwrap();
        assert_eq!(case.metrics.len(), 67);
        for (name, due) in &case.metrics {
            let mut aggregates = ring.aggregates(name);
            let mut due_aggregates = due.aggregates.clone();
            aggregates.sort();
            due_aggregates.sort();
            due_aggregates.dedup();
            assert_eq!(aggregates, due_aggregates, "{name}");
            let owners: Vec<usize> = ring.owners(name).collect();
            assert_eq!(ring.owners(name).len(), owners.len());
            assert_eq!(ring.owner(name), owners[0], "{name}");
            let found: BTreeSet<String> =
                owners.iter().map(|owner| shown(&ring.nodes()[*owner])).collect();
            assert_eq!(found.len(), owners.len(), "{name}: each node once");
            assert_eq!(found, due.owners.iter().cloned().collect(), "{name}");
            sizes.insert((case.replication, found.len()));
        }
    }
    assert!(sizes.iter().any(|(copies, owners)| owners > copies), "{sizes:?}");
}

#[test]
fn the_document_carries_the_rules() {
    let file: File = serde_json::from_str(include_str!("vectors-aggregated/vectors.json")).unwrap();
    let spec = file.cases[0].spec();
    let document = RingDocument::from_spec("", &spec).to_json();
    let read = RingDocument::from_json(document.as_bytes()).unwrap().to_spec().unwrap();
    assert_eq!(read, spec);
    let without = RingSpec { aggregation: None, ..spec.clone() };
    assert_ne!(without.fingerprint(), spec.fingerprint());
    assert!(!RingDocument::from_spec("", &without).to_json().contains("AggregationRules"));
    let digest = spec.aggregation.as_ref().unwrap().digest();
    assert_eq!(
        spec.differences(&without).iter().map(ToString::to_string).collect::<Vec<_>>(),
        [format!("aggregation rules {digest}, there none")]
    );
    let other = RingSpec { relay: Relay::CarbonCRelay, diverse_replicas: false, ..spec };
    assert!(Ring::new(other).unwrap_err().to_string().contains("has no aggregated hashing"));
}
