//! Daemons and processes that hang or are slow: each one meets a time limit, is tried again if that helps,
//! and is named. The others continue, and only what was sent is stored.

use std::fs::File;
use std::time::Duration;

use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{Fault, Finished, Ledger, TestCluster, soak, tree, wait};
use bucky_whisper::{lock_exclusive, lock_shared};

use crate::cluster;

/// How many bytes pass before an archive's answer is changed: its head and the first of its files.
const FIRST_FILES: usize = 30_000;
/// The same for only its head and a few bytes of the first file.
const HEAD: usize = 200;
/// For all requests.
const ALWAYS: usize = usize::MAX;
/// The limits of the client in these tests: longer than those of the daemons, so that they tell it which node
/// they waited for, even on a busy machine. Archives are not compressed, whatever the daemons measure: the
/// faults are at fixed offsets.
const LIMITS: [&str; 8] =
    ["-t", "2", "--idle-timeout", "4", "--away-timeout", "2", "--encoding", "identity"];

/// Three nodes behind gates. Node 0 has metrics of both others. Its metrics of node 1 are `sick`, because the
/// way to that node fails.
struct Story {
    cluster: TestCluster,
    sick: Vec<String>,
    well: Vec<String>,
    before: Ledger,
}

impl Story {
    fn of(count: usize) -> Self {
        let plan = cluster(3).gate(0).gate(1).gate(2);
        let mut cluster = plan.flag("--peer-timeout", "1").flag("--idle-timeout", "1").lay();
        let [sick, well] = [(1, "sick.in"), (2, "well.in")]
            .map(|(owner, stem)| cluster.names_owned_by(owner, stem, count));
        // So that each of the two has a source of its own.
        for (node, names) in [(0, &sick), (1, &well)] {
            for name in names {
                cluster.node(node).write(name, &MINUTES, &minutes(now(), [1.0, 2.0, 3.0]));
            }
        }
        cluster.start();
        let before = cluster.ledger();
        Self { cluster, sick, well, before }
    }

    fn rebalance(&self) -> Finished {
        self.cluster.bucky(&[&["rebalance"], &LIMITS[..]].concat())
    }

    /// Checks that the `well` metrics have moved, and that the `sick` ones are complete at their source.
    #[track_caller]
    fn assert_the_rest_went_on(&self) {
        assert!(self.well.iter().all(|name| self.cluster.node(2).has(name)), "the rest stopped");
        self.assert_nothing_wrong();
    }

    /// Checks that no point is lost or has another value, wherever its metric is.
    #[track_caller]
    fn assert_nothing_wrong(&self) {
        let findings = self.before.compare(&self.cluster.ledger(), self.cluster.ring());
        let is_only_not_moved = |problem: &&String| {
            problem.contains("is not on its owner") || problem.contains("is still on")
        };
        let problems: Vec<_> =
            findings.problems.iter().filter(|problem| !is_only_not_moved(problem)).collect();
        assert!(problems.is_empty(), "{problems:?}");
        for name in &self.sick {
            let places = [0, 1].map(|node| self.cluster.node(node).has(name));
            assert!(places.contains(&true), "{name} is nowhere");
        }
    }

    /// After the repair, the next run succeeds.
    #[track_caller]
    fn finish(self) {
        for node in self.cluster.nodes() {
            node.gate().stop_spoiling();
        }
        self.cluster.bucky(&["rebalance"]).assert_code(0);
        self.cluster.assert_all_in_place(&self.before);
    }
}

/// Changes only the next answer: the second attempt succeeds.
#[track_caller]
fn once(route: &str, node: usize, fault: Fault) {
    let story = Story::of(3);
    story.cluster.node(node).gate().spoil(route, fault.clone(), 1);
    let run = story.rebalance();
    assert_eq!(run.code, Some(0), "{route} of node {node} once {fault:?}: {run}");
    assert_eq!(story.cluster.node(node).gate().spoiled(), 1, "{route} of node {node}");
    story.cluster.assert_all_in_place(&story.before);
}

/// Changes every answer: the run ends by itself, names the node and says what happened.
#[track_caller]
fn always(route: &str, node: usize, fault: Fault, said: &str) -> Duration {
    let story = Story::of(2);
    story.cluster.node(node).gate().spoil(route, fault, ALWAYS);
    let run = story.rebalance().assert_code(1).assert_stderr_has(said);
    let run = run.assert_stderr_has(&story.cluster.node(node).addr());
    let took = run.took;
    story.assert_the_rest_went_on();
    story.finish();
    took
}

#[test]
fn a_source_that_never_sends_is_given_up_and_named() {
    always("POST /v1/archive", 0, Fault::StallAfter(0), "did not answer /v1/archive within 1 s");
    always("POST /v1/archive", 0, Fault::StallAfter(HEAD), "bytes in 1 s");
}

#[test]
fn a_source_that_sends_a_byte_now_and_then_is_given_up_and_named() {
    let pause = Duration::from_millis(100);
    let head = Fault::Dribble { after: 0, pause };
    always("POST /v1/archive", 0, head, "did not answer /v1/archive within 1 s");
    let body = Fault::Dribble { after: HEAD, pause };
    always("POST /v1/archive", 0, body, "bytes in 1 s");
}

