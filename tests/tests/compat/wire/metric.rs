//! HEAD, GET and DELETE of a metric.

use bucky_tests::go::unframe;

use super::{DATE, Daemon, error, row, stat, text_of};

#[test]
fn head_is_answered_with_the_stat_and_nothing_else() {
    let daemon = Daemon::start();
    daemon.lay("dup.x");
    let stat = stat("dup.x", 148, 0);
    daemon.assert_rows(&[
        row("HEAD /metrics/dup.x", format!("200 OK\nContent-Length: 0\nX-Metric-Stat: {stat}\n\n")),
        // The name is returned as it was requested.
        row(
            "HEAD /metrics/dup%2fx",
            format!(
                "200 OK\nContent-Length: 0\nX-Metric-Stat: {}\n\n",
                stat.replace("dup.x", "dup/x")
            ),
        ),
        row("HEAD /metrics/nope", "404 Not Found\nContent-Length: 0\nX-Metric-Stat: null\n\n"),
        row("HEAD /metrics/no.folder", "404 Not Found\nContent-Length: 0\nX-Metric-Stat: null\n\n"),
    ]);
}

#[test]
fn get_is_answered_with_the_file_and_exactly_the_headers_of_the_contract() {
    let daemon = Daemon::start();
    let content = daemon.lay("top");
    let head = |len: usize, encoding: u8, coding: &str| {
        format!(
            "200 OK\nAccept-Ranges: bytes\n{coding}Content-Length: {len}\nContent-Type: application/octet-stream\n\
             Last-Modified: {DATE}\nX-Metric-Stat: {}\n\n",
            stat("top", 148, encoding)
        )
    };
    for accept in ["gzip", "gzip, snappy", "Snappy", "identity"] {
        let answer = daemon.answer(&format!("GET /metrics/top\nAccept-Encoding: {accept}"));
        assert_eq!(text_of(&answer), head(148, 0, ""), "{accept}");
        assert_eq!(answer.body, content);
    }
    let answer = daemon.answer("GET /metrics/top\nAccept-Encoding: snappy");
    assert_eq!(text_of(&answer), head(answer.body.len(), 1, "Content-Encoding: snappy\n"));
    assert!(answer.body.starts_with(b"\xff\x06\x00\x00sNaPpY"));
    assert_eq!(unframe(&answer.body).unwrap(), content);
}

/// If compression does not pay, chunks are plain: 200,000 random bytes are four of them.
#[test]
fn snappy_frames_are_those_of_the_format() {
    let daemon = Daemon::start();
    let mut state = 7_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    })
    .take(200_000)
    .collect();
    daemon.cluster.node(0).put("noise", &noise);
    let answer = daemon.client.get("noise");
    let mut rest = &answer.body[10..];
    let mut chunks = Vec::new();
    while let [kind, low, middle, high, after @ ..] = rest {
        let len = usize::from(*low) | usize::from(*middle) << 8 | usize::from(*high) << 16;
        chunks.push((*kind, len - 4));
        rest = &after[len..];
    }
    assert_eq!(chunks, [(1, 65536), (1, 65536), (1, 65536), (1, 200_000 - 3 * 65536)]);
    assert_eq!(unframe(&answer.body).unwrap(), noise);
}

#[test]
fn parts_and_conditions_are_answered_as_the_go_daemon_answers_them() {
    let daemon = Daemon::start();
    let content = daemon.lay("top");
    let stat = stat("top", 148, 0);
    let partial = |range: &str, len: usize| {
        format!(
            "206 Partial Content\nAccept-Ranges: bytes\nContent-Length: {len}\nContent-Range: bytes {range}/148\n\
             Content-Type: application/octet-stream\nLast-Modified: {DATE}\nX-Metric-Stat: {stat}\n\n"
        )
    };
    let whole = format!(
        "200 OK\nAccept-Ranges: bytes\nContent-Length: 148\nContent-Type: application/octet-stream\n\
         Last-Modified: {DATE}\nX-Metric-Stat: {stat}\n\n"
    );
    let not_modified =
        format!("304 Not Modified\nLast-Modified: {DATE}\nX-Metric-Stat: {stat}\n\n");
    let failed = format!(
        "412 Precondition Failed\nContent-Length: 0\nLast-Modified: {DATE}\nX-Metric-Stat: {stat}\n\n"
    );
    let plain = "Content-Type: text/plain; charset=utf-8\nX-Content-Type-Options: nosniff\n";
    let beyond = format!(
        "416 Range Not Satisfiable\nContent-Length: 33\nContent-Range: bytes */148\n{plain}X-Metric-Stat: {stat}\n\n\
         invalid range: failed to overlap\n"
    );
    let invalid = format!(
        "416 Range Not Satisfiable\nContent-Length: 14\n{plain}X-Metric-Stat: {stat}\n\ninvalid range\n"
    );
    daemon.assert_rows(&[
        row("GET /metrics/top\nRange: bytes=0-15", partial("0-15", 16)),
        row("GET /metrics/top\nRange: bytes=-5", partial("143-147", 5)),
        row("GET /metrics/top\nRange: bytes=140-", partial("140-147", 8)),
        row("GET /metrics/top\nRange: bytes=500-", beyond),
        row("GET /metrics/top\nRange: lines=0-1", invalid),
        row("GET /metrics/top\nIf-None-Match: *", not_modified.clone()),
        row(
            "GET /metrics/top\nIf-Modified-Since: Tue, 02 Jan 2024 03:04:05 GMT",
            not_modified.clone(),
        ),
        row("GET /metrics/top\nIf-Modified-Since: Wed, 03 Jan 2024 00:00:00 GMT", not_modified),
        row("GET /metrics/top\nIf-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT", whole.clone()),
        row("GET /metrics/top\nIf-Unmodified-Since: Mon, 01 Jan 2024 00:00:00 GMT", failed),
        row(
            "GET /metrics/top\nIf-Range: Tue, 02 Jan 2024 03:04:05 GMT\nRange: bytes=0-3",
            partial("0-3", 4),
        ),
        row("GET /metrics/top\nIf-Range: Mon, 01 Jan 2024 00:00:00 GMT\nRange: bytes=0-3", whole),
    ]);
    assert_eq!(daemon.answer("GET /metrics/top\nRange: bytes=-5").body, content[143..]);
    let framed = daemon.client.get("top").body;
    let part = daemon.answer("GET /metrics/top\nAccept-Encoding: snappy\nRange: bytes=0-9");
    assert_eq!(part.header("content-range"), Some(format!("bytes 0-9/{}", framed.len()).as_str()));
    assert_eq!(part.body, framed[..10]);
    let parts = daemon.answer("GET /metrics/top\nRange: bytes=0-1,4-5");
    assert_eq!(parts.status, 206);
    assert!(parts.header("content-type").unwrap().starts_with("multipart/byteranges; boundary="));
    assert!(parts.header("x-metric-stat").is_some() && parts.header("etag").is_none());
}

