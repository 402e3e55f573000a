//! JSON and headers of the wire: requests to a daemon, and the answers of an untrustworthy one.
//!
//! Bytes: the kind (1), the text.

use bucky_api::go::MetricStat;
use bucky_api::{
    ArchiveReport, ArchiveRequest, ConfirmLine, ConfirmRequest, DaemonAddr, DeleteLine,
    DeleteRequest, Encoding, ErrorBody, HealLine, MetricLine, MisplacedCount, MisplacedLine,
    PullRequest, StatRequest, Status,
};
use bucky_ring::{Node, Ring, RingDocument};
use serde_json::Value;

/// Rings of more nodes take too long to build repeatedly.
const NODES_MOST: usize = 4;

type Kind = fn(&[u8]);

const KINDS: [Kind; 19] = [
    json::<PullRequest>,
    json::<ConfirmRequest>,
    json::<DeleteRequest>,
    json::<ArchiveRequest>,
    json::<Status>,
    json::<HealLine>,
    json::<ConfirmLine>,
    json::<DeleteLine>,
    json::<MisplacedLine>,
    json::<MisplacedCount>,
    json::<MetricLine>,
    json::<StatRequest>,
    json::<ArchiveReport>,
    json::<ErrorBody>,
    ring,
    stat,
    addr,
    node,
    accepted,
];

pub(super) fn check(mut bytes: &[u8]) {
    KINDS[usize::from(super::first(&mut bytes)) % KINDS.len()](bytes);
}

/// Checks that a value that can be read is the same after it is written and read again.
fn json<T: serde::Serialize + serde::de::DeserializeOwned>(text: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(text) else { return };
    let written = serde_json::to_vec(&value).unwrap();
    let again: T = serde_json::from_slice(&written).expect("what we write can be read");
    let as_value = |value: &T| -> Value { serde_json::to_value(value).unwrap() };
    assert_eq!(as_value(&value), as_value(&again));
}

fn ring(text: &[u8]) {
    let Ok(document) = RingDocument::from_json(text) else { return };
    let again = RingDocument::from_json(document.to_json().as_bytes());
    assert_eq!(again.expect("what we write can be read"), document);
    let Ok(spec) = document.to_spec() else { return };
    let _ = spec.fingerprint();
    if spec.nodes.len() <= NODES_MOST
        && let Ok(ring) = Ring::new(spec)
    {
        assert!(ring.owners("a.metric").count() > 0);
    }
}

fn stat(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(stat) = MetricStat::parse(text) else { return };
    assert!(stat.to_header().is_ascii());
    assert_eq!(MetricStat::parse(&stat.to_header()).expect("what we write can be read"), stat);
}

fn addr(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(addr) = text.parse::<DaemonAddr>() else { return };
    assert_eq!(addr.to_string().parse::<DaemonAddr>().expect("what we write can be read"), addr);
    let url = addr.url("/v1/status");
    assert!(url.starts_with("http://") && url.ends_with("/v1/status"), "{url}");
}

fn node(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(node) = text.parse::<Node>() else { return };
    assert_eq!(node.to_string().parse::<Node>().expect("what we write can be read"), node);
}

fn accepted(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let _ = Encoding::negotiate(Some(text));
    let _ = text.parse::<Encoding>();
}
