//! `bucky rebalance` between nodes with different storage schemas, and its tombstones.

use bucky_tests::metrics::{minutes, now};
use bucky_tests::{GoDaemon, Layout, tree, wait};

use super::{
    COARSE, KEPT, LONG, SHORT, are_there, assert_accounted_for, assert_kept, laid, lay, layout_of,
    points, sources,
};
use crate::cluster;

#[test]
fn rebalance_keeps_the_sources_and_reports_pairs_of_schemas_not_metrics() {
    let (mut cluster, names) = laid(20, &LONG, &SHORT);
    cluster.start();
    let before = sources(&cluster, &names);
    let plan = cluster.bucky(&["rebalance", "--no-op"]).assert_code(0);
    plan.assert_stdout_has(KEPT)
        .assert_stdout_has("20 metrics: source 60s:6h,10m:2d, owner 60s:1h");
    let run = cluster.bucky(&["rebalance"]);
    assert!(!run.stderr.contains(&format!("bucky: {}:", names[3])), "one line a cause: {run}");
    assert_kept(run, &cluster, &names);
    assert_accounted_for(&cluster, &before);
    for name in &names {
        let owner = points(&cluster, 1, name);
        assert!(
            owner.iter().filter(|(step, _)| *step == 60).count() >= 58,
            "what has a place is filled"
        );
    }
}

#[test]
fn reshape_gives_the_owners_the_archives_of_both_and_then_the_sources_go() {
    let (mut cluster, names) = laid(20, &LONG, &SHORT);
    cluster.start();
    let before = sources(&cluster, &names);
    let run = cluster.bucky(&["rebalance", "--on-schema-difference", "reshape"]).assert_code(0);
    run.assert_stderr_has("the owners' files were reshaped");
    cluster.wait_until_no_tombstones();
    assert_eq!(are_there(&cluster, 0, &names), 0);
    assert!(names.iter().all(|name| layout_of(&cluster, name) == "60s:6h,10m:2d"));
    assert_accounted_for(&cluster, &before);
    cluster.bucky(&["verify", "-f"]).assert_code(0);
    cluster.assert_nothing_unexpected();
}

#[test]
fn coarsen_says_what_is_kept_as_averages_and_keeps_the_source_of_what_is_not() {
    let fine = Layout { retentions: "1m:6h", ..LONG };
    let (mut cluster, names) = laid(5, &fine, &COARSE);
    // No coarser point covers the ones that this one lacks.
    let short = cluster.name_owned_by(1, "short");
    lay(&cluster, std::slice::from_ref(&short), &fine, &SHORT);
    cluster.start();
    let run = cluster.bucky(&["rebalance", "--on-schema-difference", "coarsen"]).assert_code(1);
    run.assert_stderr_has("points are kept as 10m averages")
        .assert_stderr_has("1 failed: 1 of another schema");
    cluster.wait_until_no_tombstones();
    assert_eq!(are_there(&cluster, 0, &names), 0);
    assert!(cluster.node(0).has(&short));
    for name in &names {
        assert!(points(&cluster, 1, name).len() >= 30, "{name}");
    }
}

#[test]
fn points_are_given_up_only_after_their_number_was_shown_and_confirmed() {
    let (mut cluster, names) = laid(4, &LONG, &SHORT);
    cluster.start();
    let unconfirmed = cluster.bucky(&["rebalance", "--on-schema-difference", "drop"]);
    unconfirmed.assert_code(2).assert_stderr_has("will be lost").assert_stderr_has("--yes");
    assert_eq!(are_there(&cluster, 0, &names), 4);
    let run =
        cluster.bucky(&["rebalance", "--on-schema-difference", "drop", "--yes"]).assert_code(0);
    run.assert_stderr_has("points were lost");
    cluster.wait_until_no_tombstones();
    assert_eq!(are_there(&cluster, 0, &names), 0);
}