#[test]
fn a_copy_that_fails_once_is_tried_again_and_succeeds() {
    let dribble = Fault::Dribble { after: HEAD, pause: Duration::from_millis(100) };
    for (route, node, fault) in [
        ("POST /v1/archive", 0, Fault::StallAfter(0)),
        ("POST /v1/archive", 0, dribble.clone()),
        ("POST /v1/archive", 0, Fault::BreakAfter(FIRST_FILES)),
        ("POST /v1/pull", 1, Fault::StallAfter(0)),
        ("POST /v1/pull", 1, Fault::StallAfter(150)),
        ("POST /v1/pull", 1, dribble.clone()),
        ("POST /v1/pull", 1, Fault::BreakAfter(150)),
        ("POST /v1/delete", 0, Fault::StallAfter(0)),
        ("POST /v1/delete", 0, dribble.clone()),
        ("POST /v1/delete", 0, Fault::BreakAfter(150)),
        ("GET /v1/misplaced?host", 0, Fault::BreakAfter(150)),
    ] {
        once(route, node, fault);
    }
}

/// Each attempt brings some of the metrics: at the end all of them have arrived.
#[test]
fn a_source_that_always_breaks_off_is_asked_until_it_has_sent_all() {
    for fault in [Fault::BreakAfter(2 * FIRST_FILES), Fault::StallAfter(2 * FIRST_FILES)] {
        let story = Story::of(8);
        story.cluster.node(0).gate().spoil("POST /v1/archive", fault, ALWAYS);
        story.rebalance().assert_code(0);
        assert!(story.cluster.node(0).gate().spoiled() > 1);
        story.cluster.assert_all_in_place(&story.before);
    }
}

#[test]
fn an_owner_that_never_answers_is_given_up_and_named() {
    always("POST /v1/pull", 1, Fault::StallAfter(0), "did not answer /v1/pull within");
    let dribble = Fault::Dribble { after: 150, pause: Duration::from_millis(100) };
    always("POST /v1/pull", 1, dribble, "bytes in 4 s");
}

#[test]
fn a_source_that_never_answers_a_delete_is_given_up_and_named() {
    let story = Story::of(4);
    story.cluster.node(0).gate().spoil("POST /v1/delete", Fault::StallAfter(0), ALWAYS);
    let run = story.rebalance();
    // It received the request and deleted the metrics, even though its answers were lost.
    let run = run.assert_code(1).assert_stderr_has("did not answer /v1/delete within 4 s");
    run.assert_stderr_has(&story.cluster.node(0).addr())
        .assert_stderr_has("its owners have all of it");
    story.assert_the_rest_went_on();
    story.finish();
}

/// First one answer has a flipped bit, and then every answer.
fn a_bit_flipped(text: &[u8], skip: usize, kind: &str) {
    let flip = Fault::FlipBehind { text: text.to_vec(), skip };
    once("POST /v1/archive", 0, flip.clone());
    let story = Story::of(6);
    story.cluster.node(0).gate().spoil("POST /v1/archive", flip, ALWAYS);
    let run = story.rebalance();
    assert!(story.cluster.node(0).gate().spoiled() > 1, "{run}");
    run.assert_code(1).assert_stderr_has(kind);
    story.assert_the_rest_went_on();
    story.finish();
}

#[test]
fn a_flipped_bit_of_a_files_content_is_caught_by_its_digest() {
    // The tar header that ends a name is 512 bytes; the first point is in the first kilobytes after it.
    a_bit_flipped(b".wsp", 512 + 2000, "damaged on the way");
}

#[test]
fn a_flipped_bit_of_a_digest_is_caught_by_the_content() {
    a_bit_flipped(b"user.bucky.xxh3=", 5, "damaged on the way");
}

#[test]
fn a_flipped_bit_of_a_header_is_caught_by_its_checksum() {
    a_bit_flipped(b".wsp", 110, "reading the archive stream failed after");
}

/// If any bit of a source's data is flipped, nothing wrong is stored, and the next attempt brings everything.
#[test]
fn a_bit_flipped_anywhere_stores_nothing_wrong() {
    let rounds = soak::rounds(6, 200);
    let seed = soak::seed("flipped bits");
    let story = Story::of(2);
    let names = |round: usize| {
        let long = "long".repeat(30);
        story.cluster.names_owned_by(1, &format!("flip{round}.{long}"), 5)
    };
    story.rebalance().assert_code(0);
    let mut points = 0;
    for round in 0..rounds {
        for (number, name) in names(round).iter().enumerate() {
            let value = f64::from(u32::try_from(number).unwrap());
            story.cluster.node(0).write(name, &MINUTES, &minutes(now(), [value, 2.0, 3.0]));
        }
        let before = story.cluster.ledger();
        // The step covers every part of the stream over time.
        let at = (usize::try_from(seed % 90_000).unwrap() + round * 7_919) % 90_000;
        story.cluster.node(0).gate().spoil("POST /v1/archive", Fault::Flip(at), 1);
        let run = story.cluster.bucky(&[&["rebalance", "-f"], &LIMITS[..]].concat());
        story.cluster.node(0).gate().stop_spoiling();
        assert_eq!(run.code, Some(0), "byte {at}: {run}");
        story.cluster.assert_all_in_place(&before);
        points += before.points();
    }
    soak::record("flipped bits", rounds, "bits flipped on the way", points);
}

