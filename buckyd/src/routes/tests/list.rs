//! GET and POST of the list.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;

use bucky_api::go::FORM;
use rustix::fs::{Mode, OFlags};

use super::TestDaemon;
use super::wire::{Answer, Request};

async fn with_metrics(metrics: &[&str]) -> TestDaemon {
    let daemon = TestDaemon::start().await;
    metrics.iter().for_each(|metric| daemon.put(metric, b""));
    daemon.app.inventory.fresh().await;
    daemon
}

fn form(body: &str) -> Request {
    Request::new("POST", "/metrics").header("Content-Type", FORM).body(body.as_bytes())
}

/// The body of the answer, which must have the form of a JSON list.
fn list(answer: &Answer) -> &str {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.text()
}

#[tokio::test]
async fn the_list_is_a_json_array_in_the_byte_order_of_the_names() {
    let daemon = TestDaemon::start().await;
    assert_eq!(list(&daemon.get("/metrics").await), "[]");
    for metric in ["a.one", "a", "a.b.f", "a-b", "q<&>", "é"] {
        daemon.put(metric, b"");
    }
    daemon.app.inventory.fresh().await;
    let all = r#"["a","a-b","a.b.f","a.one","q\u003c\u0026\u003e","é"]"#;
    for request in [
        Request::new("GET", "/metrics"),
        Request::new("GET", "/metrics?force=&unknown=1"),
        Request::new("POST", "/metrics"),
        form(""),
        form("force="),
    ] {
        assert_eq!(list(&daemon.send(&request).await), all);
    }
}

