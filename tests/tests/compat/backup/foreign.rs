//! Archives from other tools, and members that are not metrics.

use std::os::unix::fs::MetadataExt;

use bucky_tests::TestCluster;
use bucky_tests::http::Http;
use bucky_tests::metrics::{self, MINUTES, minutes, newest_minute, now};

use super::{gnu_tar, listed, restore, tar};
use crate::cluster;

/// Removes all metrics of all nodes.
fn empty(cluster: &TestCluster) {
    for node in cluster.nodes() {
        for name in node.metrics() {
            std::fs::remove_file(node.path(&name)).unwrap();
        }
    }
}

/// GNU tar over a node's folder, in all its formats.
#[test]
fn archives_that_gnu_tar_made_of_a_store_are_restored() {
    let cluster = cluster(1).start();
    cluster.scatter(40, cluster.ring());
    let long = format!("long.{}.{}", "d".repeat(150), "f".repeat(150));
    for name in [long.as_str(), "zone.münchen"] {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0, 2.0]));
    }
    let before = cluster.ledger();
    let prefix = cluster.node(0).prefix();
    let path = cluster.path("made.tar");
    let text = path.to_str().unwrap().to_owned();
    let archives: Vec<(Vec<&str>, Vec<u8>)> = [
        vec!["--format=gnu"],
        vec!["--format=posix"],
        vec!["--format=oldgnu", "--gzip"],
        vec!["--format=posix", "--zstd"],
    ]
    .into_iter()
    .map(|flags| {
        let args =
            [&["-c", "-f", text.as_str(), "--exclude=.bucky"], flags.as_slice(), &["."]].concat();
        gnu_tar(&prefix, &args).assert_code(0);
        (flags, std::fs::read(&path).unwrap())
    })
    .collect();
    for (flags, bytes) in archives {
        empty(&cluster);
        std::fs::write(&path, bytes).unwrap();
        assert!(listed(&cluster, &path).iter().any(|member| member == "./"), "{flags:?}");
        restore(&cluster, &[], &path)
            .assert_code(0)
            .assert_stderr_has("42 metrics restored: 42 created, 0 filled, 0 unchanged");
        cluster.assert_all_in_place(&before);
    }
}

/// `tar -S` in each of its formats: points never become zeros, and zeros never become points.
#[test]
fn sparse_archives_of_gnu_tar_are_restored_byte_for_byte() {
    let cluster = cluster(1).start();
    let year = metrics::Layout { retentions: "1m:1y", ..MINUTES };
    let deep = format!("deep.{}.{}", "d".repeat(120), "f".repeat(120));
    let names = ["m.year", "m.other", deep.as_str()];
    for (number, name) in names.into_iter().enumerate() {
        // Points in many places, so that the map is longer than a header can hold.
        let step = 3_600 * (u32::try_from(number).unwrap() + 1);
        let newest = newest_minute();
        let points = (0..200).map(|age| bucky_whisper::Point {
            timestamp: newest - age * step,
            value: f64::from(age),
        });
        let mut points: Vec<_> = points.collect();
        points.reverse();
        cluster.node(0).write(name, &year, &points);
    }
    let contents = || -> Vec<Vec<u8>> {
        names.iter().map(|name| std::fs::read(cluster.node(0).path(name)).unwrap()).collect()
    };
    let before = contents();
    let blocks = cluster.node(0).path("m.year").metadata().unwrap().blocks();
    assert!(blocks * 512 < 3_000_000, "the file has no holes: {blocks} blocks");
    let path = cluster.path("made.tar");
    let text = path.to_str().unwrap().to_owned();
    let store = cluster.path("store");
    for name in &names {
        let copy = store.join(name.parse::<bucky_whisper::MetricName>().unwrap().relative_path());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        // A rename within a file system keeps the holes.
        std::fs::rename(cluster.node(0).path(name), copy).unwrap();
    }
    for flags in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        empty(&cluster);
        let args = [&["-c", "-S", "-f", text.as_str()], flags, &["."]].concat();
        gnu_tar(&store, &args).assert_code(0);
        assert!(path.metadata().unwrap().len() < 6_000_000, "{flags:?} is not sparse");
        restore(&cluster, &[], &path).assert_code(0).assert_stderr_has("3 created");
        assert!(contents() == before, "{flags:?}");
    }
}

#[test]
fn an_archive_of_a_daemon_is_restored_with_what_its_report_says() {
    let cluster = cluster(2).start();
    for name in ["a.x", "a.y"] {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0, 2.0]));
    }
    let names = serde_json::json!({"metrics": ["a.x", "a.y", "a.missing"]});
    let archive =
        Http::new().post(&cluster.url(0, "/v1/archive"), "application/json", names.to_string());
    let path = cluster.path("daemon.tar");
    std::fs::write(&path, &archive.body).unwrap();
    empty(&cluster);
    restore(&cluster, &[], &path)
        .assert_code(0)
        .assert_stderr_has("bucky: a.missing is not in the archive: ")
        .assert_stderr_has("2 metrics restored: 2 created");
    assert_eq!(cluster.ledger().misplaced(cluster.ring()), 0);
}

