//! Single failures while the rest continues: each metric is named, stays where it is, and makes the exit code
//! 1.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{Launch, TestCluster, tree};
use bucky_whisper::{lock_exclusive, lock_shared};

use crate::cluster;

/// Valid metrics on node 0 that belong to node 1.
fn misplaced(cluster: &TestCluster, count: usize) -> Vec<String> {
    let names = cluster.names_owned_by(1, "sound", count);
    for name in &names {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0, 2.0, 3.0]));
    }
    names
}

/// Checks that all valid metrics are on node 1, and that only `left` remains on node 0.
#[track_caller]
fn assert_moved_but(cluster: &TestCluster, sound: &[String], left: &[&str]) {
    cluster.wait_until_no_tombstones();
    assert!(sound.iter().all(|name| cluster.node(1).has(name)), "a sound metric did not come");
    assert_eq!(cluster.node(0).metrics(), left);
    cluster.assert_nothing_unexpected();
}

/// Bar 6.
#[test]
fn files_that_are_no_whisper_files_are_named_and_stay() {
    let mut cluster = cluster(2).lay();
    let sound = misplaced(&cluster, 30);
    let [empty, text, cut, zeros] =
        ["a.empty", "b.text", "c.cut", "d.zeros"].map(|stem| cluster.name_owned_by(1, stem));
    let whole = MINUTES.empty_file();
    let node = cluster.node(0);
    node.put(&empty, b"");
    node.put(&text, b"this has never been a Whisper file, whatever its name says\n");
    node.put(&cut, &whole[..whole.len() - 100]);
    node.put(&zeros, &[0; 4096]);
    let contents =
        [&empty, &text, &cut, &zeros].map(|name| std::fs::read(node.path(name)).unwrap());
    cluster.start();

    let source = cluster.node(0).addr();
    let mut run = cluster.bucky(&["rebalance"]).assert_code(1);
    for name in [&empty, &text, &cut, &zeros] {
        run = run.assert_stderr_has(&format!("{name}: {source}: "));
    }
    assert_moved_but(&cluster, &sound, &[&empty, &text, &cut, &zeros]);
    for (name, content) in [&empty, &text, &cut, &zeros].into_iter().zip(contents) {
        assert_eq!(std::fs::read(cluster.node(0).path(name)).unwrap(), content, "{name}");
        assert!(!cluster.node(1).has(name), "{name} was made at its owner");
    }
    // They are named again, and nothing else is moved.
    cluster.bucky(&["rebalance"]).assert_code(1).assert_stderr_has(&cut);
}

#[test]
fn a_damaged_file_at_the_owner_is_named_and_neither_copy_is_touched() {
    let mut cluster = cluster(2).lay();
    let sound = misplaced(&cluster, 10);
    let bad = cluster.name_owned_by(1, "bad");
    cluster.node(0).write(&bad, &MINUTES, &minutes(now(), [1.0]));
    cluster.node(1).put(&bad, b"not a Whisper file at all, and longer than a header");
    let marks = tree::marks(&cluster.node(0).prefix());
    let at_owner = std::fs::read(cluster.node(1).path(&bad)).unwrap();
    cluster.start();
    let owner = cluster.node(1).addr();
    cluster.bucky(&["rebalance"]).assert_code(1).assert_stderr_has(&format!("{bad}: {owner}: "));
    assert_moved_but(&cluster, &sound, &[&bad]);
    assert_eq!(std::fs::read(cluster.node(1).path(&bad)).unwrap(), at_owner);
    let path = bad.replace('.', "/") + ".wsp";
    assert_eq!(
        tree::marks(&cluster.node(0).prefix())[path.as_ref() as &std::path::Path],
        marks[path.as_ref() as &std::path::Path]
    );
}

/// Bar 6. With `--ignore-free-space`, because otherwise the plan would refuse.
#[test]
fn a_full_destination_is_named_and_metrics_that_did_not_fit_stay_at_their_source() {
    let mut cluster = cluster(2).lay();
    let names = misplaced(&cluster, 40);
    // 17 KiB for each metric, of which two blocks are not holes.
    cluster.node_mut(1).launch(Launch::OnSmallDisk(120 * 1024));
    cluster.start();
    let before = cluster.ledger();
    let full = cluster.node(1).addr();
    let run =
        cluster.bucky(&["rebalance", "--ignore-free-space", "--batch-metrics", "4", "-w", "1"]);
    run.assert_code(1).assert_stderr_has(&full).assert_stderr_has("No space left");
    cluster.wait_until_no_tombstones();
    let left = cluster.node(0).metrics();
    assert!(
        !left.is_empty() && left.len() < names.len(),
        "{} of {} are left",
        left.len(),
        names.len()
    );
    let problems = before.compare(&cluster.ledger(), cluster.ring()).problems;
    // The only allowed problem is that these are not on their owner.
    let expected = |problem: &String| {
        problem.contains("is not on its owner") || problem.contains("is still on")
    };
    assert!(problems.iter().all(expected), "{problems:?}");
    assert_eq!(
        tree::unexpected_files(&cluster.node(1).prefix()),
        [""; 0].map(std::path::PathBuf::from)
    );
    for name in names.iter().filter(|name| !left.contains(name)) {
        assert!(cluster.node(1).has(name), "{name} is on neither node");
    }
}

