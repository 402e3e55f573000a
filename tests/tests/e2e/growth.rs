//! Clusters that grow and shrink: the main job.

use bucky_ring::Algorithm;
use bucky_tests::cluster::assert_untouched;
use bucky_tests::{Ledger, Node, TestCluster, peer, tree};

use crate::cluster;

/// Bar 2.
#[test]
fn a_cluster_of_three_nodes_grows_to_four_and_no_point_is_lost() {
    let mut cluster = cluster(4).lay();
    cluster.scatter(3000, &cluster.ring_of_first(3));
    cluster.start();
    let before = cluster.ledger();
    assert_eq!(before.metrics(), 3000);
    let misplaced = before.misplaced(cluster.ring());
    assert!(misplaced > 100, "{misplaced} metrics to move are no test");

    let found = cluster.bucky(&["inconsistent"]).assert_code(0);
    assert_eq!(found.stdout.lines().count(), misplaced, "{found}");
    cluster.bucky(&["rebalance", "-w", "100"]).assert_code(0).assert_stderr_has("Done.");

    cluster.assert_all_in_place(&before);
    cluster.bucky(&["inconsistent"]).assert_code(0).assert_stdout("");
    cluster.bucky(&["rebalance", "-w", "100"]).assert_code(0).assert_stderr_has("balanced");
    cluster.assert_all_in_place(&before);
    whisper_py_reads_the_same(&cluster, &before);
}

/// Checks that whisper.py reads from every owner's file the points in the ledger from before the move.
fn whisper_py_reads_the_same(cluster: &TestCluster, before: &Ledger) {
    let now = before.now();
    let of_node = |node: &Node| {
        let names = node.metrics().into_iter();
        names.map(|name| (node.path(&name), name)).collect::<Vec<_>>()
    };
    let files: Vec<_> = cluster.nodes().iter().flat_map(of_node).collect();
    let paths: Vec<_> = files.iter().map(|(path, _)| path.clone()).collect();
    for ((path, name), reading) in files.iter().zip(peer::read(&paths, now)) {
        for (step, points) in reading {
            let expected = before.only_archive(name, step);
            assert_eq!(points, expected, "{} read by whisper.py, step {step}", path.display());
        }
    }
}

#[test]
fn jump_and_fnv1a_rings_grow_as_well() {
    for algorithm in [Algorithm::JumpFnv1a, Algorithm::Fnv1a] {
        let mut cluster = cluster(4).algorithm(algorithm).lay();
        cluster.scatter(200, &cluster.ring_of_first(3));
        cluster.start();
        let before = cluster.ledger();
        assert!(before.misplaced(cluster.ring()) > 0, "{algorithm}");
        cluster.bucky(&["rebalance"]).assert_code(0);
        cluster.assert_all_in_place(&before);
    }
}

#[test]
fn every_coding_brings_the_same_files() {
    for coding in ["zstd", "gzip", "snappy"] {
        let mut cluster = cluster(3).lay();
        cluster.scatter(120, &cluster.ring_of_first(2));
        cluster.start();
        let before = cluster.ledger();
        cluster.bucky(&["rebalance", "--encoding", coding]).assert_code(0);
        cluster.assert_all_in_place(&before);
    }
}

#[test]
fn a_node_that_left_the_ring_is_drained() {
    let mut cluster = cluster(4).in_ring(3).lay();
    cluster.scatter(300, &cluster.ring_of_first(4));
    cluster.start();
    let before = cluster.ledger();
    let old = cluster.node(3);
    assert!(!old.metrics().is_empty());
    // Unless it is named, a node outside the ring is unknown.
    cluster.bucky(&["rebalance"]).assert_code(0);
    assert!(!old.metrics().is_empty());
    cluster.bucky(&["rebalance", &old.addr()]).assert_code(0);
    assert_eq!(old.metrics(), [""; 0]);
    cluster.assert_all_in_place(&before);
}

