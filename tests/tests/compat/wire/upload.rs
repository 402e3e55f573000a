//! POST (fill) and PUT (replace) of a metric.

use std::os::unix::fs::MetadataExt;

use bucky_tests::go::{Body, GoAnswer, frame};
use bucky_tests::{Launch, metrics, tree};
use bucky_whisper::Image;
use serde_json::Value;

use super::{Daemon, MTIME, SMALL, plain_error, stat, text_of};
use crate::cluster;

const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");

/// A file to upload, with these values a minute apart, up to now.
fn file(values: &[f64]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let metric = "m".parse().unwrap();
    let points = metrics::minutes(metrics::now(), values.iter().copied());
    metrics::write(folder.path(), &metric, &SMALL, &points);
    std::fs::read(folder.path().join("m.wsp")).unwrap()
}

fn points(content: &[u8]) -> usize {
    Image::parse(content).unwrap().archive(0).unwrap().points_valid(metrics::now()).count()
}

impl Daemon {
    /// Uploads without compression, with a length.
    fn upload(&self, method: &str, name: &str, stat: &str, content: &[u8]) -> GoAnswer {
        let headers = [OCTETS, ("X-Metric-Stat", stat)];
        let target = format!("/metrics/{name}");
        self.client.ask(method, &target, &headers, Some(Body::Long(content.into())))
    }
}

/// Checks the five timings; those in `done` must not be 0.
#[track_caller]
fn assert_timings(answer: &GoAnswer, done: &[&str]) {
    let body = answer.text();
    let head = format!("200 OK\nContent-Length: {}\nContent-Type: application/json\n", body.len());
    assert_eq!(text_of(answer), format!("{head}\n{body}"));
    let line = body.strip_suffix('\n').unwrap();
    let timings: Value = serde_json::from_str(line).unwrap();
    let number = |key: &str| timings[key].as_u64().unwrap_or_else(|| panic!("{key}: {line}"));
    let shown = ["Download", "Dump", "Fill", "Compress", "Copy"]
        .map(|key| format!("\"{key}\":{}", number(key)));
    assert_eq!(line, format!("{{{}}}", shown.join(",")));
    for key in ["Download", "Dump", "Fill", "Compress", "Copy"] {
        assert_eq!(number(key) > 0, done.contains(&key), "{line}");
    }
}

/// The transcript of the contract.
#[test]
fn an_upload_of_the_go_client_is_stored_and_answered_with_five_durations() {
    let daemon = Daemon::start();
    let content = file(&[1.0, 2.5]);
    let stat = stat("wrong.b", content.len(), 1);
    let answer = daemon.client.post("wrong.b", &stat, frame(&content));
    assert_timings(&answer, &["Copy"]);
    assert_eq!(std::fs::read(daemon.path("wrong.b")).unwrap(), content);
    // Whatever the header says: 0666 less the umask, and the time of its creation.
    let mode = stat.replace("420", "384");
    assert_timings(&daemon.upload("POST", "plain", &mode, &content), &["Copy"]);
    let probe = daemon.cluster.path("probe");
    std::fs::File::create(&probe).unwrap();
    let (made, probe) = (daemon.path("plain").metadata().unwrap(), probe.metadata().unwrap());
    assert_eq!(made.mode(), probe.mode());
    assert_ne!(made.mtime().unsigned_abs(), MTIME);
    // An existing file is filled.
    let more = frame(&file(&[0.0, 0.5, 1.0, 2.5]));
    assert_timings(&daemon.client.post("wrong.b", &stat, more), &["Dump", "Fill"]);
    assert_eq!(points(&std::fs::read(daemon.path("wrong.b")).unwrap()), 4);
    // PUT replaces.
    assert_timings(&daemon.upload("PUT", "wrong.b", &stat, &content), &["Copy"]);
    assert_eq!(std::fs::read(daemon.path("wrong.b")).unwrap(), content);
    // A body in chunks, and a stat header in lower case with an unknown field.
    let target = "/metrics/new.in.chunks";
    let small = format!(
        r#"{{"size":{},"modtime":1,"nosuch":[]}}"#,
        "whisper_compressed and more text".len()
    );
    let headers = [OCTETS, ("X-Metric-Stat", small.as_str())];
    let body = Body::Chunked("whisper_compressed and more text".into());
    assert_timings(&daemon.client.ask("POST", target, &headers, Some(body)), &["Copy"]);
}