/// Points from before the metric stopped are still stored in the owner's shorter ring, but are never read.
#[test]
fn old_points_in_the_owners_ring_do_not_count_as_the_sources_points() {
    let long = Layout { retentions: "1m:30d", ..SHORT };
    let day = Layout { retentions: "1m:1d", ..SHORT };
    let hours = Layout { retentions: "1h:1d", ..SHORT };
    let mut cluster = cluster(2).flag("--tombstone-grace", "1").lay();
    let names = cluster.names_owned_by(1, "gone.quiet", 2);
    let weeks_ago = now() - 20 * 86_400;
    let quiet = |layout: &Layout| {
        let points = minutes(weeks_ago, (0..600).map(f64::from));
        let mut bytes = layout.empty_file();
        let path = cluster.path("quiet.wsp");
        std::fs::write(&path, &bytes).unwrap();
        let mut file = bucky_whisper::WhisperFile::open(
            &path,
            bucky_whisper::OpenMode::Update,
            std::time::Duration::from_secs(5),
        )
        .unwrap();
        file.update_many(&points, weeks_ago).unwrap();
        drop(file);
        bytes = std::fs::read(&path).unwrap();
        bytes
    };
    for (name, owner) in names.iter().zip([&day, &hours]) {
        cluster.node(0).put(name, &quiet(&long));
        cluster.node(1).put(name, &quiet(owner));
    }
    cluster.start();
    for rule in ["keep", "coarsen"] {
        let run = cluster.bucky(&["rebalance", "--on-schema-difference", rule]).assert_code(1);
        run.assert_stderr_has("600 points have no place at the owner");
        assert_eq!(are_there(&cluster, 0, &names), 2, "{rule}");
    }
    cluster.bucky(&["verify"]).assert_code(1);
    cluster.bucky(&["rebalance", "--on-schema-difference", "reshape"]).assert_code(0);
    cluster.wait_until_no_tombstones();
    for name in &names {
        let ledger = cluster.ledger();
        let there = ledger.archive(name, cluster.node(1).host(), 60).unwrap_or_default().len();
        assert_eq!(there, 600, "{name}");
    }
}

/// For each of two copies alone the owner has no file, so that nothing seems to be given up.
#[test]
fn no_more_points_are_given_up_than_were_confirmed() {
    let mut cluster = cluster(3).flag("--tombstone-grace", "1").lay();
    let names = cluster.names_owned_by(2, "two.strays", 5);
    for name in &names {
        cluster.node(0).write(name, &SHORT, &minutes(now(), (0..50).map(f64::from)));
        cluster.node(1).write(name, &LONG, &minutes(now(), (0..300).map(f64::from)));
    }
    cluster.start();
    let drop = ["rebalance", "--on-schema-difference", "drop"];
    cluster.bucky(&drop);
    let long_ago = now() - 2 * 3600;
    for name in &names {
        let ledger = cluster.ledger();
        let old = |node: usize| {
            let points = ledger.archive(name, cluster.node(node).host(), 60).unwrap_or_default();
            points.iter().filter(|point| point.timestamp < long_ago).count()
        };
        assert!((0..3).map(old).sum::<usize>() > 100, "{name}: no question was asked");
    }
}

/// If a file was created complete, no points were given up, whatever the flags of the run.
#[test]
fn a_tombstone_of_a_run_that_drops_waits_if_the_owners_file_was_created_again() {
    let mut cluster = cluster(2).flag("--tombstone-grace", "3").lay();
    let name = cluster.name_owned_by(1, "created.again");
    cluster.node(0).write(&name, &LONG, &minutes(now(), (0..300).map(f64::from)));
    cluster.start();
    cluster.bucky(&["rebalance", "--on-schema-difference", "drop", "--yes"]).assert_code(0);
    std::fs::remove_file(cluster.node(1).path(&name)).unwrap();
    cluster.node(1).write(&name, &SHORT, &minutes(now(), [7.0]));
    wait::until("the tombstone waits with its reason", || {
        let status = cluster.get(0, "/v1/status").json();
        status["tombstones"]["held"].to_string().contains("has no place for some of its points")
    });
    assert!(!tree::tombstones(&cluster.node(0).prefix()).is_empty());
}

