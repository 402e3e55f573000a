//! The ring in use with nodes added and removed.
//!
//! Pure.

use bucky_ring::{Node, RingSpec};

/// The ring `spec` without the nodes that `remove` names and with those of `add` at its end. A node is named
/// as in the ring, or by its host.
///
/// # Errors
/// The reason: a node that the ring does not have, or that it has already.
pub(crate) fn changed(
    spec: &RingSpec,
    add: &[Node],
    remove: &[String],
) -> Result<RingSpec, String> {
    let mut nodes = spec.nodes.clone();
    for name in remove {
        let before = nodes.len();
        nodes.retain(|node| !is_named(node, name));
        if nodes.len() == before {
            let known: Vec<String> = spec.nodes.iter().map(ToString::to_string).collect();
            return Err(format!(
                "--remove: the ring has no node {name}; its nodes are {}",
                known.join(", ")
            ));
        }
    }
    for node in add {
        if nodes.contains(node) {
            return Err(format!("--add: the ring has the node {node} already"));
        }
        nodes.push(node.clone());
    }
    if nodes.is_empty() {
        return Err("--remove: no node is left".to_owned());
    }
    Ok(RingSpec { nodes, ..spec.clone() })
}

fn is_named(node: &Node, name: &str) -> bool {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    node.host() == bare || name.parse::<Node>().is_ok_and(|named| named == *node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::test_cluster::document;

    fn nodes(add: &[&str], remove: &[&str]) -> Result<Vec<String>, String> {
        let spec = document(
            &["a:2003=x", "a:2103=y", "b:2003", "fd00::1"]
                .map(|node| if node.starts_with("fd") { "[fd00::1]:2003" } else { node }),
        )
        .to_spec()
        .unwrap();
        let add: Vec<Node> = add.iter().map(|node| node.parse().unwrap()).collect();
        let remove: Vec<String> = remove.iter().map(|name| (*name).to_owned()).collect();
        let spec = changed(&spec, &add, &remove)?;
        Ok(spec.nodes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nodes_are_added_at_the_end_and_removed_by_host_or_in_full() {
        for (add, remove, expected) in [
            (
                &["c:2003"][..],
                &[][..],
                &["a:2003=x", "a:2103=y", "b:2003", "[fd00::1]:2003", "c:2003"][..],
            ),
            (&[], &["a", "[fd00::1]"], &["b:2003"]),
            (&[], &["a:2103=y", "fd00::1"], &["a:2003=x", "b:2003"]),
            (&["c", "d"], &["b"], &["a:2003=x", "a:2103=y", "[fd00::1]:2003", "c", "d"]),
        ] {
            assert_eq!(nodes(add, remove).unwrap(), expected);
        }
    }

    #[test]
    fn a_node_that_is_not_there_or_there_already_is_refused_with_what_there_is() {
        let unknown = nodes(&[], &["c"]).unwrap_err();
        assert!(
            unknown.contains("no node c; its nodes are a:2003=x, a:2103=y, b:2003"),
            "{unknown}"
        );
        assert!(nodes(&[], &["b:2004"]).is_err());
        assert!(nodes(&["b:2003"], &[]).unwrap_err().contains("has the node b:2003 already"));
        assert!(nodes(&[], &["a", "b", "fd00::1"]).unwrap_err().contains("no node is left"));
    }
}
