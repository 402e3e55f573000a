//! `bucky lookup`, `sieve`, `path` and `stale` compared with carbonate's own programs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use bucky_tests::metrics::{self, LAYOUTS, MINUTES, minutes, now};
use bucky_tests::peer;
use tempfile::TempDir;

use crate::{PROGRAMS, cluster};

/// The standard output and the exit code of a program that got `input`.
#[derive(Debug, PartialEq)]
struct Ran {
    stdout: String,
    code: Option<i32>,
}

fn run(mut command: Command, input: &str) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    // A program that refuses its arguments does not read its input.
    let _ = writer.join().unwrap();
    Ran { stdout: String::from_utf8(output.stdout).unwrap(), code: output.status.code() }
}

fn bucky(args: &[&str], input: &str) -> Ran {
    let mut command = Command::new(PROGRAMS.bucky);
    command.args(args).env_remove("BUCKYHOST");
    run(command, input)
}

/// Runs a carbonate program with this configuration.
fn carbonate(program: &str, config: &Path, args: &[&str], input: &str) -> Ran {
    let mut command = Command::new(peer::program(program));
    command.args(["-c", config.to_str().unwrap()]).args(args);
    run(command, input)
}

/// The same ring for carbonate and for us.
struct Rings {
    folder: TempDir,
    carbonate: PathBuf,
    ours: String,
}

fn rings(destinations: &[(&str, u16, &str)], hash: &str, copies: usize) -> Rings {
    let folder = tempfile::tempdir().unwrap();
    let text: Vec<String> = destinations
        .iter()
        .map(|(host, port, instance)| match *instance {
            "" => format!("{host}:{port}"),
            instance => format!("{host}:{port}:{instance}"),
        })
        .collect();
    let carbonate = folder.path().join("carbonate.conf");
    let config = format!(
        "[main]\nDESTINATIONS = {}\nREPLICATION_FACTOR = {copies}\nHASHING_TYPE = {hash}_ch\n",
        text.join(", ")
    );
    std::fs::write(&carbonate, config).unwrap();
    let nodes: Vec<serde_json::Value> = destinations
        .iter()
        .map(|(server, port, instance)| {
            serde_json::json!({ "Server": server, "Port": port, "Instance": instance })
        })
        .collect();
    let ours = folder.path().join("ring.json");
    let document = serde_json::json!({
        "Name": "", "Nodes": nodes, "Algo": hash, "Replicas": copies, "Relay": "carbon", "Diverse": true,
    });
    std::fs::write(&ours, document.to_string()).unwrap();
    Rings { carbonate, ours: ours.to_str().unwrap().to_owned(), folder }
}

fn hosts_with_instances() -> Rings {
    let nodes = [
        ("10.0.0.1", 2004, "a"),
        ("10.0.0.1", 2104, "b"),
        ("10.0.0.2", 2004, "a"),
        ("10.0.0.2", 2104, "b"),
        ("10.0.0.3", 2004, "a"),
    ];
    rings(&nodes, "carbon", 2)
}

/// Some names, one a line.
fn names(count: usize) -> String {
    (0..count).map(|number| format!("{}\n", metrics::name(number))).collect()
}

#[test]
fn lookup_prints_what_carbon_lookup_prints() {
    let plain = [("10.0.0.1", 2004, ""), ("10.0.0.2", 2004, ""), ("10.0.0.3", 2004, "")];
    for rings in [hosts_with_instances(), rings(&plain, "fnv1a", 1)] {
        for name in ["app.web.hits", "servers.db-0.load", "x", "cpu;host=a"] {
            let theirs = carbonate("carbon-lookup", &rings.carbonate, &[name], "");
            assert_eq!(bucky(&["lookup", "--ring", &rings.ours, name], ""), theirs);
            let theirs = carbonate("carbon-lookup", &rings.carbonate, &["-s", name], "");
            assert_eq!(bucky(&["lookup", "--short", "--ring", &rings.ours, name], ""), theirs);
        }
    }
}

