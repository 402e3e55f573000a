//! Slow clients, and many clients: others are served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{Launch, Node, tree};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::tars::{Evil, add_report};
use super::{answer, assert_serves, connect, exchange, head, peak_mib, request};
use crate::cluster;

/// Raises this process's limit of open connections to the hard limit.
fn raise_own_limit(needed: u64) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    assert!(
        maximum.is_none_or(|maximum| maximum >= needed),
        "this test needs {needed} open files; the hard limit is {maximum:?} (ulimit -Hn)"
    );
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// The processor time of `node`, in seconds.
fn processor_seconds(node: &Node) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u32 = fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap();
    f64::from(ticks) / 100.0
}

/// A shell gives a program fewer descriptors than that.
#[test]
fn two_thousand_idle_connections_lock_no_client_out() {
    let mut cluster = cluster(2).lay();
    cluster.scatter(20, &cluster.ring_of_first(1));
    cluster.node_mut(0).launch(Launch::WithDescriptors(1024));
    cluster.start();
    let before = cluster.ledger();
    raise_own_limit(5000);
    let node = cluster.node(0);
    let mut idle: Vec<TcpStream> = Vec::new();
    for number in 0..2000 {
        let mut stream = connect(node);
        // Some have sent a part of a request, and some have got an answer.
        match number % 3 {
            0 => {}
            1 => stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: d\r\nX-Slow: ").unwrap(),
            _ => stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: d\r\n\r\n").unwrap(),
        }
        idle.push(stream);
    }
    // In a crowd, each connection is kept for 15 s: so no answer is awaited before all are open.
    bucky_tests::wait::until("all are taken", || node.descriptors() > 2000);
    for stream in idle.iter_mut().skip(2).step_by(3) {
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
    }
    assert_serves(node);
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
    assert!(peak_mib(cluster.node(0)) < 250, "{} MiB", peak_mib(cluster.node(0)));
    drop(idle);
}

/// Heads of a megabyte that never end use a megabyte each.
#[test]
fn a_crowd_has_less_room_for_its_heads_each() {
    let cluster = cluster(1).start();
    raise_own_limit(3000);
    let node = cluster.node(0);
    let base = peak_mib(node);
    let long = format!("GET /v1/status HTTP/1.1\r\nX-Long: {}", "x".repeat(900_000));
    let send = || -> Vec<TcpStream> {
        let streams = (0..100).map(|_| {
            let mut stream = connect(node);
            // In a crowd, it is refused in the middle of the head.
            let _ = stream.write_all(long.as_bytes());
            stream
        });
        streams.collect()
    };
    let held: Vec<_> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..8).map(|_| scope.spawn(send)).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    // After these requests, the bytes that were sent have been read.
    (0..3).for_each(|_| assert_serves(node));
    let grown = peak_mib(node) - base;
    assert!(grown < 300, "800 heads of 900 kB took {grown} MiB");
    drop(held);
    assert_serves(node);
}

#[test]
fn a_daemon_at_the_end_of_its_descriptors_waits_for_some_and_does_not_spin() {
    let mut cluster = cluster(1).start();
    let limit = cluster.node(0).descriptors() as u64 + 20;
    cluster.node_mut(0).limit_descriptors(Some(limit));
    let node = cluster.node(0);
    // Not more than the listen queue holds, or they could not even connect.
    let crowd: Vec<TcpStream> = (0..100).map(|_| connect(node)).collect();
    let (began, before) = (Instant::now(), processor_seconds(node));
    std::thread::sleep(Duration::from_secs(2));
    let used = processor_seconds(node) - before;
    assert!(used < 0.5, "{used} s of a processor in {:?}", began.elapsed());
    assert!(node.log().matches("cannot accept a connection").count() <= 3, "{}", node.log());
    drop(crowd);
    assert_serves(node);
}

