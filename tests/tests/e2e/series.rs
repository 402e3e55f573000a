//! Tagged files that carbon named by the hash of their series (TAG_HASH_FILENAMES), and the file of
//! `--series`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bucky_placement::SeriesHash;
use bucky_ring::Ring;
use bucky_tests::cluster::assert_untouched;
use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{TestCluster, peer, tree, wait};

use crate::cluster;

/// The message about files that cannot be placed.
const UNPLACEABLE: &str = "named by the hash of an unknown series";

/// Series with tags.
fn series(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("disk.used;host=web{number};mount=/var/é {number}")).collect()
}

fn file_of(series: &str) -> String {
    SeriesHash::of(series).metric_name()
}

/// A file with these series.
fn listed(cluster: &TestCluster, name: &str, series: &[String]) -> PathBuf {
    let path = cluster.path(name);
    let next = cluster.path("next");
    std::fs::write(&next, series.join("\n")).unwrap();
    std::fs::rename(&next, &path).unwrap();
    path
}

/// The numbers of the nodes that own `series` in `ring`.
fn owners(cluster: &TestCluster, ring: &Ring, series: &str) -> Vec<usize> {
    let host = |owner: usize| ring.nodes()[owner].host().to_owned();
    let number = |host: String| cluster.nodes().iter().position(|node| node.host() == host);
    ring.owners(series).map(|owner| number(host(owner)).unwrap()).collect()
}

/// Writes the files of `series` to their owners in `ring`, and returns their contents.
fn lay(cluster: &TestCluster, series: &[String], ring: &Ring) -> BTreeMap<String, Vec<u8>> {
    let mut contents = BTreeMap::new();
    for (number, text) in (0u8..).zip(series) {
        let (name, points) = (file_of(text), minutes(now(), [f64::from(number), 1.0, 2.0]));
        for node in owners(cluster, ring, text) {
            let node = cluster.node(node);
            node.write(&name, &MINUTES, &points);
            contents.insert(text.clone(), std::fs::read(node.path(&name)).unwrap());
        }
    }
    contents
}

