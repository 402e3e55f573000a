//! `bucky verify`: its report about a cluster is true, and it finds everything that is wrong.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use bucky_tests::metrics::{self, MINUTES, minutes, now};
use bucky_tests::{Launch, Node, TestCluster, tree, wait};
use serde_json::Value;

use crate::cluster;

/// The report as JSON.
#[track_caller]
fn report(cluster: &TestCluster, args: &[&str], code: i32) -> Value {
    let words: Vec<&str> = ["verify", "-j"].iter().chain(args).copied().collect();
    let run = cluster.bucky(&words).assert_code(code);
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run}"))
}

/// The findings as `KIND NODE METRIC`, with the numbers of the nodes.
fn findings_of(cluster: &TestCluster, report: &Value) -> Vec<String> {
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
    // Points expire all the time.
    let points = summary["points"].as_u64().unwrap();
    assert!((cluster.ledger().points()..=before).contains(&points), "{points} of {before}");
    let run = cluster.bucky(&["verify"]).assert_code(0);
    assert_eq!(run.stdout.lines().count(), 1, "{run}");
    assert!(run.stdout.starts_with("300 metrics on 3 nodes, 300 copies read, "), "{run}");
    assert!(run.stdout.ends_with(" points: all in place.\n"), "{run}");
}

/// Before a move it reports exactly the remaining work; after it, nothing.
#[test]
fn before_a_move_all_misplaced_metrics_are_found_and_after_it_all_is_in_place() {
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
    let run = cluster.bucky(&["verify"]).assert_code(1).assert_stdout_has("bucky rebalance -h");
    run.assert_stdout_has("--errors FILE names all");
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.wait_until_no_tombstones();
    cluster
        .bucky(&["verify"])
        .assert_code(0)
        .assert_stdout_has("400 copies read")
        .assert_stdout_has("all in place");
}

/// One finding of each kind, and only those are reported.
#[test]
fn everything_that_can_be_wrong_is_reported_by_metric_and_nothing_is_touched() {
    let mut cluster = cluster(3).lay();
    cluster.scatter(60, cluster.ring());
    let [misplaced, both, corrupt, cut, sound] =
        ["a.misplaced", "b.both", "c.corrupt", "d.cut", "e.sound"]
            .map(|stem| cluster.name_owned_by(1, stem));
    let now = now();
    cluster.node(0).write(&misplaced, &MINUTES, &minutes(now, [1.0, 2.0]));
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
        format!("misplaced 0 {misplaced}"),
        format!("missing 1 {misplaced}"),
        format!("misplaced 2 {both}"),
        format!("lacks 1 {both}"),
        format!("corrupt 1 {corrupt}"),
        format!("misplaced 0 {cut}"),
        format!("corrupt 0 {cut}"),
    ];
    assert_eq!(findings_of(&cluster, &report), expected);
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
    run.assert_stdout_has("61 in place, 4 not")
        .assert_stdout_has(&format!("{both}: lacks 2 points that"));
    let text = std::fs::read_to_string(errors).unwrap();
    assert_eq!(text.lines().count(), expected.len(), "{text}");
    assert!(text.contains(&format!("{}\t{corrupt}\tcorrupt: ", cluster.node(1).addr())), "{text}");
    for (node, before) in cluster.nodes().iter().zip(&before) {
        assert_eq!(&marks(node), before, "{} was touched", node.host());
    }
}

#[test]
fn of_two_copies_one_that_is_missing_fails_and_owners_that_differ_are_reported() {
    let cluster = cluster(3).replication_factor(2).start();
    cluster.scatter(60, cluster.ring());
    cluster
        .bucky(&["verify"])
        .assert_code(0)
        .assert_stdout_has("60 metrics on 3 nodes, 120 copies read");
    let gap = cluster.name_owned_by(0, "gap");
    for owner in cluster.owners(&gap) {
        cluster.node(owner).write(&gap, &MINUTES, &minutes(now(), [1.0]));
    }
    let other = cluster.owners(&gap)[1];
    let old = minutes(now() - 3600, [41.0, 42.0]);
    // Points that are still on their way to the other owner are not a difference.
    let new = minutes(now(), [1.0, 2.0, 3.0]);
    metrics::update(&cluster.node(other).path(&gap), &[old, new].concat());
    let found = report(&cluster, &[], 0);
    assert_eq!(findings_of(&cluster, &found), [format!("replicas_differ 0 {gap}")]);
    assert_eq!(found["findings"][0]["points"], 2, "{found}");
    assert_eq!([&found["summary"]["in_place"], &found["summary"]["differ"]], [61, 1]);
    cluster.bucky(&["verify", "--strict"]).assert_code(1);
    let names = cluster.node(0).metrics();
    let lost = names.iter().find(|name| **name != gap).unwrap();
    std::fs::remove_file(cluster.node(0).path(lost)).unwrap();
    let found = report(&cluster, &[], 1);
    assert!(findings_of(&cluster, &found).contains(&format!("missing 0 {lost}")), "{found}");
    let next = cluster.bucky(&["verify"]).assert_code(1).assert_stdout_has("bucky heal -h");
    assert!(!next.stdout.contains("bucky rebalance"), "{next}");
}