/// Bar 6. For the Go tool such a folder does not exist, and the exit code is 0 (D42).
#[test]
fn d42_a_folder_that_cannot_be_read_is_reported_and_not_taken_for_empty() {
    let mut cluster = cluster(2).lay();
    let sound = misplaced(&cluster, 10);
    let hidden = cluster.name_owned_by(1, "hidden.deep");
    cluster.node(0).write(&hidden, &MINUTES, &minutes(now(), [1.0]));
    let folder = cluster.node(0).prefix().join("hidden");
    std::fs::set_permissions(&folder, Permissions::from_mode(0o000)).unwrap();
    cluster.node_mut(0).launch(Launch::WithoutRootCapabilities);
    cluster.start();
    let source = cluster.node(0).addr();
    let status = cluster.get(0, "/v1/status").json();
    assert_eq!(status["inventory"]["unreadable_folders"], 1, "{status}");
    let servers = cluster.bucky(&["servers"]);
    let servers = servers.assert_stderr_has("1 folder cannot be read").assert_stderr_has("hidden");
    servers.assert_stderr_has(&source);
    cluster.bucky(&["inconsistent"]).assert_stderr_has("1 folder cannot be read");
    cluster
        .bucky(&["rebalance"])
        .assert_code(1)
        .assert_stderr_has(&source)
        .assert_stderr_has("hidden");
    let balanced = cluster.bucky(&["rebalance"]).assert_code(1).assert_stderr_has("hidden");
    balanced.assert_stderr_has("except for files that are not served");
    std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    assert_moved_but(&cluster, &sound, &[&hidden]);
    // Once it is readable, the next run moves the rest.
    cluster.bucky(&["rebalance", "-f"]).assert_code(0);
    assert!(cluster.node(1).has(&hidden) && !cluster.node(0).has(&hidden));
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_stays() {
    let mut cluster = cluster(2).lay();
    let sound = misplaced(&cluster, 10);
    let hidden = cluster.name_owned_by(1, "hidden");
    cluster.node(0).write(&hidden, &MINUTES, &minutes(now(), [1.0]));
    std::fs::set_permissions(cluster.node(0).path(&hidden), Permissions::from_mode(0o000)).unwrap();
    cluster.node_mut(0).launch(Launch::WithoutRootCapabilities);
    cluster.start();
    let source = cluster.node(0).addr();
    let run = cluster.bucky(&["rebalance"]).assert_code(1);
    run.assert_stderr_has(&format!("{hidden}: {source}: ")).assert_stderr_has("Permission denied");
    assert_moved_but(&cluster, &sound, &[&hidden]);
}

#[test]
fn a_lock_that_is_never_given_back_is_busy_in_bounded_time_while_the_rest_is_moved() {
    let mut cluster = cluster(2).flag("--lock-timeout", "0.3").lay();
    let sound = misplaced(&cluster, 30);
    let [held_here, held_there] =
        ["held.here", "held.there"].map(|stem| cluster.name_owned_by(1, stem));
    for name in [&held_here, &held_there] {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0, 2.0]));
    }
    cluster.node(1).write(&held_there, &MINUTES, &minutes(now(), [3.0]));
    let source = File::open(cluster.node(0).path(&held_here)).unwrap();
    lock_exclusive(&source, Duration::from_secs(1)).unwrap();
    let owner = File::open(cluster.node(1).path(&held_there)).unwrap();
    lock_shared(&owner, Duration::from_secs(1)).unwrap();
    cluster.start();
    let before = cluster.ledger();

    let run = cluster.bucky(&["rebalance"]).assert_code(1);
    let [at_source, at_owner] = [cluster.node(0).addr(), cluster.node(1).addr()];
    let run =
        run.assert_stderr_has(&format!("{held_here}: {at_source}: ")).assert_stderr_has("2 busy");
    run.assert_stderr_has(&format!("{held_there}: {at_owner}: "));
    assert_moved_but(&cluster, &sound, &[&held_here, &held_there]);

    drop((source, owner));
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

/// The file of `--errors` also has the failures that are not shown on the terminal.
#[test]
fn every_failure_is_in_the_file_that_was_asked_for() {
    let mut cluster = cluster(2).lay();
    let bad = cluster.names_owned_by(1, "bad", 60);
    for name in &bad {
        cluster.node(0).put(name, b"no Whisper file, but longer than its header would be");
    }
    cluster.start();
    let errors = cluster.path("errors");
    cluster.bucky(&["rebalance", "--errors", errors.to_str().unwrap()]).assert_code(1);
    let source = cluster.node(0).addr();
    let text = std::fs::read_to_string(errors).unwrap();
    let mut named: Vec<&str> = text
        .lines()
        .map(|line| {
            let (node, rest) = line.split_once('\t').unwrap();
            assert_eq!(node, source);
            rest.split_once('\t').unwrap().0
        })
        .collect();
    named.sort_unstable();
    assert_eq!(named, bad);
}
