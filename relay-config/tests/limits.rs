//! How much a file may hold: what no relay has is refused before it costs time and memory.

use bucky_relay_config::{NoOtherFiles, RefusalKind, SourceFile, read};

fn refused(text: &str) -> (RefusalKind, String) {
    let file = SourceFile::new("f", text);
    let refusal = match read(&file, None, &mut NoOtherFiles) {
        Err(refusal) => refusal,
        Ok(read) => read.choices.into_iter().next().expect("a choice").ring.expect_err("no ring"),
    };
    (refusal.kind, refusal.to_string())
}

fn joined(count: usize, between: &str, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect::<Vec<_>>().join(between)
}

#[test]
fn more_nodes_than_a_ring_may_have_are_refused() {
    let carbon = |listed: String| {
        format!("[relay]\nRELAY_METHOD = consistent-hashing\nDESTINATIONS = {listed}\n")
    };
    let cases = [
        carbon(joined(4097, ", ", |n| format!("h{n}:2004:a"))),
        carbon(joined(4097, ", ", |_| "h:2004:a".to_owned())),
        format!("cluster a carbon_ch {};\n", joined(129, " ", |n| format!("h{n}:2003"))),
        joined(1001, "\n", |n| format!("cluster a{n} carbon_ch h:2003;")),
        format!(
            "[[route]]\nkey = 'a'\ntype = 'consistentHashing'\ndestinations = [{}]\n",
            joined(4097, ",", |n| format!("'h{n}:2003'"))
        ),
        joined(1001, "\n", |n| format!("[[route]]\nkey = 'a{n}'\ntype = 'sendAllMatch'")),
        format!("buckyd {}\n", joined(4097, " ", |n| format!("h{n}:2003"))),
    ];
    for text in cases {
        let (kind, said) = refused(&text);
        assert_eq!(kind, RefusalKind::TooManyServers, "{said}");
    }
}

#[test]
fn references_that_multiply_are_refused() {
    let long = "x".repeat(400_000);
    let keys = joined(200, "\n", |n| format!("k{n} = %(a)s%(a)s"));
    let text = format!("[relay]\nDESTINATIONS = a:1\na = {long}\n{keys}\n");
    let (kind, said) = refused(&text);
    assert_eq!(kind, RefusalKind::Interpolation, "{said}");
    assert!(said.contains("longer than 64 MiB together"), "{said}");
}

#[test]
fn a_comment_behind_a_method_or_a_hash_is_named_as_one() {
    for (key, value) in
        [("RELAY_METHOD", "consistent-hashing ; x"), ("ROUTER_HASH_TYPE", "carbon_ch # x")]
    {
        let method = if key == "RELAY_METHOD" { "" } else { "RELAY_METHOD = consistent-hashing\n" };
        let (kind, said) =
            refused(&format!("[relay]\n{method}{key} = {value}\nDESTINATIONS = a:1:a\n"));
        assert_eq!(kind, RefusalKind::InlineComment, "{said}");
    }
}

#[test]
fn a_pool_of_instances_is_warned_of() {
    let text = "[relay]\nRELAY_METHOD = consistent-hashing\nDESTINATION_POOL_REPLICAS = True\nDESTINATIONS = a:1:1, a:2:2\n";
    let read = read(&SourceFile::new("f", text), None, &mut NoOtherFiles).expect("a file");
    let ring = read.choices[0].ring.as_ref().expect("a ring");
    assert_eq!(ring.warnings[0].kind.name(), "destination-pool");
}