/// As with other lists: an invalid line is reported, and the other lines are looked up.
#[test]
fn lookup_continues_after_a_line_that_is_no_text() {
    let rings = hosts_with_instances();
    let file = rings.folder.path().join("names");
    std::fs::write(&file, b"app.a\n\xff\napp.b\n").unwrap();
    let ran = bucky(&["lookup", "--ring", &rings.ours, "-f", file.to_str().unwrap()], "");
    let both = bucky(&["lookup", "--ring", &rings.ours, "app.a", "app.b"], "");
    assert_eq!((ran.code, ran.stdout), (Some(1), both.stdout));
}

#[test]
fn sieve_prints_what_carbon_sieve_prints() {
    let rings = hosts_with_instances();
    let names: String = names(400)
        .lines()
        .filter(|n| !n.starts_with("_tagged"))
        .map(|n| format!("{n}\n"))
        .collect();
    let file = rings.folder.path().join("names");
    std::fs::write(&file, &names).unwrap();
    let file = file.to_str().unwrap();
    for (node, args) in [("10.0.0.1", &[][..]), ("10.0.0.2:2104:b", &[]), ("10.0.0.3", &["-I"])] {
        let theirs =
            carbonate("carbon-sieve", &rings.carbonate, &[&["-n", node], args].concat(), &names);
        assert!(theirs.stdout.lines().count() > 30, "{theirs:?}");
        let ours = [&["sieve", "--ring", &rings.ours, "-n", node], args].concat();
        assert_eq!(bucky(&ours, &names), theirs, "{node}");
        assert_eq!(bucky(&[&ours[..], &["-f", file]].concat(), ""), theirs, "{node} from a file");
    }
}

/// To carbonate nothing belongs to a mistyped node. Inverted into a list of metrics to remove, that is every
/// metric.
#[test]
fn sieve_takes_no_node_that_is_not_in_the_ring() {
    let rings = hosts_with_instances();
    let ring = ["sieve", "--ring", &rings.ours];
    let given = |more: &[&str]| bucky(&[&ring[..], more].concat(), "a\nb\n");
    let refused = Ran { stdout: String::new(), code: Some(2) };
    assert_eq!(given(&["-I", "-n", "10.0.0.4"]), refused);
    assert_eq!(given(&["-I"]), refused, "and none at all is no node either");
    let everything = Ran { stdout: "a\nb\n".into(), code: Some(0) };
    assert_eq!(given(&["-I", "-n", "10.0.0.4", "--unknown-node"]), everything);
    assert_eq!(
        bucky(&["sieve", "--ring", "-", "-n", "h"], "a\n"),
        refused,
        "two lists on one input"
    );
}

/// Without a ring file, the daemon is asked, and it is the node itself.
#[test]
fn sieve_and_lookup_take_ring_and_node_from_a_daemon() {
    let cluster = cluster(2).start();
    let input = names(30);
    let host = cluster.node(1).addr();
    let mine = bucky(&["sieve", "-h", &host], &input);
    let wanted: String = input
        .lines()
        .filter(|name| cluster.owners(name) == [1])
        .map(|name| format!("{name}\n"))
        .collect();
    assert_eq!(mine, Ran { stdout: wanted.clone(), code: Some(0) });
    assert!(!wanted.is_empty());
    let first = wanted.lines().next().unwrap();
    let node = cluster.node(1).host();
    let looked = bucky(&["lookup", "-h", &host, first], "");
    assert_eq!(looked.stdout, format!("{node}:2003:None\n"));
}

#[test]
fn path_prints_what_carbon_path_prints() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("none.conf");
    let input = "app.web.hits\ntop\nservers.db-0.disk_1.io.read:bytes\n";
    let both = |args: &[&str], input: &str| {
        let theirs = carbonate("carbon-path", &config, args, input);
        assert_eq!(bucky(&[&["path"], args].concat(), input), theirs, "{args:?}");
        theirs.stdout
    };
    let below = both(&[], input);
    let absolute = both(&["-p"], input);
    assert!(absolute.starts_with("/opt/graphite/storage/whisper/app/web/hits.wsp\n"), "{absolute}");
    let elsewhere = both(&["-p", "-d", "/srv/w"], input);
    assert_eq!(both(&["-r"], &below), input);
    assert_eq!(both(&["-r"], &absolute), input);
    assert_eq!(both(&["-r", "-d", "/srv/w/"], &elsewhere), input);
    let mixed = bucky(&["path", "-r"], "a/b.wsp\n/elsewhere/x.wsp\nc.wsp\n");
    assert_eq!(mixed, Ran { stdout: "a.b\nc\n".into(), code: Some(1) }, "the rest goes on");
}

