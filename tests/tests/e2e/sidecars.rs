//! The files that go-carbon keeps beside a metric: `NAME.wsp.ooo` with late points, and `NAME.wsp.lock`.

use bucky_tests::metrics::{MINUTES, minutes, now};

use crate::cluster;

/// Late points would be left behind, where no reader would find them.
#[test]
fn sources_with_late_points_beside_them_are_copied_and_stay_until_those_are_merged() {
    let mut cluster = cluster(2).lay();
    let points = minutes(now(), [1.0, 2.0, 3.0]);
    let with_late = cluster.names_owned_by(1, "late.hits", 5);
    let others = cluster.names_owned_by(1, "plain.hits", 3);
    for metric in with_late.iter().chain(&others) {
        cluster.node(0).write(metric, &MINUTES, &points);
        std::fs::write(cluster.node(0).path(metric).with_extension("wsp.lock"), b"").unwrap();
    }
    let late_points_of = |cluster: &bucky_tests::TestCluster, metric: &str| {
        cluster.node(0).path(metric).with_extension("wsp.ooo")
    };
    for metric in &with_late {
        std::fs::write(late_points_of(&cluster, metric), b"late points").unwrap();
    }
    cluster.start();
    let before = cluster.ledger();

    let run = cluster.bucky(&["rebalance"]).assert_code(1);
    let run = run.assert_stderr_has(
        "5 were copied, but not deleted at their sources, because go-carbon keeps",
    );
    assert_eq!(run.stderr.matches("beside it, which Bucky does not move;").count(), 3, "{run}");
    for metric in &with_late {
        assert!(cluster.node(0).has(metric) && cluster.node(1).has(metric), "{metric}");
        assert_eq!(std::fs::read(late_points_of(&cluster, metric)).unwrap(), b"late points");
    }
    for metric in &others {
        assert!(!cluster.node(0).has(metric) && cluster.node(1).has(metric), "{metric}");
    }
    // Neither kind of file is a metric.
    let metrics = cluster.node(0).metrics();
    assert_eq!(metrics.len(), with_late.len(), "{metrics:?}");

    // go-carbon has merged them. It never removes its lock files.
    for metric in &with_late {
        std::fs::remove_file(late_points_of(&cluster, metric)).unwrap();
    }
    for metric in with_late.iter().chain(&others) {
        std::fs::remove_file(cluster.node(0).path(metric).with_extension("wsp.lock")).unwrap();
    }
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

#[test]
fn a_local_fill_does_not_delete_a_source_with_late_points_beside_it() {
    let cluster = cluster(1).lay();
    cluster.node(0).write("a", &MINUTES, &minutes(now(), [1.0]));
    let source = cluster.node(0).path("a");
    std::fs::write(source.with_extension("wsp.ooo"), b"late points").unwrap();
    let copy = cluster.path("copy.wsp");
    let args = ["fill", "-d", source.to_str().unwrap(), copy.to_str().unwrap()];
    cluster.bucky_alone(&args).assert_code(1).assert_stderr_has("a.wsp.ooo, so it was not deleted");
    assert!(source.exists() && copy.exists());
}
