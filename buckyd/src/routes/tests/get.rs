//! HEAD and GET of a metric.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::wire::{Answer, Request};
use super::{TestDaemon, unsnappy, whisper};

const MTIME: u64 = 1_704_164_645;
const DATE: &str = "Tue, 02 Jan 2024 03:04:05 GMT";

/// A daemon with the metric `top`, written at [`DATE`], and its content.
async fn with_top() -> (TestDaemon, Vec<u8>) {
    let daemon = TestDaemon::start().await;
    let content = whisper(&[1, 2, 3]);
    daemon.put("top", &content);
    let file = File::options().write(true).open(daemon.path("top")).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(MTIME)).unwrap();
    fs::set_permissions(daemon.path("top"), fs::Permissions::from_mode(0o644)).unwrap();
    (daemon, content)
}

fn stat(name: &str, size: usize, mode: u32, encoding: u8) -> String {
    format!(
        r#"{{"Name":"{name}","Size":{size},"Mode":{mode},"ModTime":{MTIME},"Encoding":{encoding}}}"#
    )
}

#[tokio::test]
async fn head_answers_the_stat_and_nothing_else() {
    let (daemon, content) = with_top().await;
    let answer = daemon.send(&Request::new("HEAD", "/metrics/top")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-metric-stat"), Some(stat("top", content.len(), 420, 0).as_str()));
    assert_eq!(answer.header("content-length"), Some("0"));
    assert_eq!(answer.header("content-type"), None);
    assert!(answer.body.is_empty());
    assert_eq!(answer.spelling("x-metric-stat"), Some("X-Metric-Stat"));

    let missing = daemon.send(&Request::new("HEAD", "/metrics/nope")).await;
    assert_eq!((missing.status, missing.header("x-metric-stat")), (404, Some("null")));
    assert_eq!(missing.header("content-length"), Some("0"));
}

#[tokio::test]
async fn head_and_get_report_the_same_mode_in_gos_bits() {
    let (daemon, content) = with_top().await;
    fs::set_permissions(daemon.path("top"), fs::Permissions::from_mode(0o4640)).unwrap();
    let expected = stat("top", content.len(), 8_388_608 + 0o640, 0);
    for method in ["HEAD", "GET"] {
        let answer = daemon.send(&Request::new(method, "/metrics/top")).await;
        assert_eq!(answer.header("x-metric-stat"), Some(expected.as_str()), "{method}");
    }
}

#[tokio::test]
async fn get_answers_the_plain_file_with_the_headers_of_the_contract() {
    let (daemon, content) = with_top().await;
    for accept in ["gzip", "gzip, snappy", "Snappy"] {
        let request = Request::new("GET", "/metrics/top").header("Accept-Encoding", accept);
        let answer = daemon.send(&request).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, content);
        for (name, value) in [
            ("accept-ranges", "bytes"),
            ("content-type", "application/octet-stream"),
            ("last-modified", DATE),
            ("content-length", content.len().to_string().as_str()),
            ("x-metric-stat", stat("top", content.len(), 420, 0).as_str()),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
        assert_eq!(answer.header("content-encoding"), None);
    }
}

#[tokio::test]
async fn get_answers_snappy_frames_where_only_snappy_is_accepted() {
    let (daemon, content) = with_top().await;
    let request = Request::new("GET", "/metrics/top").header("Accept-Encoding", "snappy");
    let answer = daemon.send(&request).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-encoding"), Some("snappy"));
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    assert_eq!(answer.header("x-metric-stat"), Some(stat("top", content.len(), 420, 1).as_str()));
    assert!(answer.body.starts_with(b"\xff\x06\x00\x00sNaPpY"));
    assert_eq!(unsnappy(&answer.body), content);

    // Positions are those of the compressed stream.
    let part = daemon.send(&request.header("Range", "bytes=0-3")).await;
    assert_eq!((part.status, part.body.as_slice()), (206, &b"\xff\x06\x00\x00"[..]));
    assert_eq!(
        part.header("content-range"),
        Some(format!("bytes 0-3/{}", answer.body.len()).as_str())
    );
}

#[tokio::test]
async fn the_name_is_repeated_as_it_was_requested() {
    let daemon = TestDaemon::start().await;
    daemon.put("a.é", b"x");
    let answer = daemon.get("/metrics/a/%c3%a9").await;
    assert!(answer.header("x-metric-stat").unwrap().contains(r#""Name":"a/\u00e9""#));
}

#[tokio::test]
async fn empty_and_text_files_are_text() {
    let daemon = TestDaemon::start().await;
    daemon.put("empty", b"");
    daemon.put("text", b"hello\n");
    for (name, len) in [("empty", "0"), ("text", "6")] {
        let answer = daemon.get(&format!("/metrics/{name}")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.header("content-length"), Some(len));
    }
    let snappy = Request::new("GET", "/metrics/empty").header("Accept-Encoding", "snappy");
    let text = "Compressed length is 0, no data to transfer";
    assert_eq!(daemon.send(&snappy).await.error(), (500, text));
}

async fn with(daemon: &TestDaemon, headers: &[(&str, &str)]) -> Answer {
    let request = Request::new("GET", "/metrics/top");
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    daemon.send(&request).await
}

#[tokio::test]
async fn ranges_are_answered_with_those_bytes() {
    let (daemon, content) = with_top().await;
    let len = content.len();
    for (range, bytes) in [("bytes=0-15", 0..16), ("bytes=-5", len - 5..len), ("bytes=9-", 9..len)]
    {
        let answer = with(&daemon, &[("Range", range)]).await;
        assert_eq!(answer.status, 206, "{range}");
        let reported = format!("bytes {}-{}/{len}", bytes.start, bytes.end - 1);
        assert_eq!(answer.header("content-range"), Some(reported.as_str()));
        assert_eq!(answer.body, content[bytes]);
        assert!(answer.header("x-metric-stat").is_some());
    }
    let beyond = format!("bytes={len}-");
    for (range, text, reported) in [
        (beyond.as_str(), "invalid range: failed to overlap", Some(format!("bytes */{len}"))),
        ("lines=0-1", "invalid range", None),
    ] {
        let answer = with(&daemon, &[("Range", range)]).await;
        assert_eq!(answer.error(), (416, text));
        assert_eq!(answer.header("content-range"), reported.as_deref());
        assert!(answer.header("x-metric-stat").is_some());
    }
}

#[tokio::test]
async fn several_ranges_are_answered_in_parts() {
    let (daemon, content) = with_top().await;
    let answer = with(&daemon, &[("Range", "bytes=0-1,4-5")]).await;
    assert_eq!(answer.status, 206);
    let media_type = answer.header("content-type").unwrap();
    let boundary = media_type.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let mut expected = Vec::new();
    for range in [0..2, 4..6] {
        let reported = format!("bytes {}-{}/{}", range.start, range.end - 1, content.len());
        let head = format!(
            "--{boundary}\r\nContent-Range: {reported}\r\nContent-Type: application/octet-stream\r\n\r\n"
        );
        expected.extend_from_slice(head.as_bytes());
        expected.extend_from_slice(&content[range]);
        expected.extend_from_slice(b"\r\n");
    }
    expected.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    assert_eq!(answer.body, expected);
}

#[tokio::test]
async fn conditions_are_heeded() {
    let (daemon, content) = with_top().await;
    for (headers, status) in [
        (&[("If-Modified-Since", DATE)][..], 304),
        (&[("If-None-Match", "*")], 304),
        (&[("If-Unmodified-Since", "Mon, 01 Jan 2024 00:00:00 GMT")], 412),
        (&[("If-Unmodified-Since", DATE)], 200),
        (&[("If-Range", DATE), ("Range", "bytes=0-3")], 206),
        (&[("If-Range", "Mon, 01 Jan 2024 00:00:00 GMT"), ("Range", "bytes=0-3")], 200),
    ] {
        let answer = with(&daemon, headers).await;
        assert_eq!(answer.status, status, "{headers:?}");
        assert!(answer.header("x-metric-stat").is_some(), "{headers:?}");
        assert_eq!(answer.header("last-modified"), Some(DATE), "{headers:?}");
        let bytes = match status {
            200 => content.len(),
            206 => 4,
            _ => 0,
        };
        assert_eq!(answer.body.len(), bytes, "{headers:?}");
    }
}

#[tokio::test]
async fn missing_metrics_are_not_found() {
    let daemon = TestDaemon::start().await;
    assert_eq!(daemon.get("/metrics/nope").await.error(), (404, "Metric not found."));
    assert_eq!(daemon.get("/metrics/no.such.folder").await.error(), (404, "Metric not found."));
}

#[tokio::test]
async fn d44_folders_fifos_and_links_called_wsp_are_refused_at_once() {
    let daemon = TestDaemon::start().await;
    let prefix = daemon.prefix.path();
    fs::create_dir(prefix.join("folder.wsp")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, prefix.join("fifo.wsp"), fifo, mode, 0).unwrap();
    daemon.put("real", &whisper(&[1]));
    std::os::unix::fs::symlink("real.wsp", prefix.join("link.wsp")).unwrap();
    for name in ["folder", "fifo", "link"] {
        for method in ["GET", "DELETE"] {
            let answer = daemon.send(&Request::new(method, &format!("/metrics/{name}"))).await;
            let (status, text) = answer.error();
            assert_eq!(status, 400, "{text}");
            assert!(text.contains(&format!("{name}.wsp")), "{text}");
        }
        assert_eq!(
            daemon.send(&Request::new("HEAD", &format!("/metrics/{name}"))).await.status,
            400
        );
        for method in ["POST", "PUT"] {
            let answer = daemon.send(&super::upload(method, name, &whisper(&[2]))).await;
            assert_eq!(answer.error().0, 400);
        }
    }
    assert_eq!(super::fine_points(&daemon.content("real")), 1);
    assert_eq!(daemon.leftovers(), 0);
}

#[tokio::test]
async fn d21_a_lock_that_another_process_holds_is_waited_for_within_the_limit() {
    let daemon = TestDaemon::start_with(&["-lock-timeout", "0.2"]).await;
    daemon.put("top", &whisper(&[1, 2, 3]));
    let file = File::open(daemon.path("top")).unwrap();
    bucky_whisper::lock_exclusive(&file, Duration::ZERO).unwrap();
    let answer = daemon.get("/metrics/top").await;
    let (status, text) = answer.error();
    assert_eq!(status, 503);
    assert!(text.contains("top.wsp") && text.contains("lock"), "{text}");
    assert!(answer.header("retry-after").is_some());
    // HEAD takes no lock.
    assert_eq!(daemon.send(&Request::new("HEAD", "/metrics/top")).await.status, 200);
}

#[tokio::test]
async fn d21_a_client_that_does_not_read_on_holds_no_lock() {
    let daemon = TestDaemon::start().await;
    // More than the buffers of a connection hold.
    daemon.put("large", &vec![1; 64 * 1024 * 1024]);
    let mut stream = TcpStream::connect(daemon.addr).await.unwrap();
    stream.write_all(&Request::new("GET", "/metrics/large").to_bytes()).await.unwrap();
    let mut beginning = [0; 1000];
    stream.read_exact(&mut beginning).await.unwrap();
    assert!(beginning.starts_with(b"HTTP/1.1 200"));
    let file = File::options().write(true).open(daemon.path("large")).unwrap();
    bucky_whisper::lock_exclusive(&file, Duration::ZERO).unwrap();
}

#[tokio::test]
async fn a_file_that_is_sent_in_pieces_arrives_complete() {
    let daemon = TestDaemon::start().await;
    let content: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_be_bytes).collect();
    daemon.put("large", &content);
    let answer = daemon.get("/metrics/large").await;
    assert!(answer.body == content);
    assert_eq!(answer.header("content-length"), Some(content.len().to_string().as_str()));
}
