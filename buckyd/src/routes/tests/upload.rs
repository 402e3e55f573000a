//! POST of a metric: fill or create.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bucky_api::clock::unix_now;
use serde_json::Value;

use super::wire::{Answer, Request};
use super::{TestDaemon, fine_points, snappy, upload, whisper};

/// Asserts that exactly these of the five timings are not 0.
fn assert_timings(answer: &Answer, done: &[&str]) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let text = answer.text().strip_suffix('\n').unwrap();
    let timings: serde_json::Map<String, Value> = serde_json::from_str(text).unwrap();
    let names = ["Download", "Dump", "Fill", "Compress", "Copy"];
    assert_eq!(timings.len(), names.len(), "{text}");
    for name in names {
        assert_eq!(timings[name].as_u64().unwrap() > 0, done.contains(&name), "{name}: {text}");
    }
}

#[tokio::test]
async fn a_new_metric_is_stored_byte_for_byte_and_listed() {
    let daemon = TestDaemon::start().await;
    let content = whisper(&[1, 2, 3]);
    let answer = daemon.send(&upload("POST", "wrong.b", &content)).await;
    assert_timings(&answer, &["Copy"]);
    assert_eq!(daemon.content("wrong.b"), content);
    assert!(daemon.lists("wrong.b"));
    let meta = fs::metadata(daemon.path("wrong.b")).unwrap();
    let probe = daemon.prefix.path().join("probe");
    File::create(&probe).unwrap();
    assert_eq!(meta.mode(), fs::metadata(probe).unwrap().mode(), "0666 less the umask");
    assert!(meta.modified().unwrap().elapsed().unwrap() < Duration::from_secs(60));
}

#[tokio::test]
async fn a_metric_that_is_there_is_filled_and_keeps_what_it_has() {
    let daemon = TestDaemon::start().await;
    daemon.put("wrong.b", &whisper(&[1, 3]));
    let body = snappy(&whisper(&[1, 2, 3, 4]));
    let request = upload("POST", "wrong.b", &whisper(&[1, 2, 3, 4]));
    let request = request.body(&body).header("Content-Encoding", "snappy");
    assert_timings(&daemon.send(&request).await, &["Dump", "Fill"]);
    assert_eq!(fine_points(&daemon.content("wrong.b")), 4);
    // The same upload again changes no byte.
    let before = daemon.content("wrong.b");
    assert_timings(&daemon.send(&request).await, &["Dump", "Fill"]);
    assert_eq!(daemon.content("wrong.b"), before);
}

/// Sends `request` to a daemon with the metric `m`, for `m` and for a new metric. Asserts a refusal that
/// changes nothing.
async fn assert_refused(
    method: &str,
    change: impl Fn(Request) -> Request,
    status: u16,
    said: &str,
) {
    let daemon = TestDaemon::start().await;
    let there = whisper(&[1, 2]);
    daemon.put("m", &there);
    daemon.app.inventory.fresh().await;
    for metric in ["m", "new.metric"] {
        let request = change(upload(method, metric, &whisper(&[3])));
        let answer = daemon.send(&request).await;
        let (found, text) = answer.error();
        assert_eq!(found, status, "{method} {metric}: {text}");
        assert!(text.contains(said), "{method} {metric}: {text}");
    }
    assert_eq!(daemon.content("m"), there);
    assert!(!daemon.prefix.path().join("new").exists() && !daemon.lists("new.metric"));
    assert_eq!(daemon.leftovers(), 0);
}

const STAT: &str = "X-Metric-Stat";

