//! The output of the listing commands, byte for byte as in the Go tool: the examples of its contract, on real
//! daemons.

use bucky_ring::{Algorithm, Relay};
use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{Finished, GoDaemon, Running, TestCluster};

use crate::cluster;

/// A metric's file from the contract: one archive, 60 s x 10 points, 148 bytes.
const SAMPLE: &[u8] = &{
    let mut file = [0; 148];
    let words: [u32; 7] = [1, 600, 0, 1, 28, 60, 10];
    let mut word = 0;
    while word < words.len() {
        let bytes = words[word].to_be_bytes();
        let mut byte = 0;
        while byte < 4 {
            file[4 * word + byte] = bytes[byte];
            byte += 1;
        }
        word += 1;
    }
    file
};
/// 2026-11-22T13:20:16Z
const STAT_TIME: u64 = 1_795_353_616;

/// Three nodes in a jump ring; `files` are the metrics by node.
fn jump_cluster(files: &[(usize, &str)]) -> TestCluster {
    let mut cluster = cluster(3).algorithm(Algorithm::JumpFnv1a).relay(Relay::Buckytools).lay();
    for (node, metric) in files {
        cluster.node(*node).put(metric, SAMPLE);
    }
    cluster.start();
    cluster
}

fn addr(cluster: &TestCluster, node: usize) -> String {
    cluster.node(node).addr()
}

#[test]
fn list_prints_names_a_line_or_a_json_array_sorted_and_doubles_twice() {
    let cluster = jump_cluster(&[(2, "wrong.a"), (0, "dup.x"), (1, "dup.x"), (0, "a-b")]);
    cluster.bucky(&["list", "wrong.a", "nope"]).assert_code(0).assert_stdout("wrong.a\n");
    cluster.bucky(&["list", "-j", "wrong.a"]).assert_code(0).assert_stdout("[\n\t\"wrong.a\"\n]\n");
    cluster.bucky(&["list", "-json", "nope"]).assert_code(0).assert_stdout("[]\n");
    cluster.bucky(&["list", "nope"]).assert_code(0).assert_stdout("");
    let all = "a-b\ndup.x\ndup.x\nwrong.a\n";
    let run = cluster.bucky(&["list"]).assert_code(0).assert_stdout(all);
    run.assert_stderr_has(&format!("{} returned 2 metrics\n", addr(&cluster, 0)))
        .assert_stderr_has(&format!("{} returned 1 metrics\n", addr(&cluster, 2)));
    // `-r` without an argument means all.
    cluster.bucky(&["list", "-r"]).assert_code(0).assert_stdout(all);
    cluster.bucky(&["list", "-r", "x$"]).assert_code(0).assert_stdout("dup.x\ndup.x\n");
    cluster
        .bucky(&["list", "-j", "dup.x", "a-b"])
        .assert_stdout("[\n\t\"a-b\",\n\t\"dup.x\",\n\t\"dup.x\"\n]\n");
}

#[test]
fn list_l_shows_where_each_metric_is() {
    let cluster = jump_cluster(&[(2, "wrong.a")]);
    let [one, two, three] = [0, 1, 2].map(|node| addr(&cluster, node));
    cluster
        .bucky(&["list", "-l", "wrong.a"])
        .assert_code(0)
        .assert_stdout(&format!("{three}: wrong.a\n"))
        .assert_stderr_has(&format!("{three} returned 1 metrics"));
    cluster.bucky(&["list", "-l", "-j", "wrong.a"]).assert_code(0).assert_stdout(&format!(
        "{{\n\t\"{one}\": [],\n\t\"{two}\": [],\n\t\"{three}\": [\n\t\t\"wrong.a\"\n\t]\n}}\n"
    ));
}

/// D18: the Go daemon answers `force` with its old list.
#[test]
fn list_f_knows_files_that_were_created_a_moment_ago() {
    let cluster = jump_cluster(&[]);
    cluster.node(1).put("new.a", SAMPLE);
    cluster.bucky(&["list", "-f", "new.a"]).assert_code(0).assert_stdout("new.a\n");
}

