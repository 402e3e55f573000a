//! Full, read-only or broken disks, and daemons without free file descriptors. What cannot be made durable is
//! not confirmed, its source stays, the message names the node and the file system, and the rest of the move
//! continues.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bucky_tests::http::Http;
use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{Finished, Injection, Launch, Ledger, TestCluster, soak, tree, wait};
use bucky_whisper::MetricName;
use reqwest::Method;

use crate::cluster;

/// Three nodes. The first one has some metrics of each of the others.
struct Story {
    cluster: TestCluster,
    /// The metrics of node 1, whose disk fails.
    bad: Vec<String>,
    /// The metrics of node 2, whose disk works.
    good: Vec<String>,
    before: Ledger,
}

impl Story {
    /// The daemons run; that of `node` is started with `launch`, over a store that it has served before.
    fn of(count: usize, node: usize, launch: Launch) -> Self {
        Self::with(count, node, launch, |_, _| {})
    }

    /// Like [`Self::of`]; `prepare` is called with the names of node 1 before any daemon starts.
    fn with(
        count: usize,
        node: usize,
        launch: Launch,
        prepare: impl FnOnce(&TestCluster, &[String]),
    ) -> Self {
        let mut cluster = cluster(3).lay();
        let [bad, good] = [(1, "bad"), (2, "good")]
            .map(|(owner, stem)| cluster.names_owned_by(owner, &format!("{stem}.in"), count));
        for name in bad.iter().chain(&good) {
            cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0, 2.0, 3.0]));
        }
        prepare(&cluster, &bad);
        let before = cluster.ledger();
        // The writes of the first start must not fail.
        cluster.node_mut(node).start();
        cluster.node_mut(node).stop();
        cluster.node_mut(node).launch(launch);
        cluster.start();
        Self { cluster, bad, good, before }
    }

    fn rebalance(&self, args: &[&str]) -> Finished {
        self.cluster.bucky(&[&["rebalance"], args].concat())
    }

    /// Checks that all metrics of node 2 have moved, and those of node 1 are still at the source.
    #[track_caller]
    fn assert_only_the_good_moved(&self) {
        self.cluster.wait_until_no_tombstones();
        assert!(self.good.iter().all(|name| self.cluster.node(2).has(name)), "the rest stopped");
        assert_eq!(self.cluster.node(0).metrics(), self.bad, "sources of what was not healed");
    }

    /// Starts `node` normally, and checks that the next run succeeds.
    #[track_caller]
    fn repair_and_finish(mut self, node: usize) {
        self.cluster.node_mut(node).stop();
        self.cluster.node_mut(node).launch(Launch::Plain).start();
        self.rebalance(&[]).assert_code(0);
        self.cluster.assert_all_in_place(&self.before);
    }
}

fn path_of(name: &str) -> PathBuf {
    name.parse::<MetricName>().unwrap().relative_path()
}

fn nothing() -> Vec<PathBuf> {
    Vec::new()
}

/// Makes a call of an owner fail, and checks its message.
fn a_call_that_fails(injection: Injection, args: &[&str], said: &str) {
    let story = Story::of(6, 1, Launch::Injected(injection));
    let owner = story.cluster.node(1);
    let run = story.rebalance(args).assert_code(1);
    let run = run.assert_stderr_has(&format!("{}: {}: ", story.bad[0], owner.addr()));
    let run = run.assert_stderr_has(said).assert_stderr_has("Input/output error");
    run.assert_stderr_has(&owner.prefix().display().to_string()).assert_stderr_has("6 storage");
    assert_eq!(tree::unexpected_files(&owner.prefix()), nothing());
    story.assert_only_the_good_moved();
    story.repair_and_finish(1);
}

#[test]
fn an_owner_that_cannot_sync_a_batch_does_not_answer_for_it() {
    a_call_that_fails(Injection::eio("syncfs"), &[], "sync the file system of");
}

