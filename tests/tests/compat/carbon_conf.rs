//! carbon.conf as carbon itself reads it: files made at random, with everything that people write into them.
//! Whatever is read as a ring is carbon's ring, node by node and owner by owner.

use std::collections::BTreeMap;

use bucky_relay_config::{
    FoundRing, NoOtherFiles, Program, Refusal, RefusalKind, SourceFile, read,
};
use bucky_ring::{Node, Ring, Shortfall};
use bucky_tests::python_peer;
use bucky_tests::random_choice::{mostly, pick};
use serde::Deserialize;

const FILES: usize = 600;

/// What carbon takes, and we refuse: it means something else than it looks.
const REFUSED_ON_PURPOSE: [RefusalKind; 11] = [
    RefusalKind::BadHost,
    RefusalKind::BadInstance,
    RefusalKind::BadPort,
    RefusalKind::BadReplicationFactor,
    RefusalKind::BlankInDestination,
    RefusalKind::EmptyInstance,
    RefusalKind::InlineComment,
    RefusalKind::Ipv6WithoutBrackets,
    RefusalKind::MissingKey,
    RefusalKind::NoPort,
    RefusalKind::UnknownHash,
];

#[derive(Debug, Deserialize)]
struct Asked {
    error: Option<String>,
    method: Option<String>,
    #[serde(default)]
    nodes: Vec<(String, i64, Option<String>)>,
    hash: Option<String>,
    copies: Option<i64>,
    diverse: Option<bool>,
    #[serde(default)]
    owners: BTreeMap<String, Vec<(String, i64, Option<String>)>>,
}

fn destination(random: &mut fastrand::Rng, number: usize) -> String {
    let host = match random.u8(..12) {
        0 => format!("[fd00::{number}]"),
        1 => mostly(random, "host", &["fd00::1", "ho st", "-h", "h_1", "10.0.0.1", "[gr-1]"])
            .to_owned(),
        _ => format!("gr-{number}"),
    };
    let port = mostly(
        random,
        ":2004",
        &["", ":", ":pickle", ":02004", ":+2004", ":2_004", ":0", ":70000"],
    );
    let instance = match random.u8(..6) {
        0 => String::new(),
        1 => mostly(random, ":a", &[":", ":a:b", ":x=y", ":it's", ": a", ":a ; c", ":é", ":a # c"])
            .to_owned(),
        _ => format!(":{}", pick(random, &["a", "b", "c"])),
    };
    format!("{host}{port}{instance}")
}

fn config(random: &mut fastrand::Rng) -> String {
    let mut text = String::new();
    if random.u8(..4) == 0 {
        text.push_str("[DEFAULT]\ndom = example.net\nREPLICATION_FACTOR = 2\n");
    }
    text.push_str(mostly(
        random,
        "[relay]\n",
        &["[relay] ; x\n", "[cache]\nA = 1\n[relay]\n", "relay = 1\n[relay]\n"],
    ));
    let separator = mostly(random, " = ", &[":", "=", " : "]);
    let method = mostly(
        random,
        "consistent-hashing",
        &["rules", "fast-hashing", "constant", "Fast-hashing", ""],
    );
    text.push_str(&format!(
        "{}{separator}{method}\n",
        mostly(random, "RELAY_METHOD", &["relay_method", "Relay_Method"])
    ));
    let count = random.usize(1..6);
    let joined = mostly(random, ", ", &[",", ",\n    ", ",\n  # no\n  ", " ", ",\n\n  "]);
    let nodes: Vec<String> = (0..count).map(|number| destination(random, number)).collect();
    let end = mostly(random, "", &[",", " ; x", "\n  ", "%(dom)s"]);
    text.push_str(&format!("DESTINATIONS{separator}{}{end}\n", nodes.join(joined)));
    if random.bool() {
        let copies = mostly(random, "2", &["1", "0", "x", "2 ; two", "02", "3"]);
        text.push_str(&format!("REPLICATION_FACTOR{separator}{copies}\n"));
    }
    if random.u8(..4) == 0 {
        let diverse = pick(random, &["True", "no", "0", "maybe", "off", ""]);
        text.push_str(&format!("DIVERSE_REPLICAS{separator}{diverse}\n"));
    }
    if random.u8(..3) == 0 {
        let hash = pick(random, &["carbon_ch", "fnv1a_ch", "mmh3_ch", "fnv1a", ""]);
        text.push_str(&format!("ROUTER_HASH_TYPE{separator}{hash}\n"));
    }
    text.push_str(mostly(
        random,
        "",
        &[
            "LOG = a%b\n",
            "LOG = %(dom)s\n",
            "LOG = %%\n",
            "odd\n",
            "[relay:a]\nREPLICATION_FACTOR = 1\n",
            "[relay]\n",
            "DESTINATIONS = x:1\n",
        ],
    ));
    text
}

