//! `buckyd`'s command line: messages and exit codes. The code that parses flags has tests beside it.

use std::io::Write;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, SystemTime};

use bucky_tests::http::Http;
use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::program::Running;
use bucky_tests::{GoClient, TestCluster, wait};
use flate2::{Compression, write::GzEncoder};
use rustix::process::{Pid, Signal, kill_process};

use crate::{PROGRAMS, cluster};

fn buckyd(args: &[&str]) -> Running {
    let mut command = Command::new(PROGRAMS.buckyd);
    command.args(args);
    Running::start(command)
}

#[test]
fn a_bad_command_line_ends_with_the_go_daemons_exit_code_and_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (args, code, said) in [
        (&[][..], 1, "You must have at least 1 node in your hash ring"),
        (&["-nosuch", "a"], 2, "--nosuch"),
        (&["-p"], 2, "--prefix"),
        (&["-replicas", "abc", "a"], 2, "parse error"),
        (&["-replicas", "99999999999999999999", "a"], 2, "value out of range"),
        // Ours: a ring without copies is refused.
        (&["-replicas", "0", "a"], 2, "value out of range: 1 to 64"),
        (&["-sparse=maybe", "a"], 2, "invalid boolean value \"maybe\" for -sparse"),
        (&["-hash", "md5", "a"], 1, "-hash"),
        (&["a:b"], 1, "node \"a:b\": port \"b\" is not a number"),
        (&["a:2003:x:y"], 1, "more than one colon"),
        (&["a:-1"], 1, "port \"-1\""),
        (&["a:99999999999999999999"], 1, "port \"99999999999999999999\""),
        (&["-b", "127.0.0.1", "a"], 1, "has no port"),
        (&["-b", "127.0.0.1:99999", "a"], 1, "port \"99999\""),
        (&["-b", &taken, "-p", prefix, "a"], 1, "in use"),
        (&["-b", "no-such-host.invalid:4242", "-p", prefix, "a"], 1, "no-such-host.invalid:4242"),
    ] {
        let finished =
            buckyd(args).finish().assert_code(code).assert_stdout("").assert_stderr_has(said);
        // For a line that cannot be parsed, the message says where the flags are described; not for disk or
        // address errors.
        let is_line = !said.contains("in use") && !said.contains("no-such-host");
        assert_eq!(finished.stderr.contains("--help"), is_line, "{finished}");
    }
}

#[test]
fn help_names_every_flag_of_the_go_daemon_on_stdout() {
    for flag in ["-help", "--help", "-h"] {
        let finished = buckyd(&[flag]).finish().assert_code(0);
        assert_eq!(finished.stderr, "", "{flag}");
        for name in [
            "-b, --bind",
            "-n, --node",
            "--hash",
            "--replicas",
            "-p, --prefix",
            "-t, --tmpdir",
            "--sparse",
            "--compressed",
            "--mtime",
            "--timeout",
            "--cache_path",
            "--pprof",
            "--pyroscope",
            "--auth-jwt-secret-file",
            "--help",
        ] {
            assert!(finished.stdout.contains(name), "{name} is not in {finished}");
        }
    }
}

/// The daemon finishes its current requests. The Go daemon cuts them off (D14), and so does SIGUSR1 if it is
/// not ignored.
#[test]
fn d14_sigterm_sigint_and_sighup_stop_in_order_and_sigusr1_is_ignored() {
    let mut cluster = cluster(1).lay();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        cluster.node_mut(0).start();
        let pid = Pid::from_raw(i32::try_from(cluster.node(0).pid()).unwrap()).unwrap();
        kill_process(pid, Signal::USR1).unwrap();
        cluster.get(0, "/hashring").assert_status(200);
        assert!(!cluster.node_mut(0).has_ended());
        kill_process(pid, signal).unwrap();
        wait::until("the daemon has ended", || cluster.node_mut(0).has_ended());
        assert!(cluster.node_mut(0).stop().success(), "{signal:?}");
        let log = cluster.node(0).log();
        assert!(log.contains("Starting server on 127."), "{log}");
    }
}

