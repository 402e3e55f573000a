//! From one cluster to another.

use bucky_ring::{Algorithm, Relay};
use bucky_tests::metrics::{MINUTES, minutes, newest_minute, now};
use bucky_tests::{GoDaemon, TestCluster};
use bucky_whisper::Point;

use super::{files_below, listed, restore, tar, tar_from, unpacked};
use crate::cluster;

/// Acceptance bar: another hash, another number of nodes, each metric twice.
#[test]
fn an_archive_of_one_cluster_restores_into_another_with_another_ring_point_for_point() {
    let old = cluster(3).start();
    old.scatter(300, old.ring());
    let before = old.ledger();
    let new = cluster(4).algorithm(Algorithm::JumpFnv1a).relay(Relay::CarbonCRelay);
    let new = new.replication_factor(2).start();
    let (run, path) = tar(&old, &["-r", ".", "--zstd"]);
    run.assert_code(0);
    assert_eq!(listed(&old, &path).len(), before.metrics());
    restore(&new, &[], &path)
        .assert_code(0)
        .assert_stderr_has("300 metrics restored: 300 created, 0 filled, 0 unchanged")
        .assert_stderr_has("\nRestore complete.\n");
    new.assert_all_in_place(&before);
    let copies: usize = new.nodes().iter().map(|node| node.metrics().len()).sum();
    assert_eq!(copies, 600);
    restore(&new, &[], &path)
        .assert_code(0)
        .assert_stderr_has("0 created, 0 filled, 300 unchanged");
    new.bucky(&["verify", "--strict"]).assert_code(0);
}

/// The same restore with the archive in a pipe, and in the other direction.
#[test]
fn an_archive_is_read_from_standard_input_compressed_or_not() {
    let old = cluster(2).algorithm(Algorithm::Fnv1a).start();
    old.scatter(60, old.ring());
    let before = old.ledger();
    for flags in
        [&["-r", "."][..], &["-r", ".", "--gzip"], &["-r", ".", "--zstd"], &["-r", ".", "--sparse"]]
    {
        let new = cluster(2).switch("-sparse").start();
        let (run, path) = tar(&old, flags);
        run.assert_code(0);
        let input = std::fs::File::open(&path).unwrap();
        let command = new.command(&["restore", "-"]);
        let run = bucky_tests::Running::start_between(command, input.into(), None).finish();
        run.assert_code(0).assert_stderr_has("60 created");
        new.assert_all_in_place(&before);
    }
}

/// A file that a daemon keeps sparse (`-sparse`) is sparse after a restore too.
#[test]
fn a_sparse_file_stays_small_on_restore() {
    use std::os::unix::fs::MetadataExt;
    for is_switched in [true, false] {
        let cluster = if is_switched { cluster(1).switch("-sparse") } else { cluster(1) }.start();
        let year = bucky_tests::Layout { retentions: "1m:1y", ..MINUTES };
        cluster.node(0).write("m.year", &year, &minutes(now(), [1.0, 2.0]));
        let before = std::fs::read(cluster.node(0).path("m.year")).unwrap();
        for flags in [&["m.year"][..], &["m.year", "--sparse"]] {
            let (run, path) = tar(&cluster, flags);
            run.assert_code(0);
            std::fs::remove_file(cluster.node(0).path("m.year")).unwrap();
            restore(&cluster, &[], &path).assert_code(0).assert_stderr_has("1 created");
            let metadata = cluster.node(0).path("m.year").metadata().unwrap();
            // An archive without holes does not say which holes the file had.
            let is_small = metadata.blocks() * 512 < 64 * 1024;
            assert_eq!(is_small, is_switched || flags.contains(&"--sparse"), "{flags:?}");
            assert!(std::fs::read(cluster.node(0).path("m.year")).unwrap() == before, "{flags:?}");
        }
    }
}

/// Points written since the archive was made stay; missing points are restored.
#[test]
fn a_restore_fills_and_changes_no_point_that_is_there() {
    let cluster = cluster(2).start();
    let newest = newest_minute();
    let owner = cluster.node(cluster.owners("f.x")[0]);
    owner.write("f.x", &MINUTES, &minutes(newest, [1.0, 2.0, 0.0, 4.0]));
    let (run, path) = tar(&cluster, &["f.x"]);
    run.assert_code(0);
    std::fs::remove_file(owner.path("f.x")).unwrap();
    owner.write("f.x", &MINUTES, &minutes(newest, [100.0]));
    restore(&cluster, &[], &path)
        .assert_code(0)
        .assert_stderr_has("0 created, 1 filled, 0 unchanged; 3 points filled");
    let values = |cluster: &TestCluster| -> Vec<f64> {
        let ledger = cluster.ledger();
        ledger.only_archive("f.x", 60).iter().rev().map(|point: &Point| point.value).collect()
    };
    assert_eq!(values(&cluster), [100.0, 2.0, 0.0, 4.0]);
}

