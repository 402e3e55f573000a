//! `bucky locate --ring` compared with the relays themselves: every vector, on the command line, without a
//! cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

use super::PROGRAMS;

/// The vectors of the ring crate, taken from real relays.
const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../ring/tests/vectors");

/// The ring document of a case, as an operator would save it from `GET /hashring`.
fn document(case: &Value) -> Value {
    let relay = case["relay"].as_str().unwrap();
    let algorithm = match (case["hash"].as_str().unwrap(), case["fast_hash"].as_str()) {
        ("carbon_ch", _) => "carbon",
        ("fnv1a_ch", _) => "fnv1a",
        ("mmh3_ch", _) => "mmh3",
        ("jump_fnv1a_ch", _) => "jump_fnv1a",
        ("fast", Some("carbon_ch")) => "fast-carbon",
        ("fast", Some("fnv1a_ch")) => "fast-fnv1a",
        ("fast", _) => "fast-mmh3",
        (other, _) => panic!("unknown hash {other}"),
    };
    let nodes: Vec<Value> = case["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            let instance = node["instance"].as_str().unwrap_or_default();
            json!({"Server": node["host"], "Port": node["port"], "Instance": instance})
        })
        .collect();
    let tagged = if case["relay_mode"] == "live" { "before-semicolon" } else { "whole" };
    json!({
        "Name": "locate", "Nodes": nodes, "Algo": algorithm, "Replicas": case["replication"], "Relay": relay,
        "Diverse": case["diverse_replicas"], "TaggedNames": tagged,
    })
}

/// Converts an owner from the notation of the vectors, `host:port:instance`, to that of a node,
/// `host:port=instance`.
fn as_node(owner: &str) -> String {
    let mut parts = owner.splitn(3, ':');
    let (host, port) = (parts.next().unwrap(), parts.next().unwrap());
    match parts.next().filter(|instance| !instance.is_empty()) {
        Some(instance) => format!("{host}:{port}={instance}"),
        None => format!("{host}:{port}"),
    }
}

/// How many copies a metric has. carbon names a lone node twice, but that is one copy.
fn copies(owners: &Value) -> u64 {
    let owners: BTreeSet<&str> =
        owners.as_array().unwrap().iter().map(|owner| owner.as_str().unwrap()).collect();
    owners.len() as u64
}

fn locate(ring: &Path, names: &Map<String, Value>) -> std::process::Output {
    Command::new(PROGRAMS.bucky)
        .args(["locate", "-j", "--all-owners", "--ring"])
        .arg(ring)
        .arg("--")
        .args(names.keys())
        .output()
        .unwrap()
}

#[test]
fn locate_answers_every_vector_of_every_relay_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let (mut held, mut short) = (0, 0);
    for entry in std::fs::read_dir(VECTORS).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let case: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let name = case["case"].as_str().unwrap();
        let ring = folder.path().join("ring.json");
        std::fs::write(&ring, document(&case).to_string()).unwrap();
        let owners = case["owners"].as_object().unwrap();
        let output = locate(&ring, owners);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{name}: {stderr}");
        // If carbon has fewer owners than requested, it returns those: this is reported and counted.
        let is_short = case["replication"].as_u64() > owners.values().map(copies).max();
        assert_eq!(
            stderr.contains("carbon then writes fewer copies"),
            is_short,
            "{name}: {stderr}"
        );
        short += usize::from(is_short);
        let found: BTreeMap<String, Vec<String>> = serde_json::from_slice(&output.stdout).unwrap();
        let expected: BTreeMap<String, Vec<String>> = owners
            .iter()
            .map(|(metric, owners)| {
                let owners = owners.as_array().unwrap().iter();
                let mut nodes: Vec<String> =
                    owners.map(|owner| as_node(owner.as_str().unwrap())).collect();
                nodes.dedup();
                (metric.clone(), nodes)
            })
            .collect();
        assert_eq!(found, expected, "{name}");
        held += 1;
    }
    assert!(held >= 150 && short >= 8, "{held} vectors held, {short} of them with fewer copies");
}
