//! A node of the ring, as operators write it: `HOST[:PORT][=INSTANCE]`.
//!
//! A [`Node`] is checked once, here, for command lines and ring documents. The host and the instance are kept
//! as written, because they are hashed: `Node1` and `node1` are two nodes.

use std::{fmt, net::Ipv6Addr, str::FromStr};

/// A node that can own metrics: a host, the port that its relay sends to, and the name of the instance there.
///
/// Two nodes are equal if host, port and instance are equal. The configuration gives the order of nodes, not
/// this type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    host: String,
    port: u16,
    instance: Option<String>,
}

impl Node {
    /// A node from its parts. An IPv6 host has no brackets; `port` 0 and an empty instance mean none.
    ///
    /// # Errors
    /// [`NodeError`] if the host is neither a host name nor an address, or the instance contains white space
    /// or control characters.
    pub fn new(host: &str, port: u16, instance: Option<&str>) -> Result<Self, NodeError> {
        check_host(host)?;
        let instance = instance.filter(|instance| !instance.is_empty());
        if let Some(instance) = instance {
            check_instance(instance)?;
        }
        Ok(Self { host: host.to_owned(), port, instance: instance.map(str::to_owned) })
    }

    /// The host's name or address as written; IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 means no port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The instance's name, never empty; `None` if there is no instance.
    pub fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }
}

/// `HOST[:PORT][=INSTANCE]`: the instance is everything after the first `=`, and may contain `=` and `:`
/// itself. Also accepts what the Go tool accepts: an empty port (`a:=x`), port 0 and an empty instance
/// (`a=`), each meaning none; and `HOST:PORT:INSTANCE`, as carbon's DESTINATIONS has it.
impl FromStr for Node {
    type Err = NodeError;

    fn from_str(text: &str) -> Result<Self, NodeError> {
        if let Some((host, port, instance)) = split_destination(text) {
            return Self::new(host, parse_port(port)?, Some(instance));
        }
        let (address, instance) = match text.split_once('=') {
            Some((address, instance)) => (address, Some(instance)),
            None => (text, None),
        };
        let (host, port) = split_address(address)?;
        let port = match port {
            Some(digits) => parse_port(digits)?,
            None => 0,
        };
        Self::new(host, port, instance)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        if self.port != 0 {
            write!(f, ":{}", self.port)?;
        }
        match &self.instance {
            Some(instance) => write!(f, "={instance}"),
            None => Ok(()),
        }
    }
}

/// Why a text is not a node. The caller names the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// Nothing is before the port and the instance.
    #[error("the host is empty; write HOST[:PORT][=INSTANCE]")]
    EmptyHost,
    /// The host begins with a dash. Usually this is a flag after the first node.
    #[error("host {0:?} begins with `-`; flags come before the nodes")]
    HostIsFlag(String),
    /// The host has more than 253 bytes, which no resolver accepts.
    #[error("the host is {0} bytes long; a host name has at most 253")]
    HostTooLong(usize),
    /// The host has a character that is not allowed in a host name or an address.
    #[error(
        "host {host:?} contains {found:?}; a host is a name of letters, digits, `.`, `-` and `_`, or an address"
    )]
    BadHost {
        /// The host as found.
        host: String,
        /// Its first character that is not allowed.
        found: char,
    },
    /// The host has colons, but is not an IPv6 address.
    #[error("host {0:?} is not an IPv6 address")]
    NotIpv6(String),
    /// There is more than one colon outside of brackets.
    #[error(
        "{0:?} has more than one colon; write HOST:PORT=INSTANCE, and IPv6 addresses in brackets, as [::1]:2003"
    )]
    BareColons(String),
    /// There is an opening bracket without its closing one.
    #[error("{0:?} lacks the closing bracket of its IPv6 address")]
    UnclosedBracket(String),
    /// There is a text between the closing bracket and the port.
    #[error("{0:?} follows the closing bracket; only :PORT or =INSTANCE may")]
    AfterBracket(String),
    /// The port is not a number from 0 to 65535.
    #[error("port {0:?} is not a number from 1 to 65535")]
    BadPort(String),
    /// The Go tool would read the port as octal.
    #[error("port {0:?} begins with 0, which makes it octal for the Go tool; leave out the 0")]
    OctalPort(String),
    /// The instance contains white space or a control character.
    #[error(
        "instance {instance:?} contains {found:?}; white space and control characters are not allowed"
    )]
    BadInstance {
        /// The instance as found.
        instance: String,
        /// Its first character that is not allowed.
        found: char,
    },
}

