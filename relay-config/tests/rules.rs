//! carbon-c-relay's routing rules: what is taken over, and what is refused because it cannot be followed exactly.

use bucky_relay_config::{
    Configuration, FoundRing, NoOtherFiles, Program, Selector, SourceFile, Wanted, read,
};
use bucky_ring::RuleDocument;

const RINGS: &str = "cluster old carbon_ch replication 2 a:2003=x b:2003=y;\n\
                     cluster new fnv1a_ch a:2003=x c:2003=z;\n\
                     cluster far forward d:2003;\n";

fn file(rules: &str) -> Configuration {
    let file = SourceFile::new("relay.conf", &format!("{RINGS}{rules}"));
    read(&file, Some(Program::CarbonCRelay), &mut NoOtherFiles).expect("a configuration")
}

fn ring(rules: &str, clusters: &str) -> Result<FoundRing, String> {
    let wanted = Wanted { selector: Selector::Cluster, name: clusters.to_owned() };
    let chosen = file(rules).choose(Some(&wanted)).map_err(|error| error.to_string())?;
    assert_eq!(chosen.0, clusters);
    Ok(chosen.1)
}

fn rules_of(found: &FoundRing) -> Vec<RuleDocument> {
    found.spec.routes.as_ref().expect("rules").document().rules.clone()
}

fn rule(expression: Option<&str>, to: &[&str], stop: bool) -> RuleDocument {
    RuleDocument {
        r#match: expression.map(str::to_owned),
        using: None,
        to: to.iter().map(|name| (*name).to_owned()).collect(),
        stop,
    }
}

#[test]
fn only_rules_that_decide_about_the_chosen_clusters_are_kept() {
    let rules = "match ^a ^b send to far;\n\
                 match ^c send to far old stop;\n\
                 match ^d send to far stop;\n\
                 match ^e send to blackhole;\n\
                 match ^f validate ^1 else drop stop;\n\
                 aggregate ^g every 10 seconds expire after 30 seconds compute sum write to x;\n\
                 match * send to new old;\n";
    let found = ring(rules, "old,new").expect("a ring");
    assert_eq!(
        rules_of(&found),
        [
            rule(Some("^c"), &["old"], true),
            rule(Some("^d"), &[], true),
            rule(Some("^e"), &[], true),
            rule(None, &["new", "old"], false),
        ]
    );
    let nodes: Vec<String> = found.spec.nodes.iter().map(ToString::to_string).collect();
    assert_eq!(nodes, ["a:2003=x", "b:2003=y", "c:2003=z"]);
    let lines: Vec<usize> = found.origins.nodes.iter().map(|place| place.line).collect();
    assert_eq!(lines, [1, 1, 2]);
}

#[test]
fn one_cluster_is_a_plain_ring_unless_another_text_is_hashed() {
    let plain = ring("match ^a send to old stop;\n", "old").expect("a ring");
    assert!(plain.spec.routes.is_none());
    let using = ring("match ^a\\.(.*) route using \\1 send to old stop;\n", "old").expect("a ring");
    assert_eq!(rules_of(&using)[0].using.as_deref(), Some(r"\1"));
    let elsewhere = ring("match ^a\\.(.*) route using \\1 send to new;\n", "old").expect("a ring");
    assert!(elsewhere.spec.routes.is_none());
}

