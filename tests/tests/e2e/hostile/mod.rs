//! Attackers that can reach the port: the daemon's memory stays bounded, nothing outside the prefix is
//! touched, and other clients are served.

mod bombs;
mod daemon;
mod memory;
mod slow;
mod smuggling;
mod tars;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bucky_tests::Node;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// An answer as received, head and body.
struct Raw {
    /// The status; 0 if the connection was closed without one.
    status: u16,
    text: String,
}

/// Sends bytes on a separate connection, and reads until the daemon closes it or the answer is complete.
fn exchange(node: &Node, bytes: &[u8]) -> Raw {
    let mut stream = connect(node);
    let mut sender = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        // A daemon that refuses a request does not read the rest.
        scope.spawn(move || sender.write_all(bytes).and_then(|()| sender.flush()));
        answer(&mut stream)
    })
}

fn connect(node: &Node) -> TcpStream {
    let stream = TcpStream::connect(node.addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Everything that is received until the connection is closed.
fn answer(stream: &mut TcpStream) -> Raw {
    let mut bytes = Vec::new();
    // After a reset, everything that was sent has been received.
    let _ = stream.read_to_end(&mut bytes);
    let _ = stream.shutdown(std::net::Shutdown::Both);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    Raw { status, text }
}

/// A request with a body, on a connection that is closed after it.
fn request(line: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = head(line, headers, body.len());
    bytes.extend_from_slice(body);
    bytes
}

/// The head of a request whose body has `body_bytes` bytes.
fn head(line: &str, headers: &[(&str, &str)], body_bytes: usize) -> Vec<u8> {
    let mut head = format!("{line} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {body_bytes}\r\n\r\n"));
    head.into_bytes()
}

/// The daemon's peak memory, in MiB, since the last reset.
fn peak_mib(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Checks that the daemon answers at once, and is still the same process.
#[track_caller]
fn assert_serves(node: &Node) {
    let began = std::time::Instant::now();
    let raw = exchange(node, &request("GET /v1/status", &[], b""));
    assert_eq!(raw.status, 200, "{}", raw.text);
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
}
