//! Nodes that go down, damaged files, output that cannot be written.

use std::fs::File;
use std::process::{Command, Stdio};

use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{Fault, Running};
use rustix::process::Signal;

use super::{gnu_tar, input, listed, restore, tar, unpacked};
use crate::cluster;

/// An archive without the metrics of a node would look complete.
#[test]
fn where_a_node_is_away_nothing_is_written() {
    let mut cluster = cluster(3).start();
    cluster.scatter(30, cluster.ring());
    cluster.node_mut(2).stop();
    let (run, path) = tar(&cluster, &["-r", "."]);
    let away = format!("metrics would be missing: {} is down", cluster.node(2).addr());
    run.assert_code(3).assert_stderr_has(&away);
    assert_eq!(path.metadata().unwrap().len(), 0);
}

/// The archive has the metrics of all nodes in the ring at -h; it is unknown whether other nodes have more.
#[test]
fn where_the_rings_differ_a_warning_is_given_and_the_archive_ends_well() {
    let mut cluster = cluster(2).lay();
    cluster.node_mut(1).flag("-hash", "fnv1a");
    cluster.start();
    cluster.scatter(30, cluster.ring());
    let (run, path) = tar(&cluster, &["-r", "."]);
    run.assert_code(3)
        .assert_stderr_has("Warning: Cluster is not optimal.\n")
        .assert_stderr_has("\nArchive complete.\n");
    assert_eq!(listed(&cluster, &path).len(), 30);
    restore(&cluster, &[], &path).assert_code(3).assert_stderr_has("the cluster is not healthy");
}

#[test]
fn where_a_node_cannot_list_nothing_is_written() {
    let cluster = cluster(2).gate(1).start();
    cluster.scatter(30, cluster.ring());
    cluster.node(1).gate().spoil("GET /v1/metrics?limit=5000", Fault::BreakAfter(40), 100);
    let path = cluster.path("archive");
    let command = cluster.command(&["tar", "-r", ".", "--away-timeout", "1"]);
    let run = Running::start_between(command, Stdio::null(), Some(File::create(&path).unwrap()));
    run.finish().assert_code(3).assert_stderr_has("nothing was archived");
    assert_eq!(path.metadata().unwrap().len(), 0);
}

/// If it were only cut off, GNU tar would accept it as complete.
#[test]
fn an_archive_that_loses_a_node_is_given_up_for_every_reader_to_see() {
    let cluster = cluster(2).gate(1).start();
    cluster.scatter(200, cluster.ring());
    let path = cluster.path("archive");
    cluster.node(1).gate().hold("POST /v1/archive");
    let command = cluster.command(&["tar", "-f", "-r", ".", "--away-timeout", "1"]);
    let run = Running::start_between(command, Stdio::null(), Some(File::create(&path).unwrap()));
    cluster.node(1).gate().wait_until_held();
    cluster.node(1).gate().refuse();
    run.finish().assert_code(3).assert_stderr_has("the archive is not complete");
    let listed = gnu_tar(&cluster.path("listing"), &["tf", path.to_str().unwrap()]);
    assert_eq!(listed.code, Some(2), "{listed}");
    cluster.node(1).gate().reopen();
    restore(&cluster, &[], &path)
        .assert_code(1)
        .assert_stderr_has("Errors are present in restore.");
}

#[test]
fn a_stream_that_breaks_is_read_again() {
    let cluster = cluster(2).gate(1).start();
    cluster.scatter(200, cluster.ring());
    cluster.node(1).gate().spoil("POST /v1/archive", Fault::BreakAfter(20_000), 2);
    let (run, path) = tar(&cluster, &["-r", "."]);
    run.assert_code(0);
    assert_eq!(cluster.node(1).gate().spoiled(), 2);
    assert_eq!(listed(&cluster, &path).len(), 200);
}

