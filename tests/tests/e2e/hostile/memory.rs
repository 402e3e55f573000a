//! Small bodies that expand to large ones, all at once: the daemon stays within its stated memory.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use bucky_api::Encoding;
use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::soak;

use super::tars::{Evil, add_report};
use super::{assert_serves, exchange, peak_mib, request};
use crate::cluster;

/// The daemon's `--memory`, in MiB.
const MEMORY_MIB: u64 = 240;
/// What it may use in addition: see "Memory" in `docs/internals/http-api.md`, with [`TRANSFERS`] transfers in
/// each direction.
const BESIDE_MIB: u64 = 96 + 2 * 12 * TRANSFERS + 8 * 24 + 64;
const TRANSFERS: u64 = 4;
/// The longest file that fits, in MiB: half of a third of the memory, less 8 MiB.
const LONGEST_MIB: usize = 36;

const JSON: (&str, &str) = ("Content-Type", "application/json");
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

fn encoded(coding: Encoding, plain: &[u8]) -> Vec<u8> {
    let mut encoder = coding.encoder(Vec::new()).unwrap();
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// A valid file of nearly this size, without points.
fn file_of(mib: usize) -> Vec<u8> {
    let points = u32::try_from(((mib << 20) - 28) / 12).unwrap();
    let mut file = Vec::new();
    for word in [1, points, 0, 1, 28, 1, points] {
        file.extend_from_slice(&u32::to_be_bytes(word));
    }
    file.resize(28 + 12 * points as usize, 0);
    file
}

/// A large file. With the longest files, most would wait for memory until they give up, which takes time.
fn large_file() -> Vec<u8> {
    file_of(soak::rounds(8, LONGEST_MIB))
}

fn heal(name: &[u8], file: &[u8], count: usize) -> Vec<u8> {
    let mut tar = Vec::new();
    (0..count).for_each(|_| Evil::file(name, file).add_to(&mut tar));
    add_report(&mut tar, count);
    tar
}

/// Requests that are small on the wire, and how many of each are sent at once.
fn bombs() -> Vec<(&'static str, usize, Vec<u8>)> {
    let large = large_file();
    // In the long form most wait for memory until they give up, like the longest files.
    let json_bytes = soak::rounds(1, 8) << 20;
    let mut bombs = Vec::new();
    let tar = heal(b"m/large.wsp", &large, 1);
    for coding in [Encoding::Zstd, Encoding::Gzip, Encoding::Snappy] {
        let headers = [("Content-Encoding", coding.as_str())];
        let body = encoded(coding, &tar);
        bombs.push(("a heal of large files", 1, request("POST /v1/heal", &headers, &body)));
    }
    drop(tar);
    // Too long for memory: it is written to the disk as it arrives, and filled from there.
    let long = encoded(Encoding::Zstd, &heal(b"m/large.wsp", &file_of(LONGEST_MIB + 20), 1));
    let zstd_coded = [("Content-Encoding", "zstd")];
    bombs.push(("a heal of a long file", 2, request("POST /v1/heal", &zstd_coded, &long)));
    let zstd = [("Content-Encoding", "zstd")];
    let name = format!("{}/{}.wsp", "n".repeat(45), "n".repeat(45));
    let members = soak::rounds(15_000, 70_000);
    let many = encoded(Encoding::Zstd, &heal(name.as_bytes(), b"", members));
    bombs.push(("a heal of empty members", 3, request("POST /v1/heal", &zstd, &many)));

    let snappy = encoded(Encoding::Snappy, &large);
    for (announced, how) in [(large.len(), "as announced"), (148, "more than announced")] {
        let stat = format!("{{\"Size\":{announced}}}");
        let headers = [
            ("Content-Type", "application/octet-stream"),
            ("X-Metric-Stat", stat.as_str()),
            ("Content-Encoding", "snappy"),
        ];
        for method in ["POST", "PUT"] {
            let line = format!("{method} /metrics/m.large");
            bombs.push((how, 1, request(&line, &headers, &snappy)));
        }
    }

    let letters = |bytes: usize| "\"a\",".repeat(bytes / 4) + "\"a\"";
    let names = format!("{{\"metrics\":[{}]}}", letters(json_bytes));
    let few = format!("{{\"metrics\":[{}]}}", letters(100 << 10));
    let pull = format!("{{\"from\":\"127.0.0.1:1\",{}", &names[1..]);
    bombs.push(("a pull of letters", 3, request("POST /v1/pull", &[JSON], pull.as_bytes())));
    bombs.push(("names", 3, request("POST /v1/archive", &[JSON], names.as_bytes())));
    bombs.push(("some names", 3, request("POST /v1/archive", &[JSON], few.as_bytes())));
    let digest = "0".repeat(32);
    let entry =
        format!("{{\"name\":\"a\",\"digest\":\"{digest}\",\"owners\":[{}]}}", letters(1000));
    let delete = format!("{{\"metrics\":[{}]}}", vec![entry; json_bytes >> 13].join(","));
    bombs.push(("owners", 3, request("POST /v1/delete", &[JSON], delete.as_bytes())));
    let deep = "[".repeat(json_bytes);
    bombs.push(("deep JSON", 3, request("POST /v1/confirm", &[JSON], deep.as_bytes())));

    let list = format!("list=[{}]", letters(json_bytes * 4));
    bombs.push(("a list of letters", 2, request("POST /metrics", &[FORM], list.as_bytes())));
    let parameters = "a&".repeat(json_bytes);
    bombs.push(("parameters", 3, request("POST /metrics", &[FORM], parameters.as_bytes())));
    let regex = format!("regex={}", "%5CpL".repeat(json_bytes >> 3));
    bombs.push(("classes", 3, request("POST /metrics", &[FORM], regex.as_bytes())));
    for pattern in ["regex=(a{1000}){1000}", "regex=((%5CpL{100}){100})", "glob=a*{b,c}*{d,e}"] {
        let line = format!("GET /v1/metrics?{pattern}");
        bombs.push(("a pattern", 20, request(&line, &[], b"")));
    }
    let deep_glob = format!("GET /v1/metrics?glob={}{}", "{".repeat(30_000), "}".repeat(30_000));
    bombs.push(("a deep glob", 3, request(&deep_glob, &[], b"")));
    let query = format!("GET /v1/metrics?{}", "prefix=a&".repeat(100_000));
    bombs.push(("a long query", 20, request(&query, &[], b"")));
    bombs
}

#[test]
fn bombs_sent_all_at_once_stay_within_the_memory_that_is_stated() {
    let mut cluster = cluster(1)
        .flag("--memory", &MEMORY_MIB.to_string())
        .flag("--max-transfers", &TRANSFERS.to_string())
        .lay();
    // The existing file is as large as the new one: both must be in memory for the fill.
    cluster.node(0).put("m.large", &large_file());
    cluster.start();
    let node = cluster.node(0);
    let bombs = bombs();
    let rounds = soak::rounds(1, 20);
    let mut sent = 0;
    for _ in 0..rounds {
        std::thread::scope(|scope| {
            for (what, times, bytes) in &bombs {
                for _ in 0..*times {
                    scope.spawn(move || {
                        let raw = exchange(node, bytes);
                        let is_known = matches!(
                            raw.status,
                            0 | 200 | 202 | 400 | 408 | 413 | 414 | 431 | 502 | 503
                        );
                        assert!(is_known, "{what}: {}", raw.text);
                    });
                    sent += 1;
                }
            }
        });
    }
    let (peak, bound) = (peak_mib(node), MEMORY_MIB + BESIDE_MIB);
    soak::record(
        &format!("bombs: peak {peak} MiB of {bound}"),
        rounds,
        &format!("{sent} bombs"),
        0,
    );
    assert!(peak <= bound, "{peak} MiB were in memory; {bound} are stated");
    assert_serves(node);
    // All memory has been released: a file of the maximal size still fits.
    let body = encoded(Encoding::Zstd, &heal(b"m/new.wsp", &file_of(LONGEST_MIB), 1));
    let body = request("POST /v1/heal", &[("Content-Encoding", "zstd")], &body);
    bucky_tests::wait::until("a file of the limit finds room", || {
        exchange(node, &body).text.contains("\"created\"")
    });
    cluster.assert_nothing_unexpected();
}

/// A peer that should send one metric and sends without end.
#[test]
fn a_peer_whose_answer_never_ends_is_given_up_within_the_same_memory() {
    let cluster = cluster(1).flag("--memory", &MEMORY_MIB.to_string()).start();
    let node = cluster.node(0);
    node.write("m.mine", &MINUTES, &minutes(now(), [1.0]));
    let mut tar = Vec::new();
    let name = b"m/other.wsp";
    (0..8).for_each(|_| Evil::file(name, &vec![0; 30 << 20]).add_to(&mut tar));
    Evil { kind: b'0', name, link: b"", size: 0o77_777_777_777, content: b"" }.add_to(&mut tar);
    let bomb = encoded(Encoding::Zstd, &tar);
    drop(tar);
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = peer.local_addr().unwrap();
    let status = serde_json::to_string(&cluster.get(0, "/v1/status").json()).unwrap();
    let status = status.replace("store_id\":\"", "store_id\":\"another-");
    std::thread::spawn(move || {
        for stream in peer.incoming().map_while(Result::ok) {
            let (status, bomb) = (status.clone(), bomb.clone());
            std::thread::spawn(move || lie(stream, &status, &bomb));
        }
    });
    let pull = format!("{{\"from\":\"{addr}\",\"metrics\":[\"m.mine\"],\"encoding\":\"zstd\"}}");
    let pull = request("POST /v1/pull", &[JSON], pull.as_bytes());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let raw = exchange(node, &pull);
                assert_eq!(raw.status, 200, "{}", raw.text);
                assert!(
                    raw.text.contains("cut_off") && raw.text.contains("the limit is"),
                    "{}",
                    raw.text
                );
            });
        }
    });
    let (peak, bound) = (peak_mib(node), MEMORY_MIB + BESIDE_MIB);
    assert!(peak <= bound, "{peak} MiB were in memory; {bound} are stated");
    assert_eq!(node.metrics(), ["m.mine"]);
    assert_serves(node);
}

/// Answers the requests of a pulling daemon, one after the other.
fn lie(mut stream: std::net::TcpStream, status: &str, bomb: &[u8]) -> Option<()> {
    use std::io::Read;
    stream.set_read_timeout(Some(Duration::from_secs(180))).ok()?;
    let mut buffer = [0; 64 * 1024];
    loop {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        let (head, body) = if buffer[..read].starts_with(b"GET /v1/status") {
            (
                format!("Content-Type: application/json\r\nContent-Length: {}", status.len()),
                status.as_bytes(),
            )
        } else if buffer[..read].starts_with(b"POST /v1/archive") {
            (format!("Content-Encoding: zstd\r\nContent-Length: {}", bomb.len()), bomb)
        } else {
            continue;
        };
        stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").as_bytes()).ok()?;
        stream.write_all(body).ok()?;
    }
}
