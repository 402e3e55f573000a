//! POST and PUT with fetch_offload=true.

use std::net::SocketAddr;

use bucky_api::go::FORM;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

use super::wire::{Answer, Request};
use super::{TestDaemon, fine_points, whisper};

fn offload(method: &str, metric: &str, source: SocketAddr, source_metric: &str) -> Request {
    Request::new(method, &format!("/metrics/{metric}?fetch_offload=true"))
        .header("Content-Type", FORM)
        .body(format!("metric={source_metric}&no_encoding=false&server={source}").as_bytes())
}

fn timing(answer: &Answer, name: &str) -> u64 {
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap()[name].as_u64().unwrap()
}

#[tokio::test]
async fn the_daemon_fetches_and_creates_fills_or_replaces() {
    let (source, daemon) = (TestDaemon::start().await, TestDaemon::start().await);
    let content = whisper(&[1, 2, 3]);
    source.put("old.name", &content);
    let answer = daemon.send(&offload("POST", "new", source.addr, "old.name")).await;
    assert!(timing(&answer, "Download") > 0 && timing(&answer, "Copy") > 0);
    assert_eq!(daemon.content("new"), content);
    assert!(daemon.lists("new"));

    daemon.put("m", &whisper(&[4]));
    let answer = daemon.send(&offload("POST", "m", source.addr, "old.name")).await;
    assert!(timing(&answer, "Download") > 0 && timing(&answer, "Fill") > 0);
    assert_eq!(timing(&answer, "Copy"), 0);
    assert_eq!(fine_points(&daemon.content("m")), 4);

    let answer = daemon.send(&offload("PUT", "m", source.addr, "old.name")).await;
    assert!(timing(&answer, "Copy") > 0);
    assert_eq!(daemon.content("m"), content);
    assert_eq!(source.content("old.name"), content);
}

#[tokio::test]
async fn the_form_may_stand_in_the_query() {
    let (source, daemon) = (TestDaemon::start().await, TestDaemon::start().await);
    source.put("m", &whisper(&[1]));
    let path = format!("/metrics/m?fetch_offload=true&server={}&metric=m", source.addr);
    assert_eq!(daemon.send(&Request::new("POST", &path)).await.status, 200);
    assert!(daemon.has("m"));
}

/// Asserts that neither an existing nor a new metric is changed.
async fn assert_refused(source: SocketAddr, metric: &str, status: u16, said: &str) {
    let daemon = TestDaemon::start().await;
    let there = whisper(&[1]);
    daemon.put("m", &there);
    for method in ["POST", "PUT"] {
        for name in ["m", "new"] {
            let answer = daemon.send(&offload(method, name, source, metric)).await;
            let (found, text) = answer.error();
            assert_eq!(found, status, "{method} {name}: {text}");
            assert!(text.contains(said), "{method} {name}: {text}");
        }
    }
    assert_eq!(daemon.content("m"), there);
    assert!(!daemon.has("new"));
    assert_eq!(daemon.leftovers(), 0);
}

#[tokio::test]
async fn d3_a_source_that_fails_changes_nothing_and_its_fault_is_distinguished_from_ours() {
    let source = TestDaemon::start().await;
    source.put("empty", b"");
    source.put("junk", &[0; 148]);
    let folder = source.prefix.path().join("folder.wsp");
    std::fs::create_dir(folder).unwrap();
    for (metric, status, said) in [
        ("nope", 404, "Error fetching metric: metric not found"),
        ("empty", 400, "Whisper data in request too small."),
        ("junk", 400, "Malformed whisper data: "),
        (
            "folder",
            400,
            "Error fetching metric: Fetching metric returned status code: 400 Bad Request",
        ),
        ("", 400, "Error fetching metric: the request does not name a metric"),
    ] {
        assert_refused(source.addr, metric, status, said).await;
    }
    // Nothing listens there. While the socket is held, no other process can.
    let held = TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = held.local_addr().unwrap();
    assert_refused(closed, "m", 400, "Error fetching metric: cannot reach 127.0.0.1:").await;
}

#[tokio::test]
async fn d29_a_source_that_is_this_very_store_is_refused() {
    let daemon = TestDaemon::start().await;
    let there = whisper(&[1]);
    daemon.put("m", &there);
    for method in ["POST", "PUT"] {
        for name in ["m", "other"] {
            let answer = daemon.send(&offload(method, name, daemon.addr, "m")).await;
            let (status, text) = answer.error();
            assert_eq!(status, 400);
            assert!(text.contains("this same store"), "{text}");
        }
    }
    assert_eq!(daemon.content("m"), there);
    assert!(!daemon.has("other"));
}

/// A server that answers every request with these bytes, and 404 for `/v1`, as the Go daemon does.
async fn go_daemon(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let read = stream.read(&mut head).await.unwrap_or(0);
            let missing =
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let is_v1 = head[..read].starts_with(b"GET /v1/");
            let _ = stream.write_all(if is_v1 { missing } else { &answer }).await;
        }
    });
    addr
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n").into_bytes();
    answer.extend_from_slice(body);
    answer
}

#[tokio::test]
async fn a_daemon_of_the_go_tool_can_be_the_source() {
    let content = whisper(&[1, 2]);
    let headers = format!(
        "X-Metric-Stat: {{\"Name\":\"m\",\"Size\":{0},\"Mode\":420,\"ModTime\":1704164645,\"Encoding\":0}}\r\n\
         Content-Length: {0}\r\n",
        content.len()
    );
    let source = go_daemon(answer("200 OK", &headers, &content)).await;
    let daemon = TestDaemon::start_with(&["-mtime"]).await;
    assert_eq!(daemon.send(&offload("POST", "m", source, "m")).await.status, 200);
    assert_eq!(daemon.content("m"), content);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(daemon.path("m")).unwrap().mtime(), 1_704_164_645);
}

#[tokio::test]
async fn d13_sources_that_answer_nonsense_are_the_sources_fault() {
    let content = whisper(&[1]);
    let len = content.len();
    let stat = |size: usize| format!("X-Metric-Stat: {{\"Size\":{size}}}\r\n");
    for (response, said) in [
        (answer("200 OK", "X-Metric-Stat: null\r\n", &content), "not a JSON object"),
        (answer("200 OK", "", &content), "no X-Metric-Stat header"),
        (answer("200 OK", &stat(len + 1), &content), "fewer bytes"),
        (answer("200 OK", &stat(len - 1), &content), "more bytes"),
        (answer("200 OK", &stat(1 << 40), &content), "the limit is"),
        (answer("200 OK", &stat(1 << 30), &content), "does not have the 1073741824 bytes"),
        (answer("500 Internal Server Error", "", b"broken\n"), "500 Internal Server Error"),
        (answer("301 Moved Permanently", "Location: /metrics/x\r\n", b""), "301 Moved Permanently"),
    ] {
        assert_refused(go_daemon(response).await, "m", 400, said).await;
    }
}

#[tokio::test]
async fn a_form_that_does_not_name_a_source_is_refused() {
    let daemon = TestDaemon::start().await;
    for (body, said) in [
        ("metric=m", "http: no Host in request URL"),
        ("metric=m&server=a/b", "'/' in its host"),
        ("metric=m&server=a:x", "has the port"),
        ("metric=%zz&server=a", "invalid URL escape"),
    ] {
        let request = Request::new("POST", "/metrics/m?fetch_offload=true");
        let request = request.header("Content-Type", FORM).body(body.as_bytes());
        let answer = daemon.send(&request).await;
        let (status, text) = answer.error();
        assert_eq!(status, 400);
        assert!(text.contains(said), "{text}");
    }
}
