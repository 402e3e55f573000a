//! `bucky heal`: owners that lack a metric get it from owners that have it, and nothing is ever deleted.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use bucky_tests::metrics::{self, MINUTES, minutes, newest_minute, now};
use bucky_tests::{Node, TestCluster, tree, wait};
use bucky_whisper::Point;
use rustix::process::Signal;

use crate::cluster;

/// The files of metrics below a prefix.
fn marks(node: &Node) -> BTreeMap<PathBuf, tree::Mark> {
    let is_metrics = |path: &PathBuf| path.extension().is_some_and(|end| end == "wsp");
    tree::marks(&node.prefix()).into_iter().filter(|(path, _)| is_metrics(path)).collect()
}

/// The files of metrics of all nodes, by node.
fn all_marks(cluster: &TestCluster) -> Vec<BTreeMap<PathBuf, tree::Mark>> {
    cluster.nodes().iter().map(marks).collect()
}

/// Checks that every file from before is unchanged; there may be new files.
#[track_caller]
fn assert_nothing_touched(cluster: &TestCluster, before: &[BTreeMap<PathBuf, tree::Mark>]) {
    for (node, before) in cluster.nodes().iter().zip(before) {
        let now = marks(node);
        let touched: Vec<&PathBuf> = before
            .iter()
            .filter(|(path, mark)| now.get(*path) != Some(mark))
            .map(|(path, _)| path)
            .collect();
        assert!(touched.is_empty(), "touched on {}: {touched:?}", node.host());
        let tombstones = tree::tombstones(&node.prefix());
        assert!(tombstones.is_empty(), "deleted on {}: {tombstones:?}", node.host());
    }
}

/// Stops a node, replaces its disk by an empty one, and starts it again.
fn replace_disk(cluster: &mut TestCluster, number: usize) {
    cluster.node_mut(number).stop();
    std::fs::remove_dir_all(cluster.node(number).prefix()).unwrap();
    cluster.node_mut(number).start();
    assert_eq!(cluster.node(number).metrics(), [""; 0]);
}

fn points_of(cluster: &TestCluster, node: usize, metric: &str) -> Vec<Point> {
    let ledger = cluster.ledger();
    ledger.archive(metric, cluster.node(node).host(), 60).unwrap_or_default().to_vec()
}

/// The runbook's case: everything that the dead node held is restored from the other owners, point by point.
#[test]
fn an_empty_node_in_the_place_of_a_dead_one_gets_all_it_is_to_hold() {
    let mut cluster = cluster(3).replication_factor(2).start();
    cluster.scatter(300, cluster.ring());
    let before = cluster.ledger();
    let held = cluster.node(1).metrics();
    assert!(held.len() > 100, "{}", held.len());
    replace_disk(&mut cluster, 1);
    let marks = all_marks(&cluster);

    let plan = cluster.bucky(&["heal", "--no-op"]).assert_code(0);
    let plan = plan.assert_stdout_has(&format!("{} copies are missing at owners", held.len()));
    for from in [0, 2] {
        let is_row = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.starts_with(&[&cluster.node(from).addr(), &cluster.node(1).addr()])
        };
        assert!(plan.stdout.lines().any(is_row), "no row from {from}: {plan}");
    }
    plan.assert_stderr_has(&format!("{} has no metrics", cluster.node(1).addr()));
    assert_eq!(all_marks(&cluster), marks, "--no-op has changed something");

    let healed = cluster.bucky(&["heal", "--batch-metrics", "20"]).assert_code(0);
    healed
        .assert_stderr_has(&format!("{} copies created, 0 filled, 0 unchanged", held.len()))
        .assert_stderr_has("Nothing was deleted")
        .assert_stderr_has("bucky verify -h");
    assert_eq!(cluster.node(1).metrics(), held);
    cluster.assert_all_in_place(&before);
    assert_nothing_touched(&cluster, &marks);
    cluster.bucky(&["verify", "--strict"]).assert_code(0).assert_stdout_has("600 copies read");
    let marks = all_marks(&cluster);
    cluster.bucky(&["heal"]).assert_code(0).assert_stderr_has("No owner lacks a copy.");
    cluster.bucky(&["heal", "--points"]).assert_code(0).assert_stderr_has(" 0 points filled");
    assert_eq!(all_marks(&cluster), marks, "a copy that is complete was changed");
}