/// The content is durable, but the names may not be. The request is sent once, without a client: a later
/// attempt would find the files in place.
#[test]
fn an_owner_that_cannot_sync_the_names_of_a_batch_does_not_answer_for_it() {
    let story = Story::of(6, 1, Launch::Injected(Injection::eio("syncfs").when("2")));
    let body = serde_json::json!({ "from": story.cluster.node(0).addr(), "metrics": story.bad });
    let lines = story.cluster.post_json(1, "/v1/pull", &body).assert_status(200).json_lines();
    assert_eq!(lines.len(), 6);
    for line in &lines {
        assert_eq!((&line["outcome"], &line["problem"]), (&"failed".into(), &"storage".into()));
        assert!(line["reason"].as_str().unwrap().contains("Input/output error"), "{line}");
    }
    story.repair_and_finish(1);
}

#[test]
fn an_owner_that_cannot_sync_a_single_file_does_not_answer_for_it() {
    a_call_that_fails(Injection::eio("fsync"), &["--batch-metrics", "1"], "sync the new");
}

#[test]
fn an_owner_that_cannot_put_a_file_in_place_does_not_answer_for_it() {
    a_call_that_fails(Injection::eio("linkat,renameat2"), &[], "put the new file in place");
}

/// It could when it was started. When the metrics are sent again, their files have temporary names.
#[test]
fn an_owner_that_cannot_link_files_without_names_any_more_renames_them() {
    let link = Injection::eio("linkat").error("ENOENT").at("bad/in");
    let story = Story::of(6, 1, Launch::Injected(link));
    story.rebalance(&[]).assert_code(0);
    let log = story.cluster.node(1).log();
    assert!(log.contains("from now on new files get a temporary name"), "{log}");
    story.cluster.assert_all_in_place(&story.before);
}

/// ext4 does this after an error (`errors=remount-ro`).
#[test]
fn an_owner_whose_disk_has_become_read_only_is_named_and_the_rest_continues() {
    let tmp = Injection::eio("openat").error("EROFS").at(".bucky/tmp");
    // The first start empties that folder and so opens it; the second start finds the folder's entry by
    // another call.
    let story = Story::of(6, 1, Launch::Injected(tmp.when("2+")));
    let owner = story.cluster.node(1);
    let run = story.rebalance(&[]).assert_code(1).assert_stderr_has("Read-only file system");
    let run = run.assert_stderr_has(&format!("{}: {}: ", story.bad[0], owner.addr()));
    run.assert_stderr_has(&owner.prefix().display().to_string()).assert_stderr_has("6 no space");
    assert_eq!(owner.metrics(), [""; 0]);
    story.assert_only_the_good_moved();
    story.repair_and_finish(1);
}

#[test]
fn an_owner_that_cannot_fill_a_file_does_not_answer_for_it() {
    let fill = Launch::Injected(Injection::eio("pwrite64"));
    let story = Story::with(4, 1, fill, |cluster, bad| {
        for name in bad {
            cluster.node(1).write(name, &MINUTES, &minutes(now(), [9.0]));
        }
    });
    let owner = story.cluster.node(1);
    let run = story.rebalance(&[]).assert_code(1).assert_stderr_has("cannot fill");
    let run = run.assert_stderr_has("Input/output error").assert_stderr_has("4 storage");
    run.assert_stderr_has(&owner.prefix().display().to_string()).assert_stderr_has(&owner.addr());
    story.assert_only_the_good_moved();
    story.repair_and_finish(1);
}

#[test]
fn a_source_that_the_disk_does_not_give_is_named_and_never_deleted() {
    // Node 0 is started before this function knows the names: its plan uses the same rule.
    let mut cluster = cluster(2).lay();
    let names = cluster.names_owned_by(1, "m.in", 12);
    for name in &names {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0, 2.0]));
    }
    let before = cluster.ledger();
    let sick = &names[5];
    cluster.node_mut(0).launch(Launch::Injected(Injection::eio("read").at(path_of(sick))));
    cluster.start();
    let source = cluster.node(0).addr();
    let run = cluster.bucky(&["rebalance"]).assert_code(1);
    let run = run.assert_stderr_has(&format!("{sick}: {source}: cannot read "));
    run.assert_stderr_has("Input/output error").assert_stderr_has("1 source unreadable");
    cluster.wait_until_no_tombstones();
    assert_eq!(cluster.node(0).metrics(), [sick.as_str()]);
    assert!(!cluster.node(1).has(sick));
    cluster.node_mut(0).stop();
    cluster.node_mut(0).launch(Launch::Plain).start();
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

