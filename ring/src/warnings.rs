//! What an operator should know about a ring that can be built, but probably does not do what was intended.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Algorithm, Node, Relay, Ring, RingSpec, TaggedNames, entries::C_RELAY_DEFAULT_PORT, finder,
    jump,
};

/// The warnings about `ring`, which gives `copies` owners; one sentence each.
pub(crate) fn warnings(ring: &Ring, copies: usize) -> Vec<String> {
    let spec = ring.spec();
    let mut warnings = Vec::new();
    missing_copies(spec, copies, &mut warnings);
    copies_of_another_program(spec, &mut warnings);
    copies_on_one_host(spec, &mut warnings);
    shared_instances(spec, &mut warnings);
    carbon_without_instances(spec, &mut warnings);
    missing_ports(spec, &mut warnings);
    idle_nodes(ring, &mut warnings);
    mixed_instances(spec, &mut warnings);
    leading_zeros(spec, &mut warnings);
    equal_hashes(spec, &mut warnings);
    unusual_tagged_names(spec, &mut warnings);
    warnings
}

fn missing_copies(spec: &RingSpec, copies: usize, warnings: &mut Vec<String>) {
    if copies < spec.replication_factor {
        warnings.push(format!(
            "the replication factor is {}, but this ring gives only {copies} owner(s) of each metric",
            spec.replication_factor
        ));
    }
}

/// The Go tool never places a second copy, so the program that wrote it used the arithmetic of a relay.
fn copies_of_another_program(spec: &RingSpec, warnings: &mut Vec<String>) {
    if spec.relay == Relay::Buckytools && spec.replication_factor > 1 {
        warnings.push(format!(
            "the replication factor is {}, but buckytools places only one copy; give the relay that writes the \
             metrics, carbon or carbon-c-relay",
            spec.replication_factor
        ));
    }
}

/// carbon's DIVERSE_REPLICAS is on by default.
fn copies_on_one_host(spec: &RingSpec, warnings: &mut Vec<String>) {
    if spec.relay != Relay::Carbon || spec.replication_factor == 1 || spec.diverse_replicas {
        return;
    }
    let hosts: BTreeSet<&str> = spec.nodes.iter().map(Node::host).collect();
    if hosts.len() < spec.nodes.len() {
        warnings.push(
            "several copies of a metric may be on one host: carbon does this only with DIVERSE_REPLICAS = \
             False; if that line is not in its configuration, choose diverse replicas"
                .to_owned(),
        );
    }
}

/// fnv1a hashes only the instance: equal instances coincide in all entries.
fn shared_instances(spec: &RingSpec, warnings: &mut Vec<String>) {
    if spec.algorithm != Algorithm::Fnv1a {
        return;
    }
    let mut nodes_of: BTreeMap<&str, Vec<&Node>> = BTreeMap::new();
    for node in &spec.nodes {
        if let Some(instance) = node.instance() {
            nodes_of.entry(instance).or_default().push(node);
        }
    }
    for (instance, nodes) in nodes_of.into_iter().filter(|(_, nodes)| nodes.len() > 1) {
        warnings.push(format!(
            "instance {instance:?} is used by {} nodes ({}): fnv1a hashes only the instance, so nearly all of \
             their metrics go to one of them; give each node its own instance",
            nodes.len(),
            list(&nodes)
        ));
    }
}

fn carbon_without_instances(spec: &RingSpec, warnings: &mut Vec<String>) {
    if spec.algorithm != Algorithm::Fnv1a || spec.relay != Relay::Carbon {
        return;
    }
    let nodes: Vec<&Node> = spec.nodes.iter().filter(|node| node.instance().is_none()).collect();
    if nodes.len() > 1 {
        warnings.push(format!(
            "{} nodes have no instance ({}): carbon's fnv1a hashes only the instance, so nearly all of their \
             metrics go to one of them; give each node its own instance",
            nodes.len(),
            list(&nodes)
        ));
    }
}