#[tokio::test]
async fn regex_and_list_choose_what_is_answered() {
    let daemon = with_metrics(&["app.a", "app.b", "sys.a", "sys.b"]).await;
    for (request, expected) in [
        (Request::new("GET", "/metrics?regex=%5Eapp"), r#"["app.a","app.b"]"#),
        (Request::new("GET", "/metrics?regex=s%5C.b"), r#"["sys.b"]"#),
        (Request::new("GET", "/metrics?regex=nothing"), "[]"),
        (form(r#"list=["sys.b","app.a","sys.b","nope",null]"#), r#"["app.a","sys.b"]"#),
        (form("list=[]"), "[]"),
        (form("list=null"), "[]"),
        (form(r#"regex=a$&list=["sys.b","app.a"]"#), r#"["app.a"]"#),
        (Request::new("POST", "/metrics?list=%5B%22app.b%22%5D"), r#"["app.b"]"#),
    ] {
        assert_eq!(list(&daemon.send(&request).await), expected);
    }
    let multipart =
        "--X\r\nContent-Disposition: form-data; name=\"regex\"\r\n\r\n^sys\r\n--X--\r\n";
    let request = Request::new("POST", "/metrics")
        .header("Content-Type", "multipart/form-data; boundary=X")
        .body(multipart.as_bytes());
    assert_eq!(list(&daemon.send(&request).await), r#"["sys.a","sys.b"]"#);
}

#[tokio::test]
async fn the_list_request_of_the_go_client_is_answered_while_there_is_no_list_and_once_there_is() {
    let body = "list=%5B%22dup.x%22%2C%22sp+ace%3F%5Cu0026%2B%25%22%5D";
    let request = Request::new("POST", "/metrics").chunked_form(body);
    let daemon = TestDaemon::start_without_scans(&[]).await;
    daemon.put("dup.x", b"");
    let answer = daemon.send(&request).await;
    assert_eq!(answer.error(), (202, "Cache update in progress."));
    assert_eq!(answer.header("content-length"), Some("26"));
    // What can only be checked against a list is checked once there is one.
    assert_eq!(daemon.get("/metrics?regex=(").await.status, 202);
    assert_eq!(daemon.get("/metrics?regex=%zz").await.status, 400);
    tokio::spawn(std::sync::Arc::clone(&daemon.app.inventory).run());
    daemon.app.inventory.wait_for(1).await;
    assert_eq!(list(&daemon.send(&request).await), r#"["dup.x"]"#);
    assert_eq!(daemon.get("/metrics?regex=(").await.status, 400);
}

#[tokio::test]
async fn d1_a_list_that_cannot_be_read_is_an_error_and_never_all_metrics() {
    let daemon = with_metrics(&["a", "b"]).await;
    let chunks = |chunks: &str| {
        let request = Request::new("POST", "/metrics").header("Content-Type", FORM);
        request
            .body(chunks.as_bytes())
            .without("Content-Length")
            .header("Transfer-Encoding", "chunked")
    };
    for (request, said) in [
        (form("list=%zz"), "invalid URL escape \"%zz\""),
        (form("list=[\"a\"]%"), "invalid URL escape \"%\""),
        (form("list=[\"a\"];x=1"), "semicolon"),
        (form("list=%ff"), "not UTF-8"),
        (form("list={\"a\":1}"), "not a JSON array of strings"),
        (form("list=[\"a\""), "not a JSON array of strings"),
        (form("regex=("), "error parsing regexp: unclosed group"),
        (form("regex=(?=a)"), "error parsing regexp: "),
        (Request::new("GET", "/metrics?regex=a;b"), "semicolon"),
        (Request::new("GET", "/metrics?list=%5"), "invalid URL escape"),
        (form("list=[]").header("Content-Type", "application/json"), "application/json"),
        (form("list=[]").without("Content-Type"), "cannot read parameters"),
        (chunks("5\r\nlist=\r\nzz\r\n"), "ended early"),
    ] {
        let answer = daemon.send(&request).await;
        let (status, text) = answer.error();
        assert_eq!(status, 400, "{said}");
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[tokio::test]
async fn d1_a_body_of_160_mib_or_more_is_refused_with_or_without_a_length() {
    let daemon = with_metrics(&["a"]).await;
    let announced = form("").header("Content-Length", "167772160");
    assert_eq!(daemon.send(&announced).await.error(), (400, "Query larger than 160MiB"));
    let long = format!("list={}", "x".repeat(160 << 20));
    let answer = daemon.send(&Request::new("POST", "/metrics").chunked_form(&long)).await;
    assert_eq!(answer.error(), (400, "Query larger than 160MiB"));
}

#[tokio::test]
async fn a_list_without_a_permit_gets_the_answer_that_makes_the_go_client_ask_again() {
    let daemon = with_metrics(&["a"]).await;
    let mut permits = Vec::new();
    for _ in 0..4 {
        permits.push(daemon.app.transfers.receive_list().await.unwrap());
    }
    let waiting = form("list=[\"a\"]");
    assert_eq!(daemon.send(&waiting).await.error(), (202, "Cache update in progress."));
    assert_eq!(list(&daemon.get("/metrics").await), r#"["a"]"#);
    drop(permits);
    assert_eq!(list(&daemon.send(&waiting).await), r#"["a"]"#);
    daemon.stop.send_replace(true);
    assert_eq!(
        daemon.app.transfers.receive_list().await.unwrap_err().to_string(),
        "this daemon is stopping"
    );
}

#[tokio::test]
async fn d47_an_empty_regular_expression_or_list_is_refused() {
    let daemon = with_metrics(&["a"]).await;
    for request in [
        Request::new("GET", "/metrics?regex="),
        Request::new("GET", "/metrics?regex"),
        form("regex="),
        form("list="),
        form("force=true&regex="),
    ] {
        let answer = daemon.send(&request).await;
        let (status, text) = answer.error();
        assert_eq!(status, 400);
        assert!(text.contains("= is empty"), "{text}");
    }
}

#[tokio::test]
async fn d18_force_answers_with_what_is_there_now() {
    let daemon = with_metrics(&["a"]).await;
    daemon.put("new", b"");
    fs::remove_file(daemon.path("a")).unwrap();
    assert_eq!(list(&daemon.get("/metrics").await), r#"["a"]"#);
    assert_eq!(list(&daemon.get("/metrics?force=0").await), r#"["new"]"#);
    daemon.put("newer", b"");
    let request = form("force=true&list=[\"newer\"]");
    assert_eq!(list(&daemon.send(&request).await), r#"["newer"]"#);
}

#[tokio::test]
async fn d22_a_prefix_that_is_a_link_or_begins_with_a_dot_is_listed() {
    for name in [".store", "link"] {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join(".store");
        fs::create_dir(&store).unwrap();
        fs::write(store.join("a.wsp"), b"").unwrap();
        std::os::unix::fs::symlink(&store, folder.path().join("link")).unwrap();
        let path = folder.path().join(name);
        let daemon = TestDaemon::start_at(folder, path, &[]).await;
        tokio::spawn(std::sync::Arc::clone(&daemon.app.inventory).run());
        daemon.app.inventory.wait_for(1).await;
        assert_eq!(list(&daemon.get("/metrics").await), r#"["a"]"#, "{name}");
    }
}

#[tokio::test]
async fn d42_folders_that_could_not_be_read_are_reported_with_the_list() {
    let daemon = with_metrics(&["a"]).await;
    assert_eq!(daemon.get("/metrics").await.header("x-bucky-unreadable-folders"), None);
    // Deeper than a path can be, so that root cannot read it either.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut folder: OwnedFd = rustix::fs::open(daemon.prefix.path(), flags, Mode::empty()).unwrap();
    let name = "d".repeat(250);
    for _ in 0..18 {
        rustix::fs::mkdirat(&folder, &name, Mode::from_raw_mode(0o755)).unwrap();
        folder = rustix::fs::openat(&folder, &name, flags, Mode::empty()).unwrap();
    }
    daemon.app.inventory.fresh().await;
    let answer = daemon.get("/metrics").await;
    assert_eq!(list(&answer), r#"["a"]"#);
    assert_eq!(answer.header("x-bucky-unreadable-folders"), Some("1"));
}

#[tokio::test]
async fn d17_go_carbons_list_of_files_answers_the_go_tool_until_the_first_scan_has_ended_and_plans_no_move()
 {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file-list-cache.gzip");
    let mut encoder = flate2::write::GzEncoder::new(
        fs::File::create(&file).unwrap(),
        flate2::Compression::fast(),
    );
    encoder.write_all(b"\x7fflc02").unwrap();
    for path in ["/gone.wsp", "/a/b.wsp"] {
        encoder.write_all(&(path.len() as u64).to_be_bytes()).unwrap();
        encoder.write_all(path.as_bytes()).unwrap();
        encoder.write_all(&[[0; 32].as_slice(), b"\n"].concat()).unwrap();
    }
    encoder.finish().unwrap();
    let flags = ["-cache_path", file.to_str().unwrap()];
    let daemon = TestDaemon::start_without_scans(&flags).await;
    daemon.put("a.b", b"");
    daemon.put("new", b"");
    daemon.app.inventory.stay_in_first_scan();
    assert_eq!(list(&daemon.get("/metrics").await), r#"["a.b","gone"]"#);
    assert_eq!(list(&daemon.send(&form(r#"list=["gone","new"]"#)).await), r#"["gone"]"#);
    for path in ["/v1/metrics", "/v1/misplaced", "/v1/archive?prefix=a", "/v1/misplaced?count=1"] {
        assert_eq!(daemon.get(path).await.status, 503, "{path}");
    }
    let status = daemon.get("/v1/status").await;
    let status: serde_json::Value = serde_json::from_slice(&status.body).unwrap();
    assert_eq!(status["metrics"], serde_json::Value::Null);
    assert_eq!(status["inventory"]["state"], "first_scan");

    let daemon = TestDaemon::start_with(&flags).await;
    daemon.put("new", b"");
    daemon.app.inventory.fresh().await;
    assert_eq!(list(&daemon.get("/metrics").await), r#"["new"]"#);
}