/// Nothing is renamed to a tombstone whose manifest might be lost in a power cut.
#[test]
fn a_source_that_cannot_make_its_manifest_durable_keeps_its_files() {
    for calls in ["fsync", "renameat"] {
        let story = Story::of(3, 0, Launch::Injected(Injection::eio(calls)));
        let source = story.cluster.node(0);
        let run = story
            .rebalance(&[])
            .assert_code(1)
            .assert_stderr_has("6 were copied, but could not be deleted");
        let run = run.assert_stderr_has(&format!("{}: {}: ", story.bad[0], source.addr()));
        let run = run
            .assert_stderr_has("its owners have all of it")
            .assert_stderr_has("Input/output error");
        let said =
            if calls == "fsync" { "tombstones' manifest" } else { "create the tombstone of" };
        let run = run.assert_stderr_has(said);
        if calls == "fsync" {
            run.assert_stderr_has(&source.prefix().display().to_string());
        }
        assert_eq!(source.metrics().len(), 6);
        assert_eq!(tree::tombstones(&source.prefix()), nothing());
        let problems = story.before.compare(&story.cluster.ledger(), story.cluster.ring()).problems;
        assert!(problems.iter().all(|problem| problem.contains("is still on")), "{problems:?}");
        story.repair_and_finish(0);
    }
}

#[test]
fn a_full_disk_fails_its_own_metrics_and_no_others() {
    let mut story = Story::of(30, 1, Launch::OnSmallDisk(100 * 1024));
    let owner = story.cluster.node(1).addr();
    let prefix = story.cluster.node(1).prefix();
    let run = story.rebalance(&["--ignore-free-space", "--batch-metrics", "5", "-w", "1"]);
    let run = run.assert_code(1).assert_stderr_has("No space left on device");
    let named = run.stderr.lines().find(|line| line.contains("No space left")).unwrap();
    let own = Path::new("/").join(prefix.components().skip(4).collect::<PathBuf>());
    assert!(named.contains(&owner) && named.contains(own.to_str().unwrap()), "{named}");
    assert_eq!(tree::unexpected_files(&prefix), nothing());
    story.cluster.wait_until_no_tombstones();
    assert!(story.good.iter().all(|name| story.cluster.node(2).has(name)), "the rest stopped");
    let left = story.cluster.node(0).metrics();
    let came = story.cluster.node(1).metrics();
    assert!(!left.is_empty() && !came.is_empty(), "{} left, {} came", left.len(), came.len());
    for name in &story.bad {
        assert!(left.contains(name) != came.contains(name), "{name}");
    }
    // After space is freed, the metrics that have arrived stay, and the rest arrives.
    for name in &came {
        let content = std::fs::read(story.cluster.node(1).path(name)).unwrap();
        let kept = story.cluster.path("kept").join(path_of(name));
        std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
        std::fs::write(kept, content).unwrap();
    }
    story.cluster.node_mut(1).stop();
    for name in &came {
        let kept = story.cluster.path("kept").join(path_of(name));
        story.cluster.node(1).put(name, &std::fs::read(kept).unwrap());
    }
    story.cluster.node_mut(1).launch(Launch::Plain).start();
    story.rebalance(&[]).assert_code(0);
    story.cluster.assert_all_in_place(&story.before);
}

#[test]
fn a_full_disk_keeps_no_folder_of_a_metric_that_found_no_room() {
    let mut cluster = cluster(2).lay();
    let name = |number| cluster.names_owned_by(1, &format!("bad.folder{number}.in"), 1).remove(0);
    let names: Vec<String> = (0..30).map(name).collect();
    for name in &names {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0, 2.0, 3.0]));
    }
    // The writes of the first start must find space.
    cluster.node_mut(1).start();
    cluster.node_mut(1).stop();
    cluster.node_mut(1).launch(Launch::OnSmallDisk(100 * 1024));
    cluster.start();
    let run = cluster.bucky(&["rebalance", "--ignore-free-space", "--batch-metrics", "5"]);
    run.assert_code(1).assert_stderr_has("No space left on device");
    let came = cluster.node(1).metrics().len();
    assert!((1..names.len()).contains(&came), "{came} came");
    assert_eq!(tree::unexpected_files(&cluster.node(1).prefix()), nothing());
}

