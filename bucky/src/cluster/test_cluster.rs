//! Answers of nodes, for tests.

use bucky_api::{
    API_LEVEL, Client, DaemonAddr, DiskStatus, InventoryState, InventoryStatus, Status, Timeouts,
    TombstoneStatus, TransferStatus,
};
use bucky_ring::{NodeDocument, RingDocument};

use super::{Answer, Member};

/// A carbon ring of these nodes.
pub(crate) fn document(nodes: &[&str]) -> RingDocument {
    let nodes = nodes.iter().map(|node| {
        let node: bucky_ring::Node = node.parse().unwrap();
        NodeDocument {
            server: node.host().into(),
            port: node.port().into(),
            instance: node.instance().unwrap_or_default().into(),
        }
    });
    RingDocument {
        name: "test".into(),
        nodes: nodes.collect(),
        algo: "carbon".into(),
        replicas: 1,
        relay: Some("buckytools".into()),
        diverse: Some(false),
        tagged_names: Some("whole".into()),
        aggregation_rules: None,
        routes: None,
    }
}

/// A member at `HOST:4242`.
pub(crate) fn member(host: &str, answer: Answer) -> Member {
    let addr = DaemonAddr::new(host, 4242).unwrap();
    let daemon = Client::new(Timeouts::default()).unwrap().daemon(addr);
    Member { daemon, host: Some(host.into()), answer }
}

/// The answer of a daemon with `/v1`.
pub(crate) fn v1(ring: &RingDocument, node: &str, store_id: &str) -> Answer {
    Answer::V1 { document: ring.clone(), status: Box::new(status(node, store_id)) }
}

/// The answer of a Go daemon.
pub(crate) fn go(ring: &RingDocument, name: &str) -> Answer {
    Answer::Go { document: RingDocument { name: name.into(), ..ring.clone() } }
}

/// A status in which nothing is wrong.
pub(crate) fn status(node: &str, store_id: &str) -> Status {
    Status {
        node: node.into(),
        store_id: store_id.into(),
        version: "0.1.0".into(),
        api_level: API_LEVEL,
        ring_fingerprint: String::new(),
        metrics: Some(1000),
        inventory: InventoryStatus {
            state: InventoryState::Ready,
            age_seconds: Some(12),
            scan_seconds: Some(0.5),
            unplaceable: 0,
            series: None,
            unusable: 0,
            unreadable_folders: 0,
            not_served: bucky_api::NotServed::default(),
            problem: String::new(),
        },
        disk: DiskStatus { total_bytes: 100 << 30, free_bytes: 40 << 30, ..DiskStatus::default() },
        volumes: Vec::new(),
        tombstones: TombstoneStatus::default(),
        transfers: TransferStatus { sending: 0, receiving: 0, limit: 16 },
        replaced: bucky_api::ReplacedStatus::default(),
        local_prefixes: vec!["carbon.agents.".into()],
        read_only: String::new(),
        former_members: Vec::new(),
        former_ring: None,
        ring_file: None,
        received: None,
    }
}
