//! carbonate.conf as carbonate itself reads it: files made at random. Whatever is read as a ring is carbonate's.

use std::collections::BTreeMap;

use bucky_relay_config::{
    FoundRing, NoOtherFiles, Program, Refusal, RefusalKind, SourceFile, read,
};
use bucky_ring::{Node, Ring, Shortfall};
use bucky_tests::python_peer;
use bucky_tests::random_choice::{mostly, pick};
use serde::Deserialize;

const FILES: usize = 400;

/// What carbonate takes, and we refuse: it means something else than it looks.
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

type Owner = (String, i64, Option<String>);

#[derive(Debug, Deserialize)]
struct Asked {
    error: Option<String>,
    #[serde(default)]
    nodes: Vec<Owner>,
    #[serde(default)]
    owners: BTreeMap<String, Vec<Owner>>,
}

fn destination(random: &mut fastrand::Rng, number: usize) -> String {
    let host = mostly(random, "gr", &["[fd00::1]", "fd00::1", "g r", "10.0.0.1"]);
    let host = if host == "gr" { format!("gr-{number}") } else { host.to_owned() };
    let port = mostly(random, ":2004", &["", ":", ":x", ":02004", ": 2004", ":70000"]);
    let instance = match random.u8(..4) {
        0 => String::new(),
        1 => mostly(random, ":a", &[":", ": a", ":x=y", ":a ; c"]).to_owned(),
        _ => format!(":{}", pick(random, &["a", "b", "c"])),
    };
    format!("{host}{port}{instance}")
}

fn config(random: &mut fastrand::Rng) -> String {
    let mut text = mostly(
        random,
        "[main]\n",
        &["[DEFAULT]\nREPLICATION_FACTOR = 1\n[main]\n", "[other]\nX = 1\n[main]\n", "[Main]\n"],
    )
    .to_owned();
    let nodes: Vec<String> =
        (0..random.usize(1..6)).map(|number| destination(random, number)).collect();
    let joined = mostly(random, ", ", &[",", ",\n  ", " , ", ","]);
    text.push_str(&format!("DESTINATIONS = {}\n", nodes.join(joined)));
    let copies = mostly(random, "1", &["2", "0", "x", "02", "2 # two"]);
    text.push_str(mostly(random, &format!("REPLICATION_FACTOR = {copies}\n"), &[""]));
    if random.bool() {
        let diverse = pick(random, &["True", "False", "0", ""]);
        text.push_str(&format!("DIVERSE_REPLICAS = {diverse}\n"));
    }
    if random.u8(..3) == 0 {
        let hash = pick(random, &["carbon_ch", "fnv1a_ch", "mmh3_ch", "md5"]);
        text.push_str(&format!("HASHING_TYPE = {hash}\n"));
    }
    text.push_str(mostly(
        random,
        "",
        &["RELAY_METHOD = fast-hashing\n", "LOG = 100%\n", "odd\n", "SSH_USER = a\n"],
    ));
    text
}

fn ours(text: &str) -> Result<FoundRing, Refusal> {
    let file = SourceFile::new("carbonate.conf", text);
    let read = read(&file, Some(Program::Carbonate), &mut NoOtherFiles)?;
    let main = read.choices.into_iter().find(|choice| choice.name == "main");
    main.map_or_else(
        || {
            let place = file.place(0);
            Err(Refusal { kind: RefusalKind::NoRing, place, message: "no [main]".to_owned() })
        },
        |choice| choice.ring,
    )
}

fn triple(node: &Node) -> Owner {
    (node.host().to_owned(), i64::from(node.port()), node.instance().map(str::to_owned))
}

#[test]
fn whatever_is_read_as_a_ring_is_carbonates_ring() {
    let mut random = fastrand::Rng::with_seed(13);
    let files: Vec<String> = (0..FILES).map(|_| config(&mut random)).collect();
    let asked: Vec<Asked> = python_peer::ask_about("ask_carbonate.py", &files);
    let (mut rings, mut refused_by_both) = (0, 0);
    for (text, asked) in files.iter().zip(&asked) {
        let found = match ours(text) {
            Ok(found) => found,
            Err(_) if asked.error.is_some() => {
                refused_by_both += 1;
                continue;
            }
            Err(refusal) => {
                assert!(REFUSED_ON_PURPOSE.contains(&refusal.kind), "{refusal}: {asked:?}: {text}");
                continue;
            }
        };
        assert_eq!(asked.error, None, "carbonate does not start: {text}");
        assert_eq!(found.spec.nodes.iter().map(triple).collect::<Vec<_>>(), asked.nodes, "{text}");
        let Ok(ring) = Ring::with_shortfall(found.spec, Shortfall::GiveWhatThereIs) else {
            continue;
        };
        for (name, due) in &asked.owners {
            let found: Vec<_> =
                ring.owners(name).map(|owner| triple(&ring.nodes()[owner])).collect();
            let mut due = due.clone();
            // carbon names a lone node twice.
            due.dedup();
            assert_eq!(found, due, "{name}: {text}");
        }
        rings += 1;
    }
    assert!(rings > 60 && refused_by_both > 20, "{rings} rings, {refused_by_both} refused by both");
}
