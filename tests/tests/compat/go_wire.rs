//! Compares the fake daemon and client of the Go tool, which mixed clusters use, with recordings of the real
//! programs.
//!
//! All headers of an answer are compared except `Date`; their order is not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use bucky_ring::{Algorithm, Ring, RingSpec};
use bucky_tests::go::{GoAnswer, frame, unframe};
use bucky_tests::{GoClient, GoDaemon, Layout, metrics};
use bucky_whisper::Aggregation;
use tempfile::TempDir;

/// 148 bytes: one archive, 60 s x 10 points.
const SMALL: Layout =
    Layout { retentions: "60s:10", aggregation: Aggregation::Average, x_files_factor: 0.5 };
const MTIME: u64 = 1_704_164_645;

struct Fake {
    daemon: GoDaemon,
    client: GoClient,
    folder: TempDir,
}

fn fake() -> Fake {
    let folder = tempfile::tempdir().unwrap();
    let nodes = ["127.0.3.1:2003=a", "127.0.3.2:2003=b"];
    let (relay, tagged_names) = bucky_ring::resolve(Algorithm::Carbon, None, None).unwrap();
    let ring = Ring::new(RingSpec {
        nodes: nodes.iter().map(|node| node.parse().unwrap()).collect(),
        algorithm: Algorithm::Carbon,
        relay,
        replication_factor: 1,
        diverse_replicas: false,
        tagged_names,
        aggregation: None,
        routes: None,
    })
    .unwrap();
    let addr = SocketAddr::from(([127, 0, 0, 1], 0));
    let daemon = GoDaemon::start(addr, "127.0.3.1", folder.path().join("whisper"), &ring);
    let client = GoClient::of(daemon.addr());
    Fake { daemon, client, folder }
}

impl Fake {
    /// Writes a metric of 148 bytes with a known modification time.
    fn lay(&self, name: &str) -> Vec<u8> {
        lay(&self.folder.path().join("whisper"), name)
    }
}

fn lay(prefix: &Path, name: &str) -> Vec<u8> {
    let metric = name.parse().unwrap();
    metrics::write(prefix, &metric, &SMALL, &metrics::minutes(metrics::now(), [1.0, 2.5]));
    let path = prefix.join(metric.relative_path());
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(MTIME)).unwrap();
    std::fs::read(path).unwrap()
}

/// An answer in the form of the recordings: status, headers sorted by name, and the body if it is text.
fn text_of(answer: &GoAnswer) -> String {
    let mut headers: Vec<String> = answer
        .headers
        .iter()
        .filter(|(name, _)| name != "Date")
        .map(|(name, value)| format!("{name}: {value}\n"))
        .collect();
    headers.sort_unstable();
    let is_text =
        answer.header("content-type").is_none_or(|kind| kind != "application/octet-stream");
    let body = if is_text { answer.text() } else { String::new() };
    format!("HTTP/1.1 {} {}\n{}\n{body}", answer.status, answer.reason, headers.concat())
}

#[test]
fn the_fake_go_daemon_answers_as_recorded() {
    let fake = fake();
    assert_eq!(
        text_of(&fake.client.hashring()),
        "HTTP/1.1 200 OK\nContent-Length: 159\nContent-Type: application/json\n\n{\"Name\":\"127.0.3.1\",\"Nodes\":\
         [{\"Server\":\"127.0.3.1\",\"Port\":2003,\"Instance\":\"a\"},{\"Server\":\"127.0.3.2\",\"Port\":2003,\
         \"Instance\":\"b\"}],\"Algo\":\"carbon\",\"Replicas\":1}"
    );
    assert_eq!(
        text_of(&fake.client.list_once(Some(&["dup.x", "sp ace?&+%"]))),
        "HTTP/1.1 202 Accepted\nContent-Length: 26\nContent-Type: text/plain; charset=utf-8\n\
         X-Content-Type-Options: nosniff\n\nCache update in progress.\n"
    );
    let content = fake.lay("dup.x");
    assert_eq!(content.len(), 148);
    assert_eq!(
        text_of(&fake.client.head("dup.x")),
        "HTTP/1.1 200 OK\nContent-Length: 0\nX-Metric-Stat: {\"Name\":\"dup.x\",\"Size\":148,\"Mode\":420,\
         \"ModTime\":1704164645,\"Encoding\":0}\n\n"
    );
    let got = fake.client.get("dup.x");
    assert!(got.body.starts_with(b"\xff\x06\x00\x00sNaPpY"), "{:?}", got.body);
    assert_eq!(unframe(&got.body).unwrap(), content);
    assert_eq!(
        text_of(&got),
        format!(
            "HTTP/1.1 200 OK\nAccept-Ranges: bytes\nContent-Encoding: snappy\nContent-Length: {}\n\
             Content-Type: application/octet-stream\nLast-Modified: Tue, 02 Jan 2024 03:04:05 GMT\n\
             X-Metric-Stat: {{\"Name\":\"dup.x\",\"Size\":148,\"Mode\":420,\"ModTime\":1704164645,\"Encoding\":1}}\n\n",
            got.body.len()
        )
    );
    let stat = got.header("x-metric-stat").unwrap().to_owned();
    assert_eq!(
        text_of(&fake.client.post("wrong.b", &stat, got.body)),
        "HTTP/1.1 200 OK\nContent-Length: 60\nContent-Type: application/json\n\n{\"Download\":0,\"Dump\":0,\
         \"Fill\":0,\"Compress\":0,\"Copy\":128231}\n"
    );
    assert_eq!(text_of(&fake.client.delete("dup.x")), "HTTP/1.1 200 OK\nContent-Length: 0\n\n");
    let not_found = "HTTP/1.1 404 Not Found\nContent-Length: 18\nContent-Type: text/plain; charset=utf-8\n\
                     X-Content-Type-Options: nosniff\n\nMetric not found.\n";
    assert_eq!(text_of(&fake.client.delete("dup.x")), not_found);
    assert_eq!(text_of(&fake.client.get("dup.x")), not_found);
    assert_eq!(
        text_of(&fake.client.head("dup.x")),
        "HTTP/1.1 404 Not Found\nContent-Length: 0\nX-Metric-Stat: null\n\n"
    );
    assert!(!fake.folder.path().join("whisper/dup").exists(), "empty parents go");
}

