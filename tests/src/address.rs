//! Loopback addresses that no other cluster uses: one IP address for each node, and one port for all, as
//! `bucky` requires.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::TcpSocket;

/// Numbers the clusters of this process.
static CLUSTERS: AtomicU32 = AtomicU32::new(0);
/// How many networks `127.a.b.0` can be chosen.
const NETWORKS: u32 = 250 * 250;
/// How many networks to try if one is in use.
const TRIES: u32 = 100;

/// The addresses of one cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    a: u8,
    b: u8,
    port: u16,
}

impl Network {
    /// A network whose first `hosts` addresses, and their addresses behind gates, are free on one port.
    pub(crate) fn free(hosts: u8) -> Self {
        for _ in 0..TRIES {
            let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
            let number = std::process::id().wrapping_mul(61).wrapping_add(number) % NETWORKS;
            // Never 127.0.x.y, which other programs of this machine may use.
            let part = |value: u32| u8::try_from(value % 250 + 1).unwrap();
            let (a, b) = (part(number / 250), part(number));
            if let Some(network) = Self::with_free_port(a, b, hosts) {
                return network;
            }
        }
        panic!("no network of {hosts} free loopback addresses was found");
    }

    fn with_free_port(a: u8, b: u8, hosts: u8) -> Option<Self> {
        let first = bound(SocketAddr::from(([127, a, b, 1], 0))).ok()?;
        let port = first.local_addr().ok()?.port();
        let network = Self { a, b, port };
        let others = (1..=hosts).flat_map(|host| [network.addr(host), network.behind_gate(host)]);
        let all_free =
            others.filter(|addr| *addr != network.addr(1)).all(|addr| bound(addr).is_ok());
        all_free.then_some(network)
    }

    /// The address of the node with this number, from 1.
    pub(crate) fn addr(self, host: u8) -> SocketAddr {
        self.with_last(host)
    }

    /// The address on which that node's daemon listens if a gate has the node's address.
    pub(crate) fn behind_gate(self, host: u8) -> SocketAddr {
        self.with_last(host + 100)
    }

    /// Another address of this network, for an alias of a node.
    pub(crate) fn alias(self, host: u8) -> SocketAddr {
        self.with_last(host + 200)
    }

    fn with_last(self, last: u8) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, self.a, self.b, last)), self.port)
    }
}

/// A socket that has this address and does not listen. If another test starts a program at this moment, its
/// child process holds all our sockets until its exec. A listening socket would keep a daemon from the
/// address; this one does not.
fn bound(addr: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}
