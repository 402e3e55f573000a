//! Daemons without files: any number of nodes, each with any number of metrics, in the memory of a few
//! numbers.
//!
//! They implement the part of `/v1` that a rebalance needs, and do at once what they are asked for. A metric
//! is a number. Its name is built again for every answer, and hashed by the ring, because the client checks
//! the owner of every misplaced metric. So a real `bucky` takes all its usual steps, and the measured cost is
//! its own.

mod node;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use bucky_ring::{Algorithm, Ring, RingSpec};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub(crate) use self::node::Moved;
use self::node::SimulatedNode;

/// The port of a carbon in the ring; no process listens on it.
const CARBON_PORT: u16 = 2003;
/// How many other ports are tried if one is in use.
const TRIES: u32 = 100;

/// What every node has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Holding {
    /// This many metrics; the misplaced ones can be read and moved.
    Listed(u64),
    /// This many misplaced metrics, which are only counted and never read.
    Counted(u64),
}

/// Simulated daemons, which stop when this is dropped.
pub(crate) struct Fleet {
    nodes: Vec<Arc<SimulatedNode>>,
    seed: SocketAddr,
    // The daemons run as long as this exists.
    _runtime: Runtime,
}

impl Fleet {
    /// Starts `count` nodes in one carbon ring, each with `holding`.
    pub(crate) fn start(count: usize, holding: Holding) -> Self {
        let runtime = Runtime::new().unwrap();
        let listeners = runtime.block_on(listeners(count));
        let addrs: Vec<SocketAddr> =
            listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let ring = Arc::new(ring(&addrs));
        let nodes = (0..count).map(|number| SimulatedNode::new(number, Arc::clone(&ring), holding));
        let nodes: Vec<Arc<SimulatedNode>> = nodes.map(Arc::new).collect();
        for (node, listener) in nodes.iter().zip(listeners) {
            let router: Router = node::router(Arc::clone(node));
            runtime.spawn(async move { axum::serve(listener, router).await });
        }
        Self { nodes, seed: addrs[0], _runtime: runtime }
    }

    /// The address of a daemon that knows the ring.
    pub(crate) fn seed(&self) -> String {
        self.seed.to_string()
    }

    /// The sum of what all of them did.
    pub(crate) fn moved(&self) -> Moved {
        self.nodes.iter().map(|node| node.moved()).sum()
    }
}

/// A listener for each node, all on the same port, as `bucky` requires.
async fn listeners(count: usize) -> Vec<TcpListener> {
    let mut tries = 0;
    loop {
        match on_one_port(count).await {
            Ok(listeners) => return listeners,
            Err(error) => assert!(tries < TRIES, "no port is free at {count} addresses: {error}"),
        }
        tries += 1;
    }
}

async fn on_one_port(count: usize) -> std::io::Result<Vec<TcpListener>> {
    let mut listeners: Vec<TcpListener> = Vec::with_capacity(count);
    let mut port = 0;
    for number in 0..count {
        let last = |number: usize| u8::try_from(number % 250 + 1).unwrap();
        let addr = [127, 99, last(number / 250), last(number)];
        let listener = TcpListener::bind(SocketAddr::from((addr, port))).await?;
        port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(listeners)
}

fn ring(addrs: &[SocketAddr]) -> Ring {
    let nodes = addrs.iter().map(|addr| format!("{}:{CARBON_PORT}", addr.ip()).parse().unwrap());
    let algorithm = Algorithm::Carbon;
    let (relay, tagged_names) = bucky_ring::resolve(algorithm, None, None).unwrap();
    Ring::new(RingSpec {
        nodes: nodes.collect(),
        algorithm,
        relay,
        replication_factor: 1,
        diverse_replicas: false,
        tagged_names,
        aggregation: None,
        routes: None,
    })
    .unwrap()
}
