//! Selecting metrics, and the meaning of the command line.

use std::process::{Command, Stdio};

use bucky_tests::Running;
use bucky_tests::metrics::{MINUTES, minutes, now};

use super::{input, listed, restore, tar, tar_from};
use crate::{PROGRAMS, cluster};

#[test]
fn names_come_as_arguments_from_standard_input_or_by_an_expression() {
    let cluster = cluster(2).start();
    for name in ["a.x", "a.y", "b.x"] {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0]));
    }
    let both = ["a/x.wsp", "b/x.wsp"];
    for args in [
        &["b.x", "a.x", "a.x"][..],
        &["a.x", "-w", "1", "b.x", "-j"],
        &["-r", "x$"],
        &["-r", "--", "x$"],
    ] {
        let (run, path) = tar(&cluster, args);
        run.assert_code(0).assert_stderr_has("Total metrics selected for tar: 2\n");
        assert_eq!(listed(&cluster, &path), both, "{args:?}");
    }
    for text in [&b"[\"a.x\", \"b.x\"]"[..], b"b.x\na.x\n"] {
        let (run, path) = tar_from(&cluster, &["-"], input(&cluster, text));
        run.assert_code(0);
        assert_eq!(listed(&cluster, &path), both);
    }
    let (run, path) = tar(&cluster, &["-r", "."]);
    run.assert_code(0);
    assert_eq!(listed(&cluster, &path).len(), 3);
}

#[test]
fn an_archive_of_nothing_has_1024_bytes_and_a_name_that_no_node_has_is_reported() {
    let cluster = cluster(2).start();
    let (run, path) = tar(&cluster, &["-r", "nothing.is.called.so"]);
    run.assert_code(0).assert_stderr_has("Total metrics selected for tar: 0\n");
    assert_eq!(std::fs::read(&path).unwrap(), [0; 1024]);
    assert_eq!(listed(&cluster, &path), [""; 0]);
    restore(&cluster, &[], &path).assert_code(0).assert_stderr_has("0 metrics restored");

    cluster.node(0).write("a.x", &MINUTES, &minutes(now(), [1.0]));
    let (run, path) = tar(&cluster, &["a.x", "no.such"]);
    run.assert_code(1).assert_stderr_has("\nMetric not found: no.such\n");
    assert_eq!(listed(&cluster, &path), ["a/x.wsp"]);
}

/// D19, D32, D47: an empty list, an unreadable list and zero workers are usage errors, and nothing is
/// written.
#[test]
fn a_command_line_that_makes_no_sense_writes_nothing() {
    let cluster = cluster(1).start();
    for (args, text) in [
        (&[][..], ""),
        (&["-r"], ""),
        (&["-r", ""], ""),
        (&["-r", "("], ""),
        (&["-w", "0", "-r", "."], ""),
        (&["-w", "-1", "-r", "."], ""),
        (&["-"], "{\"a\": 1}"),
        (&["-"], "[1]"),
    ] {
        let (run, path) = tar_from(&cluster, args, input(&cluster, text.as_bytes()));
        run.assert_code(2);
        assert_eq!(path.metadata().unwrap().len(), 0, "{args:?}");
    }
    cluster.bucky(&["restore"]).assert_code(2);
    cluster.bucky(&["restore", "-w", "0", "x"]).assert_code(2);
    let missing = cluster.path("no-such-file");
    restore(&cluster, &[], &missing).assert_code(1).assert_stderr_has("cannot read ");
}

#[test]
fn a_terminal_is_refused() {
    let cluster = cluster(1).start();
    let bucky = format!("{} tar -h {} -r .", PROGRAMS.bucky, cluster.node(0).addr());
    let mut command = Command::new("script");
    command.args(["-q", "-e", "-c", &bucky, "/dev/null"]);
    let run = Running::start_between(command, Stdio::null(), None).finish();
    run.assert_code(1).assert_stdout_has("Refusing to write tar file to terminal.");
}
