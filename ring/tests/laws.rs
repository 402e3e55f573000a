//! Properties of every ring: it gives the same owners as the naive ring, and a few laws that no example could
//! show.

mod naive;

use std::collections::BTreeSet;

use bucky_ring::{
    Algorithm, Node, Relay, Ring, RingDocument, RingError, RingSpec, Shortfall, TaggedNames,
};
use proptest::{prelude::*, sample::select};

fn algorithms_of() -> Vec<(Relay, Algorithm)> {
    let pairs = Relay::ALL.into_iter().flat_map(|relay| Algorithm::ALL.map(|one| (relay, one)));
    pairs.filter(|(relay, algorithm)| algorithm.is_known_to(*relay)).collect()
}

/// Few hosts, ports and instances, so that nodes share them.
fn node() -> impl Strategy<Value = Node> {
    let host = select(vec!["gr-1", "gr-2", "gr-3", "GR-1", "10.0.0.1", "fd00::1", "a.example.org"]);
    let instance = prop_oneof![
        2 => Just(None),
        3 => select(vec!["a", "b", "B", "None", "x:1", "p=q", "é"]).prop_map(|one| Some(one.to_owned())),
        2 => "[a-z]{1,3}-[0-9]{1,2}".prop_map(Some),
    ];
    node_from(host, instance)
}

/// Like [`node`], but all instances are numbers.
fn numbered_node() -> impl Strategy<Value = Node> {
    let host = select(vec!["gr-1", "gr-2", "gr-3", "gr-4", "gr-5"]);
    let instance = prop::option::weighted(0.9, "0{0,2}[0-9]{1,3}");
    node_from(host, instance)
}

fn node_from(
    host: impl Strategy<Value = &'static str>,
    instance: impl Strategy<Value = Option<String>>,
) -> impl Strategy<Value = Node> {
    let port = select(vec![0_u16, 2003, 2103, 2203, 65535]);
    (host, port, instance).prop_map(|(host, port, instance)| {
        Node::new(host, port, instance.as_deref()).expect("a node")
    })
}

fn nodes(most: usize) -> impl Strategy<Value = Vec<Node>> {
    prop_oneof![
        prop::collection::vec(node(), 1..=most),
        prop::collection::vec(numbered_node(), 1..=most)
    ]
}

/// A spec that builds if a shortfall is allowed: nodes that its relay could not distinguish are left out.
fn spec() -> impl Strategy<Value = RingSpec> {
    let shape = (select(algorithms_of()), select(TaggedNames::ALL.to_vec()), 1..6_usize);
    (nodes(12), shape, any::<bool>()).prop_map(|(nodes, shape, diverse)| {
        let ((relay, algorithm), tagged_names, copies) = shape;
        let jump_alone = relay == Relay::Buckytools && algorithm == Algorithm::JumpFnv1a;
        RingSpec {
            nodes: distinct_nodes(nodes, relay, algorithm),
            algorithm,
            relay,
            replication_factor: if jump_alone || relay == Relay::CarbonRelayNg {
                1
            } else {
                copies
            },
            diverse_replicas: diverse && relay == Relay::Carbon,
            tagged_names,
            aggregation: None,
            routes: None,
        }
    })
}

fn distinct_nodes(mut nodes: Vec<Node>, relay: Relay, algorithm: Algorithm) -> Vec<Node> {
    if relay == Relay::CarbonRelayNg {
        // It cannot have IPv6. One node at least is left.
        nodes.push(Node::new("gr-9", 2003, None).expect("a node"));
        nodes.retain(|node| !node.host().contains(':'));
    }
    let mut known = BTreeSet::new();
    let identity = |node: &Node| {
        let (host, port) = (node.host().to_owned(), node.port());
        let instance = node.instance().map(str::to_owned);
        match relay {
            Relay::Carbon => (host, 0, instance),
            Relay::CarbonRelayNg if algorithm == Algorithm::ConsistentHashing => {
                (host, 0, instance)
            }
            Relay::CarbonCRelay => (host, if port == 0 { 2003 } else { port }, None),
            Relay::Buckytools | Relay::CarbonRelayNg => (host, port, instance),
        }
    };
    nodes.into_iter().filter(|node| known.insert(identity(node))).collect()
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,8}(\\.[a-z0-9_-]{1,8}){0,4}",
        "[a-z]{1,6}\\.[a-z]{1,6}(;[a-z]{1,4}=[a-z0-9]{1,4}){1,3}",
        "\\PC{0,20}",
    ]
}

fn keys() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(key(), 1..20)
}