fn missing_ports(spec: &RingSpec, warnings: &mut Vec<String>) {
    if spec.algorithm != Algorithm::Fnv1a || spec.relay == Relay::Carbon {
        return;
    }
    let lacks_port = |node: &&Node| node.instance().is_none() && node.port() == 0;
    let nodes: Vec<&Node> = spec.nodes.iter().filter(lacks_port).collect();
    if nodes.is_empty() {
        return;
    }
    let assumed = if spec.relay == Relay::CarbonCRelay { C_RELAY_DEFAULT_PORT } else { 0 };
    warnings.push(format!(
        "no port for {}: {}'s fnv1a hashes the port of a node without instance, assumed to be {assumed}; give \
         the port from the relay's configuration",
        list(&nodes),
        spec.relay
    ));
}

fn idle_nodes(ring: &Ring, warnings: &mut Vec<String>) {
    let shares = ring.share();
    let idle = ring.nodes().iter().zip(&shares).filter(|(_, share)| **share == 0.0);
    let nodes: Vec<&Node> = idle.map(|(node, _)| node).collect();
    if !nodes.is_empty() {
        warnings.push(format!(
            "no metric has its first copy on {}: other nodes have the same positions on the ring and win",
            list(&nodes)
        ));
    }
}

fn mixed_instances(spec: &RingSpec, warnings: &mut Vec<String>) {
    if spec.algorithm != Algorithm::JumpFnv1a || spec.relay != Relay::CarbonCRelay {
        return;
    }
    let instances = || spec.nodes.iter().filter_map(Node::instance);
    let number = instances().find(|instance| jump::number(instance).is_some());
    let word = instances().find(|instance| jump::number(instance).is_none());
    if let (Some(number), Some(word)) = (number, word) {
        warnings.push(format!(
            "some instances are numbers ({number:?}) and some are not ({word:?}): carbon-c-relay compares \
             numbers as numbers and others as text, which gives no consistent order for a jump ring; use only \
             one kind"
        ));
    }
}

/// carbon-c-relay reads an unquoted number as a number.
fn leading_zeros(spec: &RingSpec, warnings: &mut Vec<String>) {
    if spec.relay != Relay::CarbonCRelay {
        return;
    }
    let padded = |instance: &&str| {
        instance.len() > 1
            && instance.starts_with('0')
            && instance.bytes().all(|byte| byte.is_ascii_digit())
    };
    if let Some(instance) = spec.nodes.iter().filter_map(Node::instance).find(padded) {
        let number = instance.trim_start_matches('0');
        let number = if number.is_empty() { "0" } else { number };
        warnings.push(format!(
            "instance {instance:?} begins with 0: carbon-c-relay uses it like this only in quotes \
             (=\"{instance}\"), otherwise it hashes {number}; give what it hashes"
        ));
    }
}

fn equal_hashes(spec: &RingSpec, warnings: &mut Vec<String>) {
    if !matches!(spec.algorithm, Algorithm::FastMmh3 | Algorithm::FastCarbon | Algorithm::FastFnv1a)
    {
        return;
    }
    let order = finder::fast_order(spec);
    for (left, right) in order.iter().zip(order.iter().skip(1)) {
        if left.0 == right.0 {
            let nodes = [&spec.nodes[left.1 as usize], &spec.nodes[right.1 as usize]];
            warnings.push(format!(
                "{} and {} have the same hash, and carbon's fast-hashing router has no defined order for them: \
                 the real owners may differ from those shown here; change an instance",
                nodes[0], nodes[1]
            ));
        }
    }
}

fn unusual_tagged_names(spec: &RingSpec, warnings: &mut Vec<String>) {
    match (spec.relay, spec.tagged_names) {
        (Relay::CarbonCRelay, TaggedNames::Whole) => warnings.push(
            "tagged names are hashed whole: carbon-c-relay does this only if it was started with `;` in its \
             allowed characters (-c)"
                .to_owned(),
        ),
        (
            Relay::Carbon | Relay::Buckytools | Relay::CarbonRelayNg,
            TaggedNames::BeforeSemicolon,
        ) => {
            warnings.push(format!(
                "tagged names are hashed only up to the first `;`, which {} never does",
                spec.relay
            ));
        }
        _ => {}
    }
}