/// If such a request got a permit before its body has arrived, others would wait for that permit.
#[test]
fn bodies_that_come_byte_by_byte_delay_no_other_client() {
    let cluster = cluster(1).start();
    let node = cluster.node(0);
    node.write("m.known", &MINUTES, &minutes(now(), [1.0]));
    let json = ("Content-Type", "application/json");
    let octets = ("Content-Type", "application/octet-stream");
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let stat = ("X-Metric-Stat", "{\"Size\":100000}");
    let heads = [
        (head("POST /v1/confirm", &[json], 100_000), 80),
        (head("POST /metrics/m.slow", &[octets, stat], 100_000), 40),
        (head("POST /metrics", &[form], 100_000), 8),
    ];
    let mut slow = Vec::new();
    for (head, count) in &heads {
        for _ in 0..*count {
            let mut stream = connect(node);
            stream.write_all(head).unwrap();
            slow.push(stream);
        }
    }
    // Some heads never end either.
    slow.extend((0..100).map(|_| connect(node)));
    for round in 0..20 {
        for stream in &mut slow {
            let _ = stream.write_all(if round % 2 == 0 { b"[" } else { b" " });
        }
        if round % 5 == 0 {
            assert_serves(node);
        }
    }
    let began = Instant::now();
    let confirm = r#"{"metrics":[{"name":"m.known","slots":[]}]}"#;
    let raw = exchange(node, &request("POST /v1/confirm", &[json], confirm.as_bytes()));
    assert_eq!(raw.status, 200, "{}", raw.text);
    let raw = exchange(node, &request("POST /metrics", &[form], b"list=[\"m.known\"]"));
    assert!(raw.status == 200, "{}", raw.text);
    let file = std::fs::read(node.path("m.known")).unwrap();
    let stat = format!("{{\"Size\":{}}}", file.len());
    let upload = request("POST /metrics/m.new", &[octets, ("X-Metric-Stat", &stat)], &file);
    let raw = exchange(node, &upload);
    assert_eq!(raw.status, 200, "{}", raw.text);
    // For a permit they would wait 5 s or more, and then be refused.
    assert!(began.elapsed() < Duration::from_secs(15), "they took {:?}", began.elapsed());
    drop(slow);
    cluster.assert_nothing_unexpected();
}

#[test]
fn transfers_above_the_limit_are_asked_to_come_again_and_get_through() {
    let mut cluster = cluster(2).flag("--max-transfers", "1").lay();
    cluster.scatter(60, &cluster.ring_of_first(1));
    cluster.start();
    let before = cluster.ledger();
    let node = cluster.node(1);
    let mut tar = Vec::new();
    Evil::file(b"m/x.wsp", &MINUTES.empty_file()).add_to(&mut tar);
    add_report(&mut tar, 1);
    let mut held = connect(node);
    held.write_all(&head("POST /v1/heal", &[], tar.len())).unwrap();
    held.write_all(&tar[..600]).unwrap();
    bucky_tests::wait::until("the place is taken", || {
        cluster.get(1, "/v1/status").json()["transfers"]["receiving"] == 1
    });
    let raw = exchange(node, &request("POST /v1/heal", &[], &tar));
    assert_eq!(raw.status, 503, "{}", raw.text);
    assert!(raw.text.contains("Retry-After: 1") && raw.text.contains("\"busy\""), "{}", raw.text);
    assert_serves(node);
    let mut run = cluster.start_bucky(&["rebalance", "-w", "20"]);
    bucky_tests::wait::until("the run has met the busy daemon", || {
        node.log().matches("POST /v1/pull").count() > 1
    });
    assert!(run.is_running(), "it ended without a place");
    // The transfer that holds the permit finishes, and the run continues.
    held.write_all(&tar[600..]).unwrap();
    assert_eq!(answer(&mut held).status, 200);
    run.finish().assert_code(0);
    assert!(node.has("m.x"));
    std::fs::remove_file(node.path("m.x")).unwrap();
    std::fs::remove_dir(node.path("m.x").parent().unwrap()).unwrap();
    cluster.assert_all_in_place(&before);
    assert!(tree::tombstones(&cluster.node(0).prefix()).is_empty());
}