/// D43: the Go tool makes a metric of every file, and hashes `/abs/x.wsp` by another name than it stores it
/// under.
#[test]
fn members_that_are_no_metrics_are_refused_by_name_and_the_rest_is_restored() {
    let cluster = cluster(2).start();
    let folder = cluster.path("made");
    let sound = MINUTES.empty_file();
    for (path, content) in [
        ("good/x.wsp", sound.as_slice()),
        ("docs/readme.txt", b"a text of more than 28 bytes, as it happens"),
        ("abs/x.wsp", &sound),
        ("a.b/x.wsp", &sound),
        ("bad/short.wsp", b"no Whisper file at all, and long enough"),
        ("bad/empty.wsp", b""),
        (
            "_tagged/abc/def/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.wsp",
            &sound,
        ),
    ] {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    std::os::unix::fs::symlink("x.wsp", folder.join("good/link.wsp")).unwrap();
    std::fs::hard_link(folder.join("good/x.wsp"), folder.join("good/y.wsp")).unwrap();
    let path = cluster.path("made.tar");
    let args = [
        "-c",
        "-P",
        "-f",
        path.to_str().unwrap(),
        "--transform=s,^abs/x,/abs/x,",
        "--transform=s,^docs/readme,docs/../readme,",
        "good/x.wsp",
        "docs/readme.txt",
        "abs/x.wsp",
        "a.b",
        "bad",
        "_tagged",
        "good/link.wsp",
        "good/y.wsp",
    ];
    gnu_tar(&folder, &args).assert_code(0);
    let run = restore(&cluster, &[], &path).assert_code(1);
    for (member, reason) in [
        ("docs/../readme.txt", "does not end in .wsp"),
        ("/abs/x.wsp", "its path is absolute"),
        ("a.b/x.wsp", "its name is not a metric name"),
        ("bad/short.wsp", "not a complete Whisper file"),
        ("bad/empty.wsp", "not a complete Whisper file"),
        ("good/link.wsp", "it is a symbolic link"),
        ("good/y.wsp", "it is a hard link"),
        ("0123456789abcdef.wsp", "named by the hash of an unknown series"),
    ] {
        let lines: Vec<&str> = run.stderr.lines().filter(|line| line.contains(member)).collect();
        assert!(lines.len() == 1 && lines[0].contains(reason), "{member}: {lines:?}: {run}");
    }
    run.assert_stderr_has("1 metric restored: 1 created").assert_stderr_has("8 refused.");
    let names: Vec<String> = cluster.nodes().iter().flat_map(|node| node.metrics()).collect();
    assert_eq!(names, ["good.x"]);
}

/// If two members have the same name, both are filled in, the first one first.
#[test]
fn a_member_that_comes_twice_fills_twice() {
    let cluster = cluster(2).start();
    let newest = newest_minute();
    let path = cluster.path("made.tar");
    let folder = cluster.path("made");
    for (round, values) in [[1.0, f64::NAN, 3.0], [100.0, 2.0, f64::NAN]].into_iter().enumerate() {
        let points = minutes(newest, values);
        let points: Vec<_> = points.into_iter().filter(|point| !point.value.is_nan()).collect();
        let store = folder.join(round.to_string());
        metrics::write(&store, &"tw.x".parse().unwrap(), &MINUTES, &points);
        let flag = if round == 0 { "-c" } else { "-r" };
        gnu_tar(&store, &[flag, "-f", path.to_str().unwrap(), "tw/x.wsp"]).assert_code(0);
    }
    assert_eq!(listed(&cluster, &path), ["tw/x.wsp", "tw/x.wsp"]);
    restore(&cluster, &[], &path).assert_code(0).assert_stderr_has("1 created, 1 filled");
    let ledger = cluster.ledger();
    let values: Vec<f64> =
        ledger.only_archive("tw.x", 60).iter().rev().map(|point| point.value).collect();
    assert_eq!(values, [1.0, 2.0, 3.0]);
    // Two archives in one file are not a valid archive.
    let one = std::fs::read(&path).unwrap();
    std::fs::write(&path, [one.as_slice(), &one].concat()).unwrap();
    restore(&cluster, &[], &path)
        .assert_code(1)
        .assert_stderr_has("there is more data after the end");
}

/// go-carbon's compressed files are archived and restored as a whole.
#[test]
fn compressed_files_are_archived_and_restored_completely() {
    let cluster = cluster(2).start();
    let content = [b"whisper_compressed".as_slice(), &[7; 500]].concat();
    let owner = cluster.node(cluster.owners("packed.x")[0]);
    owner.put("packed.x", &content);
    let (run, path) = tar(&cluster, &["packed.x"]);
    run.assert_code(0);
    empty(&cluster);
    restore(&cluster, &[], &path).assert_code(0).assert_stderr_has("1 created");
    assert!(std::fs::read(owner.path("packed.x")).unwrap() == content);
    restore(&cluster, &[], &path).assert_code(0).assert_stderr_has("1 unchanged");
    owner.put("packed.x", &[content.as_slice(), b"more"].concat());
    restore(&cluster, &[], &path).assert_code(1).assert_stderr_has("1 compressed");
}
