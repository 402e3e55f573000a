//! What all routes have in common, and the route that every client uses first.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bucky_tests::wait;

use super::{Daemon, error, row, text_of};
use crate::cluster;

#[test]
fn the_ring_is_answered_as_the_go_daemon_writes_it_and_to_get_only() {
    let mut cluster = cluster(1).lay();
    let node = cluster.node_mut(0);
    node.flag("-hash", "jump_fnv1a").flag("-node", "host<&>é");
    node.ring_member("127.0.3.1=a").ring_member("127.0.3.2:2003=b=c");
    let first = node.host().to_owned();
    cluster.start();
    let daemon = Daemon::of(cluster);
    let ring = format!(
        "{{\"Name\":\"host\\u003c\\u0026\\u003eé\",\"Nodes\":[\
         {{\"Server\":\"{first}\",\"Port\":2003,\"Instance\":\"\"}},\
         {{\"Server\":\"127.0.3.1\",\"Port\":0,\"Instance\":\"a\"}},\
         {{\"Server\":\"127.0.3.2\",\"Port\":2003,\"Instance\":\"b=c\"}}],\
         \"Algo\":\"jump_fnv1a\",\"Replicas\":1,"
    );
    for target in ["/hashring", "/hashring?x=y;%zz"] {
        let answer = daemon.answer(&format!("GET {target}"));
        let (head, body) =
            text_of(&answer).split_once("\n\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        assert_eq!(
            head,
            format!("200 OK\nContent-Length: {}\nContent-Type: application/json", body.len())
        );
        // Ours: after the Go daemon's keys come our own, which its client ignores.
        assert!(body.starts_with(&ring), "{body}");
        assert!(body.ends_with('}'), "no line feed: {body:?}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = daemon.client.ask(method, "/hashring", &[], None);
        assert_eq!(text_of(&answer), super::plain_error("400 Bad Request", "Bad Request."));
    }
    assert_eq!(daemon.client.ask("HEAD", "/hashring", &[], None).status, 400);
}

#[test]
fn unknown_routes_are_not_found_and_unclean_paths_are_redirected() {
    let daemon = Daemon::start();
    daemon.assert_rows(&[
        error("GET /", "404 Not Found", "404 page not found"),
        error("GET /hashring/", "404 Not Found", "404 page not found"),
        error("GET /debug/pprof/", "404 Not Found", "404 page not found"),
        error("POST /nowhere", "404 Not Found", "404 page not found"),
    ]);
    for (target, location) in [
        ("/metrics//a", "/metrics/a"),
        ("/metrics/./a", "/metrics/a"),
        ("/metrics/../hashring", "/hashring"),
        ("/metrics/%2e%2e/hashring", "/hashring"),
        ("/metrics/.", "/metrics"),
        ("/metrics/..", "/"),
        ("/metrics/a%2f..%2fb", "/metrics/b"),
    ] {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"] {
            let answer = daemon.client.ask(method, target, &[], None);
            assert_eq!(
                (answer.status, answer.header("location")),
                (301, Some(location)),
                "{method} {target}"
            );
        }
    }
    // Dots inside a segment are names. Ours: they name no metric.
    for target in ["/metrics/...", "/metrics/a..b"] {
        assert_eq!(daemon.client.ask("GET", target, &[], None).status, 400, "{target}");
    }
    daemon.assert_rows(&[
        error("GET /metrics/", "400 Bad Request", "Metric name missing."),
        error("DELETE /metrics/", "400 Bad Request", "Metric name missing."),
        error("PATCH /metrics/", "400 Bad Request", "Metric name missing."),
        error("PATCH /metrics/a", "400 Bad Request", "Bad method request."),
        error("OPTIONS /metrics/a", "400 Bad Request", "Bad method request."),
        row("HEAD /metrics/nope", "404 Not Found\nContent-Length: 0\nX-Metric-Stat: null\n\n"),
    ]);
}

