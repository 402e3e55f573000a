//! `POST /v1/pull` of metrics that are stored under other names.

use std::time::Duration;

use bucky_api::HealLine;
use bucky_whisper::Digest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::wire::{Answer, Request};
use super::{TestDaemon, fine_points, whisper};

async fn pull(daemon: &TestDaemon, from: &TestDaemon, more: Value) -> Answer {
    let mut request = json!({ "from": from.addr.to_string() });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let body = request.to_string();
    let request = Request::new("POST", "/v1/pull").header("Content-Type", "application/json");
    daemon.send(&request.body(body.as_bytes())).await
}

fn lines(answer: &Answer) -> Vec<HealLine> {
    let lines = answer.text().lines().filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_renamed_metric_is_stored_under_the_new_name_and_reported_by_the_old_one() {
    let (source, owner) = (TestDaemon::start().await, TestDaemon::start().await);
    let content = whisper(&[1, 2, 3]);
    for name in ["old.a", "old.b", "kept"] {
        source.put(name, &content);
    }
    owner.put("new.b", &whisper(&[7]));
    let renamed = json!([
        {"name": "old.a", "to": "new.a"}, {"name": "old.b", "to": "new.b"}, {"name": "gone", "to": "new.c"}
    ]);
    let answer = pull(&owner, &source, json!({ "metrics": ["kept"], "renamed": renamed })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut reported: Vec<_> = lines(&answer)
        .into_iter()
        .map(|line| {
            let stored_as = line.stored_as.map(|name| name.to_string());
            (line.metric.to_string(), stored_as, line.outcome.is_healed(), line.digest)
        })
        .collect();
    reported.sort();
    let digest = Some(Digest::of(&content));
    assert_eq!(
        reported,
        [
            ("gone".into(), None, false, None),
            ("kept".into(), None, true, digest),
            ("old.a".into(), Some("new.a".into()), true, digest),
            ("old.b".into(), Some("new.b".into()), true, digest),
        ]
    );
    assert!(owner.content("new.a") == content && owner.content("kept") == content);
    assert_eq!(fine_points(&owner.content("new.b")), 4);
    assert!(owner.lists("new.a") && !owner.lists("old.a") && !owner.has("old.a"));
    assert!(source.has("old.a") && source.has("old.b"), "the source is left");
}

#[tokio::test]
async fn a_store_may_be_its_own_source_for_other_names_only() {
    let daemon = TestDaemon::start().await;
    let content = whisper(&[1, 2, 3]);
    daemon.put("a", &content);
    let renamed = |to: &str| json!({ "renamed": [{"name": "a", "to": to}] });
    let answer = pull(&daemon, &daemon, renamed("b")).await;
    assert!(lines(&answer)[0].outcome.is_healed(), "{}", answer.text());
    assert!(daemon.content("b") == content && daemon.content("a") == content);
    for request in [renamed("a"), json!({ "metrics": ["a"] })] {
        let answer = pull(&daemon, &daemon, request).await;
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("cannot be moved to itself"), "{}", answer.text());
    }
}

/// Two old names may become one: the first creates or fills the file, and the second fills it.
#[tokio::test]
async fn two_metrics_of_one_request_may_become_one() {
    let (source, owner) = (TestDaemon::start().await, TestDaemon::start().await);
    source.put("x", &whisper(&[1, 2]));
    source.put("y", &whisper(&[3]));
    let renamed = json!([{"name": "x", "to": "n"}, {"name": "y", "to": "n"}]);
    let answer = pull(&owner, &source, json!({ "renamed": renamed })).await;
    assert_eq!(lines(&answer).iter().filter(|line| line.outcome.is_healed()).count(), 2);
    assert_eq!(fine_points(&owner.content("n")), 3);
    assert_eq!(owner.leftovers(), 0);
}

#[tokio::test]
async fn a_pull_that_cannot_mean_one_thing_is_refused() {
    let (source, owner) = (TestDaemon::start().await, TestDaemon::start().await);
    source.put("a", &whisper(&[1]));
    let to = |to: &str| json!({"name": "a", "to": to});
    for (request, reported) in [
        (json!({}), "names no metric"),
        (json!({ "metrics": ["a"], "renamed": [to("b")] }), "the request names a twice"),
        (json!({ "renamed": [to("b"), to("c")] }), "the request names a twice"),
        (json!({ "renamed": [to("../b")] }), "cannot be read"),
        (json!({ "renamed": [{"name": "a"}] }), "missing field `to`"),
    ] {
        let answer = pull(&owner, &source, request).await;
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains(reported), "{}", answer.text());
    }
    assert!(!owner.has("a") && !owner.has("b") && !owner.has("c"));
}

/// At the slowest rate this takes a minute. A larger one takes hours, in which it would keep its permit.
#[tokio::test]
async fn a_slow_pull_whose_client_is_gone_returns_its_permit() {
    let (source, owner) = (TestDaemon::start().await, TestDaemon::start().await);
    let points = 350_000u32;
    let mut content = Vec::new();
    for word in [1, 60 * points, 0, 1, 28, 60, points] {
        content.extend_from_slice(&u32::to_be_bytes(word));
    }
    content.resize(28 + 12 * points as usize, 0);
    source.put("large", &content);
    let body = json!({
        "from": source.addr.to_string(), "metrics": ["large"], "encoding": "identity", "bytes_per_second": 1,
    });
    let request = Request::new("POST", "/v1/pull").header("Content-Type", "application/json");
    let mut client = TcpStream::connect(owner.addr).await.unwrap();
    client.write_all(&request.body(body.to_string().as_bytes()).to_bytes()).await.unwrap();
    let mut head = [0; 12];
    client.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    assert_eq!(owner.app.transfers.status().receiving, 1);
    drop(client);
    let given_back = async {
        while owner.app.transfers.status().receiving > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(50), given_back).await.unwrap();
    assert!(!owner.has("large") && owner.leftovers() == 0);
}