#[test]
fn corrupt_and_unreadable_files_are_named_and_the_rest_is_archived() {
    let cluster = cluster(2).start();
    for name in ["t.sound", "t.short", "t.twice"] {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0, 2.0]));
    }
    cluster.node(0).put("t.short", b"\0\0\0\x02 no Whisper file");
    cluster.node(0).put("t.empty", b"");
    cluster.node(1).put("t.twice", &[0; 100]);
    let (run, path) = tar(&cluster, &["-r", "^t"]);
    let run = run.assert_code(1);
    for (node, name) in [(0, "t.short"), (0, "t.empty"), (1, "t.twice")] {
        let refusal =
            format!("bucky: {name}: {}: not a valid Whisper file", cluster.node(node).addr());
        assert!(run.stderr.contains(&refusal), "{refusal}: {run}");
    }
    run.assert_stderr_has("3 metrics were not archived, or not with all their copies.")
        .assert_stderr_has("Archive ended, but it is not complete: see the errors above.");
    assert_eq!(listed(&cluster, &path), ["t/sound.wsp", "t/twice.wsp"]);
    let twice = std::fs::read(unpacked(&cluster, &path).join("t/twice.wsp")).unwrap();
    assert!(twice == std::fs::read(cluster.node(0).path("t.twice")).unwrap());
}

#[test]
fn a_metric_that_vanishes_during_the_archive_is_reported() {
    let cluster = cluster(2).gate(0).gate(1).start();
    cluster.node(0).write("v.goes", &MINUTES, &minutes(now(), [1.0]));
    cluster.node(0).write("v.stays", &MINUTES, &minutes(now(), [1.0]));
    cluster.node(0).gate().hold("POST /v1/archive");
    let path = cluster.path("archive");
    let command = cluster.command(&["tar", "-f", "-r", "^v"]);
    let run = Running::start_between(command, Stdio::null(), Some(File::create(&path).unwrap()));
    cluster.node(0).gate().wait_until_held();
    std::fs::remove_file(cluster.node(0).path("v.goes")).unwrap();
    cluster.node(0).gate().release();
    run.finish()
        .assert_code(1)
        .assert_stderr_has("bucky: v.goes: ")
        .assert_stderr_has("does not exist");
    assert_eq!(listed(&cluster, &path), ["v/stays.wsp"]);
}