#[test]
fn odd_and_missing_metrics_are_answered_as_the_contract_has_it() {
    let daemon = Daemon::start();
    daemon.cluster.node(0).put("empty", b"");
    daemon.touch("empty");
    daemon.cluster.node(0).put("text", b"not a whisper file\n");
    daemon.touch("text");
    let text =
        "Accept-Ranges: bytes\nContent-Length: LEN\nContent-Type: text/plain; charset=utf-8\n";
    let plain = |name: &str, len: usize, body: &str| {
        let head = text.replace("LEN", &len.to_string());
        format!(
            "200 OK\n{head}Last-Modified: {DATE}\nX-Metric-Stat: {}\n\n{body}",
            stat(name, len, 0)
        )
    };
    let long = format!("GET /metrics/{}", "x".repeat(300));
    daemon.assert_rows(&[
        error("GET /metrics/nope", "404 Not Found", "Metric not found."),
        error("GET /metrics/no.such.folder", "404 Not Found", "Metric not found."),
        row("GET /metrics/empty", plain("empty", 0, "")),
        row("GET /metrics/text", plain("text", 19, "not a whisper file\n")),
        error(
            "GET /metrics/empty\nAccept-Encoding: snappy",
            "500 Internal Server Error",
            "Compressed length is 0, no data to transfer",
        ),
    ]);
    // Ours: a name that no file can have is an error of the request; the Go daemon says 500.
    assert_eq!(daemon.answer(&long).status, 400);
    assert_eq!(daemon.answer("GET /metrics/a%00b").status, 400);
}

/// Ours: the Go daemon announces 2^63 - 1 bytes for a folder and hangs on a FIFO.
#[test]
fn d44_a_path_that_is_no_regular_file_is_refused_at_once_by_every_method() {
    let daemon = Daemon::start();
    let prefix = daemon.cluster.node(0).prefix();
    std::fs::create_dir(prefix.join("folder.wsp")).unwrap();
    let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o644));
    rustix::fs::mknodat(rustix::fs::CWD, prefix.join("fifo.wsp"), fifo, mode, 0).unwrap();
    for name in ["folder", "fifo"] {
        for request in ["GET /metrics/", "DELETE /metrics/"] {
            let answer = daemon.answer(&format!("{request}{name}"));
            assert_eq!(answer.status, 400, "{request}{name}");
            assert!(answer.text().contains(&format!("{name}.wsp")), "{}", answer.text());
        }
        assert_eq!(daemon.client.get(name).status, 400);
        assert_eq!(daemon.client.head(name).status, 400);
    }
    assert!(prefix.join("folder.wsp").exists() && prefix.join("fifo.wsp").exists());
}

#[test]
fn delete_is_answered_with_an_empty_body_and_takes_the_folders_that_are_empty_then() {
    let daemon = Daemon::start();
    daemon.lay("a.b.c");
    daemon.lay("a.d");
    let done = "200 OK\nContent-Length: 0\n\n";
    daemon.assert_rows(&[
        row("DELETE /metrics/a.b.c", done),
        error("DELETE /metrics/a.b.c", "404 Not Found", "Metric not found."),
        error("DELETE /metrics/never.there", "404 Not Found", "Metric not found."),
    ]);
    let prefix = daemon.cluster.node(0).prefix();
    assert!(!prefix.join("a/b").exists() && prefix.join("a/d.wsp").exists());
    daemon.assert_rows(&[row("DELETE /metrics/a.d", done)]);
    assert!(!prefix.join("a").exists() && prefix.exists());
    // Ours: if a parent is a file, that is neither a missing metric nor a disk failure.
    daemon.lay("file");
    std::fs::rename(daemon.path("file"), prefix.join("file")).unwrap();
    assert_eq!(daemon.answer("DELETE /metrics/file.x").status, 400);
    assert!(prefix.join("file").exists());
}