/// Checks that each series' file is on its owners, with its content, and nowhere else.
#[track_caller]
fn assert_in_place(cluster: &TestCluster, contents: &BTreeMap<String, Vec<u8>>) {
    cluster.wait_until_no_tombstones();
    for (series, content) in contents {
        let (name, owners) = (file_of(series), owners(cluster, cluster.ring(), series));
        for (number, node) in cluster.nodes().iter().enumerate() {
            assert_eq!(node.has(&name), owners.contains(&number), "{series} on node {number}");
            if node.has(&name) {
                assert!(std::fs::read(node.path(&name)).unwrap() == *content, "{series}");
            }
        }
    }
    cluster.assert_nothing_unexpected();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_cluster_grows_with_the_series_given_to_bucky_and_without_them_says_what_stays() {
    let mut cluster = cluster(3).lay();
    let series = series(60);
    let contents = lay(&cluster, &series, &cluster.ring_of_first(2));
    cluster.start();
    let marks: Vec<_> = cluster.nodes().iter().map(|node| tree::marks(&node.prefix())).collect();
    let no_word = listed(&cluster, "others", &["disk.used;host=other;mount=/".to_owned()]);
    for args in [&["rebalance"][..], &["rebalance", "--series", text(&no_word)]] {
        let run = cluster.bucky(args).assert_code(1).assert_stderr_has(UNPLACEABLE);
        run.assert_stderr_has("except for unplaceable files").assert_stderr_has("60 tagged files");
    }
    cluster.bucky(&["verify"]).assert_code(1).assert_stdout_has(UNPLACEABLE);
    cluster.bucky(&["servers"]).assert_stderr_has(UNPLACEABLE);
    for (node, marks) in cluster.nodes().iter().zip(&marks) {
        assert_untouched(marks, &node.prefix());
    }

    let all = listed(&cluster, "series", &series);
    let misplaced = series.iter().filter(|text| owners(&cluster, cluster.ring(), text) == [2]);
    let misplaced = misplaced.count();
    assert!(misplaced > 5, "{misplaced}");
    let with = ["--series", text(&all)];
    let found = cluster.bucky(&[&["inconsistent"], &with[..]].concat()).assert_code(0);
    assert_eq!(found.stdout.lines().count(), misplaced, "{found}");
    let plan = cluster.bucky(&[&["rebalance", "--no-op"], &with[..]].concat()).assert_code(0);
    plan.assert_stdout_has(&format!("{misplaced} metrics are misplaced"));
    cluster.bucky(&[&["rebalance"], &with[..]].concat()).assert_code(0).assert_stderr_has("Done.");
    assert_in_place(&cluster, &contents);
    cluster
        .bucky(&[&["verify"], &with[..]].concat())
        .assert_code(0)
        .assert_stdout_has("all in place");
    let run = cluster.bucky(&[&["rebalance"], &with[..]].concat()).assert_code(0);
    run.assert_stderr_has("Cluster is balanced.");
}

#[test]
fn with_the_series_at_the_daemons_bucky_needs_none_to_move_them() {
    let mut cluster = cluster(3).lay();
    let series = series(60);
    let contents = lay(&cluster, &series, &cluster.ring_of_first(2));
    let all = listed(&cluster, "series", &series);
    for node in 0..3 {
        cluster.node_mut(node).flag("--series", text(&all));
    }
    cluster.start();
    let status = cluster.get(0, "/v1/status").json();
    assert_eq!(status["inventory"]["series"]["series"], 60, "{status}");
    assert_eq!(status["inventory"]["unplaceable"], 0, "{status}");
    let misplaced = cluster.bucky(&["inconsistent"]).assert_code(0).stdout.lines().count();
    assert!(misplaced > 5, "{misplaced}");
    cluster
        .bucky(&["rebalance"])
        .assert_code(0)
        .assert_stderr_has("Nothing is misplaced any more.");
    assert_in_place(&cluster, &contents);
    cluster.bucky(&["rebalance"]).assert_code(0).assert_stderr_has("Cluster is balanced.");
}

#[test]
fn a_drained_node_is_not_empty_before_its_hashed_files_have_gone() {
    let mut cluster = cluster(3).in_ring(2).lay();
    let series = series(40);
    let contents = lay(&cluster, &series, &cluster.ring_of_first(3));
    cluster.start();
    let (old, all) = (cluster.node(2).addr(), listed(&cluster, "series", &series));
    let left = cluster.node(2).metrics().len();
    assert!(left > 5, "{left}");
    cluster.bucky(&["rebalance", &old]).assert_code(1).assert_stderr_has(UNPLACEABLE);
    cluster.bucky(&["verify", "--drained", &old]).assert_code(1).assert_stdout_has(UNPLACEABLE);
    assert_eq!(cluster.node(2).metrics().len(), left);

    let with = ["--series", text(&all)];
    cluster.bucky(&[&["rebalance", &old], &with[..]].concat()).assert_code(0);
    assert_in_place(&cluster, &contents);
    let verified = cluster.bucky(&[&["verify", "--drained", &old], &with[..]].concat());
    verified.assert_code(0).assert_stdout_has("all in place");
}

#[test]
fn an_owner_that_lacks_a_hashed_file_gets_it_from_the_other() {
    let mut cluster = cluster(3).replication_factor(2).lay();
    let series = series(30);
    let contents = lay(&cluster, &series, cluster.ring());
    let lost = cluster.node(1).metrics();
    assert!(!lost.is_empty());
    lost.iter().for_each(|name| std::fs::remove_file(cluster.node(1).path(name)).unwrap());
    cluster.start();
    let all = listed(&cluster, "series", &series);
    cluster.bucky(&["heal"]).assert_code(1).assert_stderr_has(UNPLACEABLE);
    assert!(cluster.node(1).metrics().is_empty());
    cluster.bucky(&["heal", "--series", text(&all)]).assert_code(0);
    assert_in_place(&cluster, &contents);
}

#[test]
fn a_daemon_reads_the_file_again_when_it_has_changed_and_keeps_the_old_one_if_it_cannot() {
    let mut cluster = cluster(2).lay();
    let series = series(30);
    let contents = lay(&cluster, &series, &cluster.ring_of_first(1));
    let path = listed(&cluster, "series", &series[..10]);
    for node in 0..2 {
        cluster.node_mut(node).flag("--series", text(&path));
    }
    cluster.start();
    let inventory = || cluster.get(0, "/v1/status").json()["inventory"].clone();
    assert_eq!(inventory()["unplaceable"], 20);
    std::fs::write(&path, "nothing of use\n").unwrap();
    let scanned = cluster.get(0, "/v1/metrics?fresh=1&limit=1");
    scanned.assert_status(200);
    let kept = inventory();
    assert_eq!(kept["unplaceable"], 20, "{kept}");
    assert!(kept["series"]["problem"].as_str().unwrap().contains("has no series"), "{kept}");
    cluster.bucky(&["servers"]).assert_stderr_has("it still uses what it read before");

    listed(&cluster, "series", &series);
    cluster.bucky(&["rebalance", "-f"]).assert_code(0).assert_stderr_has("Done.");
    assert_in_place(&cluster, &contents);
    assert_eq!(inventory()["series"]["problem"], serde_json::Value::Null);
}

#[test]
fn a_file_that_is_no_list_of_series_keeps_a_daemon_from_starting_and_bucky_from_running() {
    let mut cluster = cluster(1).lay();
    let path = cluster.path("series.gz");
    std::fs::write(&path, b"\x1f\x8b\x08\x00whatever").unwrap();
    cluster.start();
    let refusal = "compressed with gzip; uncompress it first";
    for command in ["rebalance", "verify", "heal", "inconsistent"] {
        cluster
            .bucky(&[command, "--series", text(&path)])
            .assert_code(2)
            .assert_stderr_has(refusal);
    }
    let node = cluster.node_mut(0);
    node.stop();
    node.flag("--series", text(&path)).start_unready();
    wait::until("the daemon has given up", || node.has_ended());
    assert!(node.log().contains(refusal), "{}", node.log());
}

/// The metric keeps the name from the map; its series only decides its owner.
#[test]
fn a_backfill_to_a_hashed_name_goes_to_the_owner_of_its_series() {
    let mut cluster = cluster(3).lay();
    let series = series(20);
    let old = |number: usize| format!("old.m{number}");
    for number in 0..series.len() {
        cluster.node(0).write(&old(number), &MINUTES, &minutes(now(), [3.0]));
    }
    cluster.start();
    let map: BTreeMap<String, String> =
        (0..).map(old).zip(series.iter().map(|text| file_of(text))).collect();
    let file = cluster.path("map.json");
    std::fs::write(&file, serde_json::to_string(&map).unwrap()).unwrap();
    let refused = cluster.bucky(&["backfill", text(&file)]).assert_code(2);
    refused.assert_stderr_has("give the series with --series FILE");
    let all = listed(&cluster, "series", &series);
    cluster.bucky(&["backfill", text(&file), "--series", text(&all)]).assert_code(0);
    for text in &series {
        let [owner] = owners(&cluster, cluster.ring(), text)[..] else { panic!("one owner") };
        assert!(cluster.node(owner).has(&file_of(text)), "{text}");
    }
}

#[test]
fn locate_shows_where_a_hashed_file_belongs_and_how_a_series_is_stored() {
    let cluster = cluster(3).start();
    let series = series(5);
    let all = listed(&cluster, "series", &series);
    for text_of in &series {
        let name = file_of(text_of);
        let by_series = cluster.bucky(&["locate", text_of]).assert_code(0);
        let by_series = by_series.assert_stderr_has(&name);
        cluster.bucky(&["locate", &name]).assert_code(1);
        let by_hash = cluster.bucky(&["locate", &name, "--series", text(&all)]).assert_code(0);
        assert_eq!(
            by_hash.stdout.strip_prefix(name.as_str()),
            by_series.stdout.strip_prefix(text_of.as_str())
        );
    }
}

/// Carbon's own names for the files.
#[test]
fn names_are_those_of_carbons_own_encoding() {
    let mut series = series(50);
    series.extend(
        ["stats.example.counts;tag1=value1", "a;b=c", "a.b;c=d;e=f.g", "ü;x=~/%\"'\\ ;y="]
            .map(str::to_owned),
    );
    let script = "import sys\nfrom carbon.util import TaggedSeries\nfor line in sys.stdin.buffer:\n    \
                  name = line.decode('utf8').rstrip('\\n')\n    \
                  print(TaggedSeries.encode(name, hash_only=True))\n";
    let mut command = Command::new(peer::python());
    command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut carbon = command.spawn().unwrap();
    carbon.stdin.take().unwrap().write_all((series.join("\n") + "\n").as_bytes()).unwrap();
    let output = carbon.wait_with_output().unwrap();
    assert!(output.status.success());
    let ours: Vec<String> = series.iter().map(|text| file_of(text)).collect();
    let carbons = String::from_utf8(output.stdout).unwrap();
    assert_eq!(carbons.lines().collect::<Vec<_>>(), ours);
}