/// D24 has the other usage errors; D19: `list -j` with an invalid expression or list exits 0 with `[]`.
#[test]
fn list_refuses_bad_expressions_and_lists_with_j_too() {
    let cluster = jump_cluster(&[]);
    for flags in [&["-r", "a("][..], &["-j", "-r", "a("], &["-r", ""], &["-j", "-r", ""]] {
        cluster.bucky(&[&["list"], flags].concat()).assert_code(2).assert_stdout("");
    }
    for text in ["{\"a\":1}", "[1]", "[\"a\"", "[null]"] {
        for flags in [&["-"][..], &["-j", "-"]] {
            let run = with_input(&cluster, "list", flags, text);
            run.assert_code(2).assert_stdout("").assert_stderr_has("not a JSON array of names");
        }
    }
    with_input(&cluster, "list", &["-"], "[]").assert_code(0).assert_stdout("");
}

#[test]
fn servers_prints_what_the_go_tool_prints_and_nothing_else_on_standard_output() {
    let cluster = jump_cluster(&[]);
    let [a, b, c] = [0, 1, 2].map(|node| cluster.node(node).host().to_owned());
    let port = addr(&cluster, 0).rsplit_once(':').unwrap().1.to_owned();
    let healthy = format!(
        "Buckd daemons are using port: {port}\n\
         Hashing algorithm: jump_fnv1a:\t  0:{a}\t  1:{b}\t  2:{c}\n\
         Number of replicas: 1\nFound these servers:\n\t{a}\n\t{b}\n\t{c}\n\nIs cluster healthy: true\n"
    );
    let run = cluster.bucky(&["servers"]).assert_code(0).assert_stdout(&healthy);
    run.assert_stderr_has("NODE ").assert_stderr_has("0.1.0");
}

/// D4: with a member down the Go tool panics, so it never prints `Is cluster healthy: false` for a dead
/// member.
#[test]
fn servers_of_an_unhealthy_cluster_say_so_and_exit_3() {
    let mut cluster = cluster(2).start();
    cluster.node_mut(1).stop();
    let [a, b] = [0, 1].map(|node| cluster.node(node).host().to_owned());
    let port = addr(&cluster, 0).rsplit_once(':').unwrap().1.to_owned();
    let away = addr(&cluster, 1);
    let text = format!(
        "Buckd daemons are using port: {port}\n\
         Hashing algorithm: [carbon: 2 nodes, 100 replicas, 200 ring members {a}:2003=None {b}:2003=None]\n\
         Number of replicas: 1\nFound these servers:\n\t{a}\n\t{b}\n\nIs cluster healthy: false\n"
    );
    let run =
        cluster.bucky(&["servers", "--away-timeout", "0"]).assert_code(3).assert_stdout(&text);
    run.assert_stderr_has("Cluster is inconsistent.\n")
        .assert_stderr_has(&format!("{away} is down"));
    for command in
        [&["list"][..], &["du", "a"], &["stat", "a"], &["inconsistent"], &["locate", "a"]]
    {
        let run = cluster.bucky(&[command, &["--away-timeout", "0"]].concat());
        assert!(matches!(run.code, Some(1 | 3)), "{run}");
        run.assert_stderr_has(&format!("{away} is down"));
    }
}

/// D15: for the Go tool two instances on a server make a cluster unhealthy; D16: it prints 100 replicas for
/// every ring.
#[test]
fn servers_with_instances_on_one_host_are_healthy_and_copies_are_counted() {
    let cluster = cluster(2).instances(&["a", "b"]).replication_factor(2).start();
    let run =
        cluster.bucky(&["servers"]).assert_code(0).assert_stdout_has("Number of replicas: 2\n");
    let hosts: Vec<&str> = run.stdout.lines().filter(|line| line.starts_with('\t')).collect();
    assert_eq!(hosts.len(), 2, "each host once: {run}");
}

