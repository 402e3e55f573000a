//! `bucky verify`: what it says of a cluster is so, and nothing that is wrong escapes it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bucky_tests::metrics::{self, MINUTES, minutes, now};
use bucky_tests::{Node, TestCluster, tree};
use serde_json::Value;

use crate::cluster;

/// The report as JSON.
#[track_caller]
fn report(cluster: &TestCluster, args: &[&str], code: i32) -> Value {
    let words: Vec<&str> = ["verify", "-j"].iter().chain(args).copied().collect();
    let run = cluster.bucky(&words).assert_code(code);
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run}"))
}

/// The findings as `KIND NODE METRIC`, the nodes by their numbers.
fn told(cluster: &TestCluster, report: &Value) -> Vec<String> {
    let number = |addr: &str| {
        let at = cluster.nodes().iter().position(|node| node.addr() == addr);
        at.map_or_else(|| "-".to_owned(), |number| number.to_string())
    };
    let line = |finding: &Value| {
        let text = |key: &str| finding[key].as_str().unwrap().to_owned();
        format!("{} {} {}", text("kind"), number(&text("node")), text("metric"))
    };
    report["findings"].as_array().unwrap().iter().map(line).collect()
}

/// The files below a prefix that are not the daemon's own.
fn marks(node: &Node) -> BTreeMap<PathBuf, tree::Mark> {
    let is_metrics = |path: &PathBuf| path.extension().is_some_and(|end| end == "wsp");
    tree::marks(&node.prefix()).into_iter().filter(|(path, _)| is_metrics(path)).collect()
}

#[test]
fn a_cluster_in_order_is_said_to_be_so_with_every_copy_and_point_counted() {
    let cluster = cluster(3).start();
    cluster.scatter(300, cluster.ring());
    let before = cluster.ledger().points();
    let found = report(&cluster, &[], 0);
    assert_eq!(found["findings"], serde_json::json!([]));
    let summary = &found["summary"];
    assert_eq!(summary["all_in_place"], true);
    assert_eq!([&summary["metrics"], &summary["copies"]], [300, 300]);
    // Points go out of their archives' windows all the time.
    let points = summary["points"].as_u64().unwrap();
    assert!((cluster.ledger().points()..=before).contains(&points), "{points} of {before}");
    let run = cluster.bucky(&["verify"]).assert_code(0);
    assert_eq!(run.stdout.lines().count(), 1, "{run}");
    assert!(run.stdout.starts_with("300 metrics on 3 nodes, 300 copies read, "), "{run}");
    assert!(run.stdout.ends_with(" points: all in place.\n"), "{run}");
}

/// What a move still has to do, exactly; and after it nothing.
#[test]
fn before_a_move_everything_astray_is_found_and_after_it_all_is_in_place() {
    let cluster = cluster(4).start();
    cluster.scatter(400, &cluster.ring_of_first(3));
    let misplaced: Vec<String> = cluster
        .nodes()
        .iter()
        .flat_map(|node| node.metrics())
        .filter(|name| cluster.owners(name) == [3])
        .collect();
    assert!(misplaced.len() > 50);
    let before = report(&cluster, &[], 1);
    let kinds = &before["summary"]["kinds"];
    assert_eq!(kinds["misplaced"]["metrics"], misplaced.len(), "{kinds}");
    assert_eq!(kinds["missing"]["metrics"], misplaced.len(), "{kinds}");
    assert_eq!(kinds["lacks"]["metrics"], 0, "{kinds}");
    let run = cluster.bucky(&["verify"]).assert_code(1).assert_says("bucky rebalance -h");
    run.assert_says("--errors FILE has all");
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.wait_until_buried();
    cluster
        .bucky(&["verify"])
        .assert_code(0)
        .assert_says("400 copies read")
        .assert_says("all in place");
}

