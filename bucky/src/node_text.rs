//! Nodes of a ring as carbonate writes them.

use bucky_ring::Node;

/// A node as carbonate writes it: a missing instance is `None`, as in Python.
pub(crate) fn long(node: &Node) -> String {
    format!("{}:{}:{}", host(node), node.port(), node.instance().unwrap_or("None"))
}

/// Its host; an IPv6 address in brackets.
pub(crate) fn host(node: &Node) -> String {
    let host = node.host();
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}