#[test]
fn a_second_copy_with_other_retentions_is_not_given_up_for_the_first() {
    let mut cluster = cluster(3).flag("--tombstone-grace", "1").lay();
    let names = cluster.names_owned_by(2, "two.copies", 10);
    let now = now();
    for name in &names {
        cluster.node(0).write(name, &SHORT, &minutes(now, (0..50).map(f64::from)));
        cluster.node(1).write(name, &LONG, &minutes(now, (0..300).map(f64::from)));
    }
    cluster.start();
    cluster.bucky(&["rebalance"]);
    wait::until("the tombstones are gone", || {
        (0..3).all(|node| tree::tombstones(&cluster.node(node).prefix()).is_empty())
    });
    for name in &names {
        let ledger = cluster.ledger();
        let long_ago = |node: usize| {
            let points = ledger.archive(name, cluster.node(node).host(), 60).unwrap_or_default();
            points.iter().filter(|point| point.timestamp < now - 3700).count()
        };
        assert!(long_ago(1) + long_ago(2) >= 230, "{name}");
    }
    cluster.bucky(&["rebalance", "--on-schema-difference", "reshape"]).assert_code(0);
    cluster.wait_until_no_tombstones();
    assert_eq!(cluster.node(1).metrics(), Vec::<String>::new());
}

/// Carbon creates the owner's file again with its own schema while the tombstone waits.
#[test]
fn a_tombstone_waits_whose_owners_file_was_created_again_by_another_schema() {
    let mut cluster = cluster(2).flag("--tombstone-grace", "3").lay();
    let name = cluster.name_owned_by(1, "created.again");
    cluster.node(0).write(&name, &LONG, &minutes(now(), (0..300).map(f64::from)));
    cluster.start();
    let before = points(&cluster, 0, &name);
    cluster.bucky(&["rebalance"]).assert_code(0);
    let owner = cluster.node(1).path(&name);
    std::fs::remove_file(&owner).unwrap();
    cluster.node(1).write(&name, &SHORT, &minutes(now(), [7.0]));
    let status = || cluster.get(0, "/v1/status").json();
    wait::until("the tombstone waits with its reason", || {
        status()["tombstones"]["held"].to_string().contains("has no place for some of its points")
    });
    assert!(!tree::tombstones(&cluster.node(0).prefix()).is_empty());
    std::fs::remove_file(&owner).unwrap();
    cluster.wait_until_no_tombstones();
    let there = points(&cluster, 1, &name);
    assert!(before.difference(&there).count() <= 2, "all but what has expired");
}

#[test]
fn a_go_owner_with_another_schema_keeps_the_source_too() {
    let (mut cluster, names) = laid(3, &LONG, &SHORT);
    cluster.node_mut(0).start();
    let before = sources(&cluster, &names);
    let _go = GoDaemon::instead_of(&cluster, 1);
    for rule in ["keep", "reshape"] {
        let run = cluster.bucky(&["rebalance", "--on-schema-difference", rule]);
        run.assert_code(1).assert_stderr_has(KEPT);
        assert_eq!(are_there(&cluster, 0, &names), 3);
    }
    assert_accounted_for(&cluster, &before);
}

#[test]
fn a_go_source_whose_points_have_no_place_at_our_owner_is_not_deleted() {
    let (mut cluster, names) = laid(3, &LONG, &SHORT);
    cluster.node_mut(1).start();
    let before = sources(&cluster, &names);
    let go = GoDaemon::instead_of(&cluster, 0);
    let run = cluster.bucky(&["rebalance"]).assert_code(1);
    run.assert_stderr_has(KEPT);
    assert_eq!(are_there(&cluster, 0, &names), 3);
    assert!(go.requests().iter().all(|request| !request.starts_with("DELETE ")));
    assert_accounted_for(&cluster, &before);
    cluster.bucky(&["rebalance", "--on-schema-difference", "reshape"]).assert_code(0);
    assert_eq!(are_there(&cluster, 0, &names), 0);
    assert_accounted_for(&cluster, &before);
}