#[tokio::test]
async fn d3_d13_bad_headers_are_refused_before_anything_is_touched() {
    for method in ["POST", "PUT"] {
        let said = "Content-Type must be application/octet-stream.";
        assert_refused(method, |upload| upload.without("Content-Type"), 400, said).await;
        assert_refused(method, |upload| upload.header("Content-Type", "text/plain"), 400, said)
            .await;
        let said = "Error decoding X-Metric-Stat header";
        assert_refused(method, |upload| upload.without(STAT), 400, said).await;
        assert_refused(method, |upload| upload.header(STAT, "null"), 400, said).await;
        assert_refused(method, |upload| upload.header(STAT, "{"), 400, said).await;
        let said = "Whisper data in request too small.";
        assert_refused(method, |upload| upload.header(STAT, r#"{"Size":28}"#), 400, said).await;
        let said = "the limit is";
        let huge = r#"{"Size":99999999999}"#;
        assert_refused(method, |upload| upload.header(STAT, huge), 413, said).await;
    }
}

#[tokio::test]
async fn d3_d45_bodies_that_are_not_valid_whisper_files_change_nothing() {
    let sized = |upload: Request, body: &[u8]| {
        upload.body(body).header(STAT, &format!(r#"{{"Size":{}}}"#, body.len()))
    };
    let content = whisper(&[3]);
    let mut step_zero = content.clone();
    step_zero[20..24].fill(0);
    let mut aggregation = content.clone();
    aggregation[3] = 99;
    for method in ["POST", "PUT"] {
        for body in [
            &[0; 29][..],
            &[0xff; 148],
            b"not a whisper file, but some text of more than 28 bytes",
            &content[..content.len() - 1],
            &content[..29],
            &step_zero,
            &aggregation,
        ] {
            let said = "Malformed whisper data: ";
            assert_refused(method, |upload| sized(upload, body), 400, said).await;
        }
        let said = "Malformed whisper data";
        let size = |size: usize| format!(r#"{{"Size":{size}}}"#);
        let (fewer, more) = (size(content.len() + 1), size(content.len() - 1));
        assert_refused(method, |upload| upload.header(STAT, &fewer), 400, said).await;
        assert_refused(method, |upload| upload.header(STAT, &more), 400, said).await;
    }
}

#[tokio::test]
async fn d3_d45_codings_that_are_unknown_or_damaged_change_nothing() {
    let good = snappy(&whisper(&[3]));
    // The checksum of the first chunk, after the stream's name and the chunk's type and length.
    let mut damaged = good.clone();
    damaged[14] ^= 1;
    for method in ["POST", "PUT"] {
        for word in ["gzip", "Snappy", "zstd", "snappy, snappy"] {
            let change = |upload: Request| upload.header("Content-Encoding", word);
            assert_refused(method, change, 400, word).await;
        }
        for body in [&damaged[..], &good[..good.len() - 5], &good[10..], b"plain"] {
            let change = |upload: Request| upload.body(body).header("Content-Encoding", "snappy");
            assert_refused(method, change, 500, "snappy: corrupt input").await;
        }
        // A small body that unpacks to much more than it announced.
        let bomb = snappy(&vec![0; 64 * 1024 * 1024]);
        let change = |upload: Request| upload.body(&bomb).header("Content-Encoding", "snappy");
        assert_refused(method, change, 400, "Malformed whisper data").await;
    }
}

#[tokio::test]
async fn d14_a_body_that_breaks_off_leaves_nothing() {
    for method in ["POST", "PUT"] {
        let change = |upload: Request| {
            // A chunk whose length is not a number: the rest of the body cannot be read.
            let body = b"5\r\nhello\r\nzz\r\n";
            let upload = upload.body(body).without("Content-Length");
            upload.header("Transfer-Encoding", "chunked")
        };
        assert_refused(method, change, 500, "Error writing whisper data").await;
    }
}

#[tokio::test]
async fn d11_a_compressed_file_is_moved_as_a_whole_and_never_parsed() {
    let daemon = TestDaemon::start().await;
    let mut compressed = b"whisper_compressed".to_vec();
    compressed.resize(148, 0xff);
    assert_timings(&daemon.send(&upload("POST", "new", &compressed)).await, &["Copy"]);
    assert_eq!(daemon.content("new"), compressed);

    let there = whisper(&[1]);
    daemon.put("m", &there);
    let answer = daemon.send(&upload("POST", "m", &compressed)).await;
    let (status, text) = answer.error();
    assert_eq!(status, 500);
    assert!(text.contains("compressed"), "{text}");
    assert_eq!(daemon.content("m"), there);
    assert_eq!(daemon.get("/hashring").await.status, 200);
}

#[tokio::test]
async fn an_existing_damaged_file_is_reported_and_left_alone() {
    let daemon = TestDaemon::start().await;
    daemon.put("m", b"junk");
    let old = UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    File::options().write(true).open(daemon.path("m")).unwrap().set_modified(old).unwrap();
    let answer = daemon.send(&upload("POST", "m", &whisper(&[1]))).await;
    let (status, text) = answer.error();
    assert_eq!(status, 500);
    assert!(text.contains("is corrupt"), "{text}");
    assert_eq!(daemon.content("m"), b"junk");
}

#[tokio::test]
async fn d40_a_locked_metric_is_busy_and_not_waited_for_without_end() {
    let daemon = TestDaemon::start_with(&["-lock-timeout", "0.2"]).await;
    let there = whisper(&[1]);
    daemon.put("m", &there);
    let file = File::open(daemon.path("m")).unwrap();
    bucky_whisper::lock_shared(&file, Duration::ZERO).unwrap();
    for method in ["POST", "PUT"] {
        let answer = daemon.send(&upload(method, "m", &whisper(&[2]))).await;
        assert_eq!(answer.error().0, 503);
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(daemon.content("m"), there);
    assert_eq!(daemon.leftovers(), 0);
}

#[tokio::test]
async fn d14_two_uploads_of_one_new_metric_at_once_lose_no_point() {
    let daemon = TestDaemon::start().await;
    for round in 0..30 {
        let metric = format!("race.m{round}");
        let (odd, even) = (
            upload("POST", &metric, &whisper(&[1, 3, 5])),
            upload("POST", &metric, &whisper(&[2, 4])),
        );
        let (one, other) = tokio::join!(daemon.send(&odd), daemon.send(&even));
        assert_eq!((one.status, other.status), (200, 200));
        assert_eq!(fine_points(&daemon.content(&metric)), 5);
    }
}

#[tokio::test]
async fn d40_uploads_beside_the_delete_of_their_only_sibling_succeed() {
    let daemon = TestDaemon::start().await;
    let content = whisper(&[1]);
    for round in 0..30 {
        let folder = format!("d{round}.x");
        daemon.put(&format!("{folder}.a"), &content);
        let delete = Request::new("DELETE", &format!("/metrics/{folder}.a"));
        let post = upload("POST", &format!("{folder}.b"), &content);
        let (deleted, posted) = tokio::join!(daemon.send(&delete), daemon.send(&post));
        assert_eq!((deleted.status, posted.status), (200, 200), "{posted:?}");
        assert_eq!(daemon.content(&format!("{folder}.b")), content);
    }
}

fn mtime(daemon: &TestDaemon, metric: &str) -> i64 {
    fs::metadata(daemon.path(metric)).unwrap().mtime()
}

fn set_mtime(daemon: &TestDaemon, metric: &str, mtime: u64) {
    let file = File::options().write(true).open(daemon.path(metric)).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(mtime)).unwrap();
}

fn with_stat(request: Request, content: &[u8], mod_time: &str) -> Request {
    request.header(STAT, &format!(r#"{{"Size":{}{mod_time}}}"#, content.len()))
}

#[tokio::test]
async fn d41_the_senders_time_is_set_after_success_and_never_makes_a_file_older() {
    let daemon = TestDaemon::start_with(&["-mtime"]).await;
    let content = whisper(&[1, 2]);
    let sent = |mod_time| with_stat(upload("POST", "m", &content), &content, mod_time);
    // Created, then filled from a newer one.
    assert_eq!(daemon.send(&sent(r#","ModTime":1700000000"#)).await.status, 200);
    assert_eq!(mtime(&daemon, "m"), 1_700_000_000);
    assert_eq!(daemon.send(&sent(r#","ModTime":1700000100"#)).await.status, 200);
    assert_eq!(mtime(&daemon, "m"), 1_700_000_100);
    // An older one, and one without a time, change nothing.
    for mod_time in [r#","ModTime":1600000000"#, "", r#","ModTime":0"#, r#","ModTime":-5"#] {
        assert_eq!(daemon.send(&sent(mod_time)).await.status, 200);
        assert_eq!(mtime(&daemon, "m"), 1_700_000_100, "{mod_time}");
    }
    // So does a refused one.
    let refused = sent(r#","ModTime":1750000000"#).header("Content-Type", "text/plain");
    assert_eq!(daemon.send(&refused).await.status, 400);
    assert_eq!(mtime(&daemon, "m"), 1_700_000_100);
    // An upload that fills points into a newer file does not make it older.
    let newer = u64::from(unix_now()) - 100;
    daemon.put("n", &whisper(&[1]));
    set_mtime(&daemon, "n", newer);
    let filling = with_stat(upload("POST", "n", &content), &content, r#","ModTime":1600000000"#);
    assert_eq!(daemon.send(&filling).await.status, 200);
    assert_eq!(fine_points(&daemon.content("n")), 2);
    assert!(mtime(&daemon, "n") >= i64::try_from(newer).unwrap());
    // A new metric without a time gets the time at which it is created.
    let new = with_stat(upload("POST", "new", &content), &content, "");
    assert_eq!(daemon.send(&new).await.status, 200);
    assert!(mtime(&daemon, "new") >= i64::from(unix_now()) - 60);
}

#[tokio::test]
async fn without_mtime_the_senders_time_is_ignored() {
    let daemon = TestDaemon::start().await;
    let content = whisper(&[1]);
    for method in ["POST", "PUT"] {
        assert_eq!(daemon.send(&upload(method, method, &content)).await.status, 200);
        assert!(mtime(&daemon, method) >= i64::from(unix_now()) - 60);
    }
}

#[tokio::test]
async fn d3_a_daemon_that_cannot_write_says_so_and_changes_nothing() {
    let daemon = TestDaemon::start().await;
    daemon.put("m", &whisper(&[1]));
    let there = daemon.content("m");
    let folder = daemon.prefix.path().join(".bucky/tmp");
    fs::remove_dir(&folder).unwrap();
    for metric in ["new", "m"] {
        let answer = daemon.send(&upload("PUT", metric, &whisper(&[2]))).await;
        let (status, text) = answer.error();
        assert_eq!(status, 500);
        assert!(text.contains("temporary file"), "{text}");
    }
    assert!(!daemon.has("new"));
    assert_eq!(daemon.content("m"), there);
    // Without a prefix nothing can be written.
    fs::remove_dir_all(daemon.prefix.path()).unwrap();
    let answer = daemon.send(&upload("POST", "new", &whisper(&[2]))).await;
    let (status, text) = answer.error();
    assert_eq!(status, 500);
    assert!(text.contains("cannot be reached any more"), "{text}");
}
