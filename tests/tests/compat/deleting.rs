//! `bucky delete`: from all nodes that have a metric, after a question at the terminal, and nothing by
//! accident.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{Finished, GoDaemon, Running, Terminal, TestCluster};

use crate::cluster;

/// Three nodes: `app.a` on the first two, `app.b` and `keep.c` on the third.
fn laid() -> TestCluster {
    let cluster = cluster(3).gate(2).lay();
    for (node, metric) in [(0, "app.a"), (1, "app.a"), (2, "app.b"), (2, "keep.c")] {
        cluster.node(node).write(metric, &MINUTES, &minutes(now(), [1.0]));
    }
    cluster
}

fn started() -> TestCluster {
    let mut cluster = laid();
    cluster.start();
    cluster
}

/// The metrics of all nodes, one node after the other.
fn left(cluster: &TestCluster) -> Vec<String> {
    cluster.nodes().iter().flat_map(|node| node.metrics()).collect()
}

const ALL: [&str; 4] = ["app.a", "app.a", "app.b", "keep.c"];

fn words(cluster: &TestCluster, args: &str) -> String {
    format!("exec {} delete -h {} {args}", crate::PROGRAMS.bucky, cluster.node(0).addr())
}

/// Runs `bucky delete` at a terminal, with `typed` as its input.
fn at_terminal(cluster: &TestCluster, args: &str, typed: &str) -> Finished {
    let mut terminal = Terminal::new();
    terminal.type_in(typed);
    Running::start(terminal.command(&words(cluster, args))).finish()
}

/// Runs a command whose standard output is a pipe that has no reader any more.
fn unread(command: Command) -> Finished {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let writer = File::from(OwnedFd::from(writer));
    Running::start_between(command, Stdio::null(), Some(writer)).finish()
}

fn without_terminal(cluster: &TestCluster, args: &str) -> Finished {
    Running::start(Terminal::none(&words(cluster, args))).finish()
}

#[test]
fn delete_takes_a_metric_from_all_nodes_that_have_it_and_prints_each_nodes_count() {
    let cluster = started();
    let [one, two, three] = [0, 1, 2].map(|node| cluster.node(node).addr());
    let run = without_terminal(&cluster, "-noconfirm app.a app.b").assert_code(0).assert_stdout("");
    let lines: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with("Delet")).collect();
    assert_eq!(
        lines,
        [
            format!("Deleting 1 metrics on {one}..."),
            format!("Deleting 1 metrics on {two}..."),
            format!("Deleting 1 metrics on {three}..."),
            "Delete operation complete.".to_owned(),
        ],
        "{run}"
    );
    assert_eq!(left(&cluster), ["keep.c"]);
    // The metrics are gone from the lists too, and the folders are removed.
    cluster.bucky(&["list"]).assert_stdout("keep.c\n");
    cluster.assert_nothing_unexpected();
}

#[test]
fn delete_takes_lists_lines_and_expressions() {
    let cluster = started();
    without_terminal(&cluster, "-noconfirm -r '^nope$'").assert_code(0).assert_stdout("");
    assert_eq!(left(&cluster), ALL);
    for (input, args) in [("[\"app.b\"]", "-"), ("keep.c\\n", "-f -w 0x2 -"), ("", "-r 'app'")] {
        let piped = words(&cluster, &format!("-noconfirm {args}")).replace("exec ", "");
        let run = Terminal::none(&format!("printf '{input}' | {piped}"));
        Running::start(run).finish().assert_code(0);
    }
    assert_eq!(left(&cluster), Vec::<String>::new());
}

