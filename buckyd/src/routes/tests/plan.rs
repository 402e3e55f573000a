//! `POST /v1/plan`.

use bucky_api::{MetricAmount, PlanCount, PlanDestination};
use serde_json::{Value, json};

use super::wire::{Answer, Request};
use super::{TestDaemon, whisper};

fn ring(hosts: &[&str]) -> Value {
    let nodes = hosts.iter().map(|host| json!({"Server": host, "Port": 2003, "Instance": ""}));
    json!({"Name": "", "Nodes": nodes.collect::<Vec<_>>(), "Algo": "carbon", "Replicas": 1})
}

async fn post(daemon: &TestDaemon, body: &Value) -> Answer {
    let request = Request::new("POST", "/v1/plan").header("Content-Type", "application/json");
    daemon.send(&request.body(body.to_string().as_bytes())).await
}

async fn plan(daemon: &TestDaemon, body: &Value) -> PlanCount {
    let answer = post(daemon, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_str(answer.text().trim()).unwrap()
}

/// What the daemon would send is what `GET /v1/misplaced` of a node with that ring counts.
#[tokio::test]
async fn a_node_counts_what_another_ring_would_move() {
    let daemon = TestDaemon::start_without_scans(&[]).await;
    let content = whisper(&[1]);
    let bytes = content.len() as u64;
    let names: Vec<String> = (0..40).map(|number| format!("app.m{number}")).collect();
    for name in names.iter().map(String::as_str).chain(["carbon.agents.a.cpu", "_tagged.abc.x"]) {
        daemon.put(name, &content);
    }
    let hashed = format!("_tagged.abc.def.{}", "ab".repeat(32));
    daemon.put(&hashed, &content);
    tokio::spawn(std::sync::Arc::clone(&daemon.app.inventory).run());
    daemon.app.inventory.wait_for(1).await;

    let count = plan(&daemon, &json!({"ring": ring(&["a", "b"])})).await;
    let amount = |metrics: u64| MetricAmount { metrics, bytes: metrics * bytes };
    assert_eq!(count.held, amount(43));
    assert_eq!((count.local, count.unplaceable), (1, 1));
    assert_eq!((count.misplaced_now, count.one_in), (0, 1));
    let [b] = count.destinations.as_slice() else { panic!("{count:?}") };
    assert_eq!((b.host.as_str(), b.sent, b.arrives), ("b", count.leaves, count.leaves));
    assert!((5..40).contains(&b.sent.metrics), "{count:?}");
    assert_eq!(count.stays, count.held.without(count.leaves));

    // The same metrics, seen from a node that no ring has: everything but the local metric and the file
    // without a series.
    let elsewhere = plan(&daemon, &json!({"ring": ring(&["a"]), "host": "z"})).await;
    let all = PlanDestination { host: "a".into(), sent: amount(41), arrives: amount(41), lacks: 0 };
    assert_eq!(elsewhere.destinations, [all]);
    assert_eq!(elsewhere.misplaced_now, 41);

    // A file that is gone since the scan is not counted.
    for name in &names {
        std::fs::remove_file(daemon.path(name)).unwrap();
    }
    assert_eq!(plan(&daemon, &json!({"ring": ring(&["a", "b"])})).await.held, amount(3));
}

#[tokio::test]
async fn a_ring_that_cannot_be_used_is_refused_with_the_reason() {
    let daemon = TestDaemon::start().await;
    let mut twice = ring(&["a", "a"]);
    for (body, said) in [
        (json!({"ring": ring(&[])}), "no nodes"),
        (json!({"ring": twice.clone()}), "node 1 and node 2 are both a:2003"),
        (json!({"rings": 1}), "cannot be read"),
    ] {
        let answer = post(&daemon, &body).await;
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains(said), "{}", answer.text());
    }
    twice["Algo"] = json!("md5");
    let answer = post(&daemon, &json!({"ring": twice})).await;
    assert!(answer.status == 400 && answer.text().contains("md5"), "{}", answer.text());
}

#[tokio::test]
async fn a_plan_before_the_first_scan_is_answered_with_not_ready() {
    let daemon = TestDaemon::start_without_scans(&[]).await;
    let answer = post(&daemon, &json!({"ring": ring(&["a", "b"])})).await;
    assert!(answer.text().contains("not_ready"), "{}", answer.text());
}
