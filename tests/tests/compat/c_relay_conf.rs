//! carbon-c-relay's configuration as the relay itself reads it: files made at random. Whatever is read as a ring
//! places names where the relay's own test mode (`-t`) places them.

use bucky_relay_config::{
    FoundRing, NoOtherFiles, Program, Refusal, RefusalKind, SourceFile, read,
};
use bucky_ring::Ring;
use bucky_tests::c_relay;
use bucky_tests::random_choice::{mostly, pick};

const FILES: usize = 200;

/// What the relay takes, and we refuse: it means something else than it looks.
const REFUSED_ON_PURPOSE: [RefusalKind; 4] = [
    RefusalKind::BadHost,
    RefusalKind::BadInstance,
    RefusalKind::BlankInInstance,
    RefusalKind::Syntax,
];

/// Addresses, because the relay compares names that do not resolve without their ports.
fn server(random: &mut fastrand::Rng, number: usize) -> String {
    let host = match random.u8(..8) {
        0 => format!("[fd00::{number}]"),
        1 => format!("\"10.0.0.{number}\""),
        _ => format!("10.0.0.{number}"),
    };
    let port = mostly(random, ":2003", &["", ":", ":x", ":02004", ":0", ":70000", ":+2004"]);
    let (host, port) = match host.strip_suffix('"') {
        Some(open) => (format!("{open}{port}\""), ""),
        None => (host, port),
    };
    let instance = match random.u8(..4) {
        0 => String::new(),
        1 => format!("={}", random.u16(..200)),
        2 => format!("=n{number}"),
        _ => mostly(
            random,
            "=\"q\"",
            &["=", "=007", "=\"007\"", "=\"a b\"", "=a\\ b", "= x", "=ip", "=\"ip\"", "=\"\""],
        )
        .replace("\"q\"", &format!("\"q{number}\"")),
    };
    let clauses = mostly(
        random,
        "",
        &[
            " proto tcp",
            " proto udp",
            " type linemode",
            " transport plain",
            " type linemode proto tcp",
            " lz4",
        ],
    );
    format!("{host}{port}{instance}{clauses}")
}

fn config(random: &mut fastrand::Rng) -> String {
    let kind = mostly(random, "", &["any_of", "carbon-ch", "fnv1a"]);
    let kind = if kind.is_empty() {
        pick(random, &["carbon_ch", "fnv1a_ch", "jump_fnv1a_ch"])
    } else {
        kind
    };
    let replication = mostly(
        random,
        " replication 1",
        &[" replication 2", " replication 0", "", " replication x"],
    );
    let dynamic = mostly(random, "", &[" dynamic"]);
    let servers: Vec<String> =
        (1..random.usize(2..8)).map(|number| server(random, number)).collect();
    let between = mostly(random, " ", &["\n  ", " # a comment\n ", "\t"]);
    let end = mostly(random, ";", &["\n;", "", "; #", ";\n#\n"]);
    let rule = mostly(
        random,
        "match * send to main stop;\n",
        &[
            "match * send to other;\n",
            "match ^a send to blackhole stop;\nmatch * send to main;\n",
            "rewrite ^x into y;\nmatch * send to main;\n",
            "match *\n",
            "",
        ],
    );
    format!("cluster main\n {kind}{replication}{dynamic}\n {}{end}\n{rule}", servers.join(between))
}

fn names() -> Vec<String> {
    (0..25).map(|number| format!("app.h{number}.cpu.user")).collect()
}

fn ours(text: &str) -> Result<FoundRing, Refusal> {
    let file = SourceFile::new("relay.conf", text);
    let read = read(&file, Some(Program::CarbonCRelay), &mut NoOtherFiles)?;
    read.choices.into_iter().next().unwrap().ring
}

#[test]
fn whatever_is_read_as_a_ring_is_carbon_c_relays_ring() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(13);
    let (mut compared, mut refused_by_both) = (0, 0);
    for _ in 0..FILES {
        let text = config(&mut random);
        let asked = c_relay::ask(folder.path(), &text, &names());
        match (ours(&text), asked) {
            (Ok(found), asked) => {
                let asked = asked.unwrap_or_else(|| panic!("the relay does not start: {text}"));
                // What the relay takes and no ring is built of: one server twice.
                let Ok(ring) = Ring::new(found.spec) else { continue };
                let sends_elsewhere = !text.contains("match * send to main");
                for (name, due) in names().iter().zip(&asked) {
                    let owner = |owner: usize| {
                        let node = &ring.nodes()[owner];
                        let host = node.host();
                        let host =
                            if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
                        format!("{host}:{}", node.port())
                    };
                    let found: Vec<String> = ring.owners(name).map(owner).collect();
                    let sent = due.iter().find(|sent| sent.cluster == "main");
                    if let Some(sent) = sent.filter(|_| !sends_elsewhere) {
                        assert_eq!(found, sent.owners, "{name}: {text}");
                        compared += 1;
                    }
                }
            }
            (Err(_), None) => refused_by_both += 1,
            (Err(refusal), Some(_)) => {
                let is_known = REFUSED_ON_PURPOSE.contains(&refusal.kind)
                    || refusal.kind == RefusalKind::NoRing
                    || refusal.kind == RefusalKind::DuplicateNode;
                assert!(is_known, "{refusal}: {text}");
            }
        }
    }
    assert!(compared > 1000, "only {compared} names were compared");
    assert!(refused_by_both > 20, "only {refused_by_both} files were refused by both");
}
