//! The address of a daemon, `HOST[:PORT]`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The port of a daemon that is given without one (the Go tool's default).
pub const DEFAULT_PORT: u16 = 4242;

/// Where a daemon listens: a host name or address, and a port. Written `HOST:PORT`, IPv6 in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DaemonAddr {
    host: String,
    port: u16,
}

/// Why a text is not the address of a daemon.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DaemonAddrError {
    /// No host before the port.
    #[error("{0:?} has no host; give HOST or HOST:PORT")]
    NoHost(String),
    /// The port is not a number from 1 to 65535.
    #[error("{text:?} has the port {port:?}; a port is a number from 1 to 65535")]
    BadPort {
        /// The whole text.
        text: String,
        /// The text in the place of the port.
        port: String,
    },
    /// A character that no host name has.
    #[error(
        "{text:?} has {found:?} in its host; give HOST or HOST:PORT, an IPv6 address in brackets"
    )]
    BadHost {
        /// The whole text.
        text: String,
        /// The character.
        found: char,
    },
}

impl DaemonAddr {
    /// # Errors
    /// [`DaemonAddrError`] if `host` cannot be part of a URL.
    pub fn new(host: &str, port: u16) -> Result<Self, DaemonAddrError> {
        let text = || format!("{host}:{port}");
        if host.is_empty() {
            return Err(DaemonAddrError::NoHost(text()));
        }
        let ipv6 = host.parse::<std::net::Ipv6Addr>().is_ok();
        let allowed =
            |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_') || (ipv6 && c == ':');
        if let Some(found) = host.chars().find(|c| !allowed(*c)) {
            return Err(DaemonAddrError::BadHost { text: text(), found });
        }
        if port == 0 {
            return Err(DaemonAddrError::BadPort { text: text(), port: "0".into() });
        }
        Ok(Self { host: host.to_owned(), port })
    }

    /// The address in `text`. `port` is used if the text has no port.
    ///
    /// # Errors
    /// [`DaemonAddrError`].
    pub fn parse_with_port(text: &str, port: u16) -> Result<Self, DaemonAddrError> {
        let (host, own_port) = split(text);
        let Some(own_port) = own_port else {
            return Self::new(host, port);
        };
        let bad = || DaemonAddrError::BadPort { text: text.into(), port: own_port.into() };
        if !own_port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        Self::new(host, own_port.parse().map_err(|_| bad())?)
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// This host with another port. Port 0 keeps the present one.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        let port = if port == 0 { self.port } else { port };
        Self { host: self.host.clone(), port }
    }

    /// The URL of `path` (which begins with `/`) on this daemon.
    pub fn url(&self, path: &str) -> String {
        format!("http://{self}{path}")
    }
}

impl FromStr for DaemonAddr {
    type Err = DaemonAddrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse_with_port(text, DEFAULT_PORT)
    }
}

/// The host without brackets, and the port if one is given.
fn split(text: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        return (
            host,
            if rest.is_empty() { None } else { Some(rest.strip_prefix(':').unwrap_or(rest)) },
        );
    }
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return (text, None);
    }
    match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    }
}

impl fmt::Display for DaemonAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl TryFrom<String> for DaemonAddr {
    type Error = DaemonAddrError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<DaemonAddr> for String {
    fn from(addr: DaemonAddr) -> Self {
        addr.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_as_it_is_written() {
        for (text, shown) in [
            ("graphite-1", "graphite-1:4242"),
            ("10.0.0.1:4343", "10.0.0.1:4343"),
            ("[::1]:4242", "[::1]:4242"),
            ("[fd00::2]", "[fd00::2]:4242"),
            ("::1", "[::1]:4242"),
        ] {
            assert_eq!(text.parse::<DaemonAddr>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn an_invalid_address_is_refused_with_what_was_found() {
        for (text, said) in [
            ("", "has no host"),
            (":4242", "has no host"),
            ("a:b", "the port \"b\""),
            ("a:0", "the port \"0\""),
            ("a:65536", "the port \"65536\""),
            ("a:+1", "the port \"+1\""),
            ("a/b:1", "'/' in its host"),
            ("u@h", "'@' in its host"),
            ("[::1]x", "the port \"x\""),
        ] {
            let error = text.parse::<DaemonAddr>().unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
