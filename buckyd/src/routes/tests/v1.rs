//! What the `/v1` routes share: bodies, and permits for answers.

use super::TestDaemon;
use super::wire::Request;

fn json(path: &str, body: &[u8]) -> Request {
    Request::new("POST", path).header("Content-Type", "application/json").body(body)
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused_with_what_to_do() {
    let daemon = TestDaemon::start().await;
    for (request, status, said) in [
        (json("/v1/confirm", b"{"), 400, "cannot be read"),
        (json("/v1/delete", br#"{"metrics":[{"name":"../a"}]}"#), 400, "cannot be read"),
        (json("/v1/archive", b"{}"), 400, "metrics"),
        // What a form on a web page could send without a check by the browser.
        (
            Request::new("POST", "/v1/delete")
                .header("Content-Type", "text/plain")
                .body(br#"{"metrics":[]}"#),
            400,
            "application/json",
        ),
        (json("/v1/delete", &vec![b' '; 64 * 1024 * 1024 + 1]), 413, "fewer metrics"),
    ] {
        let answer = daemon.send(&request).await;
        assert_eq!(answer.status, status);
        assert!(answer.text().contains(said), "{}", answer.text());
    }
}

#[tokio::test]
async fn readers_that_take_nothing_leave_threads_for_everything_else() {
    let daemon = TestDaemon::start().await;
    let mut held = Vec::new();
    for _ in 0..crate::transfers::ANSWERS_AT_ONCE {
        held.push(daemon.app.transfers.answer().await.unwrap());
    }
    for path in ["/v1/metrics", "/v1/metrics?unusable=1", "/v1/misplaced", "/metrics"] {
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(100), daemon.get(path));
        assert!(waiting.await.is_err(), "{path} took a thread without a permit");
    }
    assert_eq!(daemon.get("/v1/status").await.status, 200);
    held.pop();
    for path in ["/v1/metrics", "/v1/misplaced", "/metrics"] {
        assert_eq!(daemon.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_tombstone_shows_in_the_status_as_soon_as_its_delete_is_answered() {
    let daemon = TestDaemon::start().await;
    for metric in ["a", "b"] {
        let content = super::whisper(&[1]);
        daemon.put(metric, &content);
        let request = serde_json::json!({ "metrics": [{
            "name": metric,
            "digest": bucky_whisper::Digest::of(&content),
            "owners": ["127.0.0.1:9"],
        }]});
        let answer = daemon.send(&json("/v1/delete", request.to_string().as_bytes())).await;
        assert!(answer.text().contains("\"deleted\""), "{}", answer.text());
    }
    let status: bucky_api::Status =
        serde_json::from_slice(&daemon.get("/v1/status").await.body).unwrap();
    assert_eq!(status.tombstones.waiting, 2);
}

/// D42: a file that cannot be checked is not a missing file.
#[tokio::test]
async fn named_metrics_are_checked_on_disk_and_not_in_the_list() {
    let daemon = TestDaemon::start().await;
    daemon.put("after.the.scan", &super::whisper(&[1]));
    std::fs::create_dir_all(daemon.path("a.folder")).unwrap();
    let body = br#"{"metrics":["nope","a.folder","after.the.scan"]}"#;
    let answer = daemon.send(&json("/v1/metrics", body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let lines: Vec<bucky_api::MetricLine> =
        answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = lines.iter().map(|line| line.metric.as_str()).collect();
    assert_eq!(names, ["a.folder", "after.the.scan"]);
    assert!(lines[0].reason.contains("a/folder.wsp"), "{}", lines[0].reason);
    let bytes = daemon.content("after.the.scan").len() as u64;
    assert_eq!((lines[1].bytes, lines[1].reason.as_str()), (bytes, ""));
}
