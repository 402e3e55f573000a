//! Metrics in go-carbon's compressed format are recognised, listed, served and moved as a whole. If their
//! points would have to be merged, they are refused with a clear message. They endanger no other metric
//! (D11).

use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{TestCluster, wait};
use serde_json::{Value, json};

use crate::cluster;

/// A compressed file of some length. Only go-carbon understands the bytes after its magic.
fn compressed(seed: u8) -> Vec<u8> {
    let mut content = b"whisper_compressed".to_vec();
    content.extend((0..5000_u32).map(|at| seed.wrapping_mul(31).wrapping_add((at % 251) as u8)));
    content
}

fn content(cluster: &TestCluster, node: usize, metric: &str) -> Vec<u8> {
    std::fs::read(cluster.node(node).path(metric)).unwrap()
}

#[test]
fn compressed_metrics_are_listed_and_served_and_moved_completely() {
    let mut cluster = cluster(2).lay();
    let names = cluster.names_owned_by(1, "packed", 5);
    for (seed, name) in (0..).zip(&names) {
        cluster.node(0).put(name, &compressed(seed));
    }
    // The owner of one has the same file already.
    cluster.node(1).put(&names[0], &compressed(0));
    let plain = cluster.name_owned_by(1, "plain");
    cluster.node(0).write(&plain, &MINUTES, &minutes(now(), [1.0]));
    cluster.start();

    let url = cluster.url(0, &format!("/metrics/{}", names[1]));
    let listed: Vec<String> = serde_json::from_value(cluster.get(0, "/metrics").json()).unwrap();
    assert!(names.iter().all(|name| listed.contains(name)), "{listed:?}");
    assert_eq!(bucky_tests::http::Http::new().get(&url).assert_status(200).body, compressed(1));
    let misplaced = cluster.get(0, "/v1/misplaced?count=1").json();
    assert_eq!(misplaced["metrics"], 6);

    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.wait_until_no_tombstones();
    for (seed, name) in (0..).zip(&names) {
        assert!(!cluster.node(0).has(name), "{name}");
        assert_eq!(content(&cluster, 1, name), compressed(seed), "{name}");
    }
    assert!(cluster.node(1).has(&plain));
    cluster.assert_nothing_unexpected();
}

#[test]
fn where_the_owner_has_other_content_a_compressed_metric_is_refused_and_both_files_stay() {
    let mut cluster = cluster(2).lay();
    let names = cluster.names_owned_by(1, "m", 4);
    let standard = |value| {
        let other = tempfile::tempdir().unwrap();
        let metric = names[0].parse().unwrap();
        bucky_tests::metrics::write(other.path(), &metric, &MINUTES, &minutes(now(), [value]));
        std::fs::read(other.path().join(metric.relative_path())).unwrap()
    };
    for (name, source, owner) in [
        (&names[0], compressed(1), compressed(2)),
        (&names[1], compressed(1), standard(2.0)),
        (&names[2], standard(1.0), compressed(2)),
    ] {
        cluster.node(0).put(name, &source);
        cluster.node(1).put(name, &owner);
    }
    cluster.node(0).put(&names[3], &standard(3.0));
    cluster.start();
    let marks: Vec<_> = names[..3]
        .iter()
        .map(|name| (content(&cluster, 0, name), content(&cluster, 1, name)))
        .collect();
    let mut run = cluster.bucky(&["rebalance"]).assert_code(1);
    for (name, marks) in names.iter().zip(&marks) {
        let said = format!("bucky: {name}: {}: ", cluster.node(1).addr());
        let line = run.stderr.lines().find(|line| line.starts_with(&said));
        let line = line.unwrap_or_else(|| panic!("no word of {name}: {run}"));
        assert!(
            line.contains("one of the two files is in go-carbon's compressed format"),
            "{line}"
        );
        assert_eq!(&(content(&cluster, 0, name), content(&cluster, 1, name)), marks);
    }
    // The other metrics are moved.
    cluster.wait_until_no_tombstones();
    assert!(cluster.node(1).has(&names[3]) && !cluster.node(0).has(&names[3]));
    run = cluster.bucky(&["verify"]).assert_code(1);
    assert!(run.stdout.contains("compressed"), "{run}");
}