/// D46: with `fnv1a`, equal instances on several hosts move all metrics to the first one.
#[test]
fn servers_warn_of_instances_that_collide_on_an_fnv1a_ring() {
    let cluster =
        cluster(3).algorithm(Algorithm::Fnv1a).relay(Relay::Buckytools).instances(&["a"]).start();
    let run = cluster.bucky(&["servers"]).assert_code(0);
    let warning = run.stderr.lines().find(|line| line.starts_with("ring: ")).unwrap_or_default();
    assert!(warning.contains("instance"), "{run}");
}

#[test]
fn locate_prints_a_line_a_name_or_one_line_of_json() {
    let cluster = jump_cluster(&[]);
    let host = |node: usize| cluster.node(node).host().to_owned();
    let first = cluster.name_owned_by(0, "wrong");
    let second = cluster.names_owned_by(1, "app", 2);
    // In the given order; duplicates once; the metrics need not exist.
    let run = cluster.bucky(&["locate", &second[1], &first, &second[0], &first]).assert_code(0);
    let (zero, one) = (host(0), host(1));
    let run = run.assert_stdout(&format!(
        "{} => {one}\n{first} => {zero}\n{} => {one}\n",
        second[1], second[0]
    ));
    run.assert_stderr_has(&format!("2 metrics assigned to {}\n", host(1)))
        .assert_stderr_has(&format!("1 metrics assigned to {}\n", host(0)));
    cluster.bucky(&["locate", "-j", &first, &second[0]]).assert_code(0).assert_stdout(&format!(
        "{{\"{}\":\"{}\",\"{first}\":\"{}\"}}\n",
        second[0],
        host(1),
        host(0)
    ));
    cluster.bucky(&["locate"]).assert_code(2).assert_stdout("");
}

#[test]
fn inconsistent_shows_where_misplaced_metrics_are() {
    let cluster = cluster(3).algorithm(Algorithm::JumpFnv1a).relay(Relay::Buckytools).start();
    cluster
        .bucky(&["inconsistent"])
        .assert_code(0)
        .assert_stdout("")
        .assert_stderr_has("No inconsistent metrics found.\n");
    cluster.bucky(&["inconsistent", "-j"]).assert_code(0).assert_stdout("{}\n");
    let names = cluster.names_owned_by(2, "wrong", 3);
    cluster.node(0).put(&names[0], SAMPLE);
    cluster.node(0).put(&names[1], SAMPLE);
    cluster.node(1).put(&names[2], SAMPLE);
    cluster.node(0).put("carbon.agents.x.cpu", SAMPLE);
    cluster.node(1).put("carbon.agents.x.cpu", SAMPLE);
    let [one, two] = [0, 1].map(|node| addr(&cluster, node));
    let run = cluster.bucky(&["inconsistent", "-f"]).assert_code(0);
    run.assert_stdout(&format!("{one}: {}\n{one}: {}\n{two}: {}\n", names[0], names[1], names[2]))
        .assert_stderr_has(&format!("2 inconsistent metrics found on {one}\n"))
        .assert_stderr_has(&format!("1 inconsistent metrics found on {two}\n"));
    cluster.bucky(&["inconsistent", "-json"]).assert_stdout(&format!(
        "{{\"{one}\":[\"{}\",\"{}\"],\"{two}\":[\"{}\"]}}\n",
        names[0], names[1], names[2]
    ));
    let only = format!("^{}$", names[1]);
    cluster.bucky(&["inconsistent", "-r", &only]).assert_stdout(&format!("{one}: {}\n", names[1]));
    // D49: the Go tool ignores an expression without -r.
    cluster.bucky(&["inconsistent", &only]).assert_code(2).assert_stdout("");
}