/// One of each kind, and only those are told.
#[test]
fn everything_that_can_be_wrong_is_told_metric_by_metric_and_nothing_is_touched() {
    let mut cluster = cluster(3).lay();
    cluster.scatter(60, cluster.ring());
    let [astray, both, corrupt, cut, sound] =
        ["a.astray", "b.both", "c.corrupt", "d.cut", "e.sound"]
            .map(|stem| cluster.name_owned_by(1, stem));
    let now = now();
    cluster.node(0).write(&astray, &MINUTES, &minutes(now, [1.0, 2.0]));
    cluster.node(1).write(&both, &MINUTES, &minutes(now, [1.0, f64::NAN]));
    cluster.node(2).write(&both, &MINUTES, &minutes(now, [5.0, 6.0, 7.0]));
    let mut zero_archives = MINUTES.empty_file();
    zero_archives[12..16].fill(0);
    cluster.node(1).put(&corrupt, &zero_archives);
    let whole = MINUTES.empty_file();
    cluster.node(0).put(&cut, &whole[..whole.len() - 7]);
    cluster.node(1).write(&cut, &MINUTES, &minutes(now, [1.0]));
    cluster.node(1).write(&sound, &MINUTES, &minutes(now, [1.0]));
    let before: Vec<_> = cluster.nodes().iter().map(marks).collect();
    cluster.start();

    let report = report(&cluster, &[], 1);
    let expected = [
        format!("misplaced 0 {astray}"),
        format!("missing 1 {astray}"),
        format!("misplaced 2 {both}"),
        format!("lacks 1 {both}"),
        format!("corrupt 1 {corrupt}"),
        format!("misplaced 0 {cut}"),
        format!("corrupt 0 {cut}"),
    ];
    assert_eq!(told(&cluster, &report), expected);
    let lacks = &report["findings"][3];
    let newest = now - now % 60;
    assert_eq!(lacks["other"], cluster.node(2).addr());
    assert_eq!(lacks["points"], 2, "{lacks}");
    assert_eq!(
        lacks["archives"],
        serde_json::json!([
            {"seconds_per_point": 60, "points": 2, "first": newest - 120, "last": newest - 60}
        ])
    );
    let reason = report["findings"][4]["reason"].as_str().unwrap();
    assert!(reason.contains("archive count at byte 12 is 0"), "{reason}");
    let reason = report["findings"][6]["reason"].as_str().unwrap();
    assert!(reason.contains("archive 0") && reason.contains("file's end"), "{reason}");
    assert_eq!(report["summary"]["in_place"], 61);

    let errors = cluster.path("findings");
    let run = cluster.bucky(&["verify", "--errors", errors.to_str().unwrap()]).assert_code(1);
    run.assert_says("61 in place, 4 not").assert_says(&format!("{both}: lacks 2 points that"));
    let text = std::fs::read_to_string(errors).unwrap();
    assert_eq!(text.lines().count(), expected.len(), "{text}");
    assert!(text.contains(&format!("{}\t{corrupt}\tcorrupt: ", cluster.node(1).addr())), "{text}");
    for (node, before) in cluster.nodes().iter().zip(&before) {
        assert_eq!(&marks(node), before, "{} was touched", node.host());
    }
}

#[test]
fn of_two_copies_one_that_is_missing_fails_and_owners_that_differ_are_told() {
    let cluster = cluster(3).replication_factor(2).start();
    cluster.scatter(60, cluster.ring());
    cluster.bucky(&["verify"]).assert_code(0).assert_says("60 metrics on 3 nodes, 120 copies read");
    let gap = cluster.name_owned_by(0, "gap");
    for owner in cluster.owners(&gap) {
        cluster.node(owner).write(&gap, &MINUTES, &minutes(now(), [1.0]));
    }
    let other = cluster.owners(&gap)[1];
    let old = minutes(now() - 3600, [41.0, 42.0]);
    // What is still on its way to the other is no difference.
    let new = minutes(now(), [1.0, 2.0, 3.0]);
    metrics::update(&cluster.node(other).path(&gap), &[old, new].concat());
    let found = report(&cluster, &[], 0);
    assert_eq!(told(&cluster, &found), [format!("replicas_differ 0 {gap}")]);
    assert_eq!(found["findings"][0]["points"], 2, "{found}");
    assert_eq!(found["summary"]["all_in_place"], true);
    cluster.bucky(&["verify", "--strict"]).assert_code(1);
    let names = cluster.node(0).metrics();
    let lost = names.iter().find(|name| **name != gap).unwrap();
    std::fs::remove_file(cluster.node(0).path(lost)).unwrap();
    let found = report(&cluster, &[], 1);
    assert!(told(&cluster, &found).contains(&format!("missing 0 {lost}")), "{found}");
    let next = cluster.bucky(&["verify"]).assert_code(1).assert_says("POST /v1/pull");
    assert!(!next.stdout.contains("bucky rebalance"), "{next}");
}