/// If an owner's go-carbon has created the file again, it has lost the points that were moved there, and the
/// file does not show it.
#[test]
fn d11_a_compressed_tombstone_waits_until_its_owner_has_that_very_content() {
    let mut cluster = cluster(2).gate(1).lay();
    let names = cluster.names_owned_by(1, "m", 4);
    for name in &names {
        cluster.node(0).put(name, &compressed(1));
    }
    cluster.start();
    // The owner is not asked until its files have changed.
    cluster.node(1).gate().hold("POST /v1/confirm");
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.node(1).gate().wait_until_held();
    let owner = cluster.node(1);
    owner.put(&names[0], &compressed(2));
    std::fs::remove_file(owner.path(&names[1])).unwrap();
    owner.write(&names[1], &MINUTES, &minutes(now(), [1.0]));
    std::fs::remove_file(owner.path(&names[2])).unwrap();
    cluster.node(1).gate().release();

    let status = wait::until_some("the tombstones were looked at", || {
        let tombstones = cluster.get(0, "/v1/status").json()["tombstones"].clone();
        (tombstones["waiting"] == 2).then_some(tombstones)
    });
    assert!(status["held"][0]["reason"].as_str().unwrap().contains("compressed"), "{status}");
    assert_eq!(content(&cluster, 1, &names[0]), compressed(2), "the owner's file is not touched");
    assert_eq!(content(&cluster, 1, &names[2]), compressed(1), "what was gone is healed again");
    cluster.bucky(&["servers"]).assert_stderr_has("compressed");

    // An operator has removed the owner's unusable file. A daemon that has just started does not wait.
    for name in &names[..2] {
        std::fs::remove_file(owner.path(name)).unwrap();
    }
    assert!(cluster.node_mut(0).stop().success());
    cluster.start();
    cluster.wait_until_no_tombstones();
    assert!(names.iter().all(|name| content(&cluster, 1, name) == compressed(1)));
}

#[test]
fn d11_compressed_files_kill_no_daemon_and_no_command() {
    let mut cluster = cluster(2).replication_factor(2).lay();
    let mut damaged = b"whisper_compressed".to_vec();
    damaged.resize(148, 0xff);
    for (name, content) in [("a.ff", &damaged), ("a.short", &b"whisper_compressed".to_vec())] {
        cluster.node(0).put(name, content);
    }
    cluster.node(0).put("b.both", &compressed(1));
    cluster.node(1).put("b.both", &compressed(2));
    cluster.start();

    // Owners without a copy get it; owners with another copy are left alone and named.
    cluster.bucky(&["heal"]).assert_code(0);
    assert_eq!(content(&cluster, 1, "a.ff"), damaged);
    assert_eq!(content(&cluster, 1, "a.short"), b"whisper_compressed");
    let run = cluster.bucky(&["heal", "--points"]).assert_code(1);
    assert!(run.stderr.contains("b.both") && run.stderr.contains("compressed"), "{run}");
    assert_eq!(content(&cluster, 0, "b.both"), compressed(1));
    assert_eq!(content(&cluster, 1, "b.both"), compressed(2));

    let path = cluster.node(0).path("a.ff");
    let path = path.to_str().unwrap();
    let other = cluster.path("other.wsp");
    let said = "is in go-carbon's compressed format";
    cluster
        .bucky_alone(&["info", path])
        .assert_code(1)
        .assert_stderr_has(path)
        .assert_stderr_has(said);
    cluster.bucky_alone(&["fill", path, other.to_str().unwrap()]).assert_code(0);
    assert_eq!(std::fs::read(&other).unwrap(), damaged);
    let both = cluster.node(0).path("b.both");
    let both = both.to_str().unwrap();
    cluster.bucky_alone(&["fill", both, path]).assert_code(1).assert_stderr_has(said);

    // Only equal content confirms a file that cannot be parsed.
    let map = json!([{ "seconds_per_point": 60, "points": 1440, "first": 60, "slots": "AQ" }]);
    for metric in ["a.ff", "a.short", "b.both"] {
        let there = std::fs::read(cluster.node(0).path(metric)).unwrap();
        let digest = bucky_whisper::Digest::of(&there).to_string();
        for (asked, outcome) in [
            (json!({ "name": metric, "digest": digest }), "complete"),
            (json!({ "name": metric, "digest": "0".repeat(32), "archives": map }), "incomplete"),
            (json!({ "name": metric, "archives": map }), "incomplete"),
            (json!({ "name": metric }), "incomplete"),
        ] {
            let asked = json!({ "metrics": [asked] });
            let answer = cluster.post_json(0, "/v1/confirm", &asked).assert_status(200);
            let answer: Value = answer.json();
            assert_eq!(answer["outcome"], outcome, "{answer}");
        }
    }
    cluster.get(0, "/hashring").assert_status(200);
    cluster.get(1, "/hashring").assert_status(200);
}
