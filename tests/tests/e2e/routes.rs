//! The daemon's `/v1` routes, as `curl` gets them.

use std::io::Write;
use std::process::{Command, Stdio};

use bucky_tests::http::Http;
use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{TestCluster, tree, wait};
use serde_json::{Value, json};

use crate::cluster;

const JSON: &str = "application/json";
const TAR: &str = "application/x-tar";

/// One node with these metrics.
fn with_metrics(names: &[&str]) -> TestCluster {
    let mut cluster = cluster(1).lay();
    for name in names {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0, 2.0, 3.0]));
    }
    cluster.start();
    cluster
}

/// Runs GNU tar on a stream.
fn tar(args: &[&str], stream: &[u8]) -> (bool, String) {
    let mut tar = Command::new("tar")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    tar.stdin.take().unwrap().write_all(stream).unwrap();
    let output = tar.wait_with_output().unwrap();
    let text =
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.success(), text)
}

fn archive(cluster: &TestCluster, names: &[&str]) -> Vec<u8> {
    cluster.post_json(0, "/v1/archive", &json!({ "metrics": names })).assert_status(200).body
}

#[test]
fn an_archive_is_a_tar_that_gnu_tar_lists_and_unpacks() {
    let cluster = with_metrics(&["a.b.c", "a.b.d", "x"]);
    let stream = archive(&cluster, &["a.b.c", "x", "not.there"]);
    let (worked, listed) = tar(&["t"], &stream);
    assert!(worked, "{listed}");
    assert_eq!(listed, "a/b/c.wsp\nx.wsp\n.bucky-report.json\n");

    let folder = tempfile::tempdir().unwrap();
    let (worked, said) = tar(&["x", "-C", folder.path().to_str().unwrap()], &stream);
    assert!(worked, "{said}");
    let unpacked = std::fs::read(folder.path().join("a/b/c.wsp")).unwrap();
    assert_eq!(unpacked, std::fs::read(cluster.node(0).path("a.b.c")).unwrap());
    let report = std::fs::read(folder.path().join(".bucky-report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["metrics"], 2);
    assert_eq!(report["left_out"][0]["metric"], "not.there");
    assert_eq!(report["left_out"][0]["problem"], "source_missing");
}

#[test]
fn an_archive_can_be_asked_for_by_expression_with_get() {
    let cluster = with_metrics(&["a.b.c", "a.b.d", "x"]);
    let answer = cluster.get(0, "/v1/archive?regex=%5Ea%5C.").assert_status(200);
    assert_eq!(tar(&["t"], &answer.body).1, "a/b/c.wsp\na/b/d.wsp\n.bucky-report.json\n");
    let answer = cluster.get(0, "/v1/archive?prefix=x").assert_status(200);
    assert_eq!(tar(&["t"], &answer.body).1, "x.wsp\n.bucky-report.json\n");
    // Leaving out the expression must not mean everything.
    cluster.get(0, "/v1/archive?regex=").assert_status(400);
}

/// Bar 6.
#[test]
fn a_stream_that_was_cut_in_the_middle_is_refused_and_nothing_is_half_made() {
    let source = with_metrics(&["a.one", "b.two", "c.three"]);
    let stream = archive(&source, &["a.one", "b.two", "c.three"]);
    for cut in [100, 600, 1024, 2000, stream.len() / 3, stream.len() / 2, stream.len() - 2000] {
        let target = cluster(1).start();
        let url = target.url(0, "/v1/heal");
        let answer = Http::new().post(&url, TAR, &stream[..cut]);
        let lines = answer.json_lines();
        let error = lines.last().unwrap();
        // Before the end of the first header, the stream cannot be recognised as a tar.
        let code = if cut < 512 { "bad_archive" } else { "cut_off" };
        assert_eq!(error["error"]["code"], code, "cut at {cut}: {}", answer.text());
        if answer.status == 200 {
            // The complete members before the cut were accepted, each with its own line.
            assert!(lines.len() > 1, "cut at {cut}: {}", answer.text());
        } else {
            assert_eq!(answer.status, 400, "cut at {cut}");
        }
        for name in target.node(0).metrics() {
            let there = std::fs::read(target.node(0).path(&name)).unwrap();
            assert_eq!(
                there,
                std::fs::read(source.node(0).path(&name)).unwrap(),
                "{name}, cut at {cut}"
            );
            let has_line = lines.iter().any(|line| line["metric"] == name.as_str());
            assert!(has_line, "{name} came without a word, cut at {cut}");
        }
        target.assert_nothing_unexpected();
    }
}

/// Bar 6. The Go daemon makes a metric of any upload (D45), after destroying the old file (D3).
#[test]
fn d45_a_body_that_is_no_tar_or_no_whisper_file_is_refused() {
    let cluster = with_metrics(&["a.one"]);
    let marks = tree::marks(&cluster.node(0).prefix());
    let url = cluster.url(0, "/v1/heal");
    for body in [&b""[..], b"hello", &[7; 5000], b"{\"metrics\": []}"] {
        let answer = Http::new().post(&url, TAR, body).assert_status(400);
        assert_eq!(answer.json()["error"]["code"], "bad_archive", "{}", answer.text());
        assert!(
            answer.json()["error"]["message"].as_str().unwrap().contains("tar"),
            "{}",
            answer.text()
        );
    }
    bucky_tests::cluster::assert_untouched(&marks, &cluster.node(0).prefix());
    // A tar of something else gives a line that refuses it.
    let junk =
        cluster_tar(&[("b/two.wsp", b"no Whisper file, but longer than its header would be")]);
    let lines = Http::new().post(&url, TAR, junk).json_lines();
    assert_eq!(lines[0]["outcome"], "refused", "{lines:?}");
    assert_eq!(lines[0]["problem"], "source_damaged", "{lines:?}");
    assert_eq!(cluster.node(0).metrics(), ["a.one"]);
    cluster.assert_nothing_unexpected();
}

/// A tar that tar(1) has created from these files; it has no report.
fn cluster_tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let mut tar = Command::new("tar");
    tar.args(["c", "-C"]).arg(folder.path()).args(files.iter().map(|(path, _)| path));
    let output = tar.output().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// Bar 6, and D5: the Go daemon's DELETE and PUT leave the prefix.
#[test]
fn d5_names_that_lead_out_of_the_prefix_are_refused() {
    let cluster = with_metrics(&["a.one"]);
    let outside = cluster.node(0).prefix().parent().unwrap().join("victim.wsp");
    std::fs::write(&outside, MINUTES.empty_file()).unwrap();
    let marks = tree::marks(&cluster.node(0).prefix());
    for name in
        ["../victim", "a/../../victim", "..", ".hidden", "a..b", "", "a.one/", "/etc/passwd"]
    {
        for (route, body) in [
            ("/v1/archive", json!({ "metrics": [name] })),
            ("/v1/pull", json!({ "from": cluster.node(0).addr(), "metrics": [name] })),
            (
                "/v1/delete",
                json!({ "metrics": [{ "name": name, "digest": "0".repeat(32), "owners": [] }] }),
            ),
            ("/v1/confirm", json!({ "metrics": [{ "name": name, "slots": [] }] })),
            ("/v1/digests", json!({ "metrics": [name], "now": 1, "settled": 1 })),
            (
                "/v1/points",
                json!({ "metric": name, "seconds_per_point": 1, "first": 1, "slots": 1, "now": 1,
                    "latest": 1 }),
            ),
        ] {
            let answer = cluster.post_json(0, route, &body).assert_status(400);
            let text = answer.text();
            assert_eq!(answer.json()["error"]["code"], "bad_request", "{route} {name:?}: {text}");
        }
    }
    let whole = MINUTES.empty_file();
    let evil = evil_tar("../victim.wsp", &whole);
    let answer = Http::new().post(&cluster.url(0, "/v1/heal"), TAR, evil).assert_status(400);
    assert!(answer.text().contains("../victim.wsp"), "{}", answer.text());
    bucky_tests::cluster::assert_untouched(&marks, &cluster.node(0).prefix());
    assert_eq!(std::fs::read(outside).unwrap(), whole);
}

/// A tar of one file with any path.
fn evil_tar(path: &str, content: &[u8]) -> Vec<u8> {
    let mut tar = cluster_tar(&[("xxxxxxxxxxxxx", content)]);
    tar[..path.len()].copy_from_slice(path.as_bytes());
    // The checksum of the header, with its own field as spaces.
    tar[148..156].fill(b' ');
    let sum: u32 = tar[..512].iter().map(|byte| u32::from(*byte)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar
}

#[test]
fn a_delete_needs_the_digest_of_the_stored_file() {
    let cluster = with_metrics(&["a.one"]);
    cluster.node(0).write("a.two", &MINUTES, &minutes(now(), [9.0]));
    let stream = archive(&cluster, &["a.one"]);
    let healed = Http::new().post(&cluster.url(0, "/v1/heal"), TAR, stream).json_lines();
    assert_eq!(healed[0]["outcome"], "unchanged", "{healed:?}");
    let digest = healed[0]["digest"].as_str().unwrap();
    let owners = json!([cluster.node(0).addr()]);
    let delete = |name: &str, digest: &str| {
        let body = json!({ "metrics": [{ "name": name, "digest": digest, "owners": owners }] });
        cluster.post_json(0, "/v1/delete", &body).assert_status(200).json_lines().remove(0)
    };
    assert_eq!(delete("a.one", &"0".repeat(32))["outcome"], "changed");
    assert_eq!(delete("a.two", digest)["outcome"], "changed");
    assert_eq!(delete("no.such", digest)["outcome"], "missing");
    assert_eq!(cluster.node(0).metrics(), ["a.one", "a.two"]);
}

/// For any request: if the only copy would be lost, the daemon keeps it (D29).
#[test]
fn d29_a_delete_whose_owner_is_the_store_itself_never_loses_the_file() {
    let cluster = with_metrics(&["a.one"]);
    let content = std::fs::read(cluster.node(0).path("a.one")).unwrap();
    let stream = archive(&cluster, &["a.one"]);
    let healed = Http::new().post(&cluster.url(0, "/v1/heal"), TAR, stream).json_lines();
    let alias = cluster.alias_of(0);
    for owners in [json!([cluster.node(0).addr()]), json!([alias.addr().to_string()]), json!([])] {
        let body = json!({ "metrics": [{ "name": "a.one", "digest": healed[0]["digest"], "owners": owners }] });
        let answer = cluster.post_json(0, "/v1/delete", &body);
        cluster.wait_until_no_tombstones();
        assert!(cluster.node(0).has("a.one"), "{owners}: {}", answer.text());
        assert_eq!(std::fs::read(cluster.node(0).path("a.one")).unwrap(), content);
    }
}

/// The Go tool's inventory becomes outdated with each delete.
#[test]
fn the_inventory_stays_true_after_a_move_without_a_scan() {
    let mut cluster = cluster(3).lay();
    cluster.scatter(200, &cluster.ring_of_first(2));
    cluster.start();
    let scans = |cluster: &TestCluster| -> Vec<usize> {
        cluster.nodes().iter().map(|node| node.log().matches("scan ended").count()).collect()
    };
    let before = scans(&cluster);
    cluster.bucky(&["rebalance"]).assert_code(0);
    for (number, node) in cluster.nodes().iter().enumerate() {
        let listed = cluster.get(number, "/v1/metrics").assert_status(200).text();
        let listed: Vec<&str> = listed.lines().collect();
        assert_eq!(listed, node.metrics(), "{}", node.host());
        let count = cluster.get(number, "/v1/metrics?count=1").json();
        assert_eq!(count["metrics"], listed.len());
        assert_eq!(cluster.get(number, "/v1/misplaced").assert_status(200).text(), "");
    }
    assert_eq!(scans(&cluster), before, "no node has scanned its files again");
}

/// The Go daemon answers 202 forever if a store is empty (D37).
#[test]
fn d37_until_the_first_scan_has_ended_the_lists_say_so_and_an_empty_store_is_soon_scanned() {
    let mut cluster = cluster(2).lay();
    let prefix = cluster.node(0).prefix();
    for folder in 0..60 {
        let folder = prefix.join(format!("many/f{folder}"));
        std::fs::create_dir_all(&folder).unwrap();
        for file in 0..100 {
            std::fs::write(folder.join(format!("m{file}.wsp")), b"").unwrap();
        }
    }
    let (v1, go) = (cluster.url(0, "/v1/metrics?count=1"), cluster.url(0, "/metrics"));
    let http = Http::new();
    // The scan may be over before it can be observed. Then it is started again.
    wait::until("a daemon is met in its first scan", || {
        cluster.node_mut(0).start_unready();
        let first = wait::until_some("the daemon answers", || http.try_get(&v1));
        let listed = http.get(&go);
        let was_unready = first.status == 503 && listed.status == 202;
        if first.status == 503 {
            assert_eq!(first.json()["error"]["code"], "not_ready");
        }
        wait::until("the first scan has ended", || http.get(&v1).status == 200);
        assert_eq!(http.get(&v1).json()["metrics"], 6000);
        assert_eq!(http.get(&go).assert_status(200).json().as_array().unwrap().len(), 6000);
        assert!(cluster.node_mut(0).stop().success());
        was_unready
    });
    cluster.node_mut(1).start();
    let answer = cluster.get(1, "/metrics").assert_status(200);
    assert_eq!(answer.json(), json!([]));
}

#[test]
fn unintelligible_requests_are_refused_with_a_message_and_change_nothing() {
    let cluster = with_metrics(&["a.one"]);
    let marks = tree::marks(&cluster.node(0).prefix());
    for path in [
        "/v1/metrics?regex=(",
        "/v1/metrics?regex=",
        "/v1/metrics?glob=[",
        "/v1/metrics?no-such=1",
        "/v1/metrics?limit=many",
        "/v1/misplaced?count=2",
    ] {
        let answer = cluster.get(0, path).assert_status(400);
        assert_eq!(answer.json()["error"]["code"], "bad_request", "{path}");
        assert!(!answer.json()["error"]["message"].as_str().unwrap().is_empty(), "{path}");
    }
    for route in
        ["/v1/archive", "/v1/pull", "/v1/confirm", "/v1/digests", "/v1/points", "/v1/delete"]
    {
        for body in ["", "{", "[]", "{\"metrics\": 1}"] {
            let answer = Http::new().post(&cluster.url(0, route), JSON, body).assert_status(400);
            assert_eq!(answer.json()["error"]["code"], "bad_request", "{route} {body}");
        }
    }
    bucky_tests::cluster::assert_untouched(&marks, &cluster.node(0).prefix());
}
