//! `POST /v1/digests`.

use bucky_api::{DigestFound, DigestLine, DigestRequest, Problem};
use bucky_whisper::{Digest, Summary};

use super::*;

async fn digests(daemon: &TestDaemon, request: &DigestRequest) -> Vec<DigestLine> {
    let body = serde_json::to_vec(request).unwrap();
    let request = Request::new("POST", "/v1/digests").header("Content-Type", "application/json");
    let answer = daemon.send(&request.body(&body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn request(metrics: &[&str], archives: bool) -> DigestRequest {
    let now = unix_now();
    let metrics = metrics.iter().map(|name| name.parse().unwrap()).collect();
    DigestRequest { metrics, now, settled: now - 900, archives }
}

#[tokio::test]
async fn each_metric_that_is_asked_for_has_a_line_in_the_order_asked() {
    let daemon = TestDaemon::start_without_scans(&[]).await;
    let content = whisper(&[1, 20, 40]);
    daemon.put("b.whole", &content);
    daemon.put("a.cut", &content[..content.len() - 1]);
    daemon.put("c.compressed", b"whisper_compressed and more");
    daemon.put("d.empty", b"");
    let names = ["b.whole", "a.cut", "nope", "c.compressed", "d.empty", "b.whole"];
    for archives in [false, true] {
        let request = request(&names, archives);
        let lines = digests(&daemon, &request).await;
        let reported: Vec<&str> = lines.iter().map(|line| line.metric.as_str()).collect();
        assert_eq!(reported, names);
        let summary = Summary::of(&content, request.window());
        let whole = DigestFound::of(summary, archives);
        assert_eq!(lines[0].found, whole);
        assert_eq!(lines[5].found, whole);
        let DigestFound::Damaged { bytes, reason } = &lines[1].found else { panic!("{lines:?}") };
        assert_eq!(*bytes, content.len() as u64 - 1);
        assert!(reason.contains("archive 1"), "{reason}");
        let missing =
            matches!(lines[2].found, DigestFound::Unread { problem: Problem::SourceMissing, .. });
        assert!(missing, "{lines:?}");
        let digest = Digest::of(b"whisper_compressed and more");
        assert_eq!(lines[3].found, DigestFound::Compressed { bytes: 27, digest });
        assert!(matches!(lines[4].found, DigestFound::Damaged { bytes: 0, .. }), "{lines:?}");
    }
}

/// A file of many pieces, whose archives begin and end anywhere in them.
#[tokio::test]
async fn a_long_file_is_read_piece_by_piece_to_the_same_figures() {
    let daemon = TestDaemon::start_without_scans(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.wsp");
    let options = CreateOptions {
        retentions: ["60s:30d", "1h:1y", "1d:5y"].map(|text| text.parse().unwrap()).to_vec(),
        x_files_factor: "0.5".parse().unwrap(),
        aggregation: Aggregation::Sum,
        layout: FileLayout::Dense,
    };
    bucky_whisper::create(&path, &options).unwrap();
    let now = test_now();
    let mut file = WhisperFile::open(&path, OpenMode::Update, Duration::from_secs(1)).unwrap();
    for age in (0..43_000).step_by(97) {
        file.update(f64::from(age), now - age * 60, now).unwrap();
    }
    drop(file);
    let content = fs::read(path).unwrap();
    assert!(content.len() > 500_000);
    daemon.put("long", &content);
    let request = request(&["long"], true);
    let lines = digests(&daemon, &request).await;
    let summary = Summary::of(&content, request.window());
    assert!(summary.points.as_ref().unwrap().points() > 400);
    assert_eq!(lines[0].found, DigestFound::of(summary, true));
}

#[tokio::test]
async fn digests_take_one_of_the_permits_of_archives() {
    let daemon = TestDaemon::start_with(&["-max-transfers", "1"]).await;
    let permit = daemon.app.transfers.send().unwrap();
    let body = serde_json::to_vec(&request(&["a"], false)).unwrap();
    let request =
        Request::new("POST", "/v1/digests").header("Content-Type", "application/json").body(&body);
    assert_eq!(daemon.send(&request).await.status, 503);
    drop(permit);
    assert_eq!(daemon.send(&request).await.status, 200);
}