/// The first ten nodes, and how many more there are.
fn list(nodes: &[&Node]) -> String {
    let named: Vec<String> = nodes.iter().take(10).map(|node| node.to_string()).collect();
    match nodes.len().saturating_sub(named.len()) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Shortfall, resolve};

    fn warnings_of(algorithm: Algorithm, relay: Relay, nodes: &[&str]) -> Vec<String> {
        let (relay, tagged_names) = resolve(algorithm, Some(relay), None).expect("a known ring");
        let spec = RingSpec {
            nodes: nodes.iter().map(|node| node.parse().expect("a node")).collect(),
            algorithm,
            relay,
            replication_factor: 1,
            diverse_replicas: false,
            tagged_names,
            aggregation: None,
            routes: None,
        };
        Ring::new(spec).expect("a ring").warnings()
    }

    fn assert_warns(warnings: &[String], expected: &[&str]) {
        assert_eq!(warnings.len(), expected.len(), "{warnings:#?}");
        for (warning, expected) in warnings.iter().zip(expected) {
            assert!(warning.contains(expected), "{warning}");
        }
    }

    #[test]
    fn a_ring_that_does_what_it_should_gives_no_warning() {
        let nodes = ["gr-a:2003=a", "gr-b:2003=b", "gr-c:2003=c"];
        for relay in Relay::ALL {
            for algorithm in Algorithm::ALL {
                if algorithm.is_known_to(relay) {
                    assert_eq!(
                        warnings_of(algorithm, relay, &nodes),
                        [""; 0],
                        "{relay} {algorithm}"
                    );
                }
            }
        }
    }

    /// D46 of the Go tool: all names are on one node, and there is no warning.
    #[test]
    fn an_instance_on_several_hosts_is_warned_of_with_fnv1a() {
        let nodes = ["A:2003=a", "B:2003=a", "C:2003=a"];
        for relay in [Relay::Buckytools, Relay::CarbonCRelay] {
            assert_warns(
                &warnings_of(Algorithm::Fnv1a, relay, &nodes),
                &[
                    "instance \"a\" is used by 3 nodes (A:2003=a, B:2003=a, C:2003=a)",
                    "no metric has its first copy on B:2003=a, C:2003=a",
                ],
            );
        }
        assert_warns(
            &warnings_of(Algorithm::Fnv1a, Relay::Carbon, &nodes),
            &["instance \"a\" is used by 3 nodes"],
        );
        assert_eq!(warnings_of(Algorithm::Carbon, Relay::Carbon, &nodes), [""; 0]);
    }

    #[test]
    fn carbons_fnv1a_without_instances_is_warned_of() {
        let nodes = ["a:2003", "b:2003"];
        assert_warns(
            &warnings_of(Algorithm::Fnv1a, Relay::Carbon, &nodes),
            &["2 nodes have no instance (a:2003, b:2003)"],
        );
        assert_eq!(warnings_of(Algorithm::Fnv1a, Relay::CarbonCRelay, &nodes), [""; 0]);
    }

    #[test]
    fn ports_that_get_nothing_are_named() {
        let nodes = ["shard-a:2103", "shard-a:2003", "shard-b:2003"];
        for relay in [Relay::CarbonCRelay, Relay::Buckytools] {
            assert_warns(
                &warnings_of(Algorithm::Carbon, relay, &nodes),
                &["no metric has its first copy on shard-a:2003:"],
            );
        }
    }

    #[test]
    fn a_missing_port_is_named_where_it_is_hashed() {
        let c_relay = warnings_of(Algorithm::Fnv1a, Relay::CarbonCRelay, &["a", "b:1", "c=x"]);
        assert_warns(&c_relay, &["no port for a: carbon-c-relay's fnv1a hashes"]);
        assert!(c_relay[0].contains("assumed to be 2003"), "{}", c_relay[0]);
        let go = warnings_of(Algorithm::Fnv1a, Relay::Buckytools, &["a", "b:1", "c=x"]);
        assert!(go[0].contains("assumed to be 0"), "{}", go[0]);
        assert_eq!(warnings_of(Algorithm::Carbon, Relay::Buckytools, &["a", "b"]), [""; 0]);
    }

    #[test]
    fn numbers_among_words_are_warned_of_in_c_relays_jump_rings() {
        let nodes = ["a:1=9", "b:1=10", "c:1=1a"];
        assert_warns(
            &warnings_of(Algorithm::JumpFnv1a, Relay::CarbonCRelay, &nodes),
            &["some instances are numbers (\"9\") and some are not (\"1a\")"],
        );
        assert_eq!(warnings_of(Algorithm::JumpFnv1a, Relay::Buckytools, &nodes), [""; 0]);
    }

    #[test]
    fn leading_zeros_are_warned_of_for_c_relay() {
        let nodes = ["a:1=007", "b:1=8"];
        assert_warns(
            &warnings_of(Algorithm::Carbon, Relay::CarbonCRelay, &nodes),
            &["instance \"007\" begins with 0"],
        );
        assert_eq!(warnings_of(Algorithm::Carbon, Relay::Carbon, &nodes), [""; 0]);
    }

    #[test]
    fn equal_hashes_of_the_fast_router_are_warned_of() {
        // 700 nodes on 65,536 positions: at least two share a position.
        let nodes: Vec<String> = (0..700).map(|n| format!("gr-{n}:1=a")).collect();
        let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
        let warnings = warnings_of(Algorithm::FastCarbon, Relay::Carbon, &nodes);
        assert!(warnings.iter().any(|warning| warning.contains("have the same hash")));
    }

    #[test]
    fn copies_are_warned_of_where_the_relay_would_lay_them_elsewhere() {
        let warnings = |relay, diverse_replicas, nodes: &[&str]| {
            let spec = RingSpec {
                nodes: nodes.iter().map(|node| node.parse().expect("a node")).collect(),
                algorithm: Algorithm::Carbon,
                relay,
                replication_factor: 2,
                diverse_replicas,
                tagged_names: relay.default_tagged_names(),
                aggregation: None,
                routes: None,
            };
            Ring::new(spec).expect("a ring").warnings()
        };
        let (shared, alone) = (["a:1=a", "a:2=b", "b:1=a"], ["a:1", "b:1", "c:1"]);
        assert_warns(&warnings(Relay::Carbon, false, &shared), &["DIVERSE_REPLICAS = False"]);
        assert_warns(&warnings(Relay::Carbon, true, &shared), &[]);
        assert_warns(&warnings(Relay::Carbon, false, &alone), &[]);
        assert_warns(&warnings(Relay::CarbonCRelay, false, &shared), &[]);
        assert_warns(&warnings(Relay::Buckytools, false, &alone), &["places only one copy"]);
    }

    #[test]
    fn a_way_to_hash_tags_that_the_relay_does_not_have_is_warned_of() {
        let nodes = vec!["a:1=a".parse().expect("a node")];
        let mut spec = RingSpec {
            nodes,
            algorithm: Algorithm::Carbon,
            relay: Relay::CarbonCRelay,
            replication_factor: 2,
            diverse_replicas: false,
            tagged_names: TaggedNames::Whole,
            aggregation: None,
            routes: None,
        };
        let lenient = |spec: &RingSpec| {
            let ring = Ring::with_shortfall(spec.clone(), Shortfall::GiveWhatThereIs);
            ring.expect("a ring").warnings()
        };
        assert_warns(
            &lenient(&spec),
            &["gives only 1 owner(s)", "carbon-c-relay does this only if"],
        );
        spec.relay = Relay::Carbon;
        spec.tagged_names = TaggedNames::BeforeSemicolon;
        assert_warns(&lenient(&spec), &["gives only 1 owner(s)", "which carbon never does"]);
    }
}
