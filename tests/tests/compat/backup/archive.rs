//! The content of an archive, and how GNU tar reads it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use bucky_tests::TestCluster;
use bucky_tests::metrics::{self, LAYOUTS, MINUTES, minutes, newest_minute, now};

use super::{files_below, gnu_tar, listed, points_in, tar, unpacked};
use crate::cluster;

/// Metrics of all layouts, with a name that fits no header, one that is not ASCII, and different modes and
/// times.
fn laid(cluster: &TestCluster) -> Vec<String> {
    cluster.scatter(60, cluster.ring());
    let long = format!("long.{}.{}", "d".repeat(180), "f".repeat(180));
    for name in [long.as_str(), "zone.münchen.größe", "plain.mode"] {
        let owner = cluster.node(cluster.owners(name)[0]);
        owner.write(name, &MINUTES, &minutes(now(), [1.0, 2.0, 3.0]));
        let path = owner.path(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_704_164_645))
            .unwrap();
    }
    let mut names: Vec<String> = cluster.nodes().iter().flat_map(|node| node.metrics()).collect();
    names.sort_unstable();
    names
}

/// Checks that the unpacked files equal those of the nodes, byte for byte, with mode and time.
#[track_caller]
fn assert_same_files(cluster: &TestCluster, folder: &Path, names: &[String]) {
    let files = files_below(folder);
    assert_eq!(files.keys().collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    for (name, path) in files {
        let original = cluster.node(cluster.owners(&name)[0]).path(&name);
        assert!(std::fs::read(&path).unwrap() == std::fs::read(&original).unwrap(), "{name}");
        let (copy, original) = (path.metadata().unwrap(), original.metadata().unwrap());
        assert_eq!(copy.mtime(), original.mtime(), "{name}");
        assert_eq!(copy.mode() & 0o700, original.mode() & 0o700, "{name}");
    }
}

#[test]
fn gnu_tar_lists_and_unpacks_an_archive_without_a_word() {
    let cluster = cluster(3).start();
    let names = laid(&cluster);
    let (run, path) = tar(&cluster, &["-r", "."]);
    let run = run.assert_code(0).assert_stderr_has("Archive complete.\n");
    run.assert_stderr_has(&format!("Total metrics selected for tar: {}\n", names.len()));
    let paths: Vec<String> =
        names.iter().map(|name| format!("{}.wsp", name.replace('.', "/"))).collect();
    assert_eq!(listed(&cluster, &path), paths);
    assert_same_files(&cluster, &unpacked(&cluster, &path), &names);

    let long =
        gnu_tar(&cluster.path("listing"), &["tvf", path.to_str().unwrap(), "plain/mode.wsp"]);
    let long = long.assert_code(0);
    let words: Vec<&str> = long.stdout.split_whitespace().collect();
    assert_eq!(words[..2], ["-rw-r-----", "0/0"], "{long}");
    assert_eq!(words[3..], ["2024-01-02", "03:04", "plain/mode.wsp"], "{long}");
}

#[test]
fn the_archive_is_sorted_by_name_whichever_node_has_what() {
    let cluster = cluster(4).start();
    for number in 0..300 {
        let name = format!("s.m{number:04}");
        let owner = cluster.node(cluster.owners(&name)[0]);
        owner.write(&name, &MINUTES, &minutes(now(), [1.0]));
    }
    let (run, path) = tar(&cluster, &["-r", "^s", "-w", "3"]);
    run.assert_code(0);
    let expected: Vec<String> = (0..300).map(|number| format!("s/m{number:04}.wsp")).collect();
    assert_eq!(listed(&cluster, &path), expected);
}

#[test]
fn gzip_zstd_and_sparse_archives_unpack_to_the_same_files() {
    let cluster = cluster(2).start();
    let names = laid(&cluster);
    let mut lengths = Vec::new();
    for flags in
        [&["-r", "."][..], &["-r", ".", "--gzip"], &["--zstd", "-r", "."], &["--sparse", "-r", "."]]
    {
        let (run, path) = tar(&cluster, flags);
        run.assert_code(0);
        assert_same_files(&cluster, &unpacked(&cluster, &path), &names);
        lengths.push(path.metadata().unwrap().len());
    }
    assert!(lengths[1..].iter().all(|length| *length < lengths[0]), "{lengths:?}");
    cluster.bucky(&["tar", "-r", ".", "--gzip", "--zstd"]).assert_code(2);
}

/// Whisper files consist mostly of zeros for a long time.
#[test]
fn a_sparse_archive_unpacks_with_holes() {
    let cluster = cluster(1).start();
    let year = metrics::Layout { retentions: "1m:1y", ..MINUTES };
    cluster.node(0).write("m.year", &year, &minutes(now(), [1.0, 2.0]));
    let (run, path) = tar(&cluster, &["--sparse", "m.year"]);
    run.assert_code(0);
    assert!(path.metadata().unwrap().len() < 64 * 1024);
    let file = unpacked(&cluster, &path).join("m/year.wsp");
    let metadata = file.metadata().unwrap();
    assert!(metadata.len() > 6_000_000, "{}", metadata.len());
    assert!(metadata.blocks() * 512 < 64 * 1024, "{} blocks", metadata.blocks());
    assert!(
        std::fs::read(&file).unwrap() == std::fs::read(cluster.node(0).path("m.year")).unwrap()
    );
}

/// D23: for a metric on two nodes the Go tool stores one copy twice, and the other copy is not in the
/// archive.
#[test]
fn a_metric_on_two_nodes_is_one_member_with_the_points_of_both() {
    let cluster = cluster(3).start();
    let newest = newest_minute();
    let owner = cluster.owners("dup.x")[0];
    let misplaced = (owner + 1) % 3;
    // Each has points that the other lacks. Both have the first minute, for which the owner's value is kept.
    let own = minutes(newest, [1.0, f64::NAN, 3.0, f64::NAN]);
    let other = minutes(newest, [100.0, 2.0, f64::NAN, 4.0]);
    let known = |points: &[bucky_whisper::Point]| -> Vec<bucky_whisper::Point> {
        points.iter().filter(|point| !point.value.is_nan()).copied().collect()
    };
    cluster.node(owner).write("dup.x", &MINUTES, &known(&own));
    cluster.node(misplaced).write("dup.x", &MINUTES, &known(&other));
    cluster.node(owner).write("solo.y", &MINUTES, &known(&own));
    let (run, path) = tar(&cluster, &["dup.x", "solo.y"]);
    run.assert_code(0).assert_stderr_has("Total metrics selected for tar: 2\n").assert_stderr_has(
        "1 metric is on several nodes: the archive has one file with the points of all copies.",
    );
    assert_eq!(listed(&cluster, &path), ["dup/x.wsp", "solo/y.wsp"]);
    let points = points_in(&std::fs::read(unpacked(&cluster, &path).join("dup/x.wsp")).unwrap());
    let values: Vec<f64> = points[0].iter().rev().map(|point| point.value).collect();
    assert_eq!(values, [1.0, 2.0, 3.0, 4.0]);
}

/// With a replication factor of 2 every metric is on two nodes, and each of them lacks different points.
#[test]
fn the_archive_of_a_replicated_cluster_has_every_point_of_every_copy() {
    let cluster = cluster(3).replication_factor(2).start();
    let newest = newest_minute();
    for number in 0..200 {
        let name = format!("r.m{number:03}");
        for (half, owner) in cluster.owners(&name).into_iter().enumerate() {
            let points = minutes(newest, (0..40).map(|age| f64::from(age + number)));
            let points: Vec<_> =
                points.into_iter().enumerate().filter(|(age, _)| age % 2 == half).collect();
            let points: Vec<_> = points.into_iter().map(|(_, point)| point).collect();
            cluster.node(owner).write(&name, &MINUTES, &points);
        }
    }
    let (run, path) = tar(&cluster, &["-r", "^r"]);
    run.assert_code(0).assert_stderr_has("200 metrics are on several nodes");
    let files = files_below(&unpacked(&cluster, &path));
    assert_eq!(files.len(), 200);
    for (name, path) in files {
        let points = points_in(&std::fs::read(path).unwrap());
        assert_eq!(points[0].len(), 40, "{name}");
    }
}

/// Copies that cannot be merged are in the archive anyway.
#[test]
fn copies_of_different_retentions_are_all_in_the_archive() {
    let cluster = cluster(2).start();
    let newest = newest_minute();
    cluster.node(0).write("two.x", &MINUTES, &minutes(newest, [1.0, 2.0]));
    cluster.node(1).write("two.x", &LAYOUTS[1], &minutes(newest, [3.0]));
    let compressed = [b"whisper_compressed".as_slice(), &[7; 200]].concat();
    let path = cluster.node(1).path("packed");
    std::fs::write(&path, &compressed).unwrap();
    let (run, path) = tar(&cluster, &["-f", "-r", "^(two.x|packed)$"]);
    run.assert_code(0)
        .assert_stderr_has("two.x: the copies of")
        .assert_stderr_has("cannot be merged");
    assert_eq!(listed(&cluster, &path), ["packed.wsp", "two/x.wsp", "two/x.wsp"]);
    let folder = unpacked(&cluster, &path);
    assert!(std::fs::read(folder.join("packed.wsp")).unwrap() == compressed);
}

/// A metric that is moved while the archive is read is in it, wherever it was found.
#[test]
fn an_archive_that_is_made_during_a_move_has_everything() {
    let cluster = cluster(4).lay();
    let mut cluster = cluster;
    cluster.scatter(240, &cluster.ring_of_first(2));
    cluster.start();
    let before = cluster.ledger();
    let mut rebalance = cluster.start_bucky(&["rebalance", "--batch-metrics", "10", "-w", "2"]);
    let mut archives = 0;
    loop {
        let was_running = rebalance.is_running();
        let (run, path) = tar(&cluster, &["-r", "."]);
        let run = run.assert_code(0);
        assert_eq!(listed(&cluster, &path).len(), before.metrics(), "{run}");
        archives += 1;
        if !was_running {
            break;
        }
    }
    rebalance.finish().assert_code(0);
    assert!(archives > 1, "the move was over at once");
    cluster.assert_all_in_place(&before);
}