#[test]
fn a_daemon_does_not_start_over_a_disk_that_it_cannot_write() {
    let mut cluster = cluster(1).lay();
    cluster.node_mut(0).start();
    cluster.node_mut(0).stop();
    let lock = Injection::eio("openat").error("EROFS").at(".bucky");
    cluster.node_mut(0).launch(Launch::Injected(lock));
    let run = bucky_tests::Running::start(cluster.node(0).command()).finish().assert_code(1);
    run.assert_stderr_has("Read-only file system")
        .assert_stderr_has(&cluster.node(0).prefix().display().to_string());
}

/// For how long an idle daemon must keep the same number of open descriptors.
const STEADY: Duration = Duration::from_millis(300);

/// Waits until the daemon of `node` has closed the connections of the test's own requests, and returns its
/// descriptors.
fn quiet(cluster: &TestCluster, node: usize) -> u64 {
    let node = cluster.node(node);
    wait::until("the daemon has no connection", || node.connections() == 0);
    let (mut last, mut since) = (node.descriptors(), Instant::now());
    wait::until("the daemon opens and closes nothing", || {
        let now = node.descriptors();
        if now != std::mem::replace(&mut last, now) {
            since = Instant::now();
        }
        since.elapsed() > STEADY
    });
    u64::try_from(last).unwrap()
}

/// Without a free descriptor nothing can be accepted, opened or fetched; with a few, some of it can.
#[test]
fn a_daemon_without_descriptors_fails_cleanly_and_recovers() {
    let cases = [(1, 0), (0, 2), (1, 2)];
    for (node, spare) in cases.into_iter().take(soak::rounds(2, 3)) {
        let mut story = Story::of(20, node, Launch::Plain);
        let open = quiet(&story.cluster, node);
        let args = ["rebalance", "-t", "2", "--batch-metrics", "4", "--away-timeout", "2"];
        // The client's own connection is opened first.
        story.cluster.node_mut(node).limit_descriptors(Some(open + spare));
        let run = story.cluster.bucky(&args);
        assert!(matches!(run.code, Some(1 | 3)), "{node} with {spare} to spare: {run}");
        let run = run.assert_stderr_has(&story.cluster.node(node).addr());
        if run.code == Some(1) && node == 1 {
            let others = |name: &String| story.cluster.node(2).has(name);
            assert!(story.good.iter().all(others), "the rest stopped: {run}");
        }
        story.cluster.wait_until_no_tombstones();
        let problems = story.before.compare(&story.cluster.ledger(), story.cluster.ring()).problems;
        let expected = |problem: &String| {
            problem.contains("is not on its owner") || problem.contains("is still on")
        };
        assert!(problems.iter().all(expected), "{problems:?}");
        story.cluster.node_mut(node).limit_descriptors(None);
        story.rebalance(&["-f"]).assert_code(0);
        story.cluster.assert_all_in_place(&story.before);
    }
}

/// A file that can be read may not be on the disk: carbon syncs nothing, and a daemon may be killed before
/// its sync.
#[test]
fn an_owner_that_cannot_sync_confirms_nothing() {
    let mut cluster = cluster(2).lay();
    let name = cluster.name_owned_by(1, "m.seen");
    cluster.node(1).write(&name, &MINUTES, &minutes(now(), [1.0, 2.0]));
    let content = std::fs::read(cluster.node(1).path(&name)).unwrap();
    cluster.node_mut(1).launch(Launch::Injected(Injection::eio("syncfs")));
    cluster.start();
    let digest = bucky_whisper::Digest::of(&content).to_string();
    let body = serde_json::json!({ "metrics": [{ "name": name, "digest": digest }] });
    let url = cluster.url(1, "/v1/confirm");
    let answer = Http::new().send(
        Method::POST,
        &url,
        &[("content-type", "application/json")],
        body.to_string().into_bytes(),
    );
    assert!(answer.is_err(), "it ends in order: {:?}", answer.map(|answer| answer.text()));
}
