//! `POST /v1/points`.

use bucky_api::{PointsFound, PointsRequest, Problem};

use super::wire::Answer;
use super::*;

fn request(metric: &str, change: impl FnOnce(&mut PointsRequest)) -> PointsRequest {
    let now = test_now();
    let first = now - now % 60 - 119 * 60;
    let metric = metric.parse().unwrap();
    let mut request =
        PointsRequest { metric, seconds_per_point: 60, first, slots: 120, now, latest: now };
    change(&mut request);
    request
}

async fn ask(daemon: &TestDaemon, request: &PointsRequest) -> Answer {
    let body = serde_json::to_vec(request).unwrap();
    let request = Request::new("POST", "/v1/points").header("Content-Type", "application/json");
    daemon.send(&request.body(&body)).await
}

async fn found(daemon: &TestDaemon, request: &PointsRequest) -> PointsFound {
    let answer = ask(daemon, request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test]
async fn the_answer_has_the_slots_that_hold_points_or_why_they_cannot_be_read() {
    let daemon = TestDaemon::start_without_scans(&[]).await;
    daemon.put("a", &whisper(&[1, 20, 40]));
    daemon.put("damaged", &[0; 148]);
    daemon.put("compressed", b"whisper_compressed and more");
    let points = found(&daemon, &request("a", |_| ())).await.to_points().unwrap();
    let slots: Vec<u32> = bucky_whisper::WindowPoints::only_in(&points.valid, &[]).collect();
    assert_eq!(slots, [79, 99, 118]);
    assert!(points.taken.iter().all(|word| *word == 0) && points.ahead.is_empty());
    // A part of it, whose last slots hold nothing.
    let part = request("a", |request| request.slots = 100);
    let points = found(&daemon, &part).await.to_points().unwrap();
    let slots: Vec<u32> = bucky_whisper::WindowPoints::only_in(&points.valid, &[]).collect();
    assert_eq!(slots, [79, 99]);
    let other = request("a", |request| {
        request.seconds_per_point = 10;
    });
    assert_eq!(found(&daemon, &other).await, PointsFound::NoArchive);
    for (metric, expected) in [
        ("nope", Problem::SourceMissing),
        ("damaged", Problem::SourceDamaged),
        ("compressed", Problem::Compressed),
    ] {
        let answer = found(&daemon, &request(metric, |_| ())).await;
        assert!(
            matches!(answer, PointsFound::Unread { problem, .. } if problem == expected),
            "{metric}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn an_impossible_request_is_refused_and_it_takes_a_permit_of_the_archives() {
    let daemon = TestDaemon::start_with(&["-max-transfers", "1"]).await;
    daemon.put("a", &whisper(&[1]));
    for request in [
        request("a", |request| request.seconds_per_point = 0),
        request("a", |request| request.first += 1),
        request("a", |request| request.slots = (1 << 20) + 1),
    ] {
        let answer = ask(&daemon, &request).await;
        assert_eq!(answer.status, 400, "{request:?}");
    }
    // Times that no clock shows.
    let last = request("a", |request| {
        (request.first, request.now) = (u32::MAX - u32::MAX % 60, u32::MAX);
        request.slots = 1 << 20;
    });
    let points = found(&daemon, &last).await.to_points().unwrap();
    assert!(points.valid.iter().all(|word| *word == 0));
    let permit = daemon.app.transfers.send().unwrap();
    assert_eq!(ask(&daemon, &request("a", |_| ())).await.status, 503);
    drop(permit);
    assert_eq!(ask(&daemon, &request("a", |_| ())).await.status, 200);
}