#[test]
fn stat_prints_size_time_and_name() {
    let cluster = jump_cluster(&[(0, "dup.x"), (1, "dup.x"), (2, "b.c")]);
    for (node, metric) in [(0, "dup.x"), (1, "dup.x"), (2, "b.c")] {
        set_time(&cluster, node, metric);
    }
    let line = |name: &str| format!("0.14KiB\t2026-11-22T13:20:16Z\t{name}\n");
    let run = cluster.bucky(&["stat", "dup.x", "b.c"]).assert_code(0);
    run.assert_stdout(&[line("b.c"), line("dup.x"), line("dup.x")].concat())
        .assert_stderr_has("Stat operation complete.\n");
    cluster.bucky(&["stat", "-r", "^b"]).assert_code(0).assert_stdout(&line("b.c"));
    let run = cluster.bucky(&["stat", "nope", "b.c"]).assert_code(1).assert_stdout(&line("b.c"));
    run.assert_stderr_has("Metric not found: nope\n");
    cluster.bucky(&["stat", "-j", "b.c"]).assert_code(0).assert_stdout(&format!(
        "{{\"metric\":\"b.c\",\"node\":\"{}\",\"bytes\":148,\"mtime\":{STAT_TIME}}}\n",
        addr(&cluster, 2)
    ));
    cluster.bucky(&["stat"]).assert_code(2);
}

/// D42: the Go tool reports a file that cannot be read as missing.
#[test]
fn stat_names_a_metric_that_cannot_be_read_with_the_reason() {
    let cluster = jump_cluster(&[]);
    std::fs::create_dir_all(cluster.node(0).path("a.folder")).unwrap();
    let run = cluster.bucky(&["stat", "a.folder"]).assert_code(1).assert_stdout("");
    run.assert_stderr_has("a.folder: ").assert_stderr_has("a/folder.wsp");
}

#[test]
fn du_logs_its_sum_where_the_go_tool_does_and_prints_it() {
    let cluster = jump_cluster(&[(0, "dup.x"), (1, "dup.x"), (2, "b.c")]);
    let lines = "444 Bytes\n0.00 MiB\n0.00 GiB\n";
    let run = cluster.bucky(&["du", "dup.x", "b.c"]).assert_code(0).assert_stdout(lines);
    let lines: Vec<&str> = run.stderr.lines().collect();
    // After the time, as scripts split it: YYYY/MM/DD HH:MM:SS 444 Bytes
    let words: Vec<Vec<&str>> =
        lines[lines.len() - 3..].iter().map(|line| line.split(' ').skip(2).collect()).collect();
    assert_eq!(words, [["444", "Bytes"], ["0.00", "MiB"], ["0.00", "GiB"]], "{run}");
    run.assert_stderr_has("Du operation complete.\n");
    let run = cluster.bucky(&["du", "-j", "-r", "."]).assert_code(0);
    run.assert_stdout("{\"metrics\":3,\"bytes\":444}\n").assert_stderr_has(" 444 Bytes\n");
    let run = cluster.bucky(&["du", "nope", "b.c"]).assert_code(1).assert_stderr_has("148 Bytes");
    run.assert_stderr_has("Metric not found: nope\n")
        .assert_stderr_has("Errors occured in du operation.\n");
    cluster.bucky(&["du"]).assert_code(2);
}

/// Scripts read it with `bucky du 2>&1 | grep Bytes`.
#[test]
fn du_prints_its_sum_once_if_both_streams_are_the_same() {
    let cluster = jump_cluster(&[(2, "b.c")]);
    let words = format!("exec {} du -h {} b.c 2>&1", crate::PROGRAMS.bucky, addr(&cluster, 0));
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &words]);
    let run = Running::start(shell).finish().assert_code(0);
    let sums: Vec<&str> = run.stdout.lines().filter(|line| line.contains("Bytes")).collect();
    assert_eq!(sums.len(), 1, "{run}");
    assert_eq!(sums[0].split(' ').skip(2).collect::<Vec<_>>(), ["148", "Bytes"], "{run}");
}

