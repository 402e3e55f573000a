//! The time on answers.

use std::time::Duration;

use bucky_api::clock::TIME_HEADER;
use bucky_api::{Client, ClockReading, Timeouts};

use super::TestDaemon;
use super::wire::{Answer, Request};

fn time_of(answer: &Answer) -> Option<ClockReading> {
    answer.header(TIME_HEADER).and_then(ClockReading::parse_header)
}

#[tokio::test]
async fn every_answer_has_the_time_of_the_daemons_clock() {
    let daemon = TestDaemon::start().await;
    daemon.put("a", &super::whisper(&[1]));
    for (method, path, status) in [
        ("GET", "/hashring", 200),
        ("GET", "/metrics", 200),
        ("HEAD", "/metrics/a", 200),
        ("GET", "/metrics/a", 200),
        ("GET", "/metrics/no.such", 404),
        ("GET", "/no/such/page", 404),
        ("GET", "//metrics", 301),
        ("GET", "/metrics/a%zz", 400),
        ("GET", "/v1/status", 200),
        ("GET", "/v1/misplaced", 200),
        ("PATCH", "/v1/status", 405),
        ("GET", "/v1/no-such", 404),
        ("POST", "/v1/delete", 400),
    ] {
        let before = ClockReading::now();
        let answer = daemon.send(&Request::new(method, path)).await;
        let after = ClockReading::now();
        assert_eq!(answer.status, status, "{method} {path}");
        let reported = time_of(&answer).unwrap_or_else(|| panic!("{method} {path}: no time"));
        assert!((before..=after).contains(&reported), "{method} {path}: {reported}");
    }
}

#[tokio::test]
async fn a_client_knows_the_daemons_clock_after_one_answer() {
    let daemon = TestDaemon::start().await;
    let client = Client::new(Timeouts::default()).unwrap();
    let peer = client.daemon(daemon.addr.to_string().parse().unwrap());
    assert_eq!(peer.clock_offset(), None);
    peer.hashring().await.unwrap();
    let offset = peer.clock_offset().unwrap();
    assert!(!offset.exceeds(Duration::ZERO), "{offset:?}");
}

#[tokio::test]
async fn a_delete_is_refused_if_the_senders_clock_is_too_far_off() {
    let daemon = TestDaemon::start_with(&["--max-clock-difference", "60"]).await;
    let content = super::whisper(&[1]);
    daemon.put("a", &content);
    let body = serde_json::json!({ "metrics": [{
        "name": "a",
        "digest": bucky_whisper::Digest::of(&content),
        "owners": ["127.0.0.1:9"],
    }] });
    let request = Request::new("POST", "/v1/delete")
        .header("Content-Type", "application/json")
        .body(body.to_string().as_bytes());
    for (ahead_seconds, said) in [(90, "1 min 30 s ahead"), (-90, "1 min 30 s behind")] {
        let now = ClockReading::now().unix_millis();
        let sender = ClockReading::from_unix_millis(now + ahead_seconds * 1000).to_string();
        let answer = daemon.send(&request.clone().header(TIME_HEADER, &sender)).await;
        assert_eq!(answer.status, 409, "{}", answer.text());
        // On a slow machine a sender seems further behind, never ahead.
        let expected = if ahead_seconds < 0 { " behind" } else { said };
        assert!(answer.text().contains(expected), "{}", answer.text());
        assert!(answer.text().contains("clock_differs"), "{}", answer.text());
        assert!(daemon.has("a"));
    }
    // Within the limit, and from a sender that sends no time, the request succeeds.
    assert_eq!(daemon.send(&request.header(TIME_HEADER, "junk")).await.status, 200);
    assert!(!daemon.has("a"));
}