/// A complete archive means that standard output accepted all of it.
#[test]
fn output_that_is_not_taken_is_a_failure() {
    let cluster = cluster(1).start();
    cluster.scatter(60, cluster.ring());
    let full = File::options().write(true).open("/dev/full").unwrap();
    let command = cluster.command(&["tar", "-f", "-r", "."]);
    let run = Running::start_between(command, Stdio::null(), Some(full)).finish();
    run.assert_code(1).assert_stderr_has("cannot write the archive to standard output");
    // The reader closes after the first bytes. For `list` that would be no error.
    let mut reader = Command::new("head")
        .args(["-c", "100"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pipe = reader.stdin.take().unwrap();
    let command = cluster.command(&["tar", "-r", "."]);
    let pipe = File::from(std::os::fd::OwnedFd::from(pipe));
    let run = Running::start_between(command, Stdio::null(), Some(pipe)).finish();
    assert!(reader.wait().unwrap().success());
    run.assert_code(1).assert_stderr_has("cannot write the archive to standard output");
}

/// D19, D43: the Go tool restores a part of a cut-off archive, and exits 0.
#[test]
fn an_archive_that_is_cut_off_or_damaged_is_restored_up_to_there_and_exits_1() {
    let cluster = cluster(2).start();
    cluster.scatter(30, cluster.ring());
    for flags in [&["-r", "."][..], &["-r", ".", "--gzip"], &["-r", ".", "--zstd"]] {
        let (run, path) = tar(&cluster, flags);
        run.assert_code(0);
        let whole = std::fs::read(&path).unwrap();
        let cut = cluster.path("cut.tar");
        std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
        let run = restore(&cluster, &[], &cut).assert_code(1);
        run.assert_stderr_has("cut")
            .assert_stderr_has("metrics restored")
            .assert_stderr_has("Errors are present");
        let text = std::fs::read(&cut).unwrap();
        let command = cluster.command(&["restore", "-"]);
        let run = Running::start_between(command, input(&cluster, &text), None).finish();
        run.assert_code(1).assert_stderr_has("standard input: the archive");
        // The end of the archive is present, but that of the compression is not.
        let cut_end = &whole[..whole.len() - 3];
        std::fs::write(&cut, cut_end).unwrap();
        let code = if flags.len() == 2 { 0 } else { 1 };
        restore(&cluster, &[], &cut).assert_code(code);
    }
    let text = cluster.path("text");
    std::fs::write(&text, "[\"a.b\"]").unwrap();
    restore(&cluster, &[], &text).assert_code(1).assert_stderr_has("not a tar archive");
}

/// A byte in the content of one member has changed on a disk.
#[test]
fn a_member_that_is_damaged_is_refused_and_the_rest_restored() {
    let cluster = cluster(2).start();
    for number in 0..5 {
        let owner = cluster.owners(&format!("d.m{number}"))[0];
        cluster.node(owner).write(&format!("d.m{number}"), &MINUTES, &minutes(now(), [1.5]));
    }
    let (run, path) = tar(&cluster, &["-r", "^d"]);
    run.assert_code(0);
    let mut bytes = std::fs::read(&path).unwrap();
    // The value of the only point of the third member.
    let value = 1.5f64.to_be_bytes();
    let found: Vec<usize> =
        (0..bytes.len() - 8).filter(|at| bytes[*at..*at + 8] == value).collect();
    assert_eq!(found.len(), 5);
    bytes[found[2]] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let before = cluster.ledger();
    for number in 0..5 {
        let owner = cluster.owners(&format!("d.m{number}"))[0];
        std::fs::remove_file(cluster.node(owner).path(&format!("d.m{number}"))).unwrap();
    }
    restore(&cluster, &[], &path)
        .assert_code(1)
        .assert_stderr_has("\"d/m2.wsp\" is not restored: it is damaged: its digest")
        .assert_stderr_has("4 metrics restored: 4 created")
        .assert_stderr_has("1 refused.");
    assert_eq!(cluster.ledger().metrics(), before.metrics() - 1);
}

#[test]
fn a_restore_that_is_interrupted_ends_in_order_and_says_so() {
    let cluster = cluster(2).gate(1).start();
    cluster.scatter(60, cluster.ring());
    let (run, path) = tar(&cluster, &["-r", "."]);
    run.assert_code(0);
    cluster.node(1).gate().hold("POST /v1/heal");
    let run = cluster.start_bucky(&["restore", path.to_str().unwrap()]);
    cluster.node(1).gate().wait_until_held();
    run.signal(Signal::INT);
    bucky_tests::wait::until("it reports that it is finishing", || {
        run.stderr().contains("finishing what is in progress")
    });
    cluster.node(1).gate().release();
    let run = run.finish();
    assert!(
        run.code == Some(0) || run.stderr.contains("stopped; run the same command again"),
        "{run}"
    );
}

/// A frozen daemon accepts connections and answers nothing. Trying each of its metrics alone would take
/// minutes.
#[test]
fn a_node_that_breaks_every_connection_is_given_up_and_the_others_get_theirs() {
    let cluster = cluster(2).gate(1).start();
    cluster.scatter(120, cluster.ring());
    let (run, path) = tar(&cluster, &["-r", "."]);
    run.assert_code(0);
    let all = listed(&cluster, &path).len();
    cluster.node(1).gate().hold("POST /v1/heal");
    let run = cluster.start_bucky(&["restore", "--away-timeout", "1", path.to_str().unwrap()]);
    cluster.node(1).gate().wait_until_held();
    cluster.node(1).gate().shut();
    let run = run.finish();
    let theirs = cluster.node(1).metrics().len();
    assert!(theirs > 0 && theirs < all);
    run.assert_code(1)
        .assert_stderr_has(&format!("{} metrics restored", all - theirs))
        .assert_stderr_has(&format!(
            "{theirs} did not reach all their owners: {theirs} node not reachable."
        ))
        .assert_stderr_has("Errors are present in restore.");
    cluster.node(1).gate().release();
    cluster.node(1).gate().reopen();
    restore(&cluster, &[], &path).assert_code(0);
}
