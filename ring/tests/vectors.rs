//! The vectors: owners as carbon, carbon-c-relay and buckytools themselves name them. `vectors/README.md`
//! says how each was asked. All of them hold, owner by owner and in the same order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use bucky_ring::{Algorithm, Node, Relay, Ring, RingError, RingSpec, Shortfall, TaggedNames};
use serde::Deserialize;

/// The number of files in `vectors/`, so that a lost file is noticed.
const CASES: usize = 151;

/// The number of files in `vectors-relay-ng/`: carbon-relay-ng's own answers.
const RELAY_NG_CASES: usize = 19;

/// The cases that ask carbon for more copies than there are nodes or hosts. carbon returns the owners that
/// exist. Here such a ring is refused, unless the caller allows a shortfall.
const SHORT: [&str; 8] = [
    "four-abc--carbon-carbon_ch-r5-div",
    "one--carbon-carbon_ch-r2",
    "one--carbon-carbon_ch-r2-div",
    "one--carbon-fast-mmh3_ch-r2",
    "one--carbon-fnv1a_ch-r2",
    "one--carbon-mmh3_ch-r2",
    "three--carbon-carbon_ch-r4",
    "three--carbon-fast-mmh3_ch-r4",
];

/// A file of the vectors.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    case: String,
    relay: String,
    #[serde(rename = "relay_version")]
    _relay_version: String,
    hash: String,
    fast_hash: Option<String>,
    relay_mode: Option<String>,
    replication: usize,
    diverse_replicas: bool,
    nodes: Vec<CaseNode>,
    owners: BTreeMap<String, Vec<String>>,
    /// A remark in the case that is left to chance.
    #[serde(rename = "go_sort", default)]
    _go_sort: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseNode {
    host: String,
    port: u16,
    instance: Option<String>,
}

impl Case {
    fn spec(&self) -> RingSpec {
        let node = |node: &CaseNode| Node::new(&node.host, node.port, node.instance.as_deref());
        RingSpec {
            nodes: self.nodes.iter().map(node).collect::<Result<_, _>>().expect(&self.case),
            algorithm: self.algorithm(),
            relay: self.relay.parse().expect(&self.case),
            replication_factor: self.replication,
            diverse_replicas: self.diverse_replicas,
            tagged_names: self.tagged_names(),
            aggregation: None,
            routes: None,
        }
    }

    fn algorithm(&self) -> Algorithm {
        match (self.hash.as_str(), self.fast_hash.as_deref()) {
            ("carbon_ch", None) => Algorithm::Carbon,
            ("fnv1a_ch", None) => Algorithm::Fnv1a,
            ("jump_fnv1a_ch", None) => Algorithm::JumpFnv1a,
            ("mmh3_ch", None) => Algorithm::Mmh3,
            ("fast", Some("mmh3_ch")) => Algorithm::FastMmh3,
            ("fast", Some("carbon_ch")) => Algorithm::FastCarbon,
            ("fast", Some("fnv1a_ch")) => Algorithm::FastFnv1a,
            ("consistentHashing", None) => Algorithm::ConsistentHashing,
            ("consistentHashing-v2", None) => Algorithm::ConsistentHashingV2,
            unknown => panic!("{}: {unknown:?}", self.case),
        }
    }

    /// carbon-c-relay's test mode hashes tagged names whole; no running relay does.
    fn tagged_names(&self) -> TaggedNames {
        match self.relay_mode.as_deref() {
            Some("live") => TaggedNames::BeforeSemicolon,
            Some("test") | None => TaggedNames::Whole,
            Some(unknown) => panic!("{}: {unknown}", self.case),
        }
    }

