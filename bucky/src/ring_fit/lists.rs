//! The node lists that are tried, and what to call them.

use bucky_ring::{Node, jump_order};

/// Lists of nodes, each with its name for people.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeLists {
    lists: Vec<Vec<Node>>,
    names: Vec<String>,
}

impl NodeLists {
    /// The cluster's own nodes, those that the operator gave, those of other rings, and each of them without
    /// the hosts that are `empty`.
    pub(super) fn new(
        present: &[Node],
        given: &[Node],
        rings: impl Iterator<Item = Vec<Node>>,
        empty: &[&str],
    ) -> Self {
        let mut lists = Self::default();
        lists.add(present.to_vec(), String::new());
        lists.add(given.to_vec(), "as given".to_owned());
        for ring in rings {
            lists.add(ring, "of --ring".to_owned());
        }
        for (nodes, name) in lists.lists.clone().into_iter().zip(lists.names.clone()) {
            let left: Vec<Node> =
                nodes.iter().filter(|node| !empty.contains(&node.host())).cloned().collect();
            if left.is_empty() || left.len() == nodes.len() {
                continue;
            }
            let without = match nodes.len() - left.len() {
                1 => {
                    let gone = nodes.iter().find(|node| !left.contains(node));
                    format!("without {}", gone.map_or("", Node::host))
                }
                several => format!("without {several} empty nodes"),
            };
            lists.add(left, [name, without].join(" ").trim().to_owned());
        }
        lists
    }

    /// Adds each list in the order in which a jump ring has the names on the disks, if they lie by one.
    pub(super) fn add_orders(&mut self, hosts: &[&str], names: &[(String, Vec<u16>)]) {
        for nodes in self.lists.clone() {
            let names = names.iter().map(|(name, hosts)| (name.as_str(), hosts.as_slice()));
            if let Some(order) = jump_order(&nodes, hosts, names) {
                self.add(order, "in the order of the disks".to_owned());
            }
        }
    }

    fn add(&mut self, nodes: Vec<Node>, name: String) {
        if !self.lists.contains(&nodes) {
            self.lists.push(nodes);
            self.names.push(name);
        }
    }

    pub(super) fn all(&self) -> &[Vec<Node>] {
        &self.lists
    }

    /// Whether these are the nodes of a list in its own order.
    pub(crate) fn has(&self, nodes: &[Node]) -> bool {
        self.lists.iter().any(|list| list == nodes)
    }

    /// What to call a list of nodes: nothing for the cluster's own.
    pub(crate) fn name(&self, nodes: &[Node]) -> String {
        let named = self.lists.iter().zip(&self.names);
        let mut named = named.filter(|(list, _)| list.len() == nodes.len());
        if let Some((_, name)) = named.clone().find(|(list, _)| *list == nodes) {
            return name.clone();
        }
        let same = named.find(|(list, _)| nodes.iter().all(|node| list.contains(node)));
        let name = same.map_or("", |(_, name)| name.as_str());
        ["sorted", name].join(" ").trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(hosts: &[&str]) -> Vec<Node> {
        hosts.iter().map(|host| host.parse().unwrap()).collect()
    }

    #[test]
    fn lists_are_named_by_what_differs_from_the_clusters_own() {
        let present = nodes(&["c", "a", "b"]);
        let given = nodes(&["c", "a", "b", "d"]);
        let lists = NodeLists::new(&present, &given, std::iter::empty(), &["b"]);
        assert_eq!(lists.all().len(), 4);
        assert_eq!(lists.name(&present), "");
        assert_eq!(lists.name(&given), "as given");
        assert_eq!(lists.name(&nodes(&["a", "b", "c"])), "sorted");
        assert_eq!(lists.name(&nodes(&["c", "a"])), "without b");
        assert_eq!(lists.name(&nodes(&["a", "c", "d"])), "sorted as given without b");
    }

    #[test]
    fn nodes_that_are_all_empty_give_no_list_without_nodes() {
        let present = nodes(&["a", "b"]);
        let lists = NodeLists::new(&present, &present, std::iter::empty(), &["a", "b"]);
        assert_eq!(lists.all(), [present]);
    }
}