/// D31: names that mean another file, or no file, are never looked up; a newline in a name does not break the
/// output.
#[test]
fn names_of_a_go_daemon_that_mean_another_file_are_reported_and_not_looked_up() {
    let cluster = cluster(1).lay();
    std::fs::create_dir_all(cluster.node(0).prefix()).unwrap();
    for file in ["dot.wsp", ".dot.wsp", "two\nlines.wsp"] {
        std::fs::write(cluster.node(0).prefix().join(file), SAMPLE).unwrap();
    }
    let go = GoDaemon::instead_of(&cluster, 0);
    let run = cluster.bucky(&["stat", "-r", "."]).assert_code(1).assert_stdout_has("\tdot\n");
    assert_eq!(run.stdout.lines().count(), 1, "{run}");
    run.assert_stderr_has("\".dot\" is not a valid metric name")
        .assert_stderr_has("\"two\\nlines\"");
    let run = cluster.bucky(&["list"]).assert_code(0).assert_stdout(".dot\ndot\n");
    run.assert_stderr_has("\"two\\nlines\", which does not fit on a line");
    cluster.bucky(&["list", "-j"]).assert_stdout_has("\t\"two\\nlines\"");
    assert!(!go.requests().iter().any(|request| request.contains("/metrics/.dot")));
}

#[test]
fn json_makes_an_array_of_arguments_or_of_lines() {
    let cluster = cluster(1).lay();
    let run = |args: &[&str]| cluster.bucky_alone(&[&["json"], args].concat());
    run(&["a", "b"]).assert_code(0).assert_stdout("[\"a\",\"b\"]\n");
    run(&["<&>"]).assert_code(0).assert_stdout("[\"\\u003c\\u0026\\u003e\"]\n");
    run(&[]).assert_code(2).assert_stdout("");
    for (input, output) in [(" a.b \n\nc\r\n", "[\"a.b\",\"c\"]\n"), ("", "[]\n")] {
        let words = format!("printf '%b' '{input}' | {} json -", crate::PROGRAMS.bucky);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &words]);
        Running::start(shell).finish().assert_code(0).assert_stdout(output);
    }
}

/// Both kinds of daemon give the same list.
#[test]
fn a_go_daemon_beside_ours_is_listed_as_ours_is() {
    let mut cluster = cluster(2).lay();
    cluster.node(0).put("app.a", SAMPLE);
    cluster.node(1).write("app.b", &MINUTES, &minutes(now(), [1.0]));
    cluster.node_mut(0).start();
    let _go = GoDaemon::instead_of(&cluster, 1);
    cluster.bucky(&["list"]).assert_code(0).assert_stdout("app.a\napp.b\n");
    let run = cluster.bucky(&["stat", "-w", "0x2", "app.a", "app.b"]).assert_code(0);
    let names: Vec<&str> = run.stdout.lines().map(|l| l.rsplit('\t').next().unwrap()).collect();
    assert_eq!(names, ["app.a", "app.b"], "{run}");
    let bytes = 148 + std::fs::metadata(cluster.node(1).path("app.b")).unwrap().len();
    cluster.bucky(&["du", "-r", "app"]).assert_stdout_has(&format!("{bytes} Bytes\n"));
}

fn set_time(cluster: &TestCluster, node: usize, metric: &str) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(STAT_TIME);
    let file = std::fs::File::options().write(true).open(cluster.node(node).path(metric)).unwrap();
    file.set_modified(time).unwrap();
}

/// Runs a command with `input` on its standard input.
fn with_input(cluster: &TestCluster, command: &str, args: &[&str], input: &str) -> Finished {
    let path = cluster.path("input");
    std::fs::write(&path, input).unwrap();
    let bucky = crate::PROGRAMS.bucky;
    let words = format!(
        "exec {bucky} {command} -h {} {} < {}",
        addr(cluster, 0),
        args.join(" "),
        path.display()
    );
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &words]);
    Running::start(shell).finish()
}