/// Everything that is received on a connection on which `request` was sent.
fn raw(daemon: &Daemon, request: &str) -> String {
    let mut stream = TcpStream::connect(daemon.client.addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // The daemon may have answered and closed before everything is sent.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn http_1_0_keep_alive_and_heads_beyond_a_mebibyte_are_as_with_the_go_daemon() {
    let daemon = Daemon::start();
    let answer = raw(&daemon, "GET /hashring HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with('}'), "{answer}");
    assert!(!answer.to_lowercase().contains("transfer-encoding"), "{answer}");
    let list = raw(&daemon, "GET /metrics HTTP/1.0\r\n\r\n");
    assert!(list.ends_with("\r\n\r\n[]"), "no chunks for HTTP/1.0: {list}");

    let kept = "GET /hashring HTTP/1.1\r\nHost: a\r\n\r\n";
    let closed = "GET /hashring HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answers = raw(&daemon, &format!("{kept}{kept}{closed}"));
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 3, "{answers}");
    assert!(!answers.contains("Server: "), "{answers}");
    assert_eq!(answers.matches("Date: ").count(), 3, "{answers}");

    let long = "x".repeat(2_500_000);
    let get = |regex: &str| {
        format!("GET /metrics?regex={regex} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    };
    for (request, status) in [
        (
            format!(
                "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Long: {long}\r\n\r\n"
            ),
            "431",
        ),
        (get(&long), "431"),
        // Ours: a path and query have their own limit, 65,534 bytes.
        (get(&long[..100_000]), "414"),
    ] {
        let answer = raw(&daemon, &request);
        // If a part of the request is not read, the answer may be lost with it.
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.is_empty() || answer.starts_with(&expected), "{answer:.200}");
    }
    assert_eq!(daemon.client.hashring().status, 200);
}

/// The Go daemon logs 0 bytes for a metric's file, and logs no line for a request whose handler failed.
#[test]
fn the_access_log_has_a_line_a_request_with_the_bytes_that_were_sent() {
    let daemon = Daemon::start();
    daemon.lay("top");
    daemon.lay("app.b");
    let ring = daemon.client.hashring().body.len();
    daemon.client.ask("GET", "/metrics?force=1&regex=.", &[], None).assert_status(200);
    daemon.client.head("top").assert_status(200);
    let framed = daemon.client.get("top").assert_status(200).body.len();
    daemon.client.ask("GET", "/metrics/top", &[("Range", "bytes=0-15")], None).assert_status(206);
    daemon.client.ask("GET", "/v1/metrics", &[], None).assert_status(200);
    daemon.client.get("nope").assert_status(404);
    daemon.client.delete("app.b").assert_status(200);
    for (request, status, bytes) in [
        ("GET /hashring", 200, ring),
        ("GET /metrics?force=1&regex=.", 200, r#"["app.b","top"]"#.len()),
        ("HEAD /metrics/top", 200, 0),
        ("GET /metrics/top", 200, framed),
        ("GET /metrics/top", 206, 16),
        ("GET /v1/metrics", 200, "app.b\ntop\n".len()),
        ("GET /metrics/nope", 404, "Metric not found.\n".len()),
        ("DELETE /metrics/app.b", 200, 0),
    ] {
        let end = format!("] \"{request} HTTP/1.1\" {status} {bytes}");
        wait::until(&format!("the log has {end}"), || {
            let log = daemon.cluster.node(0).log();
            log.lines().any(|line| line.ends_with(&end) && is_stamped(line))
        });
    }
}

/// `127.0.0.1 - - [22/Nov/2026:12:55:08 +0000] "…`
fn is_stamped(line: &str) -> bool {
    let Some((client, rest)) = line.split_once(" - - [") else { return false };
    let Some((stamp, _)) = rest.split_once("] \"") else { return false };
    let shape: String = stamp
        .chars()
        .map(|c| {
            if c.is_ascii_digit() {
                '0'
            } else if c.is_ascii_alphabetic() {
                'a'
            } else {
                c
            }
        })
        .collect();
    client.parse::<std::net::IpAddr>().is_ok() && shape == "00/aaa/0000:00:00:00 +0000"
}