    /// The owners in the file as indices into its nodes. carbon names a lone node twice; that counts once.
    fn expected(&self, owners: &[String]) -> Vec<usize> {
        let mut expected = Vec::new();
        for owner in owners {
            let is_owner = |node: &CaseNode| {
                let instance = node.instance.as_deref().unwrap_or_default();
                *owner == format!("{}:{}:{instance}", node.host, node.port)
            };
            let index = self.nodes.iter().position(is_owner);
            let index = index.unwrap_or_else(|| panic!("{}: {owner} is no node", self.case));
            if !expected.contains(&index) {
                expected.push(index);
            }
        }
        expected
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// All vectors.
fn cases() -> Vec<Case> {
    let mut cases = cases_in(&folder("vectors"));
    assert_eq!(cases.len(), CASES, "files in tests/vectors");
    let relay_ng = cases_in(&folder("vectors-relay-ng"));
    assert_eq!(relay_ng.len(), RELAY_NG_CASES, "files in tests/vectors-relay-ng");
    cases.extend(relay_ng);
    cases
}

/// Every file of the folder except its README, each read as the case that its name states.
fn cases_in(folder: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    for entry in fs::read_dir(folder).expect("the vectors") {
        let path = entry.expect("an entry of the vectors").path();
        if path.file_name().is_some_and(|name| name == "README.md") || path.is_dir() {
            continue;
        }
        assert!(path.extension().is_some_and(|ending| ending == "json"), "no case: {path:?}");
        let json = fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let case: Case =
            serde_json::from_slice(&json).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert!(path.file_stem().is_some_and(|stem| *stem == *case.case), "{path:?}");
        cases.push(case);
    }
    cases.sort_by(|a, b| a.case.cmp(&b.case));
    cases
}

#[test]
fn every_vector_holds() {
    let cases = cases();
    let mut short = Vec::new();
    for case in &cases {
        let ring = match Ring::new(case.spec()) {
            Ok(ring) => ring,
            Err(RingError::TooFewNodes { .. } | RingError::TooFewHosts { .. }) => {
                short.push(case.case.as_str());
                Ring::with_shortfall(case.spec(), Shortfall::GiveWhatThereIs).expect(&case.case)
            }
            Err(error) => panic!("{}: {error}", case.case),
        };
        assert_eq!(case.owners.len(), 200, "{}: keys", case.case);
        for (key, owners) in &case.owners {
            let expected = case.expected(owners);
            let found = ring.owners(key);
            assert_eq!(found.len(), expected.len(), "{}: owners of {key:?}", case.case);
            assert_eq!(found.collect::<Vec<_>>(), expected, "{}: owners of {key:?}", case.case);
            assert_eq!(ring.owner(key), expected[0], "{}: owner of {key:?}", case.case);
        }
    }
    assert_eq!(short, SHORT);
}

/// One host on several ports without instances: which of its entries wins is left to Go's sort, which is not
/// stable. Nobody can compute that ring, so it is refused.
#[test]
fn a_ring_that_go_sorts_by_chance_is_refused() {
    let cases = cases_in(&folder("vectors-relay-ng/go-sort"));
    let [case] = cases.as_slice() else { panic!("one case") };
    let refused = Ring::new(case.spec()).expect_err("refused").to_string();
    assert!(refused.contains("left to chance; give each node its own instance"), "{refused}");
}

#[test]
fn the_vectors_ask_every_relay_for_every_ring_it_has() {
    let asked: BTreeSet<(&str, &str)> = cases()
        .iter()
        .map(|case| (case.spec().relay.name(), case.spec().algorithm.name()))
        .collect();
    let known: BTreeSet<(&str, &str)> = Relay::ALL
        .into_iter()
        .flat_map(|relay| Algorithm::ALL.map(|algorithm| (relay, algorithm)))
        .filter(|(relay, algorithm)| algorithm.is_known_to(*relay))
        .map(|(relay, algorithm)| (relay.name(), algorithm.name()))
        .collect();
    assert_eq!(asked, known);
}

/// A running carbon-c-relay also cleans names (`a/b`, `a..b`, non-ASCII characters) before it hashes them. A
/// ring gets names of files, which are clean already, and does not clean them. So the live vectors must not
/// contain such names.
#[test]
fn the_live_vectors_hold_no_name_that_the_relay_would_clean() {
    let cases = cases();
    let live = || cases.iter().filter(|case| case.relay_mode.as_deref() == Some("live"));
    assert_eq!(live().count(), 3);
    for case in live() {
        let tagged = case.owners.keys().filter(|key| key.contains(';')).count();
        assert!(tagged > 50, "{}: {tagged} tagged names", case.case);
        for key in case.owners.keys() {
            let name = key.split(';').next().unwrap_or_default();
            let clean = |c: char| c.is_ascii_alphanumeric() || "-_:#.".contains(c);
            assert!(name.chars().all(clean) && !name.contains(".."), "{}: {key}", case.case);
        }
    }
}