#[test]
fn delete_asks_at_the_terminal_for_each_node() {
    let cluster = started();
    let [one, two, three] = [0, 1, 2].map(|node| cluster.node(node).addr());
    let question =
        |count: u32, addr: &str| format!("Deleting {count} metrics on {addr}: Please Confirm: ");
    let run = at_terminal(&cluster, "-r .", "maybe\n\nYes\nno\nN\n").assert_code(0);
    let run = run.assert_stdout(
        &[question(1, &one).repeat(3), question(1, &two), question(2, &three)].concat(),
    );
    run.assert_stderr_has(&format!("Nothing is deleted on {two}.\n"))
        .assert_stderr_has("Delete operation complete.\n");
    assert_eq!(left(&cluster), ALL[1..]);
    let run = at_terminal(&cluster, "-j app.a app.b", "y\nn\n").assert_code(0);
    run.assert_stdout(&format!("{{\"{two}\":{{\"deleted\":1,\"failed\":0}}}}\n"))
        .assert_stderr_has(&question(1, &three));
    assert_eq!(left(&cluster), ALL[2..]);
}

#[test]
fn delete_stops_where_the_terminal_is_closed() {
    let cluster = started();
    let run = at_terminal(&cluster, "-r .", "y\n\u{4}").assert_code(1);
    run.assert_stderr_has("the terminal was closed before everything was confirmed");
    assert_eq!(left(&cluster), ALL[1..]);
}

/// If the question cannot be seen, nothing is deleted; here a closed pipe is not a success.
#[test]
fn delete_whose_question_cannot_be_shown_deletes_nothing_and_fails() {
    let cluster = started();
    let mut terminal = Terminal::new();
    terminal.type_in("y\ny\ny\n");
    let run = unread(terminal.command(&words(&cluster, "-r .")));
    run.assert_code(1).assert_stderr_has("nothing else was deleted");
    assert_eq!(left(&cluster), ALL);
}

#[test]
fn delete_reports_failures_by_its_exit_code_if_its_output_is_not_read() {
    let cluster = started();
    let mut shell = Command::new("sh");
    shell.args(["-c", &words(&cluster, "-j -noconfirm app.a nobody.has.it")]);
    unread(shell).assert_code(1).assert_stderr_has("nobody.has.it");
    assert!(
        !left(&cluster).iter().any(|metric| metric == ALL[0]),
        "what is there is deleted all the same"
    );
}

/// D19: the Go tool deletes nothing in that case, and exits 0.
#[test]
fn delete_without_a_terminal_is_refused_unless_noconfirm_says_so() {
    let cluster = started();
    let run = without_terminal(&cluster, "app.a").assert_code(2).assert_stdout("");
    run.assert_stderr_has("no terminal to ask at").assert_stderr_has("-noconfirm");
    assert_eq!(left(&cluster), ALL);
}

/// D7: the Go tool accepts `-s` and deletes from all nodes.
#[test]
fn delete_with_s_leaves_the_other_nodes_alone() {
    let cluster = started();
    without_terminal(&cluster, "-s -noconfirm app.a").assert_code(0);
    assert_eq!(left(&cluster), ALL[1..]);
    let run = without_terminal(&cluster, "-noconfirm -single keep.c").assert_code(1);
    run.assert_stderr_has("Not found / Not deleted: keep.c\n");
    assert_eq!(left(&cluster), ALL[1..]);
}

/// D20: for the Go tool flags after an argument are arguments; it then uses localhost, or all nodes.
#[test]
fn delete_heeds_flags_behind_its_arguments() {
    let cluster = started();
    without_terminal(&cluster, "-r '^app' -s -noconfirm").assert_code(0);
    assert_eq!(left(&cluster), ALL[1..]);
}

/// D47 and D1: for the Go tool an empty expression, or an unreadable list, means all metrics.
#[test]
fn delete_of_an_empty_expression_or_a_broken_list_deletes_nothing() {
    let cluster = started();
    for (input, args) in [
        ("", "-r ''"),
        ("", "-r"),
        ("", "-r 'a('"),
        ("", "-r app keep"),
        ("", ""),
        ("[\"app.a\",", "-"),
        ("{\"app.a\":1}", "-"),
        ("[\"app.a\",null]", "-"),
        ("[\"app.a\"]", "- keep.c"),
        ("", "-w 0 app.a"),
        ("", "-w -1 app.a"),
    ] {
        let piped = words(&cluster, &format!("-noconfirm {args}")).replace("exec ", "");
        let run = Terminal::none(&format!("printf '%s' '{input}' | {piped}"));
        let run = Running::start(run).finish();
        assert_eq!(run.code, Some(2), "{run}");
    }
    let empty = words(&cluster, "-noconfirm -").replace("exec ", "");
    Running::start(Terminal::none(&format!("printf '[]' | {empty}"))).finish().assert_code(0);
    assert_eq!(left(&cluster), ALL);
}