#[test]
fn a_prefix_is_put_before_all_names_and_decides_where_they_go() {
    let cluster = cluster(3).start();
    cluster.scatter(40, cluster.ring());
    let (run, path) = tar(&cluster, &["-r", "^shop"]);
    run.assert_code(0);
    let before = listed(&cluster, &path).len();
    for prefix in ["old/site", "old.site/"] {
        restore(&cluster, &["-p", prefix], &path).assert_code(0);
        let names: Vec<String> = cluster.nodes().iter().flat_map(|node| node.metrics()).collect();
        let restored = names.iter().filter(|name| name.starts_with("old.site.shop."));
        assert_eq!(restored.count(), before);
        assert_eq!(cluster.ledger().misplaced(cluster.ring()), 0);
    }
    for prefix in ["/abs", "a..b", ""] {
        restore(&cluster, &["-p", prefix], &path).assert_code(2);
    }
}

/// D7: the Go tool's `restore -s` uploads nothing and exits 0; every other command ignores -s.
#[test]
fn with_s_that_node_alone_is_archived_and_restored_to() {
    let mut cluster = cluster(3).start();
    cluster.scatter(90, cluster.ring());
    let before = cluster.ledger();
    let own = cluster.node(0).metrics();
    let (run, path) = tar(&cluster, &["-s", "-r", "."]);
    run.assert_code(0);
    let unpacked = files_below(&unpacked(&cluster, &path));
    assert_eq!(unpacked.keys().cloned().collect::<Vec<_>>(), own);

    let (run, path) = tar(&cluster, &["-r", "."]);
    run.assert_code(0);
    for number in 0..3 {
        for name in cluster.node(number).metrics() {
            std::fs::remove_file(cluster.node(number).path(&name)).unwrap();
        }
    }
    // It does not need the other nodes.
    cluster.node_mut(2).stop();
    restore(&cluster, &[], &path).assert_code(3).assert_stderr_has("the cluster is not healthy");
    let others = 90 - own.len();
    restore(&cluster, &["-s"], &path)
        .assert_code(0)
        .assert_stderr_has(&format!("{} metrics restored", own.len()))
        .assert_stderr_has(&format!("{others} skipped, because other nodes own them."));
    assert_eq!(cluster.node(0).metrics(), own);
    assert!(cluster.node(1).metrics().is_empty());
    cluster.node_mut(2).start();
    restore(&cluster, &[], &path).assert_code(0);
    cluster.assert_all_in_place(&before);
}

/// Daemons of the Go tool have no archives: each metric is fetched and checked on its own, before and after
/// it is passed on.
#[test]
fn go_daemons_are_archived_and_restored_to() {
    let mut old = cluster(2).lay();
    old.scatter(60, old.ring());
    old.node_mut(0).start();
    let before = old.ledger();
    let go = GoDaemon::instead_of(&old, 1);
    let (run, path) = tar(&old, &["-r", "."]);
    run.assert_code(0);
    assert_eq!(listed(&old, &path).len(), 60);
    drop(go);

    let mut new = cluster(3).lay();
    new.node_mut(0).start();
    new.node_mut(1).start();
    std::fs::create_dir_all(new.node(2).prefix()).unwrap();
    let go = GoDaemon::instead_of(&new, 2);
    restore(&new, &["-v"], &path).assert_code(0).assert_stderr_has(&format!("=> {}\n", go.addr()));
    assert!(new.node(2).metrics().len() > 5);
    new.assert_all_in_place(&before);
    restore(&new, &[], &path).assert_code(0).assert_stderr_has("60 unchanged");
}

#[test]
fn with_v_every_metric_is_named() {
    let cluster = cluster(2).start();
    cluster.node(0).write("a.x", &MINUTES, &minutes(now(), [1.0]));
    let (run, path) = tar_from(&cluster, &["-v", "a.x"], std::process::Stdio::null());
    run.assert_code(0).assert_stderr_has("\nWriting a.x...\n");
    let owner = cluster.node(cluster.owners("a.x")[0]).addr();
    restore(&cluster, &["-v"], &path)
        .assert_code(0)
        .assert_stderr_has(&format!("Uploading a.x => {owner}\n"));
}