/// In the contract's order: if two things are wrong, the first is reported.
#[test]
fn d3_d45_uploads_are_checked_in_the_order_of_the_contract_and_refused_ones_change_nothing() {
    let daemon = Daemon::start();
    let there = daemon.lay("there");
    let content = file(&[3.0]);
    let size = format!(r#"{{"Size":{}}}"#, content.len());
    let longer = format!(r#"{{"Size":{}}}"#, content.len() + 1);
    let framed = frame(&content);
    let mut damaged = framed.clone();
    damaged[14] ^= 1;
    let marks = tree::marks(&daemon.cluster.node(0).prefix());
    let type_ = "Content-Type must be application/octet-stream.";
    let header = "Error decoding X-Metric-Stat header";
    let small = "Whisper data in request too small.";
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [u8], &'a str, &'a str);
    let cases: &[Case<'_>] = &[
        (&[], &content, "400 Bad Request", type_),
        (&[("Content-Type", "application/octet-stream; x=y")], &content, "400 Bad Request", type_),
        (
            &[("Content-Type", "Application/Octet-Stream"), ("X-Metric-Stat", &size)],
            &content,
            "400 Bad Request",
            type_,
        ),
        (&[OCTETS], &content, "400 Bad Request", header),
        (&[OCTETS, ("X-Metric-Stat", "{")], &content, "400 Bad Request", header),
        (&[OCTETS, ("X-Metric-Stat", "[]")], &content, "400 Bad Request", header),
        (&[OCTETS, ("X-Metric-Stat", r#"{"Size":"148"}"#)], &content, "400 Bad Request", header),
        (&[OCTETS, ("X-Metric-Stat", r#"{"Size":148.0}"#)], &content, "400 Bad Request", header),
        // Ours: the Go daemon fails and closes the connection (D13).
        (&[OCTETS, ("X-Metric-Stat", "null")], &content, "400 Bad Request", header),
        (&[OCTETS, ("X-Metric-Stat", "{}")], &content, "400 Bad Request", small),
        (&[OCTETS, ("X-Metric-Stat", r#"{"Size":28}"#)], &content, "400 Bad Request", small),
        (
            &[OCTETS, ("X-Metric-Stat", &longer)],
            &content,
            "400 Bad Request",
            "Malformed whisper data",
        ),
        (
            &[OCTETS, ("X-Metric-Stat", &size), ("Content-Encoding", "snappy")],
            &damaged,
            "500 Internal Server Error",
            "snappy: corrupt input",
        ),
        (
            &[OCTETS, ("X-Metric-Stat", &longer), ("Content-Encoding", "snappy")],
            &framed,
            "400 Bad Request",
            "Malformed whisper data",
        ),
    ];
    for method in ["POST", "PUT"] {
        for name in ["there", "new.one"] {
            for (headers, body, status, text) in cases {
                let target = format!("/metrics/{name}");
                let answer =
                    daemon.client.ask(method, &target, headers, Some(Body::Long(body.to_vec())));
                assert_eq!(
                    text_of(&answer),
                    plain_error(status, text),
                    "{method} {name} {headers:?}"
                );
            }
            // Ours: the Go daemon stores the first three unchanged (D45), and takes gzip for plain.
            let zeros = [0; 29];
            for (body, coding, said) in [
                (&zeros[..], "identity", "Malformed whisper data: "),
                (b"text of more than 28 bytes, no metric", "identity", "Malformed whisper data: "),
                (&content[..100], "identity", "Malformed whisper data: "),
                (&content, "gzip", "Content-Encoding \"gzip\" is not supported"),
            ] {
                let size = format!(r#"{{"Size":{}}}"#, body.len());
                let headers = [OCTETS, ("X-Metric-Stat", &*size), ("Content-Encoding", coding)];
                let target = format!("/metrics/{name}");
                let answer =
                    daemon.client.ask(method, &target, &headers, Some(Body::Long(body.to_vec())));
                assert_eq!(answer.status, 400);
                assert!(answer.text().starts_with(said), "{}", answer.text());
            }
        }
    }
    bucky_tests::cluster::assert_untouched(&marks, &daemon.cluster.node(0).prefix());
    assert_eq!(std::fs::read(daemon.path("there")).unwrap(), there);
    // The daemon still runs, and accepts a correct upload.
    assert_timings(&daemon.upload("POST", "new.one", &size, &content), &["Copy"]);
}

#[test]
fn the_flags_of_the_go_daemon_decide_how_files_are_stored() {
    let mut cluster = cluster(1).lay();
    // Ours: new files are stored as they are sent, with or without -compressed.
    cluster
        .node_mut(0)
        .flag("-mtime=true", "-sparse")
        .flag("-compressed", "-tmpdir=/no/such/folder");
    cluster.start();
    let daemon = Daemon::of(cluster);
    let day = bucky_tests::Layout { retentions: "1m:1d", ..SMALL };
    let content = day.empty_file();
    let stat = stat("holes", content.len(), 0);
    assert_timings(&daemon.upload("POST", "holes", &stat, &content), &["Copy"]);
    let made = daemon.path("holes").metadata().unwrap();
    assert_eq!((made.len(), made.mtime().unsigned_abs()), (content.len() as u64, MTIME));
    assert!(
        made.blocks() * 512 < made.len() / 2,
        "{} blocks of {} bytes",
        made.blocks(),
        made.len()
    );
    assert_eq!(std::fs::read(daemon.path("holes")).unwrap(), content);
    let log = daemon.cluster.node(0).log();
    for flag in ["-compressed", "-tmpdir"] {
        assert_eq!(log.matches(&format!("WARN {flag} has no effect")).count(), 1, "{log}");
    }
}

/// The Go daemon answers 200, and the points are lost.
#[test]
fn d2_a_fill_on_a_full_disk_is_an_error_and_keeps_the_existing_points() {
    let mut cluster = cluster(1).lay();
    let layout = bucky_tests::Layout { retentions: "1m:20d", ..SMALL };
    cluster.node_mut(0).launch(Launch::OnSmallDisk(600 * 1024)).start();
    let daemon = Daemon::of(cluster);
    let prefix = daemon.cluster.node(0).prefix();
    // A sparse file with two points, on a disk that has no space for the rest of it.
    let now = metrics::now();
    let metric = "m".parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    metrics::write(folder.path(), &metric, &layout, &metrics::minutes(now, [1.0, 2.0]));
    let before = std::fs::read(folder.path().join("m.wsp")).unwrap();
    let target = prefix.join("m.wsp");
    let file = std::fs::File::create(&target).unwrap();
    bucky_whisper::write_sparse(&file, &before).unwrap();
    drop(file);
    let full = std::fs::File::create(prefix.join("ballast")).unwrap();
    while std::io::Write::write(&mut &full, &[1; 4096]).is_ok_and(|written| written > 0) {}

    let many: Vec<f64> = (0..20_000).map(f64::from).collect();
    metrics::write(folder.path(), &"full".parse().unwrap(), &layout, &metrics::minutes(now, many));
    let source = std::fs::read(folder.path().join("full.wsp")).unwrap();
    let answer = daemon.upload("POST", "m", &stat("m", source.len(), 0), &source);
    assert!(answer.status >= 500, "{}: {}", answer.status, answer.text());
    assert!(
        answer.text().contains("m.wsp") || answer.text().contains("space"),
        "{}",
        answer.text()
    );
    let after = std::fs::read(&target).unwrap();
    assert!(points(&after) >= 2, "the two points of the file are there");
}
