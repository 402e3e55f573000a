//! `bucky verify` when the nodes read their own files: its network traffic, and that it finds everything that
//! is wrong.

use bucky_tests::gate::Fault;
use bucky_tests::metrics::{self, MINUTES, minutes, now};
use bucky_tests::{TestCluster, soak};

use crate::cluster;

/// How many bytes the nodes have answered so far.
fn answered_bytes(cluster: &TestCluster) -> u64 {
    cluster.nodes().iter().map(|node| node.gate().answered_bytes()).sum()
}

/// Two copies of each metric, and a misplaced one of some.
fn copies(count: usize) -> (TestCluster, Vec<String>, u64) {
    let mut cluster = cluster(3).replication_factor(2).gate(0).gate(1).gate(2).lay();
    let names = cluster.names_owned_by(0, "app", count);
    let mut bytes = 0;
    for name in &names {
        for owner in cluster.owners(name) {
            cluster.node(owner).write(name, &MINUTES, &minutes(now(), [1.0, 2.0, 3.0]));
        }
        let content = std::fs::read(cluster.node(0).path(name)).unwrap();
        bytes += 2 * content.len() as u64;
        let second = cluster.owners(name)[1];
        cluster.node(second).put(name, &content);
    }
    cluster.start();
    (cluster, names, bytes)
}

#[test]
fn copies_that_agree_do_not_cross_the_network_and_those_that_differ_do() {
    let (cluster, names, bytes) = copies(soak::rounds(60, 300));
    let before = answered_bytes(&cluster);
    cluster.bucky(&["verify", "--strict"]).assert_code(0).assert_stdout_has("all in place");
    let crossed = answered_bytes(&cluster) - before;
    assert!(crossed < bytes / 20, "{crossed} of {bytes} bytes");

    // A point from an hour ago that the second owner lacks, and one from a moment ago.
    let newest = minutes(now(), [9.0]);
    metrics::update(&cluster.node(0).path(&names[3]), &newest);
    cluster.bucky(&["verify", "--strict"]).assert_code(0);
    metrics::update(&cluster.node(0).path(&names[7]), &minutes(now() - 3600, [9.0]));
    let run = cluster.bucky(&["verify", "--strict"]).assert_code(1);
    run.assert_stdout_has(&format!("{}: lacks 1 point", names[7]));
}

/// A flipped bit in an answer causes a false difference, or an answer that cannot be parsed; never a false
/// agreement.
#[test]
fn an_answer_that_was_damaged_on_the_way_hides_no_difference() {
    let (cluster, names, _) = copies(20);
    metrics::update(&cluster.node(0).path(&names[7]), &minutes(now() - 3600, [9.0]));
    for at in (0..2_000).step_by(soak::rounds(397, 37)) {
        cluster.node(0).gate().spoil("POST /v1/digests", Fault::Flip(at), 1);
        let run = cluster.bucky(&["verify", "--strict", "--away-timeout", "1"]);
        cluster.node(0).gate().stop_spoiling();
        assert_ne!(run.code, Some(0), "byte {at}: {run}");
        assert!(!run.stdout.contains("all in place"), "byte {at}: {run}");
    }
}

#[test]
fn a_file_is_read_to_its_end_though_there_is_no_other_copy() {
    let cluster = cluster(2).start();
    cluster.scatter(40, cluster.ring());
    let names = cluster.node(1).metrics();
    let path = cluster.node(1).path(&names[5]);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let run = cluster.bucky(&["verify"]).assert_code(1);
    run.assert_stdout_has(&format!("{}: not a valid Whisper file", names[5]));
    std::fs::write(&path, whole).unwrap();
    cluster.bucky(&["verify"]).assert_code(0).assert_stdout_has("40 copies read");
}