/// During a move, metrics that must still move are misplaced; nothing is reported as lost, missing or
/// damaged.
#[test]
fn a_move_that_is_under_way_is_not_taken_for_a_loss() {
    let cluster = cluster(3).start();
    cluster.scatter(900, &cluster.ring_of_first(2));
    let before = cluster.ledger();
    let mut run = cluster.start_bucky(&["rebalance", "-f", "-w", "2", "--batch-metrics", "5"]);
    wait::until("some metrics have come", || tree::metrics(&cluster.node(2).prefix()).len() > 20);
    let mut looked = 0;
    while run.is_running() || looked == 0 {
        let words = if looked % 2 == 0 { ["-j", "--no-scan"] } else { ["-j", "-f"] };
        let words: Vec<&str> = ["verify"].into_iter().chain(words).collect();
        let report: Value = serde_json::from_str(&cluster.bucky(&words).stdout).unwrap();
        looked += 1;
        for kind in ["lacks", "corrupt", "unreadable", "gone", "incomparable"] {
            assert_eq!(report["summary"]["kinds"][kind]["metrics"], 0, "{kind}: {report}");
        }
        let summary = &report["summary"];
        assert!(summary["copies"].as_u64() >= summary["metrics"].as_u64(), "{summary}");
    }
    run.finish().assert_code(0);
    cluster.assert_all_in_place(&before);
    cluster
        .bucky(&["verify"])
        .assert_code(0)
        .assert_stdout_has("900 metrics on 3 nodes, 900 copies");
}

#[test]
fn unreadable_files_and_folders_are_findings() {
    let mut cluster = cluster(2).lay();
    cluster.scatter(20, cluster.ring());
    let hidden = cluster.name_owned_by(0, "hidden.deep");
    let locked = cluster.name_owned_by(0, "locked");
    cluster.node(0).write(&hidden, &MINUTES, &minutes(now(), [1.0]));
    cluster.node(0).write(&locked, &MINUTES, &minutes(now(), [1.0]));
    let folder = cluster.node(0).prefix().join("hidden");
    std::fs::set_permissions(&folder, Permissions::from_mode(0o000)).unwrap();
    std::fs::set_permissions(cluster.node(0).path(&locked), Permissions::from_mode(0o000)).unwrap();
    cluster.node_mut(0).launch(Launch::WithoutRootCapabilities);
    cluster.start();
    let report = report(&cluster, &[], 1);
    assert_eq!(findings_of(&cluster, &report), [format!("unreadable 0 {locked}")]);
    let reason = report["findings"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("Permission denied"), "{reason}");
    let remark = &report["summary"]["remarks"][0];
    assert_eq!(remark["is_finding"], true, "{remark}");
    let run = cluster.bucky(&["verify"]).assert_code(1);
    run.assert_stdout_has("hidden").assert_stdout_has("the files in them were not checked");
    std::fs::set_permissions(cluster.node(0).path(&locked), Permissions::from_mode(0o644)).unwrap();
    // A single unreadable folder is enough: its content is unknown.
    let run = cluster.bucky(&["verify"]).assert_code(1);
    run.assert_stdout_has("everything that was checked is in place");
    std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    cluster.bucky(&["verify"]).assert_code(0).assert_stdout_has("22 metrics on 2 nodes");
}