fn ours(text: &str) -> Result<FoundRing, Refusal> {
    let file = SourceFile::new("carbon.conf", text);
    let read = read(&file, Some(Program::Carbon), &mut NoOtherFiles)?;
    read.choices.into_iter().find(|choice| choice.name == "relay").unwrap().ring
}

fn triple(node: &Node) -> (String, i64, Option<String>) {
    (node.host().to_owned(), i64::from(node.port()), node.instance().map(str::to_owned))
}

fn assert_same(text: &str, found: &FoundRing, asked: &Asked) {
    let spec = &found.spec;
    assert_eq!(asked.error, None, "carbon does not start: {text}");
    let nodes: Vec<_> = spec.nodes.iter().map(triple).collect();
    assert_eq!(nodes, asked.nodes, "{text}");
    assert_eq!(Some(spec.replication_factor as i64), asked.copies, "{text}");
    assert_eq!(Some(spec.diverse_replicas), asked.diverse, "{text}");
    // An instance with characters outside ASCII is refused, because Python versions read it differently.
    let Ok(ring) = Ring::with_shortfall(spec.clone(), Shortfall::GiveWhatThereIs) else { return };
    if ring.warnings().iter().any(|warning| warning.contains("no defined order")) {
        return;
    }
    for (name, owners) in &asked.owners {
        let found: Vec<_> = ring.owners(name).map(|owner| triple(&ring.nodes()[owner])).collect();
        let mut due = owners.clone();
        // carbon names a lone node twice.
        due.dedup();
        assert_eq!(found, due, "{name}: {text}");
    }
}

#[test]
fn whatever_is_read_as_a_ring_is_carbons_ring() {
    let mut random = fastrand::Rng::with_seed(13);
    let files: Vec<String> = (0..FILES).map(|_| config(&mut random)).collect();
    let asked: Vec<Asked> = python_peer::ask_about("ask_carbon.py", &files);
    let (mut rings, mut refused_by_both) = (0, 0);
    for (text, asked) in files.iter().zip(&asked) {
        match ours(text) {
            Ok(found) => {
                assert_same(text, &found, asked);
                rings += 1;
            }
            Err(_) if asked.error.is_some() => refused_by_both += 1,
            Err(refusal) => {
                let is_no_ring = refusal.kind == RefusalKind::NoRing
                    && !matches!(
                        asked.method.as_deref(),
                        Some("consistent-hashing" | "fast-hashing")
                    );
                let on_purpose = REFUSED_ON_PURPOSE.contains(&refusal.kind);
                assert!(is_no_ring || on_purpose, "{refusal}: {asked:?}: {text}");
                if refusal.kind == RefusalKind::UnknownHash {
                    assert!(asked.hash.is_some(), "{text}");
                }
            }
        }
    }
    assert!(
        rings > 100 && refused_by_both > 50,
        "{rings} rings, {refused_by_both} refused by both"
    );
}