fn lenient(spec: &RingSpec) -> Ring {
    Ring::with_shortfall(spec.clone(), Shortfall::GiveWhatThereIs).expect("a ring")
}

/// Whether carbon's fast router has a defined order for these nodes.
fn has_order(spec: &RingSpec) -> bool {
    lenient(spec).warnings().iter().all(|warning| !warning.contains("no defined order"))
}

proptest! {
    #[test]
    fn a_ring_answers_as_the_naive_one_does(spec in spec(), keys in keys()) {
        prop_assume!(has_order(&spec));
        let ring = lenient(&spec);
        for key in &keys {
            let expected = naive::owners(&spec, key);
            prop_assert_eq!(ring.owner(key), expected[0], "{:?}", key);
            prop_assert_eq!(ring.owners(key).len(), expected.len(), "{:?}", key);
            prop_assert_eq!(ring.owners(key).collect::<Vec<_>>(), expected, "{:?}", key);
        }
    }

    #[test]
    fn a_ring_is_refused_just_when_the_naive_one_gives_too_few(spec in spec(), key in key()) {
        let enough = naive::owners(&spec, &key).len() == spec.replication_factor;
        match Ring::new(spec.clone()) {
            Ok(_) => prop_assert!(enough),
            Err(
                RingError::TooFewNodes { .. }
                | RingError::TooFewHosts { .. }
                | RingError::TooFewReachable { .. },
            ) => prop_assert!(!enough),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn owners_are_distinct_and_diverse_ones_on_distinct_hosts(spec in spec(), keys in keys()) {
        let ring = lenient(&spec);
        for key in &keys {
            let owners: Vec<usize> = ring.owners(key).collect();
            let distinct: BTreeSet<usize> = owners.iter().copied().collect();
            prop_assert_eq!(distinct.len(), owners.len());
            if spec.diverse_replicas {
                let hosts: BTreeSet<&str> =
                    owners.iter().map(|owner| ring.nodes()[*owner].host()).collect();
                prop_assert_eq!(hosts.len(), owners.len());
            }
        }
    }

    #[test]
    fn the_owners_for_one_copy_more_begin_with_those_for_one_less(spec in spec(), keys in keys()) {
        prop_assume!(spec.relay != Relay::CarbonRelayNg);
        prop_assume!(!(spec.algorithm == Algorithm::JumpFnv1a && spec.relay == Relay::Buckytools));
        let ring = lenient(&spec);
        let more = lenient(&RingSpec { replication_factor: spec.replication_factor + 1, ..spec });
        for key in &keys {
            let owners: Vec<usize> = ring.owners(key).collect();
            let longer: Vec<usize> = more.owners(key).collect();
            prop_assert!(longer.starts_with(&owners), "{:?} {:?}", owners, longer);
        }
    }

    /// On every ring except the fast router's, which is not consistent.
    #[test]
    fn a_new_node_takes_metrics_and_nothing_moves_between_the_old(
        spec in spec(), new in node(), keys in prop::collection::vec(key(), 50)
    ) {
        prop_assume!(matches!(spec.algorithm, Algorithm::Carbon | Algorithm::Fnv1a | Algorithm::Mmh3));
        let mut grown = spec.clone();
        grown.nodes.push(new);
        let Ok(after) = Ring::with_shortfall(grown, Shortfall::GiveWhatThereIs) else {
            return Ok(()); // the new node is one of the old
        };
        let before = lenient(&spec);
        let new = spec.nodes.len();
        for key in &keys {
            prop_assert!(after.owner(key) == before.owner(key) || after.owner(key) == new);
            // In carbon-c-relay a node may also lose an entry to the new one. With diverse replicas, the new
            // node may represent a host. In both cases further copies move between the old nodes.
            if spec.relay != Relay::CarbonCRelay && !spec.diverse_replicas {
                let kept = after.owners(key).filter(|owner| *owner != new);
                let old: Vec<usize> = before.owners(key).collect();
                prop_assert!(old.starts_with(&kept.collect::<Vec<_>>()));
            }
        }
    }

    #[test]
    fn a_node_at_the_end_of_a_jump_ring_takes_metrics_and_nothing_else_moves(
        nodes in nodes(12),
        relay in select(vec![Relay::Buckytools, Relay::CarbonCRelay]),
        keys in prop::collection::vec(key(), 50),
    ) {
        let spec = RingSpec {
            nodes: distinct_nodes(nodes, relay, Algorithm::Carbon),
            algorithm: Algorithm::JumpFnv1a,
            relay,
            replication_factor: 1,
            diverse_replicas: false,
            tagged_names: relay.default_tagged_names(), aggregation: None, routes: None, };
        let mut grown = spec.clone();
        grown.nodes.push("gr-new:2003".parse().expect("a node")); // without instance: last in both
        let (before, after) = (Ring::new(spec).expect("a ring"), Ring::new(grown).expect("a ring"));
        let new = before.nodes().len();
        for key in &keys {
            prop_assert!(after.owner(key) == before.owner(key) || after.owner(key) == new);
        }
    }

    #[test]
    fn shares_are_those_of_the_naive_entries(spec in spec()) {
        let shares = lenient(&spec).share();
        prop_assert_eq!(shares.len(), spec.nodes.len());
        prop_assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        if !matches!(spec.algorithm, Algorithm::Carbon | Algorithm::Fnv1a) {
            return Ok(());
        }
        let entries = naive::entries(&spec);
        let mut counts = vec![0_u32; spec.nodes.len()];
        let (mut from, first) = (0, entries[0].1);
        for (position, node) in entries {
            while from <= position && from < 65_536 {
                counts[node] += 1;
                from += 1;
            }
        }
        counts[first] += u32::try_from(65_536 - from).expect("what is left");
        for (share, count) in shares.iter().zip(counts) {
            prop_assert!((share - f64::from(count) / 65_536.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_ring_without_idle_nodes_says_so(spec in spec()) {
        let ring = lenient(&spec);
        let idle = ring.share().contains(&0.0);
        let warned = ring.warnings().iter().any(|warning| warning.contains("has its first copy on"));
        prop_assert_eq!(idle, warned);
    }

    #[test]
    fn whatever_is_a_node_is_written_as_it_is_read(text in "\\PC{0,30}") {
        if let Ok(node) = text.parse::<Node>() {
            prop_assert_eq!(node.to_string().parse::<Node>(), Ok(node));
        }
    }

    #[test]
    fn texts_like_nodes_never_panic(text in "[\\[\\]:=%\\-0-9a-g. \u{0}]{0,20}") {
        if let Ok(node) = text.parse::<Node>() {
            prop_assert_eq!(node.to_string().parse::<Node>(), Ok(node.clone()));
            prop_assert_eq!(Node::new(node.host(), node.port(), node.instance()), Ok(node));
        }
    }

    #[test]
    fn generated_nodes_are_written_as_they_are_read(node in node()) {
        prop_assert_eq!(node.to_string().parse::<Node>(), Ok(node));
    }

    #[test]
    fn a_spec_survives_its_document(spec in spec(), name in "\\PC{0,10}") {
        let document = RingDocument::from_spec(&name, &spec);
        let read = RingDocument::from_json(document.to_json().as_bytes()).expect("a document");
        prop_assert_eq!(&read, &document);
        prop_assert_eq!(read.to_spec(), Ok(spec));
    }

    #[test]
    fn equal_fingerprints_mean_no_differences(one in spec(), other in spec()) {
        prop_assert_eq!(one.differences(&other).is_empty(), one == other);
        prop_assert_eq!(one.fingerprint() == other.fingerprint(), one == other);
    }

    #[test]
    fn bytes_that_are_no_document_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(document) = RingDocument::from_json(&bytes) {
            let _either = document.to_spec();
        }
    }

    #[test]
    fn any_document_is_a_ring_or_an_error(
        nodes in prop::collection::vec(("\\PC{0,6}|[a-c]", -2..70_000_i64, "\\PC{0,3}|[ab]?"), 0..5),
        algo in select(vec!["carbon", "fnv1a", "jump_fnv1a", "mmh3", "fast-fnv1a", "Carbon", ""]),
        replicas in -1..70_i64,
        relay in prop::option::of(select(vec!["carbon", "carbon-c-relay", "buckytools", "x"])),
        diverse: Option<bool>,
    ) {
        let nodes = nodes.into_iter().map(|(server, port, instance)| {
            bucky_ring::NodeDocument { server, port, instance }
        });
        let document = RingDocument {
            name: String::new(),
            nodes: nodes.collect(),
            algo: algo.to_owned(),
            replicas,
            relay: relay.map(str::to_owned),
            diverse,
            tagged_names: None, aggregation_rules: None, routes: None, };
        if let Ok(spec) = document.to_spec()
            && let Ok(ring) = Ring::with_shortfall(spec, Shortfall::GiveWhatThereIs)
        {
            prop_assert!(ring.owner("a.b") < ring.nodes().len());
            let _said = ring.warnings();
        }
    }
}
