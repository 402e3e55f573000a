//! `bucky backfill2`: from one cluster to another.

use bucky_ring::Algorithm;
use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{TestCluster, tree};
use serde_json::json;

use super::{assert_kept, map_file, marks, minutes_of, rescan};
use crate::cluster;

/// Two clusters with different ports, hashes, sizes and replication factors. Some metrics of the first
/// cluster are misplaced.
fn old_and_new() -> (TestCluster, TestCluster) {
    let mut old = cluster(3).lay();
    old.scatter(80, &old.ring_of_first(2));
    old.start();
    let new = cluster(4).algorithm(Algorithm::Fnv1a).replication_factor(2).start();
    assert_ne!(port(&old), port(&new));
    (old, new)
}

fn port(cluster: &TestCluster) -> String {
    cluster.node(0).addr().rsplit_once(':').unwrap().1.to_owned()
}

fn backfill2(from: &TestCluster, to: &TestCluster, more: &[&str]) -> bucky_tests::Finished {
    let (from_seed, to_seed) = (from.node(0).addr(), to.node(1).addr());
    let args = ["backfill2", "-src-cluster-seed", &from_seed, "-dst-cluster-seed", &to_seed];
    from.bucky(&[&args, more].concat())
}

#[test]
fn backfill2_r_brings_a_cluster_to_all_owners_of_another() {
    let (old, new) = old_and_new();
    let before = old.ledger();
    let kept: Vec<_> = old.nodes().iter().map(marks).collect();
    backfill2(&old, &new, &["-no-op", "-r", "."])
        .assert_code(0)
        .assert_stdout_has("80 metrics to copy");
    assert!(new.nodes().iter().all(|node| node.metrics().is_empty()));
    let some = backfill2(&old, &new, &["-r", "^shop\\."]).assert_code(0);
    some.assert_stderr_has("copied (sources kept)");
    let is_shop = |name: &String| name.starts_with("shop.");
    assert!(new.nodes().iter().all(|node| node.metrics().iter().all(is_shop)));
    let all = backfill2(&old, &new, &["-r", ".", "-offload", "-w", "3"]).assert_code(0);
    all.assert_stdout("").assert_stderr_has("80 metrics copied (sources kept)");
    new.assert_all_in_place(&before);
    for (node, kept) in old.nodes().iter().zip(&kept) {
        assert_kept(node, kept);
        assert!(tree::tombstones(&node.prefix()).is_empty());
    }
    let moved = backfill2(&old, &new, &["-r", ".", "-delete"]).assert_code(0);
    moved.assert_stderr_has("80 metrics moved: 0 created, 0 filled, 80 unchanged");
    old.wait_until_no_tombstones();
    assert!(old.nodes().iter().all(|node| node.metrics().is_empty()));
    new.assert_all_in_place(&before);
}

/// D25: the Go tool sends to the source's port, looks for a source only on its owner, and cleans no name.
#[test]
fn d25_backfill2_with_a_map_finds_misplaced_sources_and_uses_each_clusters_own_port() {
    let (old, new) = old_and_new();
    let now = now();
    let misplaced = old.name_owned_by(0, "misplaced");
    old.node(2).write(&misplaced, &MINUTES, &minutes(now, [1.0, 2.0]));
    rescan(&old);
    let map = json!({ misplaced.as_str(): "new..h3/x", "nobody": "z" });
    let map = map_file(&old, &map);
    let run = backfill2(&old, &new, &["-metric-map-file", &map]).assert_code(1);
    run.assert_stderr_has("Metric not found: nobody")
        .assert_stderr_has("2 metrics created under new names");
    let owners = new.owners("new.h3.x");
    assert_eq!(owners.len(), 2);
    for node in 0..4 {
        assert_eq!(new.node(node).has("new.h3.x"), owners.contains(&node), "on {node}");
    }
    for owner in owners {
        let values: Vec<f64> = minutes_of(&new, owner, "new.h3.x").into_values().collect();
        assert_eq!(values, [2.0, 1.0]);
    }
    assert!(old.node(2).has(&misplaced), "sources stay");
    // Between clusters there are no chains: sources are not written to.
    old.node(1).write("a", &MINUTES, &minutes(now, [1.0]));
    old.node(1).write("b", &MINUTES, &minutes(now, [2.0]));
    rescan(&old);
    let map = map_file(&old, &json!({"a": "b", "b": "a"}));
    backfill2(&old, &new, &["-metric-map-file", &map]).assert_code(0);
    for (name, value) in [("a", 2.0), ("b", 1.0)] {
        let owner = new.owners(name)[0];
        assert_eq!(minutes_of(&new, owner, name).into_values().collect::<Vec<_>>(), [value]);
    }
}

