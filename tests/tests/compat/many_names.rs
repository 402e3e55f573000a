//! A hundred thousand names in the commands that take lists: how much memory and how many requests they need.

use std::time::Duration;

use bucky_tests::{Finished, GoDaemon, Running, TestCluster};

use crate::{PROGRAMS, cluster};

const NAMES: usize = 100_000;
/// One in this many names is on the node with a daemon of the Go tool.
const GO_EACH: usize = 50;
/// The limit for the client's memory.
const MEMORY_MIB: u64 = 100;
/// How many requests a reading command may send to one of our daemons. A round trip for each metric would
/// need some 49,000. The test counts requests instead of seconds, because a slow machine needs more seconds.
const FEW: usize = 1_000;
/// The smallest Whisper file: one archive with one point.
const SMALLEST: [u8; 40] = {
    let mut file = [0; 40];
    (file[3], file[7], file[15], file[19], file[23], file[27]) = (1, 60, 1, 28, 60, 1);
    file
};

fn name(number: usize) -> String {
    format!("many.instances.group{:03}.requests{:03}", number / 1000, number % 1000)
}

#[test]
fn a_hundred_thousand_names_keep_the_client_small() {
    let mut cluster = cluster(3).lay();
    lay(&cluster);
    for own in [0, 1] {
        cluster.node_mut(own).start();
    }
    let go = GoDaemon::instead_of(&cluster, 2);
    let run = with_names(&cluster, "list -", FEW);
    assert_eq!(run.stdout.lines().count(), NAMES);
    assert!(run.stdout.lines().is_sorted());
    let run = with_names(&cluster, "stat -w 8 -", FEW);
    assert_eq!(run.stdout.lines().count(), NAMES);
    assert!(run.stdout.lines().all(|line| line.starts_with("0.04KiB\t")), "{}", run.stderr);
    let looked = go.requests().iter().filter(|request| request.starts_with("HEAD ")).count();
    assert_eq!(looked, NAMES / GO_EACH);
    // Each metric is deleted by exactly one request.
    let run = with_names(&cluster, "delete -w 8 -noconfirm -", NAMES / 2 + FEW);
    run.assert_stderr_has("Delete operation complete.\n");
    for node in cluster.nodes() {
        assert_eq!(node.metrics(), ["keep.me"], "{}", node.host());
    }
}

/// Writes the names to two nodes of ours, some of them to one of the Go tool's, and to each node a metric
/// that is not deleted.
fn lay(cluster: &TestCluster) {
    let mut list = Vec::new();
    for number in 0..NAMES {
        let name = name(number);
        let node = cluster.node(if number.is_multiple_of(GO_EACH) { 2 } else { number % 2 });
        let path = node.path(&name);
        let group = path.parent().unwrap();
        // A file for each group of a node; the others of the group are links to it, which is faster.
        let first = group.join(".first");
        if !first.exists() {
            std::fs::create_dir_all(group).unwrap();
            std::fs::write(&first, SMALLEST).unwrap();
        }
        std::fs::hard_link(&first, path).unwrap();
        list.push(name);
    }
    for node in cluster.nodes() {
        node.put("keep.me", &SMALLEST);
    }
    std::fs::write(cluster.path("names"), serde_json::to_vec(&list).unwrap()).unwrap();
}

/// Runs a command with all names on its standard input, and checks its memory and its requests.
fn with_names(cluster: &TestCluster, words: &str, most_requests: usize) -> Finished {
    let (bucky, names) = (PROGRAMS.bucky, cluster.path("names"));
    let addr = cluster.node(0).addr();
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &format!("exec {bucky} {words} -h {addr} < {}", names.display())]);
    let before = asked(cluster);
    let (mut running, mut peak) = (Running::start(shell), 0);
    while running.is_running() {
        peak = running.peak_mib().unwrap_or(0).max(peak);
        std::thread::sleep(Duration::from_millis(5));
    }
    let run = running.finish();
    let requests: Vec<usize> =
        asked(cluster).iter().zip(before).map(|(after, before)| after - before).collect();
    print(&format!("{words}: at most {peak} MiB, {:?}, {requests:?} requests", run.took));
    assert!(peak > 5 && peak < MEMORY_MIB, "{words}: {peak} MiB");
    assert!(
        requests.iter().all(|count| (1..=most_requests).contains(count)),
        "{words}: {requests:?}"
    );
    assert_eq!(run.code, Some(0), "{words}: {}", run.stderr);
    run
}

/// How many requests each of our daemons got, by its log.
fn asked(cluster: &TestCluster) -> [usize; 2] {
    [0, 1].map(|node| cluster.node(node).log().matches(" HTTP/1.1\" ").count())
}

#[expect(
    clippy::print_stderr,
    reason = "the figures are shown with --nocapture, or where the test fails"
)]
fn print(line: &str) {
    eprintln!("{line}");
}
