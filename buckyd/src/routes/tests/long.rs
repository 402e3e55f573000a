//! GET, POST and PUT of files that are too long for the daemon to hold in memory.

use std::fs::{self, File};
use std::time::{Duration, UNIX_EPOCH};

use super::wire::Request;
use super::{TestDaemon, snappy, upload};
use crate::store::tests::test_now;

const MTIME: u64 = 1_704_164_645;
/// The smallest setting: a file in memory may have 12 MiB.
const LITTLE: [&str; 3] = ["--memory", "96", "-mtime"];
/// 14.5 MB.
const POINTS: u32 = 14 * 86_400;

/// A long file with a point at each of these ages in seconds, the value being `value`.
fn long(ages: impl IntoIterator<Item = u32>, value: f64) -> Vec<u8> {
    let retention = bucky_whisper::Retention::new(1, POINTS).unwrap();
    let factor = "0.0".parse().unwrap();
    let last = bucky_whisper::Aggregation::Last;
    let header = bucky_whisper::Header::for_retentions(&[retention], last, factor).unwrap();
    let mut content = header.encode();
    content.resize(usize::try_from(header.file_size_bytes()).unwrap(), 0);
    let mut put = |slot: u32, timestamp: u32| {
        let at = (header.archives[0].offset + slot * 12) as usize;
        let point = bucky_whisper::Point { timestamp, value };
        content[at..at + 12].copy_from_slice(&point.encode());
    };
    let base = test_now() - 10_000;
    put(0, base);
    for age in ages {
        put(10_000 - age, test_now() - age);
    }
    content
}

/// The values at these ages in seconds, the youngest first; `None` if there is no point.
fn values(content: &[u8], ages: std::ops::Range<u32>) -> Vec<Option<f64>> {
    let image = bucky_whisper::Image::parse(content).unwrap();
    let archive = image.archive(0).unwrap();
    ages.map(|age| archive.valid(test_now() - age, test_now())).collect()
}