/// `-b :PORT` and `-b NAME:PORT`; flags that have no effect here are reported in one line each.
#[test]
fn the_address_may_be_a_port_or_a_name_and_flags_without_effect_are_reported() {
    for host in ["", "localhost"] {
        let folder = tempfile::tempdir().unwrap();
        // The path need not exist.
        let prefix = folder.path().join("not/there");
        let start = |port: u16| {
            let bind_flag = format!("-b={host}:{port}");
            let daemon = buckyd(&[
                "127.0.0.1:2003=a",
                &bind_flag,
                "-node",
                "127.0.0.1",
                "-p",
                prefix.to_str().unwrap(),
                "-t",
                "/tmp",
                "-pprof",
                "localhost:6060",
                "-pyroscope",
                "http://p:4040",
                "-compressed",
                "127.0.0.2:2003=b",
            ]);
            (daemon, format!("http://127.0.0.1:{port}/hashring"))
        };
        let (daemon, ring) = wait::until_some("the daemon answers", || {
            // A port that seems free on every address. If another process takes it before the daemon, another
            // port is tried.
            let port = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
            let (mut daemon, url) = start(port);
            let ring = wait::until_some("the daemon answers or ends", || {
                let is_running = daemon.is_running();
                let ring = Http::new().try_get(&url).filter(|_| is_running);
                (ring.is_some() || !is_running).then_some(ring)
            });
            if ring.is_none() {
                assert!(daemon.stderr().contains("in use"), "{}", daemon.stderr());
            }
            ring.map(|ring| (daemon, ring.json()))
        });
        assert_eq!(ring["Nodes"].as_array().unwrap().len(), 2, "{ring}");
        let log = daemon.stderr();
        for flag in ["-tmpdir", "-pprof", "-pyroscope", "-compressed"] {
            let said = log.lines().filter(|line| line.contains(&format!(" WARN {flag} ")));
            assert_eq!(said.count(), 1, "{flag}: {log}");
        }
        let is_open = host.is_empty();
        assert_eq!(log.contains("without authentication"), is_open, "{log}");
        daemon.signal(Signal::TERM);
        daemon
            .finish()
            .assert_code(0)
            .assert_stderr_has("the prefix does not exist and is created now");
        assert!(prefix.exists());
    }
}

/// go-carbon's list of files with these paths, gzipped.
fn file_list(paths: &[&str]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(b"\x7fflc02").unwrap();
    for path in paths {
        encoder.write_all(&(path.len() as u64).to_be_bytes()).unwrap();
        encoder.write_all(path.as_bytes()).unwrap();
        encoder.write_all(&[&[0; 32][..], b"\n"].concat()).unwrap();
    }
    encoder.finish().unwrap()
}

fn list(cluster: &TestCluster) -> Vec<String> {
    GoClient::of(cluster.node(0).addr()).list(None)
}

/// The Go daemon trusts such a list of any age, uses half of a damaged one, and crashes on a large length.
#[test]
fn d12_d17_no_list_of_files_is_believed_longer_than_the_first_scan_takes_and_a_bad_one_not_at_all()
{
    let whole = file_list(&["/ghost.wsp", "/real.wsp"]);
    let mut length = b"\x7fflc02".to_vec();
    length.extend([0xff; 8]);
    let mut gzipped = GzEncoder::new(Vec::new(), Compression::fast());
    gzipped.write_all(&length).unwrap();
    let old = SystemTime::now() - Duration::from_secs(2 * 3600);
    for (content, written, said) in [
        (Some(whole.clone()), None, ""),
        (Some(whole.clone()), Some(old), "was not written within the last 3600 s"),
        (Some(gzipped.finish().unwrap()), None, "entry 0 has a path of 18446744073709551615 bytes"),
        (Some(whole[..whole.len() - 10].to_vec()), None, "it is cut off in entry 1"),
        (
            Some(b"/ghost.wsp\n/real.wsp\n".to_vec()),
            None,
            "it cannot be read, or is not a complete gzip file",
        ),
        (Some(Vec::new()), None, "it is empty"),
        (None, None, "it cannot be opened"),
    ] {
        let mut cluster = cluster(1).lay();
        let path = cluster.path("file-list-cache.gzip");
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        if let Some(written) = written {
            std::fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(written)
                .unwrap();
        }
        cluster.node(0).write("real", &MINUTES, &minutes(now(), [1.0]));
        cluster.node(0).write("newer", &MINUTES, &minutes(now(), [1.0]));
        cluster.node_mut(0).flag("-cache_path", path.to_str().unwrap());
        cluster.start();
        assert_eq!(list(&cluster), ["newer", "real"], "{said}");
        let url = cluster.url(0, "/metrics/ghost");
        assert_eq!(Http::new().get(&url).status, 404);
        wait::until(&format!("the log says {said:?}"), || {
            let log = cluster.node(0).log();
            said.is_empty() || (log.contains("is not used") && log.contains(said))
        });
    }
}