/// With `route using` and an expression that cannot be followed, the ring needs what cannot be known.
#[test]
fn what_cannot_be_followed_exactly_is_refused_with_its_line() {
    let aggregate = "aggregate ^g every 10 seconds expire after 30 seconds compute sum write to x ";
    let cases = [
        ("match web\\d send to old;\n".to_owned(), "relay.conf:4:7: \\d is a digit in PCRE"),
        ("match * route using x send to old;\n".to_owned(), "`*` matches no part of a name"),
        ("match a.b route using x send to old;\n".to_owned(), "put it in brackets"),
        (
            "match * send to old;\nrewrite ^a into b;\n".to_owned(),
            "relay.conf:5:1: a rewrite below rules",
        ),
        (format!("{aggregate}send to old;\nmatch * send to old;\n"), "past the rules"),
        ("match * send to far;\n".to_owned(), "no rule sends metrics to this cluster"),
        (String::new(), "no rule sends metrics to this cluster"),
        ("match * send to old;\n".to_owned(), ""),
        (format!("{aggregate}send to far;\nrewrite ^a into b;\nmatch * send to old;\n"), ""),
    ];
    for (rules, said) in cases {
        match ring(&rules, "old,new") {
            Ok(_) => assert_eq!(said, "", "{rules}"),
            Err(refused) => {
                assert!(!said.is_empty() && refused.contains(said), "{rules}: {refused}")
            }
        }
    }
    let needs = ring("match a.b route using x send to old;\n", "old").expect("a ring").needs;
    assert_eq!(needs.len(), 1);
    assert!(needs[0].to_string().contains("relay.conf:4:11: route using: "), "{}", needs[0]);
    assert!(needs[0].to_string().contains("put it in brackets"), "{}", needs[0]);
}

#[test]
fn what_the_relay_does_not_start_with_is_refused() {
    let cases = [
        ("match a stop;\n", "a match without `send to`"),
        ("match (a send to old;\n", "\"(a\" is not a regular expression: a `(` has no `)`"),
        ("rewrite [a into b;\n", "\"[a\" is not a regular expression"),
    ];
    for (rules, said) in cases {
        let file = SourceFile::new("relay.conf", &format!("{RINGS}{rules}"));
        let refused = read(&file, Some(Program::CarbonCRelay), &mut NoOtherFiles);
        let refused = refused.expect_err(rules).to_string();
        assert!(refused.contains(said), "{rules}: {refused}");
    }
}

#[test]
fn an_operator_is_warned_of_what_the_rules_leave_open() {
    let warnings = |found: FoundRing| -> Vec<&'static str> {
        found.warnings.iter().map(|warning| warning.kind.name()).collect()
    };
    let apart = "match ^a send to old stop;\nmatch * send to new;\n";
    assert_eq!(warnings(ring(apart, "old").expect("a ring")), ["matchers"]);
    assert_eq!(warnings(ring(apart, "old,new").expect("a ring")), [""; 0]);
    let no_ring =
        "cluster relay forward b:2013;\nmatch ^a send to relay stop;\nmatch * send to old new;\n";
    assert_eq!(warnings(ring(no_ring, "old").expect("a ring")), ["matchers"]);
    let mirror = "match * send to old new;\n";
    assert_eq!(warnings(ring(mirror, "old").expect("a ring")), [""; 0]);
    let own = format!("{mirror}send statistics to old;\n");
    assert_eq!(warnings(ring(&own, "old,new").expect("a ring")), ["statistics"]);
    let many = format!(
        "match stats|timers send to old;\n{}{mirror}",
        "match ^x send to new;\n".repeat(48)
    );
    assert_eq!(warnings(ring(&many, "old,new").expect("a ring")), ["grouped"]);
    let fewer = format!(
        "match stats|timers send to old;\n{}{mirror}",
        "match ^x send to new;\n".repeat(47)
    );
    assert_eq!(warnings(ring(&fewer, "old,new").expect("a ring")), [""; 0]);
}

#[test]
fn the_choice_among_several_rings_says_that_several_can_be_taken() {
    let said = file("match * send to old new;\n").choose(None).expect_err("several").to_string();
    assert!(said.contains("  --cluster old  carbon_ch"), "{said}");
    assert!(
        said.ends_with("or several and the rules that lead to them: --cluster old,new"),
        "{said}"
    );
    let unknown = ring("match * send to old new;\n", "old,x").expect_err("no cluster");
    assert!(unknown.contains("--cluster \"x\" is not here"), "{unknown}");
    let no_ring = ring("match * send to old new;\n", "old,far").expect_err("no ring");
    assert!(no_ring.contains("cluster \"far\" has no hash ring"), "{no_ring}");
}
