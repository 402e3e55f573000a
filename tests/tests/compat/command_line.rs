//! What all commands have in common: finding the cluster, help, usage errors, and exit codes.

use std::process::Command;

use bucky_tests::{Finished, Gate, Running, TestCluster};

use crate::{PROGRAMS, cluster};

/// Runs `bucky` with these arguments, and with `BUCKYHOST` if a host is given.
fn bucky(host: Option<&str>, args: &[&str]) -> Finished {
    let mut bucky = Command::new(PROGRAMS.bucky);
    bucky.args(args).env_remove("BUCKYHOST");
    if let Some(host) = host {
        bucky.env("BUCKYHOST", host);
    }
    Running::start(bucky).finish()
}

fn one_node() -> TestCluster {
    let cluster = cluster(1).lay();
    cluster.node(0).put("app.a", b"");
    cluster
}

/// D49: the Go tool's help calls the port optional, but it does not work without.
#[test]
fn the_host_comes_from_h_or_buckyhost_and_needs_no_port() {
    let mut cluster = one_node();
    cluster.start();
    let addr = cluster.node(0).addr();
    let host = cluster.node(0).host().to_owned();
    for args in [["-h", &addr], ["-host", &addr], ["--host", &addr]] {
        bucky(None, &["list", args[0], args[1]]).assert_code(0).assert_stdout("app.a\n");
    }
    bucky(None, &["list", &format!("-h={addr}")]).assert_code(0).assert_stdout("app.a\n");
    bucky(Some(&addr), &["list"]).assert_code(0).assert_stdout("app.a\n");
    // The flag takes precedence over the variable.
    bucky(Some("127.0.0.1:9"), &["list", "-h", &addr]).assert_code(0).assert_stdout("app.a\n");
    // The default port.
    let named = format!("{host}:4242").parse().unwrap();
    let _gate = Gate::open(named, addr.parse().unwrap());
    bucky(None, &["list", "-h", &host]).assert_code(0).assert_stdout("app.a\n");
    bucky(Some(&host), &["list"]).assert_code(0).assert_stdout("app.a\n");
    // The last of several values is used.
    bucky(None, &["list", "-h", "127.0.0.1:9", "-host", &addr]).assert_code(0);
    // D36: mistakes that make the Go tool panic.
    for host in ["a:b", "a:0", "a:65536", "[::1", "a b"] {
        bucky(None, &["list", "-h", host])
            .assert_code(2)
            .assert_stdout("")
            .assert_stderr_has("host");
        bucky(Some(host), &["list"])
            .assert_code(2)
            .assert_stdout("")
            .assert_stderr_has("BUCKYHOST");
    }
}

/// The Go tool's `-t 0` waits forever (D37).
#[test]
fn a_node_that_cannot_be_reached_is_exit_3() {
    let cluster = one_node();
    let addr = cluster.node(0).addr();
    for command in [&["list"][..], &["servers"], &["stat", "a"], &["delete", "-noconfirm", "a"]] {
        let run = bucky(None, &[command, &["-h", &addr, "-t", "5"]].concat()).assert_code(3);
        run.assert_stdout("").assert_stderr_has(&format!("cannot get the ring from {addr}"));
    }
}

/// D24: an unknown command exits 0 in the Go tool.
#[test]
fn mistakes_are_exit_2_with_a_word_on_standard_error_only() {
    for (args, said) in [
        (&[][..], "give a command"),
        (&["lsit"], "unknown command: lsit; did you mean list?"),
        (&["list", "-nosuch"], "--nosuch"),
        (&["list", "-h"], "--host"),
        (
            &["rebalance", "-h"],
            "-h is --host and needs HOST[:PORT]; for help: bucky help rebalance",
        ),
        (&["list", "-t"], "--timeout"),
        (&["list", "-t", "abc"], "--timeout"),
        (&["list", "-t", "0"], "--timeout"),
        (&["list", "-s=maybe"], "maybe"),
        (&["du", "-w", "0", "a"], "--workers"),
        (&["stat", "-w", "-1", "a"], "--workers"),
        (&["-v", "list"], "before the command"),
    ] {
        bucky(None, args).assert_code(2).assert_stdout("").assert_stderr_has(said);
    }
}

#[test]
fn help_and_the_version_are_exit_0() {
    for args in [&["help"][..], &["--help"], &["-help"], &["-h"]] {
        let run = bucky(None, args).assert_code(0).assert_stderr_has("Usage: ");
        run.assert_stdout_has("list [OPTIONS] [METRIC]...\n\tList metrics\n")
            .assert_stdout_has("delete [OPTIONS] ");
    }
    let title = concat!("bucky list, version ", env!("CARGO_PKG_VERSION"), "\n");
    for args in [&["help", "list"][..], &["list", "-help"], &["list", "--help"]] {
        bucky(None, args).assert_code(0).assert_stdout_has(title).assert_stdout_has("-location");
    }
    let run = bucky(None, &["help", "nosuch"]).assert_code(2);
    run.assert_stdout("Unknown sub-command.\n").assert_stderr_has("nosuch");
    for args in [&["version"][..], &["--version"], &["-version"]] {
        let version = concat!("bucky ", env!("CARGO_PKG_VERSION"), "\n");
        bucky(None, args).assert_code(0).assert_stdout(version);
    }
}

/// Each command accepts the flags that all accept.
#[test]
fn the_common_flags_are_taken_by_every_command_that_asks_a_cluster() {
    let mut cluster = one_node();
    cluster.start();
    let addr = cluster.node(0).addr();
    let common =
        ["-h", &addr, "-s", "-t", "0x1e", "-no-encoding", "-v=true", "-verbose=t", "-single"];
    for command in [
        &["list"][..],
        &["servers"],
        &["locate", "a"],
        &["inconsistent"],
        &["du", "-r", "."],
        &["stat", "-r", "."],
        &["delete", "-noconfirm", "-j", "-r", "nope"],
        &["rebalance", "-no-op"],
    ] {
        let run = bucky(None, &[command, &common].concat());
        assert!(!matches!(run.code, Some(2) | None), "{run}");
        let run = run.assert_stderr_has("the ring of ");
        if command[0] != "rebalance" {
            run.assert_code(0);
        }
    }
    bucky(None, &["json", "-s", "a"]).assert_code(2);
}