#[test]
fn some_metrics_a_sample_or_those_that_match_are_looked_at() {
    let cluster = cluster(2).start();
    cluster.scatter(200, cluster.ring());
    let good = cluster.name_owned_by(0, "good.one");
    cluster.node(0).write(&good, &MINUTES, &minutes(now(), [1.0]));
    let sample = report(&cluster, &["--sample", "50", "--seed", "11"], 0);
    assert_eq!(sample["summary"]["metrics"], 50);
    let again = report(&cluster, &["--sample", "50", "--seed", "11"], 0);
    assert_eq!(again["summary"]["bytes"], sample["summary"]["bytes"], "another sample");
    let run = cluster.bucky(&["verify", "--sample", "25%"]).assert_code(0);
    run.assert_stdout_has(" metrics (a sample of 25%, --seed ");

    let misplaced = cluster.name_owned_by(1, "misplaced.one");
    cluster.node(0).write(&misplaced, &MINUTES, &minutes(now(), [1.0]));
    for whole in ["1000", "100%"] {
        assert_eq!(report(&cluster, &["--sample", whole], 1)["summary"]["metrics"], 202);
    }
    cluster
        .bucky(&["verify", &good])
        .assert_code(0)
        .assert_stdout_has("1 metric on 2 nodes, 1 copy read");
    let run = cluster.bucky(&["verify", &good, "no.such.metric"]).assert_code(1);
    run.assert_stdout_has("no.such.metric: no node has it");
    cluster.bucky(&["verify", "-r", "^shop\\."]).assert_code(0).assert_stdout_has("all in place");
    cluster.bucky(&["verify", "-r", "^misplaced"]).assert_code(1).assert_stdout_has("belongs to");
    cluster
        .bucky(&["verify", "-r", "^nothing"])
        .assert_code(0)
        .assert_stdout_has("nothing to check");
}

#[test]
fn a_drained_node_must_have_nothing_and_deleted_copies_that_wait_are_reported() {
    let cluster = cluster(3).in_ring(2).flag("--tombstone-grace", "600").start();
    let name = cluster.name_owned_by(0, "left.behind");
    cluster.node(2).write(&name, &MINUTES, &minutes(now(), [1.0, 2.0]));
    let drained = cluster.node(2).addr();
    let report_of = |code| report(&cluster, &["--drained", &drained], code);
    let before = report_of(1);
    assert_eq!(
        findings_of(&cluster, &before),
        [format!("missing 0 {name}"), format!("misplaced 2 {name}")]
    );
    // Without the flag the node is not asked.
    cluster.bucky(&["verify"]).assert_code(0).assert_stdout_has("nothing to check");
    cluster.bucky(&["rebalance", "-f", &drained]).assert_code(0);
    let after = report_of(0);
    assert_eq!(after["summary"]["copies"], 1);
    let run = cluster.bucky(&["verify", "--drained", &drained]).assert_code(0);
    run.assert_stdout_has(&format!("{drained}: 1 deleted copy not yet confirmed"));
    let member = cluster.node(1).addr();
    cluster
        .bucky(&["verify", "--drained", &member])
        .assert_code(2)
        .assert_stderr_has("checked anyway");
}

#[test]
fn each_nodes_own_metrics_are_in_place_wherever_they_are_and_hashed_series_are_a_finding() {
    let cluster = cluster(2).flag("--local-prefix", "own.things.").start();
    let own = "own.things.cpu";
    let hashed = format!("_tagged.abc.def.{}", "5".repeat(64));
    for node in cluster.nodes() {
        for name in [own, hashed.as_str()] {
            node.write(name, &MINUTES, &minutes(now(), [1.0]));
        }
    }
    let found = report(&cluster, &[], 1);
    assert_eq!(findings_of(&cluster, &found), [""; 0]);
    let summary = &found["summary"];
    assert_eq!(summary["all_in_place"], false);
    assert_eq!([&summary["local"], &summary["unplaceable"], &summary["copies"]], [1, 1, 4]);
    cluster
        .bucky(&["verify"])
        .assert_code(1)
        .assert_stdout_has("1 tagged file is named by the hash");
    cluster.node(1).put(&hashed, b"not a Whisper file, and nobody would know");
    let found = report(&cluster, &[], 1);
    assert_eq!(findings_of(&cluster, &found), [format!("corrupt 1 {hashed}")]);
}

#[test]
fn a_cluster_that_is_not_healthy_is_not_verified() {
    let mut cluster = cluster(3).start();
    cluster.scatter(30, cluster.ring());
    cluster.node_mut(2).stop();
    let away = cluster.node(2).addr();
    let run = cluster.bucky(&["verify"]).assert_code(3).assert_stderr_has(&away);
    assert!(run.stdout.is_empty(), "{run}");
    cluster.node_mut(2).ring_member("127.0.0.99:2003").start();
    cluster.bucky(&["verify"]).assert_code(3).assert_stderr_has("the ring of");
}