#[test]
fn single_files_that_several_nodes_have_lost_come_back_and_no_other_is_touched() {
    let cluster = cluster(4).replication_factor(2).start();
    cluster.scatter(200, cluster.ring());
    let before = cluster.ledger();
    let names: Vec<String> = (0..200).map(|number| metrics::name(number).to_string()).collect();
    let mut lost = vec![0; 4];
    for (number, name) in names.iter().enumerate().step_by(3) {
        let owner = cluster.owners(name)[number % 2];
        std::fs::remove_file(cluster.node(owner).path(name)).unwrap();
        lost[owner] += 1;
    }
    assert!(lost.iter().all(|lost| *lost > 0), "{lost:?}");
    let marks = all_marks(&cluster);
    // Only one metric, then one node, then all.
    let first = cluster.bucky(&["heal", &names[0], "no.such.metric"]).assert_code(1);
    first.assert_stderr_has("Metric not found: no.such.metric").assert_stderr_has("1 copy created");
    let host = cluster.node(0).addr();
    let second = cluster.bucky(&["heal", "-s"]).assert_code(0);
    let lost_there = lost[0] - usize::from(cluster.owners(&names[0])[0] == 0);
    second.assert_stderr_has(&format!("{lost_there} copies created"));
    let made: Vec<usize> =
        all_marks(&cluster).iter().zip(&marks).map(|(now, then)| now.len() - then.len()).collect();
    assert_eq!(made.iter().sum::<usize>(), lost_there + 1, "-s has healed more than {host}");
    cluster.bucky(&["heal"]).assert_code(0);
    cluster.assert_all_in_place(&before);
    assert_nothing_touched(&cluster, &marks);
}

/// The only copy cannot be sent: it is named, stays unchanged, and the rest continues.
#[test]
fn a_damaged_copy_at_the_only_other_owner_is_reported_and_the_others_are_healed() {
    let mut cluster = cluster(2).replication_factor(2).lay();
    cluster.scatter(40, cluster.ring());
    let bad = cluster.name_owned_by(0, "bad");
    let whole = MINUTES.empty_file();
    cluster.node(0).put(&bad, &whole[..whole.len() - 7]);
    for name in cluster.node(1).metrics() {
        std::fs::remove_file(cluster.node(1).path(&name)).unwrap();
    }
    cluster.start();
    let marks = all_marks(&cluster);
    let errors = cluster.path("errors");
    let run = cluster.bucky(&["heal", "--errors", errors.to_str().unwrap()]).assert_code(1);
    run.assert_stderr_has("40 copies created")
        .assert_stderr_has("1 failed: 1 source damaged")
        .assert_stderr_has(&format!("bucky: {bad}: {}: ", cluster.node(0).addr()))
        .assert_stderr_has("Fix the errors above and run the same command again.");
    let errors = std::fs::read_to_string(errors).unwrap();
    assert!(errors.starts_with(&format!("{}\t{bad}\t", cluster.node(0).addr())), "{errors}");
    assert!(!cluster.node(1).has(&bad));
    assert_eq!(cluster.node(1).metrics().len(), 40);
    assert_nothing_touched(&cluster, &marks);
}

#[test]
fn where_the_first_owners_copy_is_damaged_the_next_owners_is_taken() {
    let mut cluster = cluster(4).replication_factor(3).lay();
    let names = cluster.names_owned_by(0, "thrice", 40);
    for name in &names {
        let owners = cluster.owners(name);
        // Either owner may be asked first, since the owners are used in rotation.
        for owner in &owners[..2] {
            cluster.node(*owner).write(name, &MINUTES, &minutes(now(), [1.0, 2.0]));
        }
        cluster.node(owners[0]).put(name, b"no Whisper file");
    }
    cluster.start();
    let marks = all_marks(&cluster);
    let run = cluster.bucky(&["heal"]).assert_code(0).assert_stderr_has("40 copies created");
    run.assert_stderr_has("trying the next owner")
        .assert_stderr_has("the first one could not send");
    for name in &names {
        let third = cluster.owners(name)[2];
        assert_eq!(points_of(&cluster, third, name).len(), 2, "{name}");
    }
    assert_nothing_touched(&cluster, &marks);
}

#[test]
fn a_node_that_dies_in_the_middle_is_reported_and_the_next_run_finishes() {
    let mut cluster = cluster(3).replication_factor(2).gate(1).start();
    cluster.scatter(150, cluster.ring());
    let before = cluster.ledger();
    replace_disk(&mut cluster, 1);
    cluster.node(1).gate().hold("POST /v1/pull");
    let run = cluster.start_bucky(&["heal", "--batch-metrics", "10", "--away-timeout", "1"]);
    cluster.node(1).gate().wait_until_held();
    cluster.node_mut(1).kill();
    cluster.node(1).gate().release();
    let ended = run.finish().assert_code(1);
    ended.assert_stderr_has(" failed: ").assert_stderr_has("run the same command again");
    cluster.node_mut(1).start();
    cluster.bucky(&["heal"]).assert_code(0);
    cluster.assert_all_in_place(&before);
    cluster.bucky(&["verify", "--strict"]).assert_code(0);
}