#[test]
fn stale_prints_what_carbon_stale_prints() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("none.conf");
    let prefix = folder.path().join("whisper");
    let now = now();
    let hours_ago = |hours: u64| SystemTime::now() - Duration::from_secs(hours * 3600 + 60);
    let mut input = String::new();
    for (number, (written, points)) in
        [(0, 0), (30, 0), (2, 5), (30, 30), (0, 30), (100, 3)].into_iter().enumerate()
    {
        let name = format!("s.m{number}");
        let layout = LAYOUTS[number % 2];
        let newest = now - points * 3600;
        let values = minutes(newest, (0..30).map(f64::from));
        metrics::write(&prefix, &name.parse().unwrap(), &layout, &values);
        let file =
            std::fs::File::options().write(true).open(prefix.join(format!("s/m{number}.wsp")));
        file.unwrap().set_modified(hours_ago(written)).unwrap();
        input += &format!("{name}\n");
    }
    let none = metrics::minutes(now, []);
    metrics::write(&prefix, &"s.empty".parse().unwrap(), &LAYOUTS[0], &none);
    input += "s.empty\n";
    let prefix = prefix.to_str().unwrap();
    let mut lines = 0;
    for args in [
        &[][..],
        &["-r"],
        &["-p", "-l", "1"],
        &["-w"],
        &["-w", "-r", "-p"],
        &["-w", "-l", "4"],
        &["-o", "2", "-l", "4"],
        &["-o", "25", "-l", "10", "-r"],
    ] {
        let args = [&["-d", prefix], args].concat();
        let theirs = carbonate("carbon-stale", &config, &args, &input);
        lines += theirs.stdout.lines().count();
        assert_eq!(bucky(&[&["stale"], &args[..]].concat(), &input), theirs, "{args:?}");
    }
    assert!(lines > 10, "{lines} lines are no test");
}

/// carbonate ends with a stack trace at the first missing file.
#[test]
fn stale_reports_missing_files_and_continues() {
    let folder = tempfile::tempdir().unwrap();
    let points = minutes(now(), [1.0]);
    metrics::write(folder.path(), &"there".parse().unwrap(), &MINUTES, &points);
    std::fs::write(folder.path().join("bad.wsp"), "bad").unwrap();
    let prefix = folder.path().to_str().unwrap();
    for more in [&[][..], &["-w"]] {
        let args = [&["stale", "-r", "-d", prefix], more].concat();
        let ran = bucky(&args, "gone\nthere\n");
        assert_eq!(ran, Ran { stdout: "there\n".into(), code: Some(1) }, "{more:?}");
    }
    let ran = bucky(&["stale", "-w", "-d", prefix, "bad", "there"], "");
    assert_eq!(ran, Ran { stdout: String::new(), code: Some(1) }, "neither stale nor not");
    // A time before a file's retention ends carbonate too.
    let ran = bucky(&["stale", "-o", "100", "-d", prefix, "there"], "");
    assert_eq!(ran, Ran { stdout: "there\n".into(), code: Some(0) });
    // A link is as old as the file that it points to, and a folder is left out.
    std::os::unix::fs::symlink(folder.path().join("there.wsp"), folder.path().join("link.wsp"))
        .unwrap();
    let hour_ago = rustix::fs::Timespec { tv_sec: i64::from(now()) - 7200, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: hour_ago, last_modification: hour_ago };
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, folder.path().join("link.wsp"), &times, flags).unwrap();
    std::fs::create_dir(folder.path().join("folder.wsp")).unwrap();
    let ran = bucky(&["stale", "-l", "1", "-d", prefix, "link", "folder"], "");
    assert_eq!(ran, Ran { stdout: String::new(), code: Some(1) });
    // The output of carbon-list, computed from the files.
    let listed = bucky(&["path", "-r", "-d", prefix], &format!("{prefix}/there.wsp\n"));
    assert_eq!(listed.stdout, "there\n");
}
