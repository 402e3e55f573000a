//! PUT of a metric: replace.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::wire::Request;
use super::{TestDaemon, upload, whisper};

#[tokio::test]
async fn a_put_replaces_the_whole_file_and_creates_one_that_is_not_there() {
    let daemon = TestDaemon::start().await;
    daemon.put("m", &whisper(&[1, 2, 3]));
    let content = whisper(&[4]);
    for metric in ["m", "new.metric"] {
        let answer = daemon.send(&upload("PUT", metric, &content)).await;
        assert_eq!(answer.status, 200);
        let text = answer.text();
        assert!(
            text.starts_with(r#"{"Download":0,"Dump":0,"Fill":0,"Compress":0,"Copy":"#),
            "{text}"
        );
        assert!(text.ends_with("}\n") && !text.contains("\"Copy\":0"), "{text}");
        assert_eq!(daemon.content(metric), content);
    }
    assert!(daemon.lists("new.metric"));
    assert_eq!(daemon.leftovers(), 0);
}

#[tokio::test]
async fn d41_a_replaced_file_has_the_senders_time_if_that_is_configured_and_sent() {
    let daemon = TestDaemon::start_with(&["-mtime"]).await;
    daemon.put("m", &whisper(&[1]));
    assert_eq!(daemon.send(&upload("PUT", "m", &whisper(&[2]))).await.status, 200);
    assert_eq!(std::fs::metadata(daemon.path("m")).unwrap().mtime(), 1_704_164_645);
    let content = whisper(&[3]);
    let without_stat = upload("PUT", "m", &content)
        .header("X-Metric-Stat", &format!(r#"{{"Size":{}}}"#, content.len()));
    assert_eq!(daemon.send(&without_stat).await.status, 200);
    assert!(std::fs::metadata(daemon.path("m")).unwrap().mtime() > 1_704_164_645);
}

#[tokio::test]
async fn d3_d40_a_metric_that_is_being_replaced_is_there_all_the_time() {
    let daemon = Arc::new(TestDaemon::start().await);
    let contents = [whisper(&[1]), whisper(&[1, 2])];
    daemon.put("m", &contents[0]);
    let done = Arc::new(AtomicBool::new(false));
    let reading = tokio::spawn({
        let (daemon, done, contents) = (Arc::clone(&daemon), Arc::clone(&done), contents.clone());
        async move {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) || reads == 0 {
                let answer = daemon.get("/metrics/m").await;
                assert_eq!(answer.status, 200, "{answer:?}");
                assert!(contents.contains(&answer.body));
                assert_eq!(daemon.send(&Request::new("HEAD", "/metrics/m")).await.status, 200);
                reads += 1;
            }
        }
    });
    for round in 0..30 {
        let answer = daemon.send(&upload("PUT", "m", &contents[round % 2])).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    done.store(true, Ordering::Relaxed);
    reading.await.unwrap();
}

#[tokio::test]
async fn d40_of_two_replacements_at_once_one_is_there_and_no_mixture() {
    let daemon = TestDaemon::start().await;
    let (one, other) = (whisper(&[1, 3, 5]), whisper(&[2, 4]));
    for round in 0..30 {
        let metric = format!("m{}", round % 3);
        let (first, second) = (upload("PUT", &metric, &one), upload("PUT", &metric, &other));
        let (first, second) = tokio::join!(daemon.send(&first), daemon.send(&second));
        assert_eq!((first.status, second.status), (200, 200));
        let there = daemon.content(&metric);
        assert!(there == one || there == other);
    }
    assert_eq!(daemon.leftovers(), 0);
}