#[test]
fn a_stopped_run_reports_the_rest_and_the_next_one_finishes() {
    let mut cluster = cluster(2).replication_factor(2).gate(1).start();
    cluster.scatter(60, cluster.ring());
    let before = cluster.ledger();
    replace_disk(&mut cluster, 1);
    cluster.node(1).gate().hold("POST /v1/pull");
    let run = cluster.start_bucky(&["heal", "--batch-metrics", "10", "-w", "1"]);
    cluster.node(1).gate().wait_until_held();
    run.signal(Signal::INT);
    wait::until("the run says that it stops", || {
        run.stderr().contains("finishing what is in progress")
    });
    cluster.node(1).gate().release();
    let ended = run.finish().assert_code(1);
    ended.assert_stderr_has("of 60 are left").assert_stderr_has("Stopped. Run the same command");
    let made = cluster.node(1).metrics().len();
    assert!((10..60).contains(&made), "{made}");
    cluster
        .bucky(&["heal"])
        .assert_code(0)
        .assert_stderr_has(&format!("{} copies created", 60 - made));
    cluster.assert_all_in_place(&before);
}

#[test]
fn with_points_each_owner_gets_what_the_others_have_and_keeps_its_own() {
    let mut cluster = cluster(3).replication_factor(2).lay();
    let names = cluster.names_owned_by(0, "apart", 30);
    let base = newest_minute();
    for name in &names {
        let owners = cluster.owners(name);
        let early = minutes(base - 3600, [1.0, 2.0, 3.0]);
        let late = minutes(base - 600, [7.0, f64::NAN, 9.0]);
        let late: Vec<Point> = late.into_iter().filter(|point| !point.value.is_nan()).collect();
        // Both have one minute, with different values.
        let both = |value| Point { timestamp: base - 7200, value };
        cluster.node(owners[0]).write(name, &MINUTES, &[vec![both(100.0)], early].concat());
        cluster.node(owners[1]).write(name, &MINUTES, &[vec![both(200.0)], late].concat());
    }
    cluster.start();
    // By the names, no metric is missing.
    cluster.bucky(&["heal"]).assert_code(0).assert_stderr_has("No owner lacks a copy");
    cluster.bucky(&["verify", "--strict"]).assert_code(1);
    let marks = all_marks(&cluster);
    let plan = cluster.bucky(&["heal", "--points", "--no-op"]).assert_code(0);
    plan.assert_stdout_has("60 copies of owners are compared with another owner");
    assert_eq!(all_marks(&cluster), marks, "--no-op has changed something");
    let run = cluster.bucky(&["heal", "--points"]).assert_code(0);
    run.assert_stderr_has("0 copies created, 60 filled, 0 unchanged; 150 points filled");
    for name in &names {
        let owners = cluster.owners(name);
        for (number, own) in [100.0, 200.0].into_iter().enumerate() {
            let points = points_of(&cluster, owners[number], name);
            let values: Vec<f64> = points.iter().map(|point| point.value).collect();
            assert_eq!(values, [own, 3.0, 2.0, 1.0, 9.0, 7.0], "{name} on {}", owners[number]);
        }
    }
    cluster.bucky(&["verify", "--strict"]).assert_code(0);
    let marks = all_marks(&cluster);
    let again = cluster.bucky(&["heal", "--points"]).assert_code(0);
    again.assert_stderr_has("0 copies created, 0 filled, 60 unchanged; 0 points filled");
    assert_eq!(all_marks(&cluster), marks, "a copy that is complete was changed");
}

/// Carbon writes to the owner again long before an operator heals it.
#[test]
fn a_file_that_carbon_makes_at_the_owner_meanwhile_is_filled_and_not_replaced() {
    let mut cluster = cluster(2).replication_factor(2).gate(1).lay();
    let names = cluster.names_owned_by(0, "live", 10);
    for name in &names {
        cluster.node(0).write(name, &MINUTES, &minutes(now() - 600, [1.0, 2.0, 3.0]));
    }
    cluster.start();
    cluster.node(1).gate().hold("POST /v1/pull");
    let run = cluster.start_bucky(&["heal"]);
    cluster.node(1).gate().wait_until_held();
    let written = minutes(now(), [42.0]);
    for name in &names {
        cluster.node(1).write(name, &MINUTES, &written);
    }
    let inode = |name: &String| std::fs::metadata(cluster.node(1).path(name)).unwrap().ino();
    let inodes: Vec<u64> = names.iter().map(inode).collect();
    cluster.node(1).gate().release();
    run.finish().assert_code(0).assert_stderr_has("0 copies created, 10 filled");
    assert_eq!(names.iter().map(inode).collect::<Vec<u64>>(), inodes, "a live file was replaced");
    for name in &names {
        let values: Vec<f64> =
            points_of(&cluster, 1, name).iter().map(|point| point.value).collect();
        assert_eq!(values, [3.0, 2.0, 1.0, 42.0], "{name}");
    }
}

