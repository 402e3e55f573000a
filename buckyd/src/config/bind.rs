//! The address to listen on, in the forms of Go programs: `IP:PORT`, `HOST:PORT`, or `:PORT` for every
//! address of the host.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use tokio::net::{TcpListener, TcpSocket};

/// How many connections may wait to be accepted: the standard library's value.
const BACKLOG: u32 = 1024;

/// An address to listen on, as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// Every address of this host, IPv4 and IPv6, with this port.
    Every(u16),
    /// One address.
    Addr(SocketAddr),
    /// The address of a name when the daemon starts.
    Name {
        /// A host's name.
        host: String,
        /// The port; 0 means any free one.
        port: u16,
    },
}

/// Why a text is not an address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBind {
    /// There is no port.
    #[error("{0:?} has no port; write [HOST]:PORT, such as 0.0.0.0:4242 or :4242")]
    NoPort(String),
    /// The text after the last colon is not a port.
    #[error("port {0:?} is not a number from 0 to 65535")]
    Port(String),
    /// An IPv6 address without brackets, or with only one.
    #[error(
        "{0:?} is not a host name or an address; write an IPv6 address in brackets, such as [::1]:4242"
    )]
    Host(String),
}

impl FromStr for Bind {
    type Err = BadBind;

    fn from_str(text: &str) -> Result<Self, BadBind> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && !port.ends_with(']') => (host, port),
            _ => return Err(BadBind::NoPort(text.to_owned())),
        };
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_number);
        let port = port.ok_or_else(|| BadBind::Port(text[host.len() + 1..].to_owned()))?;
        if host.is_empty() {
            return Ok(Self::Every(port));
        }
        if let Some(ip) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            let ip: Ipv6Addr = ip.parse().map_err(|_| BadBind::Host(host.to_owned()))?;
            return Ok(Self::Addr(SocketAddr::new(IpAddr::V6(ip), port)));
        }
        if let Ok(ip) = host.parse::<Ipv4Addr>() {
            return Ok(Self::Addr(SocketAddr::new(IpAddr::V4(ip), port)));
        }
        if !host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')) {
            return Err(BadBind::Host(host.to_owned()));
        }
        Ok(Self::Name { host: host.to_owned(), port })
    }
}

impl Bind {
    /// The port; 0 means any free one.
    pub fn port(&self) -> u16 {
        match self {
            Self::Every(port) | Self::Name { port, .. } => *port,
            Self::Addr(addr) => addr.port(),
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(port) => write!(f, ":{port}"),
            Self::Addr(addr) => addr.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl Bind {
    /// Listens on the address. A name is looked up first. If it has several addresses, the first IPv4 address
    /// is used, as in Go programs.
    ///
    /// # Errors
    /// If the name is unknown, or the address cannot be listened on.
    pub(crate) async fn listen(&self) -> io::Result<TcpListener> {
        match self {
            Self::Every(port) => every(*port).await,
            Self::Addr(addr) => TcpListener::bind(addr).await,
            Self::Name { host, port } => {
                let found: Vec<SocketAddr> =
                    tokio::net::lookup_host((host.as_str(), *port)).await?.collect();
                let addr = found.iter().find(|addr| addr.is_ipv4()).or(found.first());
                let addr = addr.ok_or_else(|| io::Error::other("the host name has no address"))?;
                TcpListener::bind(addr).await
            }
        }
    }
}

async fn every(port: u16) -> io::Result<TcpListener> {
    // A host without IPv6 cannot create such a socket.
    match TcpSocket::new_v6() {
        Ok(socket) => {
            rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
            socket.set_reuseaddr(true)?;
            match socket.bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
                bound => return bound.and_then(|()| socket.listen(BACKLOG)),
            }
        }
        Err(error) => tracing::debug!(%error, "this host has no IPv6"),
    }
    TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_listen_on_are_read_as_go_programs_read_them() {
        let name = |host: &str, port| Bind::Name { host: host.into(), port };
        for (text, bind) in [
            (":4242", Bind::Every(4242)),
            ("0.0.0.0:4242", Bind::Addr(([0, 0, 0, 0], 4242).into())),
            ("127.0.0.1:0", Bind::Addr(([127, 0, 0, 1], 0).into())),
            ("[::1]:4242", Bind::Addr((Ipv6Addr::LOCALHOST, 4242).into())),
            ("localhost:4242", name("localhost", 4242)),
            ("graphite-1.example.org:80", name("graphite-1.example.org", 80)),
        ] {
            assert_eq!(text.parse::<Bind>().as_ref(), Ok(&bind), "{text}");
            assert_eq!(bind.to_string(), text);
        }
    }

    #[test]
    fn an_invalid_address_to_listen_on_is_refused_with_what_was_found() {
        for (text, said) in [
            ("nowhere", "has no port"),
            ("", "has no port"),
            ("4242", "has no port"),
            ("127.0.0.1:", "has no port"),
            ("[::1]", "has no port"),
            ("a:http", "port \"http\""),
            ("a:+1", "port \"+1\""),
            (":-1", "port \"-1\""),
            (":65536", "port \"65536\""),
            ("::1:4242", "in brackets"),
            ("[::1:4242", "in brackets"),
            ("[a]:4242", "in brackets"),
            ("a b:1", "not a host name"),
            ("http://a:1", "not a host name"),
        ] {
            let error = text.parse::<Bind>().unwrap_err().to_string();
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }

    #[tokio::test]
    async fn a_daemon_given_only_a_port_is_reached_over_ipv4_and_ipv6() {
        let listener = Bind::Every(0).listen().await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut ways = vec![IpAddr::from(Ipv4Addr::LOCALHOST)];
        if addr.is_ipv6() {
            ways.push(Ipv6Addr::LOCALHOST.into());
        }
        for ip in ways {
            let connecting = tokio::net::TcpStream::connect((ip, addr.port()));
            // A host may have IPv6 without an address.
            match connecting.await {
                Err(error) if ip.is_ipv6() => {
                    assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
                }
                connected => drop(connected.unwrap()),
            }
        }
    }

    #[tokio::test]
    async fn a_daemon_given_a_name_listens_on_its_address() {
        let bind: Bind = "localhost:0".parse().unwrap();
        assert!(bind.listen().await.unwrap().local_addr().unwrap().ip().is_loopback());
        let nowhere: Bind = "no-such-host.invalid:0".parse().unwrap();
        assert!(nowhere.listen().await.is_err());
    }
}
