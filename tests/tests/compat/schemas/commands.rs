//! The other commands between nodes with different storage schemas, and their routes.

use bucky_tests::http;
use bucky_tests::metrics::{minutes, now};

use super::{
    KEPT, LONG, SHORT, are_there, assert_accounted_for, assert_kept, laid, lay, layout_of, points,
    sources,
};
use crate::cluster;

#[test]
fn copy_delete_and_backfill2_delete_keep_points_that_have_no_place() {
    let (mut cluster, names) = laid(5, &LONG, &SHORT);
    cluster.start();
    let before = sources(&cluster, &names);
    let (from, to) = (cluster.node(0).addr(), cluster.node(1).addr());
    let copy = ["copy", "-src", &from, "-dst", &to, "-delete"];
    assert_kept(cluster.bucky(&copy), &cluster, &names);
    let backfill2 =
        ["backfill2", "-src-cluster-seed", &from, "-dst-cluster-seed", &to, "-r", ".", "-delete"];
    assert_kept(cluster.bucky(&backfill2), &cluster, &names);
    assert_accounted_for(&cluster, &before);
    let reshape = [&copy[..], &["--on-schema-difference", "reshape"]].concat();
    cluster.bucky(&reshape).assert_code(0);
    cluster.wait_until_no_tombstones();
    assert_eq!(are_there(&cluster, 0, &names), 0);
    assert_accounted_for(&cluster, &before);
}

#[test]
fn backfill_under_new_names_reports_points_that_have_no_place() {
    let mut cluster = cluster(2).lay();
    let old = cluster.name_owned_by(0, "old.name");
    let new = cluster.name_owned_by(1, "new.name");
    cluster.node(0).write(&old, &LONG, &minutes(now(), (0..300).map(f64::from)));
    cluster.node(1).write(&new, &SHORT, &minutes(now(), [7.0]));
    cluster.start();
    let map = cluster.path("map.json");
    std::fs::write(&map, serde_json::json!({ old.as_str(): new }).to_string()).unwrap();
    let map = map.to_str().unwrap();
    cluster.bucky(&["backfill", map]).assert_code(1).assert_stderr_has(KEPT);
    cluster.bucky(&["backfill", "--on-schema-difference", "reshape", map]).assert_code(0);
    assert_eq!(layout_of(&cluster, &new), "60s:6h,10m:2d");
}

#[test]
fn heal_says_which_owners_cannot_hold_what_the_others_have() {
    let mut cluster = cluster(2).replication_factor(2).flag("--tombstone-grace", "1").lay();
    let names: Vec<String> = (0..5).map(|number| format!("twice.m{number}")).collect();
    lay(&cluster, &names, &LONG, &SHORT);
    cluster.start();
    cluster.bucky(&["heal", "--points"]).assert_code(1).assert_stderr_has(KEPT);
    let reshape = ["heal", "--points", "--on-schema-difference", "reshape"];
    cluster.bucky(&reshape).assert_code(0);
    assert!(names.iter().all(|name| layout_of(&cluster, name) == "60s:6h,10m:2d"));
    let unconfirmed = cluster.bucky(&["heal", "--points", "--on-schema-difference", "drop"]);
    unconfirmed.assert_code(2).assert_stderr_has("--yes");
}

#[test]
fn restore_reports_points_that_have_no_place_and_reshapes_on_request() {
    let (mut cluster, names) = laid(3, &LONG, &SHORT);
    cluster.start();
    let before = sources(&cluster, &names);
    let archive = cluster.path("archive.tar");
    let files: Vec<String> =
        names.iter().map(|name| format!("{}.wsp", name.replace('.', "/"))).collect();
    let tar = std::process::Command::new("tar")
        .arg("-C")
        .arg(cluster.node(0).prefix())
        .arg("-cf")
        .arg(&archive)
        .args(&files)
        .status();
    assert!(tar.unwrap().success());
    let archive = archive.to_str().unwrap();
    cluster.bucky(&["restore", archive]).assert_code(1).assert_stderr_has(KEPT);
    let reshape = ["restore", "--on-schema-difference", "reshape", archive];
    cluster.bucky(&reshape).assert_code(0).assert_stderr_has("Restore complete.");
    for (name, before) in &before {
        let owner = points(&cluster, 1, name);
        assert!(before.difference(&owner).count() <= 2, "{name}: all but what has expired");
    }
}

#[test]
fn a_local_fill_with_d_keeps_the_source_whose_points_have_no_place() {
    let (cluster, names) = laid(1, &LONG, &SHORT);
    let (source, owner) = (cluster.node(0).path(&names[0]), cluster.node(1).path(&names[0]));
    let (source, owner) = (source.to_str().unwrap(), owner.to_str().unwrap());
    let before = sources(&cluster, &names);
    let run = cluster.bucky_alone(&["fill", "-d", source, owner]).assert_code(1);
    run.assert_stderr_has("have no place in the destination: the source has 60s:6h,10m:2d");
    assert!(cluster.node(0).has(&names[0]));
    let reshape = ["fill", "-d", "--on-schema-difference", "reshape", source, owner];
    cluster.bucky_alone(&reshape).assert_code(0);
    assert!(!cluster.node(0).has(&names[0]));
    assert_accounted_for(&cluster, &before);
}

#[test]
fn a_delete_that_was_never_healed_loses_no_point() {
    let mut cluster = cluster(2).flag("--tombstone-grace", "1").lay();
    let name = cluster.name_owned_by(1, "never.healed");
    let now = now();
    cluster.node(0).write(&name, &LONG, &minutes(now, (0..300).map(f64::from)));
    // The owner has nearly all points, and lacks those that a sample would probably miss.
    let mut most = minutes(now, (0..300).map(f64::from));
    most.retain(|point| point.timestamp / 60 % 37 != 5);
    cluster.node(1).write(&name, &LONG, &most);
    cluster.start();
    let before = [(name.clone(), points(&cluster, 0, &name))];
    let content = std::fs::read(cluster.node(0).path(&name)).unwrap();
    let digest = bucky_whisper::Digest::of(&content).to_string();
    let owner = cluster.node(1).addr();
    let body =
        serde_json::json!({"metrics": [{"name": name, "digest": digest, "owners": [owner]}]});
    let answer: http::Answer = cluster.post_json(0, "/v1/delete", &body);
    assert!(answer.text().contains(r#""outcome":"deleted""#), "{}", answer.text());
    cluster.wait_until_no_tombstones();
    assert_accounted_for(&cluster, &before);
}

/// A confirmation without any points to look for proves nothing, for any file.
#[test]
fn a_confirmation_without_a_question_is_not_complete() {
    let (mut cluster, names) = laid(1, &LONG, &SHORT);
    cluster.start();
    for metric in [
        serde_json::json!({"name": names[0]}),
        serde_json::json!({"name": names[0], "archives": []}),
        serde_json::json!({"name": names[0], "slots": []}),
        serde_json::json!({"name": names[0], "archives": [
            {"seconds_per_point": 0, "points": 1, "first": 0, "slots": ""}]}),
    ] {
        let body = serde_json::json!({ "metrics": [metric] });
        let answer = cluster.post_json(1, "/v1/confirm", &body).text();
        assert!(answer.contains(r#""outcome":"incomplete""#), "{answer}");
    }
}