/// Misplaced copies are left to `rebalance`: they stay, are not copied, and are reported.
#[test]
fn metrics_that_only_other_nodes_have_are_left_to_rebalance_and_nothing_is_deleted() {
    let cluster = cluster(4).replication_factor(2).start();
    let names: Vec<String> = (0..20).map(|number| format!("stray.m{number}")).collect();
    let outside = |name: &String| (0..4).find(|node| !cluster.owners(name).contains(node)).unwrap();
    for (number, name) in names.iter().enumerate() {
        cluster.node(outside(name)).write(name, &MINUTES, &minutes(now(), [1.0, 2.0]));
        if number % 2 == 0 {
            let owner = cluster.owners(name)[0];
            cluster.node(owner).write(name, &MINUTES, &minutes(now() - 600, [7.0]));
        }
    }
    let before = cluster.ledger();
    let marks = all_marks(&cluster);
    let run = cluster.bucky(&["heal"]).assert_code(0).assert_stderr_has("10 copies created");
    run.assert_stderr_has("10 metrics are only on nodes that do not own them")
        .assert_stderr_has("bucky rebalance -h");
    assert_nothing_touched(&cluster, &marks);
    for (number, name) in names.iter().enumerate() {
        let has =
            cluster.owners(name).iter().filter(|owner| cluster.node(**owner).has(name)).count();
        assert_eq!(has, if number % 2 == 0 { 2 } else { 0 }, "{name}");
    }
    let again = cluster.bucky(&["heal"]).assert_code(0).assert_stderr_has("No owner lacks a copy");
    again.assert_stderr_has("10 metrics are only on nodes that do not own them");
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

#[test]
fn with_one_copy_of_each_metric_heal_reports_that_there_is_no_other_copy() {
    let cluster = cluster(3).start();
    cluster.scatter(30, cluster.ring());
    let lost = cluster.node(1).metrics().remove(0);
    std::fs::remove_file(cluster.node(1).path(&lost)).unwrap();
    let marks = all_marks(&cluster);
    let run = cluster.bucky(&["heal"]).assert_code(0).assert_stderr_has("replication factor is 1");
    run.assert_stderr_has("bucky rebalance");
    assert_eq!(all_marks(&cluster), marks);
}

#[test]
fn rings_that_differ_are_refused_and_nothing_is_touched() {
    let mut cluster = cluster(3).replication_factor(2).lay();
    cluster.scatter(30, cluster.ring());
    cluster.node_mut(2).flag("-replicas", "1");
    cluster.start();
    let lost = cluster.node(0).metrics().remove(0);
    std::fs::remove_file(cluster.node(0).path(&lost)).unwrap();
    let marks = all_marks(&cluster);
    let run =
        cluster.bucky(&["heal"]).assert_code(3).assert_stderr_has("replication factor 2, there 1");
    run.assert_stderr_has(&cluster.node(2).addr());
    assert_eq!(all_marks(&cluster), marks);
}

#[test]
fn metrics_that_do_not_fit_are_not_begun() {
    let mut cluster = cluster(2).replication_factor(2).lay();
    cluster.node_mut(1).launch(bucky_tests::Launch::OnSmallDisk(100_000));
    let names = cluster.names_owned_by(0, "large", 40);
    for name in &names {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0]));
    }
    cluster.start();
    let run = cluster
        .bucky(&["heal"])
        .assert_code(1)
        .assert_stderr_has("nothing was moved; free some space");
    run.assert_stderr_has(&format!("{} would get 676.0 KiB and has ", cluster.node(1).addr()));
    assert_eq!(cluster.node(1).metrics(), [""; 0]);
    // An operator who insists gets the metrics that fit, and a report of the rest.
    let run =
        cluster.bucky(&["heal", "--ignore-free-space", "--batch-metrics", "5"]).assert_code(1);
    run.assert_stderr_has("no space").assert_stderr_has(&cluster.node(1).addr());
    cluster.assert_nothing_unexpected();
}