fn stat(size: usize) -> String {
    format!(r#"{{"Name":"m","Size":{size},"Mode":420,"ModTime":{MTIME},"Encoding":0}}"#)
}

fn time_of(daemon: &TestDaemon, metric: &str) -> u64 {
    let modified = fs::metadata(daemon.path(metric)).unwrap().modified().unwrap();
    modified.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn a_long_file_is_sent_whole_and_in_parts_with_the_headers_of_the_contract() {
    let daemon = TestDaemon::start_with(&LITTLE).await;
    let content = long(1..9_000, 1.5);
    daemon.put("m", &content);
    let file = File::options().write(true).open(daemon.path("m")).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(MTIME)).unwrap();
    let len = content.len();
    let with = |name: &str, value: &str| Request::new("GET", "/metrics/m").header(name, value);
    for accept in ["gzip", "snappy"] {
        let answer = daemon.send(&with("Accept-Encoding", accept)).await;
        assert!(answer.status == 200 && answer.body == content, "{accept}");
        for (name, value) in [
            ("accept-ranges", "bytes"),
            ("content-type", "application/octet-stream"),
            ("content-length", len.to_string().as_str()),
            ("x-metric-stat", stat(len).as_str()),
            ("last-modified", "Tue, 02 Jan 2024 03:04:05 GMT"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
        assert_eq!(answer.header("content-encoding"), None);
    }
    let answer = daemon.send(&with("Range", "bytes=13000000-13999999")).await;
    assert!(answer.status == 206 && answer.body == content[13_000_000..14_000_000]);
    assert_eq!(
        answer.header("content-range"),
        Some(format!("bytes 13000000-13999999/{len}").as_str())
    );
    let answer = daemon.send(&with("Range", "bytes=28-39,-4")).await;
    assert_eq!(answer.status, 206);
    assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
    let part = |bytes: &[u8]| answer.body.windows(bytes.len()).any(|window| window == bytes);
    assert!(part(&content[28..40]) && part(format!("bytes 28-39/{len}").as_bytes()));
    let answer = daemon.send(&with("Range", "bytes=99999999-")).await;
    assert_eq!(answer.status, 416);
    assert_eq!(answer.header("content-range"), Some(format!("bytes */{len}").as_str()));
    let since = "Tue, 02 Jan 2024 03:04:05 GMT";
    let answer = daemon.send(&with("If-Modified-Since", since)).await;
    assert!(answer.status == 304 && answer.body.is_empty());
    let answer = daemon.send(&with("If-Unmodified-Since", "Tue, 02 Jan 2024 03:04:04 GMT")).await;
    assert_eq!(answer.status, 412);
}

#[tokio::test]
async fn a_long_upload_is_created_filled_and_put_over() {
    let daemon = TestDaemon::start_with(&LITTLE).await;
    let (first, second) = (long((1..100).step_by(2), 1.0), long(1..100, 2.0));
    let answer = daemon.send(&upload("POST", "m", &first)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(daemon.content("m") == first && daemon.lists("m"));
    assert_eq!(time_of(&daemon, "m"), MTIME);

    let encoded = snappy(&second);
    let request = upload("POST", "m", &second).body(&encoded);
    let answer = daemon.send(&request.header("Content-Encoding", "snappy")).await;
    let timings: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(timings["Dump"].as_u64().unwrap() > 0 && timings["Fill"].as_u64().unwrap() > 0);
    assert_eq!(timings["Copy"], 0);
    let filled = values(&daemon.content("m"), 1..101);
    for (age, value) in (1..101).zip(filled) {
        let expected = match age {
            100 => None,
            age if age % 2 == 1 => Some(1.0),
            _ => Some(2.0),
        };
        assert_eq!(value, expected, "{age} s ago");
    }
    assert_eq!(time_of(&daemon, "m"), MTIME);

    assert_eq!(daemon.send(&upload("PUT", "m", &second)).await.status, 200);
    assert!(daemon.content("m") == second);
    assert_eq!(daemon.send(&upload("PUT", "new", &second)).await.status, 200);
    assert!(daemon.content("new") == second && daemon.lists("new"));
    assert_eq!(daemon.leftovers(), 0);
}

#[tokio::test]
async fn a_long_upload_that_is_not_whole_or_no_whisper_file_changes_nothing() {
    let daemon = TestDaemon::start_with(&LITTLE).await;
    let content = long(1..3, 1.0);
    let there = super::whisper(&[1]);
    daemon.put("m", &there);
    let mut damaged = content.clone();
    damaged[12..16].fill(0);
    let mut longer = content.clone();
    longer.push(0);
    // A bit of the checksum of the first chunk, which comes after the stream's identifier and the chunk's
    // header.
    let mut flipped = snappy(&content);
    flipped[10 + 4] ^= 1;
    for method in ["POST", "PUT"] {
        for name in ["m", "new"] {
            let of = |body: &[u8]| upload(method, name, &content).body(body);
            let encoded = |body: &[u8]| of(body).header("Content-Encoding", "snappy");
            for (request, status, said) in [
                (of(&damaged), 400, "Malformed whisper data: "),
                (of(&content[..content.len() - 1]), 400, "Malformed whisper data"),
                (of(&longer), 400, "Malformed whisper data"),
                (encoded(&snappy(&longer)), 400, "Malformed whisper data"),
                (encoded(&flipped), 500, "snappy: corrupt input"),
            ] {
                let answer = daemon.send(&request).await;
                let (found, text) = answer.error();
                assert_eq!(found, status, "{method} {name}: {text}");
                assert!(text.contains(said), "{method} {name}: {text}");
            }
        }
    }
    assert_eq!(daemon.content("m"), there);
    assert!(!daemon.has("new") && !daemon.lists("new"));
    assert_eq!(daemon.leftovers(), 0);
}

#[tokio::test]
async fn a_long_file_is_in_an_archive_that_is_asked_for_without_a_limit() {
    let daemon = TestDaemon::start_with(&LITTLE).await;
    let content = long(1..3, 1.0);
    daemon.put("m", &content);
    daemon.app.inventory.fresh().await;
    for (query, is_in) in [("prefix=m", false), ("prefix=m&large=1", true)] {
        let answer = daemon.get(&format!("/v1/archive?{query}")).await;
        let mut members = Vec::new();
        let limits = bucky_api::archive::Limits::default();
        let each = |member: bucky_api::archive::Member| members.push(member);
        let report =
            bucky_api::archive::read_archive(answer.body.as_slice(), limits, each).unwrap();
        assert_eq!((members.len() == 1, report.left_out.is_empty()), (is_in, is_in), "{query}");
        assert!(members.iter().all(|member| member.content == content));
    }
}

#[tokio::test]
async fn a_long_file_is_fetched_from_another_daemon() {
    let (source, daemon) =
        (TestDaemon::start_with(&LITTLE).await, TestDaemon::start_with(&LITTLE).await);
    let content = long(1..100, 3.0);
    source.put("old.name", &content);
    daemon.put("m", &long(50..60, 4.0));
    let offload = |method: &str, metric: &str| {
        let query = format!("fetch_offload=true&server={}&metric=old.name", source.addr);
        Request::new(method, &format!("/metrics/{metric}?{query}"))
    };
    for (method, metric, did) in [("POST", "new", "Copy"), ("POST", "m", "Fill")] {
        let answer = daemon.send(&offload(method, metric)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let timings: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(timings["Download"].as_u64().unwrap() > 1 && timings[did].as_u64().unwrap() > 0);
    }
    assert!(daemon.content("new") == content);
    let filled = values(&daemon.content("m"), 1..100);
    for (age, value) in (1..100).zip(filled) {
        assert_eq!(value, Some(if (50..60).contains(&age) { 4.0 } else { 3.0 }), "{age} s ago");
    }
    assert_eq!(daemon.send(&offload("PUT", "m")).await.status, 200);
    assert!(daemon.content("m") == content);
    assert_eq!(daemon.leftovers(), 0);
}