#[test]
fn delete_names_what_it_did_not_find_and_deletes_the_rest() {
    let cluster = started();
    let run = without_terminal(&cluster, "-noconfirm nope app.b also.nope").assert_code(1);
    run.assert_stderr_has("Not found / Not deleted: nope\n")
        .assert_stderr_has("Not found / Not deleted: also.nope\n")
        .assert_stderr_has("Delete operation ended with errors.\n");
    assert_eq!(left(&cluster), ["app.a", "app.a", "keep.c"]);
}

/// D4: the Go tool panics. A copy on a node that does not answer would come back.
#[test]
fn delete_deletes_nothing_while_a_node_is_away() {
    let cluster = started();
    cluster.node(2).gate().refuse();
    let run = without_terminal(&cluster, "-noconfirm --away-timeout 0 app.a app.b").assert_code(3);
    run.assert_stderr_has("nothing was deleted").assert_stderr_has(&cluster.node(2).addr());
    assert_eq!(left(&cluster), ALL);
    without_terminal(&cluster, "-s -noconfirm app.a").assert_code(0);
    assert_eq!(left(&cluster), ALL[1..]);
}

/// D31: a name that the Go daemon takes for another file's, and one for which it redirects to the list.
#[test]
fn delete_at_a_go_daemon_never_takes_another_metric_for_the_one_that_is_meant() {
    let mut cluster = laid();
    let prefix = cluster.node(1).prefix();
    let content = std::fs::read(cluster.node(1).path("app.a")).unwrap();
    for file in [".dot.wsp", "dot.wsp", "..wsp", ".wsp"] {
        std::fs::write(prefix.join(file), &content).unwrap();
    }
    for own in [0, 2] {
        cluster.node_mut(own).start();
    }
    let go = GoDaemon::instead_of(&cluster, 1);
    for name in [".dot", "."] {
        let run = without_terminal(&cluster, &format!("-noconfirm {name}")).assert_code(1);
        run.assert_stderr_has(&format!("lists {name:?}, which cannot be deleted by this name"));
    }
    assert!(prefix.join("dot.wsp").exists() && prefix.join(".dot.wsp").exists());
    without_terminal(&cluster, "-noconfirm -w 1 app.a dot").assert_code(0);
    assert!(!prefix.join("dot.wsp").exists() && !cluster.node(1).has("app.a"));
    assert!(!cluster.node(0).has("app.a") && cluster.node(2).has("app.b"));
    // Its list is outdated: the metrics in it are requested, and no longer exist.
    let run = without_terminal(&cluster, "-noconfirm app.a").assert_code(1);
    run.assert_stderr_has("Not found / Not deleted: app.a\n");
    let deletes = |request: &&String| request.starts_with("DELETE");
    let sent: Vec<String> = go.requests().iter().filter(deletes).cloned().collect();
    assert_eq!(sent, ["DELETE /metrics/app.a", "DELETE /metrics/dot", "DELETE /metrics/app.a"]);
}

/// A metric that was moved a moment ago is healed again by the node that it was moved from. The delete would
/// seem to have failed.
#[test]
fn delete_reports_moved_metrics_that_are_not_confirmed_yet() {
    let cluster = cluster(2).flag("--tombstone-grace", "600").start();
    let metric = cluster.name_owned_by(1, "moved");
    cluster.node(0).write(&metric, &MINUTES, &minutes(now(), [1.0]));
    cluster.bucky(&["rebalance", "-f"]).assert_code(0);
    let run = without_terminal(&cluster, &format!("-noconfirm {metric}")).assert_code(0);
    run.assert_stderr_has("has tombstones of 1 metric that it moved away");
    assert_eq!(left(&cluster), Vec::<String>::new());
}