/// With a limit for each lock only, a batch of locked files would wait for each of them.
#[test]
fn many_locks_that_are_never_given_back_hold_no_batch_up() {
    let mut cluster = cluster(2).flag("--lock-timeout", "0.4").flag("--idle-timeout", "2").lay();
    let held = cluster.names_owned_by(1, "a.held", 120);
    let sound = cluster.names_owned_by(1, "b.sound", 20);
    for name in held.iter().chain(&sound) {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0, 2.0]));
    }
    // Half of them at the source, half at the owner, which has a copy to fill.
    let (at_source, at_owner) = held.split_at(60);
    for name in at_owner {
        cluster.node(1).write(name, &MINUTES, &minutes(now(), [9.0]));
    }
    let lock = |node: usize, name: &String| {
        let file = File::open(cluster.node(node).path(name)).unwrap();
        lock_exclusive(&file, Duration::from_secs(1)).unwrap();
        file
    };
    let locks: Vec<File> = at_source
        .iter()
        .map(|name| lock(0, name))
        .chain(at_owner.iter().map(|name| lock(1, name)))
        .collect();
    cluster.start();
    let before = cluster.ledger();
    let run = cluster.bucky(&["rebalance", "--expect-shuffle"]).assert_code(1);
    // Waiting for one lock after the other would take 48 s, in each of four attempts.
    assert!(run.took < Duration::from_secs(90), "{run}");
    let run = run.assert_stderr_has("120 busy").assert_stderr_has("holds the lock of");
    run.assert_stderr_has(&format!("{}: {}: ", held[0], cluster.node(0).addr()));
    assert!(sound.iter().all(|name| cluster.node(1).has(name) && !cluster.node(0).has(name)));
    drop(locks);
    cluster.bucky(&["rebalance", "--expect-shuffle"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

#[test]
fn a_lock_on_a_tombstone_holds_only_that_tombstone_back() {
    // Long enough to take the lock before the tombstone is read.
    let mut cluster = cluster(2).flag("--lock-timeout", "0.3").flag("--tombstone-grace", "8").lay();
    let names = cluster.names_owned_by(1, "m", 10);
    for name in &names {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0, 2.0]));
    }
    cluster.start();
    let before = cluster.ledger();
    let held = File::open(cluster.node(0).path(&names[3])).unwrap();
    cluster.bucky(&["rebalance"]).assert_code(0);
    lock_exclusive(&held, Duration::from_secs(1)).unwrap();
    let left = || {
        let tombstones = tree::tombstones(&cluster.node(0).prefix());
        tombstones.iter().filter(|path| !path.ends_with("manifest")).count()
    };
    wait::until("the other tombstones are gone", || left() == 1);
    let reported = || {
        let status = cluster.get(0, "/v1/status").json();
        let reason = status["tombstones"]["held"][0]["reason"].as_str()?.to_owned();
        reason.contains("holds the lock").then_some(())
    };
    wait::until_some("the status says who holds it back", reported);
    assert_eq!(left(), 1);
    drop(held);
    cluster.assert_all_in_place(&before);
}

#[test]
fn the_go_tools_routes_do_not_wait_for_a_lock_for_ever() {
    let mut cluster = cluster(1).flag("--lock-timeout", "0.3").lay();
    let name = cluster.name_owned_by(0, "m");
    cluster.node(0).write(&name, &MINUTES, &minutes(now(), [1.0]));
    let content = std::fs::read(cluster.node(0).path(&name)).unwrap();
    let held = File::open(cluster.node(0).path(&name)).unwrap();
    cluster.start();
    let path = format!("/metrics/{name}");
    let http = bucky_tests::http::Http::new();
    let stat =
        format!(r#"{{"Name":"x","Size":{},"Mode":420,"ModTime":1,"Encoding":0}}"#, content.len());
    let post = || {
        let headers = [("content-type", "application/octet-stream"), ("x-metric-stat", &stat)];
        http.send("POST".parse().unwrap(), &cluster.url(0, &path), &headers, content.clone())
    };
    lock_exclusive(&held, Duration::from_secs(1)).unwrap();
    let text = cluster.get(0, &path).assert_status(503).text();
    assert!(text.contains("holds the lock"), "{text}");
    post().unwrap().assert_status(503);
    rustix::fs::flock(&held, rustix::fs::FlockOperation::Unlock).unwrap();
    // A reader's lock stops only writers.
    lock_shared(&held, Duration::from_secs(1)).unwrap();
    cluster.get(0, &path).assert_status(200);
    post().unwrap().assert_status(503);
}
