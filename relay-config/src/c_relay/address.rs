//! A server's address, as `router_validate_address` (router.c) reads it.

use bucky_ring::{Node, NodeError};

use super::syntax::{Host, Instance, Text};
use crate::{Refusal, RefusalKind, SourceFile, Warning, WarningKind};

/// The port of a server without one.
const DEFAULT_PORT: u16 = 2003;

/// The words with which statements begin or go on. As a server without a port they mean that a `;` is
/// missing.
const WORDS_OF_STATEMENTS: [&str; 11] = [
    "aggregate",
    "cluster",
    "include",
    "listen",
    "match",
    "rewrite",
    "route",
    "send",
    "statistics",
    "to",
    "validate",
];

/// A server as the relay knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// The host, without the brackets of IPv6.
    pub(super) host: String,
    pub(super) port: u16,
    /// The instance as it is hashed.
    pub(super) instance: Option<String>,
}

/// The server that `host` names.
///
/// # Errors
/// [`Refusal`] for what the relay refuses, and for a word of a statement.
pub(super) fn server(file: &SourceFile, host: &Host) -> Result<Server, Refusal> {
    let address = &host.address;
    let refuse =
        |kind, message: String| Err(Refusal { kind, place: file.place(address.offset), message });
    let text = address.text.as_str();
    if !address.is_quoted && host.instance.is_none() && WORDS_OF_STATEMENTS.contains(&text) {
        let message = format!("{text:?} would be a server here; is a `;` missing before it?");
        return refuse(RefusalKind::Syntax, message);
    }
    let last_colon = if text.ends_with(']') { None } else { text.rfind(':') };
    let (host_text, port) = match last_colon {
        Some(colon) => (&text[..colon], Some(&text[colon + 1..])),
        None => (text, None),
    };
    let port = match port {
        None => DEFAULT_PORT,
        Some(digits) => match port_number(digits) {
            Some(port) => port,
            None => {
                let message =
                    format!("port {digits:?} of {text:?} is not a number from 1 to 65535");
                return refuse(RefusalKind::BadPort, message);
            }
        },
    };
    let host_text = match host_text.strip_prefix('[') {
        None => host_text,
        Some(bracketed) => match bracketed.strip_suffix(']') {
            Some(inner) => inner,
            None => {
                return refuse(RefusalKind::BadHost, format!("{text:?} lacks its closing bracket"));
            }
        },
    };
    if host_text.is_empty() {
        return refuse(RefusalKind::BadHost, format!("{text:?} has no host"));
    }
    let instance =
        host.instance.as_ref().map(|instance| instance_text(file, instance)).transpose()?;
    Ok(Server { host: host_text.to_owned(), port, instance })
}

/// `strtol` to the end of the text, without the white space that it would skip.
fn port_number(digits: &str) -> Option<u16> {
    let digits = digits.strip_prefix('+').unwrap_or(digits);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten().filter(|port| *port > 0)
}

/// The instance as the relay hashes it: digits without quotes are a C `int`, printed again.
fn instance_text(file: &SourceFile, instance: &Instance) -> Result<String, Refusal> {
    match instance {
        Instance::Text(text) => Ok(text.text.clone()),
        Instance::Number { digits, offset } => match digits.parse::<i32>() {
            Ok(number) => Ok(number.to_string()),
            Err(_) => Err(Refusal {
                kind: RefusalKind::BadInstance,
                place: file.place(*offset),
                message: format!(
                    "instance {digits} is too large for the relay, which reads it as another number; put it in quotes"
                ),
            }),
        },
    }
}

/// The node of the ring that `server` is.
///
/// # Errors
/// [`Refusal`] if the relay takes it, but nothing else could: white space in an instance, no host name.
pub(super) fn node(file: &SourceFile, host: &Host, server: &Server) -> Result<Node, Refusal> {
    let place = |text: &Text| file.place(text.offset);
    let node = Node::new(&server.host, server.port, server.instance.as_deref());
    node.map_err(|error| match (&error, &host.instance) {
        (NodeError::BadInstance { found, .. }, Some(Instance::Text(text))) => Refusal {
            kind: if found.is_whitespace() {
                RefusalKind::BlankInInstance
            } else {
                RefusalKind::BadInstance
            },
            place: place(text),
            message: format!("{error}; a backslash before a blank stays in the instance"),
        },
        _ => Refusal {
            kind: RefusalKind::BadHost,
            place: place(&host.address),
            message: format!("{:?}: {error}", host.address.text),
        },
    })
}

/// What an operator must know about a server.
pub(super) fn warnings(file: &SourceFile, host: &Host) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let (text, offset, is_quoted) = match &host.instance {
        Some(Instance::Number { digits, offset }) => (digits.as_str(), *offset, false),
        Some(Instance::Text(text)) => (text.text.as_str(), text.offset, true),
        None => ("", 0, false),
    };
    let is_padded =
        text.len() > 1 && text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    if is_padded {
        let hashed = if is_quoted { text } else { text.trim_start_matches('0') };
        let hashed = if hashed.is_empty() { "0" } else { hashed };
        warnings.push(Warning {
            kind: WarningKind::LeadingZero,
            place: file.place(offset),
            message: format!(
                "instance {text} begins with 0: the relay hashes {hashed} here, and would hash something else \
                 {} quotes",
                if is_quoted { "without" } else { "in" }
            ),
        });
    }
    if let Some(offset) = host.mtls {
        warnings.push(Warning {
            kind: WarningKind::Version,
            place: file.place(offset),
            message:
                "carbon-c-relay before 3.8 does not know mtls and takes the three words for servers"
                    .to_owned(),
        });
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(address: &str) -> String {
        let file = SourceFile::new("f", "");
        let address = Text { text: address.to_owned(), offset: 0, is_quoted: false };
        let host = Host { address, instance: None, is_udp: false, is_syslog: false, mtls: None };
        match server(&file, &host).and_then(|server| node(&file, &host, &server)) {
            Ok(node) => node.to_string(),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn the_last_colon_is_that_of_the_port() {
        let cases = [
            ("a", "a:2003"),
            ("a:02003", "a:2003"),
            ("a:+1", "a:1"),
            ("[fd00::1]", "[fd00::1]:2003"),
            ("[fd00::1]:1", "[fd00::1]:1"),
            ("fd00::1:2004", "[fd00::1]:2004"),
            ("[a]:1", "a:1"),
        ];
        for (address, node) in cases {
            assert_eq!(read(address), node, "{address}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let cases = [
            ("a:", "[bad-port]"),
            ("a:0", "[bad-port]"),
            ("a:65536", "[bad-port]"),
            ("a:x", "[bad-port]"),
            ("[fd00::1", "[bad-host]"),
            ("[fd00::1]x:1", "[bad-host]"),
            (":1", "[bad-host]"),
            ("fd00:30::2", "[bad-host]"),
            ("*", "[bad-host]"),
            ("match", "is a `;` missing before it? [syntax]"),
        ];
        for (address, said) in cases {
            let found = read(address);
            assert!(found.contains(said), "{address}: {found}");
        }
    }
}
