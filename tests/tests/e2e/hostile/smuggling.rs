//! Requests that two readers might split differently: they are refused, and nothing in a body is ever taken
//! for a request.

use bucky_tests::metrics::{MINUTES, minutes, now};

use super::{assert_serves, exchange};
use crate::cluster;

/// A body that imitates the next request.
const HIDDEN: &str = "DELETE /metrics/victim HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n";

#[test]
fn a_request_whose_end_can_be_read_in_two_ways_is_refused_and_hides_no_other() {
    let cluster = cluster(1).start();
    let node = cluster.node(0);
    node.write("victim", &MINUTES, &minutes(now(), [1.0]));
    let form = "Content-Type: application/x-www-form-urlencoded";
    let post = |headers: &str, body: &str| {
        format!("POST /metrics HTTP/1.1\r\nHost: d\r\n{form}\r\n{headers}\r\n\r\n{body}")
    };
    let hidden_bytes = HIDDEN.len();
    let chunked = format!("0\r\n\r\n{HIDDEN}");
    for (what, request) in [
        (
            "two lengths",
            post(&format!("Content-Length: 0\r\nContent-Length: {hidden_bytes}"), HIDDEN),
        ),
        ("a list of lengths", post(&format!("Content-Length: 0, {hidden_bytes}"), HIDDEN)),
        ("a length with a sign", post("Content-Length: +0", HIDDEN)),
        ("a length beyond numbers", post("Content-Length: 99999999999999999999999", HIDDEN)),
        ("a space before the colon", post("Content-Length : 0", HIDDEN)),
        ("an unknown coding", post("Transfer-Encoding: cow", &chunked)),
        ("chunked not last", post("Transfer-Encoding: chunked, identity", &chunked)),
        (
            "a chunk beyond numbers",
            post("Transfer-Encoding: chunked", &format!("FFFFFFFFFFFFFFFFF\r\n{HIDDEN}")),
        ),
        ("a chunk with a sign", post("Transfer-Encoding: chunked", &format!("-1\r\n{HIDDEN}"))),
        ("a chunk of no digits", post("Transfer-Encoding: chunked", &format!("xyz\r\n{HIDDEN}"))),
        ("a bare line feed in a name", post("X\nY: 1\r\nContent-Length: 0", HIDDEN)),
        ("garbage", format!("\x16\x03\x01\x02\x00{HIDDEN}")),
        ("a line that is none", format!("GET\r\n\r\n{HIDDEN}")),
        ("an old version", format!("GET /metrics HTTP/0.9\r\n\r\n{HIDDEN}")),
    ] {
        let raw = exchange(node, request.as_bytes());
        assert!(matches!(raw.status, 0 | 400 | 413), "{what}: {}", raw.text);
        assert_eq!(raw.text.matches("HTTP/1.1 ").count(), usize::from(raw.status != 0), "{what}");
        assert!(node.has("victim"), "{what}");
        assert_serves(node);
    }
    // With both headers, the chunks are used and the connection is closed: the following bytes are not a
    // request.
    let both = format!("Content-Length: {}\r\nTransfer-Encoding: chunked", chunked.len());
    let raw = exchange(node, post(&both, &chunked).as_bytes());
    assert!(raw.text.matches("HTTP/1.1 ").count() <= 1, "{}", raw.text);
    assert!(node.has("victim"), "a request was hidden in another's body: {}", raw.text);
}

#[test]
fn garbage_behind_a_request_ends_the_connection_after_its_answer() {
    let cluster = cluster(1).start();
    let node = cluster.node(0);
    let good = "GET /v1/status HTTP/1.1\r\nHost: d\r\n\r\n";
    let garbage = "\0".repeat(100_000);
    let raw = exchange(node, format!("{good}{good}{garbage}{good}").as_bytes());
    assert_eq!(raw.text.matches("HTTP/1.1 200").count(), 2, "{}", raw.text);
    assert!(raw.text.matches("HTTP/1.1 ").count() <= 3, "{}", raw.text);
    assert_serves(node);
}