#[test]
fn the_fake_go_daemon_refuses_what_the_real_one_refuses() {
    let fake = fake();
    let content = fake.lay("there");
    let framed = frame(&content);
    let stat = |size: i64| format!("{{\"Size\":{size}}}");
    let octets = ("Content-Type", "application/octet-stream");
    let ask = |method, target, headers: &[(&str, &str)], body: &[u8]| {
        let body = bucky_tests::go::Body::Long(body.to_vec());
        let answer = fake.client.ask(method, target, headers, Some(body));
        format!("{} {}", answer.status, answer.text())
    };
    let small = stat(28);
    let (fits, larger) = (stat(148), stat(149));
    for (found, wanted) in [
        (
            ask("POST", "/metrics/new", &[("Content-Type", "application/json")], b"x"),
            "400 Content-Type must be application/octet-stream.\n",
        ),
        (ask("POST", "/metrics/new", &[octets], b"x"), "400 Error decoding X-Metric-Stat header\n"),
        (
            ask("POST", "/metrics/new", &[octets, ("X-Metric-Stat", &small)], &content[..28]),
            "400 Whisper data in request too small.\n",
        ),
        (
            ask("POST", "/metrics/new", &[octets, ("X-Metric-Stat", &larger)], &content),
            "400 Malformed whisper data\n",
        ),
        (
            ask(
                "POST",
                "/metrics/there",
                &[octets, ("X-Metric-Stat", &fits), ("Content-Encoding", "snappy")],
                &framed[..framed.len() - 3],
            ),
            "500 snappy: corrupt input\n",
        ),
        (ask("POST", "/hashring", &[], b""), "400 Bad Request.\n"),
        (ask("PUT", "/metrics", &[], b""), "400 Bad request method.\n"),
        (ask("GET", "/metrics/", &[], b""), "400 Metric name missing.\n"),
        (ask("PATCH", "/metrics/there", &[], b""), "400 Bad method request.\n"),
        (ask("GET", "/v1/metrics", &[], b""), "404 404 page not found\n"),
        (ask("GET", "/hashring/", &[], b""), "404 404 page not found\n"),
    ] {
        assert_eq!(found, wanted);
    }
    for (path, location) in [
        ("/metrics//a", "/metrics/a"),
        ("/metrics/../hashring", "/hashring"),
        ("/metrics/%2e%2e/hashring", "/hashring"),
        ("/metrics/.", "/metrics"),
        ("/metrics/..", "/"),
        ("/metrics/a%2f..%2fb", "/metrics/b"),
    ] {
        let answer = fake.client.ask("GET", path, &[], None).assert_status(301);
        assert_eq!(answer.header("location"), Some(location), "{path}");
    }
    assert_eq!(fake.daemon.take_refused().len(), 17, "and each is held against the test");
    assert_eq!(fake.client.ask("GET", "/v1/status", &[], None).assert_status(404).status, 404);
    assert_eq!(fake.client.ask("GET", "/metrics/a..b", &[], None).assert_status(404).status, 404);
}

/// A client might take the whole list for its few names (D1), so such a request is refused.
#[test]
fn the_fake_go_daemon_takes_no_list_that_cannot_be_read() {
    let fake = fake();
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    for (content_type, body) in
        [(form, "list=%zz"), (form, "list=[];x"), (("Content-Type", "application/json"), "[]")]
    {
        let body = bucky_tests::go::Body::Chunked(body.to_owned());
        fake.client.ask("POST", "/metrics", &[content_type], Some(body)).assert_status(400);
    }
    assert_eq!(fake.daemon.take_refused().len(), 3);
}

