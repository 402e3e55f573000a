//! carbon-c-relay's rules as the relay itself follows them: rules made at random over two rings. For every name,
//! the owners are those of its own test mode (`-t`), and what the relay refuses is refused.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bucky_relay_config::{
    ChoiceError, NoOtherFiles, Program, RefusalKind, Selector, SourceFile, Wanted, read,
};
use bucky_ring::Ring;
use bucky_tests::c_relay;
use bucky_tests::random_choice::{mostly, pick};

const FILES: usize = 150;

/// Two rings that share a host, and a cluster that is no ring.
const CLUSTERS: &str = "\
cluster old carbon_ch replication 2 10.0.0.1:2003=a 10.0.0.2:2003=b 10.0.0.3:2003;
cluster new fnv1a_ch 10.0.1.1:2003=n1 10.0.1.2:2003=n2 10.0.0.1:2003=a;
cluster far forward 10.0.9.1:2003;
";

fn atom(random: &mut fastrand::Rng) -> &'static str {
    pick(
        random,
        &[
            "stats",
            "timers",
            r"\.",
            r"\.",
            ".",
            "[^.]+",
            "([^.]+)",
            "(.*)",
            ".*",
            "web[0-9]+",
            "([a-z]+)",
            "[[:alpha:]]*",
            "a?",
            "b",
        ],
    )
}

fn expression(random: &mut fastrand::Rng) -> String {
    let odd = mostly(random, "", &["(a|b)", "web\\d", "a{2}", "$x", "(a", "[\\w]", "\\bcpu"]);
    let start = pick(random, &["^", "^", ""]);
    let atoms: String = (0..random.usize(1..5)).map(|_| atom(random)).collect();
    let end = pick(random, &["", "", "$"]);
    format!("{start}{atoms}{odd}{end}")
}

fn rule(random: &mut fastrand::Rng) -> String {
    let mut rule = "match".to_owned();
    for _ in 0..random.usize(1..3) {
        write!(rule, " {}", expression(random)).unwrap();
    }
    if random.u8(..3) == 0 {
        let texts = ["x", r"\1", r"T_\1", r"\_1.\^1", r"\1\1", r"\.1", r"a\2"];
        write!(rule, " route using {}", pick(random, &texts)).unwrap();
    }
    let to = pick(random, &["old", "new", "new old", "far", "blackhole", "old far"]);
    let stop = pick(random, &["", " stop"]);
    format!("{rule} send to {to}{stop};\n")
}

fn config(random: &mut fastrand::Rng) -> String {
    let mut text = CLUSTERS.to_owned();
    text.push_str(mostly(random, "", &["rewrite ^x into y;\n"]));
    // From 50 rules on the relay puts some of them in groups (`router_optimise`).
    let rules = if random.u8(..5) == 0 { 30..45 } else { 1..6 };
    for _ in 0..random.usize(rules) {
        text.push_str(&rule(random));
    }
    text.push_str(mostly(
        random,
        "match * send to old new;\n",
        &["", "rewrite ^x into y;\n", "match * route using x send to old;\n"],
    ));
    text
}

fn names() -> Vec<String> {
    let middles = ["web01", "WEB-2", "aab", "b", "q_7"];
    let names = ["stats", "timers", "pre.stats", "a"]
        .iter()
        .flat_map(|first| middles.iter().map(move |middle| format!("{first}.{middle}.cpu.user")));
    names.chain(["stats".to_owned(), "aa.b".to_owned()]).collect()
}

/// The owners by the relay, without the cluster that is no ring.
fn due(answer: &[c_relay::Sent]) -> BTreeSet<String> {
    answer
        .iter()
        .filter(|sent| sent.cluster != "far")
        .flat_map(|sent| sent.owners.clone())
        .collect()
}

#[test]
fn rules_that_are_taken_over_send_names_where_carbon_c_relay_sends_them() {
    let folder = tempfile::tempdir().unwrap();
    let seed = std::env::var("BUCKY_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut random = fastrand::Rng::with_seed(seed.unwrap_or(13));
    let (mut compared, mut refused, mut by_both) = (0, 0, 0);
    for _ in 0..FILES {
        let text = config(&mut random);
        let asked = c_relay::ask(folder.path(), &text, &names());
        let file = SourceFile::new("relay.conf", &text);
        let wanted = Wanted { selector: Selector::Cluster, name: "old,new".to_owned() };
        let ours = read(&file, Some(Program::CarbonCRelay), &mut NoOtherFiles)
            .map_err(ChoiceError::from)
            .and_then(|read| read.choose(Some(&wanted)));
        match (ours, asked) {
            (Ok((_, found)), asked) => {
                let asked = asked.unwrap_or_else(|| panic!("the relay does not start: {text}"));
                let ring = Ring::new(found.spec).unwrap();
                for (name, answer) in names().iter().zip(&asked) {
                    let owner = |owner: usize| {
                        format!("{}:{}", ring.nodes()[owner].host(), ring.nodes()[owner].port())
                    };
                    let found: BTreeSet<String> = ring.owners(name).map(owner).collect();
                    assert_eq!(found, due(answer), "{name}: {text}");
                    compared += 1;
                }
            }
            (Err(ChoiceError::Refused(refusal)), asked) => {
                by_both += usize::from(asked.is_none());
                refused += usize::from(asked.is_some());
                let is_known = asked.is_none() || refusal.kind == RefusalKind::Routes;
                assert!(is_known, "{refusal}: {text}");
            }
            (Err(error), _) => panic!("{error}: {text}"),
        }
    }
    assert!(compared > 700, "only {compared} names were compared");
    assert!(refused > 10 && by_both > 2, "{refused} files were refused, {by_both} by both");
}
