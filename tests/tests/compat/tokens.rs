//! Clusters whose daemons require tokens: what works with a token, and what is refused without.

use std::path::PathBuf;
use std::time::Duration;

use bucky_tests::cluster::assert_untouched;
use bucky_tests::http::{Answer, Http};
use bucky_tests::metrics::{LAYOUTS, history, now};
use bucky_tests::token::{HEADER, minted};
use bucky_tests::{ClusterPlan, Finished, TestCluster, tree, wait};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster;

const SECRET: &str = "a secret of the cluster, long enough for anybody";
/// Longer than a refused command takes, and shorter than one that tries again.
const AT_ONCE: Duration = Duration::from_secs(30);

/// A token as the Go tool's users have them, without an expiry.
fn token(namespaces: &[&str], ops: &[&str]) -> String {
    minted(SECRET, &json!({"namespaces": namespaces, "ops": ops}))
}

fn all() -> String {
    token(&["*"], &["*"])
}

/// A file in the cluster's folder with this content.
fn file(cluster: &TestCluster, name: &str, content: &str) -> String {
    let path = cluster.path(name);
    std::fs::write(&path, format!("{content}\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The cluster with a secret on every node, not started.
fn protected(plan: ClusterPlan) -> TestCluster {
    let mut cluster = plan.lay();
    let secret = PathBuf::from(file(&cluster, "secret", SECRET));
    for number in 0..cluster.nodes().len() {
        cluster.node_mut(number).protect(&secret, &all());
    }
    cluster
}

/// Runs `bucky` with the token in `file`.
fn bucky_with(cluster: &TestCluster, token_file: &str, args: &[&str]) -> Finished {
    let (command, rest) = args.split_first().unwrap();
    let mut words = vec![*command, "-api-token-file", token_file];
    words.extend(rest);
    cluster.bucky(&words)
}

fn send(
    cluster: &TestCluster,
    request: &str,
    token: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let (method, path) = request.split_once(' ').unwrap();
    let mut headers = headers.to_vec();
    headers.push((HEADER, token));
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    Http::new().send(method, &cluster.url(0, path), &headers, body.to_vec()).unwrap()
}

/// Every request of a move carries a token: those of the client, of daemons that pull, and of daemons that
/// get their tombstones confirmed.
#[test]
fn a_cluster_with_tokens_is_moved_proved_and_healed() {
    let mut cluster = protected(cluster(3));
    cluster.scatter(90, &cluster.ring_of_first(2));
    let before = cluster.ledger();
    cluster.start();
    let token_file = file(&cluster, "token", &all());
    let run = |args: &[&str]| bucky_with(&cluster, &token_file, args);
    let mut output = String::new();
    for args in [
        &["servers", "-v"][..],
        &["list", "-v"],
        &["inconsistent"],
        &["rebalance", "-v", "-w", "4"],
        &["heal", "-v"],
        &["verify"],
        &["du", "-r", "."],
        &["stat", "-r", "."],
    ] {
        let finished = run(args).assert_code(0);
        output.push_str(&finished.stdout);
        output.push_str(&finished.stderr);
    }
    cluster.assert_all_in_place(&before);
    for node in cluster.nodes() {
        output.push_str(&node.log());
    }
    assert!(output.contains("/v1/confirm") || output.contains("/v1/pull"), "{output}");
    // No part of any token may be shown: every token begins with the same header.
    for hidden in [SECRET, "eyJ", all().split('.').nth(2).unwrap()] {
        assert!(!output.contains(hidden), "{hidden:?} is printed");
    }
}

#[test]
fn without_a_good_token_every_command_says_so_at_once_and_nothing_is_changed() {
    let mut cluster = protected(cluster(2));
    cluster.scatter(30, &cluster.ring_of_first(1));
    cluster.start();
    let marks: Vec<_> = cluster.nodes().iter().map(|node| tree::marks(&node.prefix())).collect();
    let everything = json!({"namespaces": ["*"], "ops": ["*"]});
    let mut expired = everything.clone();
    expired["exp"] = Value::from(now() - 3600);
    let mut later = everything.clone();
    later["nbf"] = Value::from(now() + 3600);
    let no_access = "token has no access to the metric/namespace";
    for (name, token, said, commands) in [
        ("foreign", minted("another secret", &everything), "signature is invalid", ALL),
        ("expired", minted(SECRET, &expired), "token is expired", ALL),
        ("later", minted(SECRET, &later), "token is not valid yet", ALL),
        ("narrow", token(&["app.*"], &["*"]), no_access, LISTING),
        ("updates", token(&["*"], &["update"]), "doesn't have read permission", LISTING),
        ("reads", token(&["*"], &["read"]), "doesn't have update permission", CHANGING),
    ] {
        let token_file = file(&cluster, name, &token);
        for args in commands {
            let finished = bucky_with(&cluster, &token_file, args).assert_stderr_has(said);
            assert!(matches!(finished.code, Some(1 | 3)), "{name}: {finished}");
            assert!(finished.took < AT_ONCE, "{name}: {finished}");
            let finished = finished.assert_stderr_has("403");
            let names = cluster.nodes().iter().any(|node| finished.stderr.contains(&node.addr()));
            assert!(names, "{name}: no node is named: {finished}");
            assert!(!finished.stderr.contains(&token), "{name}");
        }
    }
    for args in ALL {
        let finished = cluster.bucky(args).assert_stderr_has("give bucky -api-token-file");
        assert!(matches!(finished.code, Some(1 | 3)) && finished.took < AT_ONCE, "{finished}");
    }
    for (node, marks) in cluster.nodes().iter().zip(&marks) {
        assert_untouched(marks, &node.prefix());
    }
}

const ALL: &[&[&str]] = &[
    &["servers"],
    &["list"],
    &["inconsistent"],
    &["rebalance"],
    &["heal"],
    &["verify"],
    &["du", "-r", "."],
    &["stat", "nope"],
    &["locate", "app.x"],
];
const LISTING: &[&[&str]] =
    &[&["list"], &["inconsistent"], &["rebalance"], &["verify"], &["du", "-r", "."]];
const CHANGING: &[&[&str]] = &[&["rebalance"]];

/// D36: the Go tool panics if the file does not exist.
#[test]
fn d36_a_token_file_that_holds_no_token_is_a_mistake_that_is_named() {
    let cluster = cluster(1).lay();
    for (name, content, said) in [
        ("none", None, "No such file"),
        ("blank", Some(" "), "it is empty"),
        ("bearer", Some("Bearer a.b.c"), "without `Bearer`"),
        ("two", Some("a.b.c\na.b.c"), "only the token"),
    ] {
        let path = match content {
            Some(content) => file(&cluster, name, content),
            None => cluster.path(name).to_str().unwrap().to_owned(),
        };
        for args in [&["list"][..], &["rebalance"], &["servers"]] {
            let finished = bucky_with(&cluster, &path, args).assert_code(2);
            let finished = finished.assert_stderr_has("-api-token-file").assert_stderr_has(&path);
            let finished = finished.assert_stderr_has(said).assert_stdout("");
            assert!(!finished.stderr.contains("panic") && !finished.stderr.contains("a.b.c"));
        }
    }
}

/// Section 7 of the contract, from beginning to end, with a token that none of our code has created.
#[test]
fn a_token_of_the_go_tools_users_opens_the_go_tools_routes() {
    let mut cluster = protected(cluster(1));
    cluster.scatter(10, cluster.ring());
    cluster.start();
    let metric = cluster.node(0).metrics().remove(0);
    let content = std::fs::read(cluster.node(0).path(&metric)).unwrap();
    let path = format!("/metrics/{metric}");
    let stat = json!({"Name": "", "Size": content.len(), "Mode": 420, "ModTime": 1}).to_string();
    let upload = [("Content-Type", "application/octet-stream"), ("X-Metric-Stat", stat.as_str())];
    let (read, all) = (token(&["*"], &["read"]), all());
    for (request, token, headers, body, status) in [
        ("GET /hashring".to_owned(), &read, &[][..], &[][..], 200),
        ("GET /metrics".to_owned(), &read, &[], &[], 200),
        (format!("HEAD {path}"), &read, &[], &[], 200),
        (format!("GET {path}"), &read, &[], &[], 200),
        (format!("DELETE {path}"), &read, &[], &[], 403),
        (format!("POST {path}"), &read, &upload, &content, 403),
        (format!("PUT {path}"), &read, &upload, &content, 403),
        (format!("POST {path}"), &all, &upload, &content, 200),
        (format!("PUT {path}"), &all, &upload, &content, 200),
        (format!("DELETE {path}"), &all, &[], &[], 200),
        (format!("GET {path}"), &all, &[], &[], 404),
        (format!("GET {path}"), &token(&["x.*"], &["*"]), &[], &[], 403),
    ] {
        let answer = send(&cluster, &request, token, headers, body);
        assert_eq!(answer.status, status, "{request}: {}", answer.text());
    }
    let bearer = send(&cluster, "GET /metrics", &format!("Bearer {all}"), &[], &[]);
    assert_eq!(bearer.text(), "tokenstring should not contain 'bearer '\n");
    let elsewhere = Http::new().send(
        Method::GET,
        &cluster.url(0, "/metrics"),
        &[("Authorization", &all)],
        Vec::new(),
    );
    assert_eq!(elsewhere.unwrap().text(), "token contains an invalid number of segments\n");
}

#[test]
fn a_token_that_bucky_makes_opens_what_it_says_and_no_more() {
    let mut cluster = protected(cluster(2));
    cluster.scatter(20, cluster.ring());
    cluster.start();
    let secret = cluster.path("secret");
    let secret = secret.to_str().unwrap();
    let make = |args: &[&str]| {
        let mut words = vec!["token", "--secret-file", secret];
        words.extend(args);
        cluster.bucky_alone(&words)
    };
    let made = make(&["--namespaces", "*", "--ops", "read"]).assert_code(0);
    assert_eq!(made.stdout.lines().count(), 1, "the token and nothing else: {made}");
    assert_eq!(made.stderr, "");
    let token_file = file(&cluster, "made", made.stdout.trim());
    let listed = bucky_with(&cluster, &token_file, &["list"]).assert_code(0);
    assert_eq!(listed.stdout.lines().count(), 20);
    bucky_with(&cluster, &token_file, &["heal", "-f"]).assert_code(0);
    let shown = cluster.bucky_alone(&["token", "--show", &token_file, "--secret-file", secret]);
    let shown = shown.assert_code(0).assert_stdout_has("namespace: *  (and lists)\nops: read\n");
    let shown = shown.assert_stdout_has("signature: good\n");
    // An hour by default.
    assert!(shown.stdout.contains("(in 1h00m)") || shown.stdout.contains("(in 59m"), "{shown}");

    let everlasting = make(&["-namespaces=app.*,b\\,c", "-ops=update,delete", "-expires=never"]);
    let token_file = file(&cluster, "everlasting", everlasting.assert_code(0).stdout.trim());
    let shown = cluster.bucky_alone(&["token", "--show", &token_file]).assert_code(0);
    shown
        .assert_stdout_has("namespace: app.*\nnamespace: b\\\\,c\nops: update, delete\n")
        .assert_stdout_has("expires: never\n");
    bucky_with(&cluster, &token_file, &["list"]).assert_stderr_has("no access");

    for (args, said) in [
        (&["--namespaces", "*", "--ops", "read", "--expires", "0"][..], "valid for 0 s"),
        (&["--namespaces", "app.[a", "--ops", "read"], "without ]"),
        (&["--namespaces", "app/*", "--ops", "read"], "has a /"),
        (&["--namespaces", "a,,b", "--ops", "read"], "a pattern is empty"),
        (&["--namespaces", "*", "--ops", "write"], "not a valid operation: \"write\""),
        (&["--namespaces", "*"], "--ops"),
        (&["--ops", "read"], "--namespaces"),
    ] {
        make(args).assert_code(2).assert_stderr_has(said).assert_stdout("");
    }
    let blank = file(&cluster, "blank", "");
    cluster
        .bucky_alone(&["token", "--secret-file", &blank, "--namespaces", "*", "--ops", "read"])
        .assert_code(2)
        .assert_stderr_has("only white space");
    let foreign = file(&cluster, "foreign", &minted("another", &json!({"ops": ["*"]})));
    cluster
        .bucky_alone(&["token", "--show", &foreign, "--secret-file", secret])
        .assert_code(1)
        .assert_stdout_has("signature: signature is invalid");
}

/// A token that may see lists, and may do everything with some metrics: those are moved, and the others are
/// named and left.
#[test]
fn a_narrow_token_moves_what_it_may_and_leaves_the_rest_where_it_is() {
    let mut cluster = protected(cluster(2));
    let lay = |stem: &str| {
        let names = cluster.names_owned_by(1, stem, 6);
        for name in &names {
            cluster.node(0).write(name, &LAYOUTS[0], &history(&LAYOUTS[0], now(), 3));
        }
        names
    };
    let (app, web) = (lay("app"), lay("web"));
    let before = cluster.ledger();
    cluster.start();
    let token_file = file(&cluster, "token", &token(&["\\*", "app.*"], &["*"]));
    let moved = bucky_with(&cluster, &token_file, &["rebalance"]).assert_code(1);
    assert!(moved.took < AT_ONCE, "{moved}");
    for name in &web {
        let said = format!("bucky: {name}: {}: ", cluster.node(1).addr());
        assert!(moved.stderr.contains(&said) && moved.stderr.contains("no access"), "{moved}");
    }
    cluster.wait_until_no_tombstones();
    assert_eq!(cluster.node(0).metrics(), web);
    assert_eq!(cluster.node(1).metrics(), app);
    let token_file = file(&cluster, "token", &all());
    bucky_with(&cluster, &token_file, &["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

/// A drained node is not a member of the ring of the other nodes.
#[test]
fn a_drained_node_is_fetched_from_where_peer_names_it_and_nowhere_else() {
    let mut cluster = protected(cluster(3).in_ring(2));
    let all_three = cluster.ring_of_first(3);
    cluster.scatter(60, &all_three);
    let before = cluster.ledger();
    cluster.start();
    let token_file = file(&cluster, "token", &all());
    let drained = cluster.node(2).addr();
    let marks: Vec<_> = cluster.nodes().iter().map(|node| tree::marks(&node.prefix())).collect();
    let refused = bucky_with(&cluster, &token_file, &["rebalance", &drained]).assert_code(1);
    assert!(refused.took < AT_ONCE, "{refused}");
    refused.assert_stderr_has(&format!("start this buckyd with --peer {drained}"));
    assert_untouched(&marks[2], &cluster.node(2).prefix());
    for number in 0..2 {
        cluster.node_mut(number).stop();
        cluster.node_mut(number).flag("--peer", &drained);
        cluster.node_mut(number).start();
    }
    bucky_with(&cluster, &token_file, &["rebalance", &drained]).assert_code(0);
    cluster.assert_all_in_place(&before);
    bucky_with(&cluster, &token_file, &["verify", "--drained", &drained]).assert_code(0);
}

#[test]
fn tokens_are_switched_on_node_by_node() {
    let mut cluster = cluster(2).lay();
    cluster.scatter(40, &cluster.ring_of_first(1));
    let before = cluster.ledger();
    let secret = PathBuf::from(file(&cluster, "secret", SECRET));
    let token_file = file(&cluster, "token", &all());
    // The source requires tokens already, the destination has no secret yet.
    cluster.node_mut(0).protect(&secret, &all());
    cluster.start();
    bucky_with(&cluster, &token_file, &["servers"]).assert_code(0);
    bucky_with(&cluster, &token_file, &["list"]).assert_code(0);
    let refused = bucky_with(&cluster, &token_file, &["rebalance"]).assert_code(1);
    assert!(refused.took < AT_ONCE, "{refused}");
    refused.assert_stderr_has(
        "both daemons need the same secret, in -auth-jwt-secret-file, and clocks that agree",
    );
    cluster.node_mut(1).stop();
    cluster.node_mut(1).protect(&secret, &all());
    cluster.node_mut(1).start();
    bucky_with(&cluster, &token_file, &["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

/// A secret that was set or changed on one node only: its neighbours' tombstones wait, and are reported.
#[test]
fn tombstones_wait_for_an_owner_with_another_secret_and_go_when_it_has_theirs() {
    let mut cluster = protected(cluster(2).gate(1));
    cluster.scatter(20, &cluster.ring_of_first(1));
    let before = cluster.ledger();
    cluster.start();
    let token_file = file(&cluster, "token", &all());
    // The owner is not asked before it has the other secret.
    cluster.node(1).gate().hold("POST /v1/confirm");
    bucky_with(&cluster, &token_file, &["rebalance"]).assert_code(0);
    cluster.node(1).gate().wait_until_held();
    cluster.node_mut(1).stop();
    let other = "another secret of another cluster, just as long";
    let other_file = PathBuf::from(file(&cluster, "other-secret", other));
    let other_token = minted(other, &json!({"namespaces": ["*"], "ops": ["*"]}));
    cluster.node_mut(1).protect(&other_file, &other_token);
    cluster.node_mut(1).start();
    cluster.node(1).gate().release();
    let held = || {
        let status = send(&cluster, "GET /v1/status", &all(), &[], &[]).json();
        let reason = status["tombstones"]["held"][0]["reason"].as_str().map(str::to_owned);
        reason.filter(|reason| reason.contains("403") && reason.contains("signature is invalid"))
    };
    wait::until("the tombstones are held", || held().is_some());
    assert!(!tree::tombstones(&cluster.node(0).prefix()).is_empty());
    cluster.node_mut(1).stop();
    // The cluster's secret is valid beside it: secrets are changed in this way.
    let secret = cluster.path("secret");
    cluster.node_mut(1).flag("--auth-jwt-accept-secret-file", secret.to_str().unwrap());
    cluster.node_mut(1).start();
    cluster.assert_all_in_place(&before);
}

/// D10: with an empty or blank secret file the Go daemon silently runs without protection.
#[test]
fn d10_a_daemon_with_a_blank_or_missing_secret_file_does_not_start() {
    let mut cluster = cluster(1).lay();
    let blank = file(&cluster, "blank", " \t");
    let missing = cluster.path("missing");
    for (path, said) in
        [(blank.as_str(), "only white space"), (missing.to_str().unwrap(), "No such file")]
    {
        let node = cluster.node_mut(0).flag("-auth-jwt-secret-file", path);
        let output = node.command().output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("-auth-jwt-secret-file") && stderr.contains(said), "{stderr}");
    }
}