/// Host, port and instance of carbon's `HOST:PORT:INSTANCE`, where the text can mean nothing else: it has no
/// `=`, and none of the three is empty. No IPv6 address without brackets is like that, because it has `::`
/// or seven colons.
fn split_destination(text: &str) -> Option<(&str, &str, &str)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, rest.strip_prefix(':')?)
        }
        None => text.split_once(':')?,
    };
    let (port, instance) = rest.split_once(':')?;
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = !instance.is_empty() && !instance.contains(':') && !text.contains('=');
    (!host.is_empty() && is_number && is_plain).then_some((host, port, instance))
}

/// The host without brackets, and the text of the port, if there is one.
fn split_address(address: &str) -> Result<(&str, Option<&str>), NodeError> {
    if let Some(bracketed) = address.strip_prefix('[') {
        let Some((host, rest)) = bracketed.split_once(']') else {
            return Err(NodeError::UnclosedBracket(address.to_owned()));
        };
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(NodeError::NotIpv6(host.to_owned()));
        }
        return match rest.strip_prefix(':') {
            Some(digits) => Ok((host, port_text(digits))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(NodeError::AfterBracket(rest.to_owned())),
        };
    }
    match address.split_once(':') {
        Some((_, digits)) if digits.contains(':') => Err(NodeError::BareColons(address.to_owned())),
        Some((host, digits)) => Ok((host, port_text(digits))),
        None => Ok((address, None)),
    }
}

fn port_text(digits: &str) -> Option<&str> {
    if digits.is_empty() { None } else { Some(digits) }
}

/// A port in the notation of Go's flags: decimal, or with a prefix `0x`, `0o` or `0b`, and `_` between
/// digits. A bare leading `0` is refused: for Go that is an octal number, for carbon a decimal one.
fn parse_port(text: &str) -> Result<u16, NodeError> {
    let bad = || NodeError::BadPort(text.to_owned());
    let (radix, digits) = match text.get(..2).unwrap_or_default() {
        "0x" | "0X" => (16, &text[2..]),
        "0o" | "0O" => (8, &text[2..]),
        "0b" | "0B" => (2, &text[2..]),
        _ if text.len() > 1
            && text.bytes().all(|b| b.is_ascii_digit())
            && text.starts_with('0') =>
        {
            return Err(NodeError::OctalPort(text.to_owned()));
        }
        _ => (10, text),
    };
    // An underscore must be between two digits, or right after the base.
    let parts = digits.strip_prefix('_').filter(|_| radix != 10).unwrap_or(digits).split('_');
    let is_number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_digit(radix));
    if !parts.clone().all(is_number) {
        return Err(bad());
    }
    u16::from_str_radix(&parts.collect::<String>(), radix).map_err(|_| bad())
}

fn check_host(host: &str) -> Result<(), NodeError> {
    if host.is_empty() {
        return Err(NodeError::EmptyHost);
    }
    if host.starts_with('-') {
        return Err(NodeError::HostIsFlag(host.to_owned()));
    }
    if host.len() > 253 {
        return Err(NodeError::HostTooLong(host.len()));
    }
    if host.contains(':') {
        return match host.parse::<Ipv6Addr>() {
            Ok(_) => Ok(()),
            Err(_) => Err(NodeError::NotIpv6(host.to_owned())),
        };
    }
    let belongs = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match host.chars().find(|c| !belongs(*c)) {
        Some(found) => Err(NodeError::BadHost { host: host.to_owned(), found }),
        None => Ok(()),
    }
}

