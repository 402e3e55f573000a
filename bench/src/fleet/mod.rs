//! Daemons without files: as many nodes as one likes, each with as many metrics, in the memory of a few numbers.
//!
//! They speak as much of `/v1` as a rebalance needs, and do at once what they are told. A metric is a number; what is said of
//! it is made anew for every answer, and hashed by the ring, since the client holds every stray against its own. So a real
//! `bucky` goes all its ways, and what is measured of it is its own.

mod node;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use bucky_ring::{Algorithm, Ring, RingSpec};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub(crate) use self::node::Moved;
use self::node::SimulatedNode;

/// The port of a carbon in the ring; nobody listens there.
const CARBON_PORT: u16 = 2003;
/// How often another port is tried where one is taken.
const TRIES: u32 = 100;

/// What every node has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Holding {
    /// So many metrics; those that belong elsewhere can be read and moved.
    Listed(u64),
    /// So many strays, which are told and never read.
    Counted(u64),
}

/// Simulated daemons, which end with it.
pub(crate) struct Fleet {
    nodes: Vec<Arc<SimulatedNode>>,
    seed: SocketAddr,
    // They are served as long as it is there.
    _runtime: Runtime,
}

impl Fleet {
    /// So many nodes in one carbon ring, each with this.
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

    /// What was done by all of them together.
    pub(crate) fn moved(&self) -> Moved {
        self.nodes.iter().map(|node| node.moved()).sum()
    }
}

/// A listener for each node, all on one port, as `bucky` wants it.
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
    })
    .unwrap()
}