#[test]
fn the_fake_go_daemon_lists_files_in_the_order_of_its_walk() {
    let fake = fake();
    let prefix = fake.folder.path().join("whisper");
    for path in
        ["a/two.wsp", "a/one.wsp", "a.b/f.wsp", "a.wsp", "UP.WSP", ".h/x.wsp", "x.wsp.y/z.wsp"]
    {
        std::fs::create_dir_all(prefix.join(path).parent().unwrap()).unwrap();
        std::fs::write(prefix.join(path), "").unwrap();
    }
    std::os::unix::fs::symlink(prefix.join("a.wsp"), prefix.join("link.wsp")).unwrap();
    assert_eq!(fake.client.list(None), ["a.one", "a.two", "a.b.f", "a", "x.y.z.wsp"]);
    assert_eq!(fake.client.list(Some(&["nobody", "a.two"])), ["a.two"]);
    let empty = fake.client.get("a");
    assert_eq!(
        (empty.status, empty.text().as_str()),
        (500, "Compressed length is 0, no data to transfer\n")
    );
}

/// One daemon that fetches from another.
#[test]
fn the_fake_go_daemon_fetches_as_recorded() {
    let (source, destination) = (fake(), fake());
    let content = source.lay("wrong.b");
    let answer = destination.client.offload("wrong.b", source.client.addr()).assert_status(200);
    let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(answer["Download"].as_u64().unwrap() > 0, "{answer}");
    let there = destination.client.get("wrong.b").assert_status(200);
    assert_eq!(unframe(&there.body).unwrap(), content);
    let error = |metric: &str, server: &str| {
        let answer = destination.client.offload(metric, server);
        format!("{} {}", answer.status, answer.text())
    };
    assert_eq!(
        error("nobody", source.client.addr()),
        "404 Error fetching metric: metric not found\n"
    );
    // No process listens there, and the port is never assigned by chance.
    let closed = "127.0.0.1:1";
    assert_eq!(
        error("m", closed),
        format!(
            "400 Error fetching metric: Get \"http://{closed}/metrics/m\": dial tcp {closed}: connect: connection refused\n"
        )
    );
}

/// Compares each request of the client with what the real one was seen to send.
#[test]
fn the_go_client_sends_what_was_recorded() {
    let sent = |ask: &dyn Fn(&GoClient)| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let receiving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 4096];
            let mut len = 0;
            while !is_complete(&request[..len]) {
                len += stream.read(&mut request[len..]).unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            String::from_utf8(request[..len].to_vec()).unwrap()
        });
        ask(&GoClient::of(addr.clone()));
        receiving.join().unwrap().replace(&addr, "H").replace("\r\n", "\n")
    };
    assert_eq!(
        sent(&|client| drop(client.list_once(Some(&["dup.x", "sp ace?&+%"])))),
        "POST /metrics HTTP/1.1\nHost: H\nUser-Agent: Go-http-client/1.1\nTransfer-Encoding: chunked\n\
         Content-Type: application/x-www-form-urlencoded\nAccept-Encoding: gzip\n\n36\n\
         list=%5B%22dup.x%22%2C%22sp+ace%3F%5Cu0026%2B%25%22%5D\n0\n\n"
    );
    assert_eq!(
        sent(&|client| drop(client.head("dup.x"))),
        "HEAD /metrics/dup.x HTTP/1.1\nHost: H\nUser-Agent: Go-http-client/1.1\n\n"
    );
    assert_eq!(
        sent(&|client| drop(client.get("top"))),
        "GET /metrics/top HTTP/1.1\nHost: H\nUser-Agent: Go-http-client/1.1\nAccept-Encoding: snappy\n\n"
    );
    assert_eq!(
        sent(&|client| drop(client.post("wrong.b", "{\"Name\":\"wrong.b\"}", b"body".to_vec()))),
        "POST /metrics/wrong.b HTTP/1.1\nHost: H\nUser-Agent: Go-http-client/1.1\nContent-Length: 4\n\
         Content-Encoding: snappy\nContent-Type: application/octet-stream\nX-Metric-Stat: {\"Name\":\"wrong.b\"}\n\
         Accept-Encoding: gzip\n\nbody"
    );
    assert_eq!(
        sent(&|client| drop(client.offload("wrong.b", "127.0.3.2:4242"))),
        "POST /metrics/wrong.b?fetch_offload=true HTTP/1.1\nHost: H\nUser-Agent: Go-http-client/1.1\n\
         Content-Length: 56\nContent-Type: application/x-www-form-urlencoded\nAccept-Encoding: gzip\n\n\
         metric=wrong.b&no_encoding=false&server=127.0.3.2%3A4242"
    );
    assert_eq!(
        sent(&|client| drop(client.delete("wrong.b"))),
        "DELETE /metrics/wrong.b HTTP/1.1\nHost: H\nUser-Agent: Go-http-client/1.1\nAccept-Encoding: gzip\n\n"
    );
}

/// Whether this is a request with its whole body.
fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    if head.contains("chunked") {
        return body.ends_with("0\r\n\r\n");
    }
    let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    body.len() == len.map_or(0, |len| len.parse().unwrap())
}
