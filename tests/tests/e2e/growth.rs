//! Clusters that grow: the main job.

use bucky_tests::peer;

use crate::cluster;

/// 3 nodes become 4: bar 2.
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
    cluster.bucky(&["rebalance", "-w", "100"]).assert_code(0);

    cluster.assert_all_in_place(&before);
    cluster.bucky(&["inconsistent"]).assert_code(0).assert_stdout("");
    cluster.bucky(&["rebalance", "-w", "100"]).assert_code(0).assert_tells("balanced");
    cluster.assert_all_in_place(&before);
    whisper_py_reads_the_same(&cluster, &before);
}

/// Every owner's file gives whisper.py the points that the ledger of the time before the move has.
fn whisper_py_reads_the_same(cluster: &bucky_tests::TestCluster, before: &bucky_tests::Ledger) {
    let now = before.now();
    let of_node = |node: &bucky_tests::Node| {
        let names = node.metrics().into_iter();
        names.map(|name| (node.host().to_owned(), node.path(&name), name)).collect::<Vec<_>>()
    };
    let files: Vec<_> = cluster.nodes().iter().flat_map(of_node).collect();
    let paths: Vec<_> = files.iter().map(|(_, path, _)| path.clone()).collect();
    for ((_, path, name), reading) in files.iter().zip(peer::read(&paths, now)) {
        for (step, points) in reading {
            let mut expected = before.only_archive(name, step).to_vec();
            expected.retain(|point| point.timestamp <= now);
            assert_eq!(points, expected, "{} read by whisper.py, step {step}", path.display());
        }
    }
}