/// With a job state file, finished jobs are left out, as with -r.
#[test]
fn backfill2_with_a_map_keeps_a_job_state_file() {
    let (old, new) = old_and_new();
    old.node(0).write("job.one", &MINUTES, &minutes(now(), [1.0]));
    old.node(1).write("job.two", &MINUTES, &minutes(now(), [1.0]));
    rescan(&old);
    let state = old.path("jobs");
    let map = map_file(&old, &json!({"job.one": "done.one", "job.two": "done.two"}));
    let more = ["-metric-map-file", &map, "-job-state-file", state.to_str().unwrap(), "-no-op"];
    backfill2(&old, &new, &more).assert_code(0).assert_stdout_has("4 copies to fill");
    assert!(!state.exists(), "-no-op has noted something");
    let more = &more[..4];
    backfill2(&old, &new, more)
        .assert_code(0)
        .assert_stderr_has("4 metrics created under new names");
    let text = std::fs::read_to_string(&state).unwrap();
    assert_eq!(text.lines().count(), 4, "{text}");
    let owner = new.node(new.owners("done.one")[0]).addr();
    let line = format!(
        "{{\"SrcServer\":\"{}\",\"DstServer\":\"{owner}\",\"OldName\":\"job.one\",\"NewName\":\"done.one\"}}",
        old.node(0).addr()
    );
    assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    let again = backfill2(&old, &new, more).assert_code(0);
    again.assert_stderr_has("0 metrics created under new names, 0 filled, 0 unchanged");
}

/// D29: if source and destination are the same cluster, the Go tool copies every metric onto itself, and
/// deletes it.
#[test]
fn d29_backfill2_within_one_cluster_deletes_nothing_on_an_owner() {
    let cluster = cluster(3).replication_factor(2).start();
    cluster.scatter(60, cluster.ring());
    let lacking = cluster.names_owned_by(0, "app.lacking", 3);
    for name in &lacking {
        // On one of its two owners.
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0, 2.0]));
    }
    let misplaced = cluster.name_owned_by(1, "app.misplaced");
    let other = (0..3).find(|node| !cluster.owners(&misplaced).contains(node)).unwrap();
    cluster.node(other).write(&misplaced, &MINUTES, &minutes(now(), [3.0]));
    rescan(&cluster);
    let before = cluster.ledger();
    let alias = cluster.alias_of(0);
    let run = backfill2(&cluster, &cluster, &["-r", ".", "-delete"]).assert_code(0);
    run.assert_stderr_has("metrics moved");
    cluster.assert_all_in_place(&before);
    for name in &lacking {
        for owner in cluster.owners(name) {
            assert!(cluster.node(owner).has(name), "{name} is not on {owner}");
        }
    }
    assert!(!cluster.node(other).has(&misplaced));
    // Another address refers to the same cluster.
    let alias = alias.addr().to_string();
    let seed = cluster.node(0).addr();
    let seeds = ["backfill2", "-src-cluster-seed", &alias, "-dst-cluster-seed", &seed];
    cluster.bucky(&[&seeds[..], &["-r", ".", "-delete"]].concat()).assert_code(0);
    cluster.assert_all_in_place(&before);
}

#[test]
fn backfill2_refuses_what_makes_no_sense_or_may_lose_something() {
    let (old, new) = old_and_new();
    let map = map_file(&old, &json!({"a": "b"}));
    for (more, message) in [
        (
            &["-metric-map-file", &map, "-delete"][..],
            "-delete cannot be used with -metric-map-file",
        ),
        (&["-metric-map-file", &map, "-r", "."], "cannot be used with"),
        (&[], "--metric-map-file"),
        // D47: an empty expression means every metric.
        (&["-r", ""], "empty"),
        (&["-r", "a("], "not a valid regular expression"),
        (&["-r", ".", "-s"], "-s cannot be used with backfill2"),
        (
            &["-metric-map-file", &map, "--journal", "j"],
            "--journal cannot be used with -metric-map-file",
        ),
    ] {
        backfill2(&old, &new, more).assert_code(2).assert_stderr_has(message);
    }
    let one = old.bucky(&["backfill2", "-src-cluster-seed", &old.node(0).addr(), "-r", "."]);
    one.assert_code(2).assert_stderr_has("--dst-cluster-seed");
    backfill2(&old, &new, &["-r", "^nothing.has.this"])
        .assert_code(0)
        .assert_stderr_has("None of the selected metrics needs copying.");
}

/// The Go tool does not check the destination's health.
#[test]
fn backfill2_wants_both_clusters_healthy() {
    let (mut old, mut new) = old_and_new();
    new.node_mut(3).stop();
    let run = backfill2(&old, &new, &["-r", "."]).assert_code(3);
    run.assert_stderr_has(&format!("{} is down", new.node(3).addr()));
    new.node_mut(3).start();
    old.node_mut(2).stop();
    let run = backfill2(&old, &new, &["-r", "."]).assert_code(3);
    run.assert_stderr_has(&format!("{} is down", old.node(2).addr()));
    assert!(new.nodes().iter().all(|node| node.metrics().is_empty()));
}