fn check_instance(instance: &str) -> Result<(), NodeError> {
    match instance.chars().find(|c| c.is_whitespace() || c.is_control()) {
        Some(found) => Err(NodeError::BadInstance { instance: instance.to_owned(), found }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_read_as_the_go_tool_reads_them() {
        let cases: &[(&str, &str, u16, Option<&str>)] = &[
            ("a", "a", 0, None),
            ("a:2003", "a", 2003, None),
            ("a:2003=x", "a", 2003, Some("x")),
            ("a=x", "a", 0, Some("x")),
            ("a:=x", "a", 0, Some("x")),
            ("a:", "a", 0, None),
            ("a:0", "a", 0, None),
            ("a=", "a", 0, None),
            ("a=b=c", "a", 0, Some("b=c")),
            ("rp-new:2003=rp-2:2003", "rp-new", 2003, Some("rp-2:2003")),
            ("a:65535", "a", 65535, None),
            ("a:0x10", "a", 16, None),
            ("a:0x_10", "a", 16, None),
            ("a:0o17", "a", 15, None),
            ("a:0b101", "a", 5, None),
            ("a:1_000", "a", 1000, None),
            ("10.0.0.1:2003=a", "10.0.0.1", 2003, Some("a")),
            ("[fd00::1]", "fd00::1", 0, None),
            ("[fd00::1]:2003=a", "fd00::1", 2003, Some("a")),
            ("[fd00::1]=a", "fd00::1", 0, Some("a")),
            ("[FD00::1]:", "FD00::1", 0, None),
        ];
        for &(text, host, port, instance) in cases {
            let node: Node = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((node.host(), node.port(), node.instance()), (host, port, instance));
        }
    }

    #[test]
    fn carbons_destinations_are_taken_where_they_can_mean_nothing_else() {
        let same = [
            ("a:2003:x", "a:2003=x"),
            ("10.0.0.1:2004:1", "10.0.0.1:2004=1"),
            ("[fd00::1]:2003:a", "[fd00::1]:2003=a"),
        ];
        for (carbon, ours) in same {
            assert_eq!(carbon.parse::<Node>(), ours.parse::<Node>(), "{carbon}");
        }
        for text in
            ["a:2003:", "a:2003:x:y", "a:2003:x=y", "a::x", ":2003:x", "fd00::1", "1:2:3:4:5:6:7:8"]
        {
            let error = text.parse::<Node>().expect_err(text).to_string();
            assert!(error.contains("write HOST:PORT=INSTANCE, and IPv6"), "{text}: {error}");
        }
        assert_eq!("a:02003:x".parse::<Node>(), Err(NodeError::OctalPort("02003".into())));
    }

    #[test]
    fn text_that_is_no_node_is_refused_and_quoted() {
        let cases = [
            ("", "the host is empty"),
            (":", "the host is empty"),
            ("=x", "the host is empty"),
            ("-hash", "flags come before the nodes"),
            ("a:b", "port \"b\" is not a number"),
            ("a:-1", "port \"-1\" is not a number"),
            ("a:+1", "port \"+1\" is not a number"),
            ("a:65536", "port \"65536\""),
            ("a:99999999999999999999", "port \"99999999999999999999\""),
            ("a:0x", "port \"0x\""),
            ("a:0xg", "port \"0xg\""),
            ("a:0x10000", "port \"0x10000\""),
            ("a:1__0", "port \"1__0\""),
            ("a:_1", "port \"_1\""),
            ("a:1_", "port \"1_\""),
            ("a:0x+1", "port \"0x+1\""),
            ("a:é1", "port \"é1\""),
            ("a:010", "octal"),
            ("a:2003:x:y", "more than one colon"),
            ("::1", "in brackets"),
            ("[::1", "closing bracket"),
            ("[::1]2003", "\"2003\" follows the closing bracket"),
            ("[a]:2003", "host \"a\" is not an IPv6 address"),
            ("[::g]", "host \"::g\" is not an IPv6 address"),
            ("a b", "contains ' '"),
            ("a/b", "contains '/'"),
            ("ä", "contains 'ä'"),
            ("a=x y", "instance \"x y\" contains ' '"),
            ("a=x\u{7}", "contains '\\u{7}'"),
            ("a=x\u{a0}", "contains '\\u{a0}'"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Node>().expect_err(text).to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
        let long = "a".repeat(254);
        assert_eq!(long.parse::<Node>(), Err(NodeError::HostTooLong(254)));
    }

    #[test]
    fn a_document_gives_ipv6_hosts_without_brackets() {
        assert!(Node::new("fd00::1", 1, None).is_ok());
        assert!(Node::new("[fd00::1]", 1, None).is_err());
        assert!(Node::new("a:1", 1, None).is_err());
        assert!(Node::new("a=b", 1, None).is_err());
    }
}