#[test]
fn a_drained_node_with_the_old_ring_is_drained_by_the_new_one() {
    let mut cluster = cluster(3).in_ring(2).lay();
    cluster.scatter(200, &cluster.ring_of_first(3));
    let third = format!("{}:2003", cluster.node(2).host());
    cluster.node_mut(2).ring_member(&third);
    cluster.start();
    let before = cluster.ledger();
    cluster.bucky(&["rebalance", &cluster.node(2).addr()]).assert_code(0);
    assert_eq!(cluster.node(2).metrics(), [""; 0]);
    cluster.assert_all_in_place(&before);
}

/// The Go tool's `-no-op` exits with 1 if there is work to do (D24).
#[test]
fn d24_a_dry_run_prints_the_plan_exits_with_0_and_touches_nothing() {
    let mut cluster = cluster(3).lay();
    cluster.scatter(100, &cluster.ring_of_first(2));
    cluster.start();
    let marks: Vec<_> = cluster.nodes().iter().map(|node| tree::marks(&node.prefix())).collect();
    let misplaced = cluster.ledger().misplaced(cluster.ring());
    for flag in ["--no-op", "-no-op", "--dry-run"] {
        let plan = cluster.bucky(&["rebalance", flag]).assert_code(0);
        let plan = plan.assert_stdout_has(&cluster.node(2).addr());
        plan.assert_stdout_has(&format!("{misplaced} metrics are misplaced"));
    }
    for (node, marks) in cluster.nodes().iter().zip(&marks) {
        assert_untouched(marks, &node.prefix());
    }
}

#[test]
fn without_delete_the_owners_get_everything_and_the_sources_keep_it() {
    let mut cluster = cluster(3).lay();
    cluster.scatter(100, &cluster.ring_of_first(2));
    cluster.start();
    let before = cluster.ledger();
    let sources: Vec<_> =
        cluster.nodes()[..2].iter().map(|node| tree::marks(&node.prefix())).collect();
    cluster.bucky(&["rebalance", "--no-delete"]).assert_code(0);
    for (node, marks) in cluster.nodes().iter().zip(&sources) {
        assert_untouched(marks, &node.prefix());
    }
    let problems = before.compare(&cluster.ledger(), cluster.ring()).problems;
    assert!(problems.iter().all(|problem| problem.contains("is still on")), "{problems:?}");
    assert_eq!(problems.len(), before.misplaced(cluster.ring()));
    // The next run deletes sources whose owners are complete.
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

#[test]
fn only_selected_metrics_are_moved() {
    let cluster = cluster(3).start();
    for (owner, stem) in [(1, "app.one"), (1, "db.one"), (2, "app.two")] {
        let layout = bucky_tests::metrics::MINUTES;
        let points = bucky_tests::metrics::minutes(bucky_tests::metrics::now(), [1.0, 2.0]);
        cluster.node(0).write(&cluster.name_owned_by(owner, stem), &layout, &points);
    }
    let [app_one, db_one, app_two] = [(1, "app.one"), (1, "db.one"), (2, "app.two")]
        .map(|(owner, stem)| cluster.name_owned_by(owner, stem));
    let allowed = cluster.node(1).addr();
    cluster.bucky(&["rebalance", "-f", "-r", r"^app\.", "--allowed-dsts", &allowed]).assert_code(0);
    assert!(cluster.node(1).has(&app_one));
    assert_eq!(cluster.node(0).metrics(), [app_two, db_one]);
    // D47: an empty expression would mean everything.
    cluster.bucky(&["rebalance", "-r", ""]).assert_code(2);
}

/// A different `-f` than the Go tool's, which returns the old list (D18).
#[test]
fn d18_a_forced_run_sees_files_that_came_after_the_last_scan() {
    let cluster = cluster(2).start();
    let metric = cluster.name_owned_by(1, "late");
    let points = bucky_tests::metrics::minutes(bucky_tests::metrics::now(), [4.0]);
    cluster.node(0).write(&metric, &bucky_tests::metrics::MINUTES, &points);
    let line = format!("{}: {metric}\n", cluster.node(0).addr());
    cluster.bucky(&["inconsistent"]).assert_code(0).assert_stdout("");
    cluster.bucky(&["inconsistent", "-f"]).assert_code(0).assert_stdout(&line);
    cluster.bucky(&["rebalance", "-f"]).assert_code(0);
    assert!(cluster.node(1).has(&metric) && !cluster.node(0).has(&metric));
}
