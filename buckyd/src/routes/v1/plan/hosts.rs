//! What the hosts of two rings have and get.
//!
//! Pure. A metric that leaves is sent to each of its new hosts once, as `rebalance` does: also to hosts that
//! have it, whose copies are filled then. Which hosts have it is known by the ring in use.

use std::collections::HashMap;

use bucky_api::{MetricAmount, PlanDestination};
use bucky_ring::Ring;

/// The hosts of the ring in use and of the planned one.
pub(super) struct Hosts {
    /// This node's number; `None` if no ring has it.
    here: Option<u32>,
    /// By node of the ring in use, the number of its host.
    now: Vec<u32>,
    /// By node of the planned ring, the number of its host.
    then: Vec<u32>,
    /// By number of a host, what it gets; those of the planned ring first, in its order.
    gets: Vec<PlanDestination>,
    /// The hosts of the last metric in the ring in use, each once.
    held_by: Vec<u32>,
    /// The hosts of the last metric in the planned ring, each once.
    owned_by: Vec<u32>,
}

/// What becomes of this node's copy of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays: this host owns the metric.
    Stays {
        /// This host does not own it by the ring in use.
        is_misplaced_now: bool,
        /// Nobody sends it, and this node speaks for all that have it.
        is_first: bool,
    },
    /// It is sent to the hosts that own the metric.
    Leaves {
        /// This host does not own it by the ring in use either.
        is_misplaced_now: bool,
        /// No other node is expected to send it before this one.
        is_first: bool,
    },
}

impl Fate {
    /// Whether this host does not own the metric by the ring in use.
    pub(super) fn is_misplaced_now(self) -> bool {
        match self {
            Self::Stays { is_misplaced_now, .. } | Self::Leaves { is_misplaced_now, .. } => {
                is_misplaced_now
            }
        }
    }
}

impl Hosts {
    /// The hosts of both rings. This node counts as `here`.
    pub(super) fn of(now: &Ring, then: &Ring, here: &str) -> Self {
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut gets = Vec::new();
        let mut of_ring = |ring: &Ring| {
            let number = |host: &str| {
                *numbers.entry(host.to_owned()).or_insert_with(|| {
                    let nothing = MetricAmount::default();
                    let host = host.to_owned();
                    gets.push(PlanDestination { host, sent: nothing, arrives: nothing, lacks: 0 });
                    u32::try_from(gets.len() - 1).unwrap_or(u32::MAX)
                })
            };
            ring.nodes().iter().map(bucky_ring::Node::host).map(number).collect::<Vec<u32>>()
        };
        let then = of_ring(then);
        let now = of_ring(now);
        let here = numbers.get(here).copied();
        Self { here, now, then, gets, held_by: Vec::new(), owned_by: Vec::new() }
    }

    /// What becomes of a metric that the nodes `before` of the ring in use own, and the nodes `after` of the
    /// planned one.
    pub(super) fn fate(
        &mut self,
        before: impl Iterator<Item = usize>,
        after: impl Iterator<Item = usize>,
    ) -> Fate {
        each_once(&mut self.held_by, &self.now, before);
        each_once(&mut self.owned_by, &self.then, after);
        let is_here = |host: &u32| Some(*host) == self.here;
        let is_misplaced_now = !self.held_by.iter().any(is_here);
        let first = self.held_by.iter().find(|host| !self.owned_by.contains(*host));
        if self.owned_by.iter().any(is_here) {
            let is_first = first.is_none() && self.held_by.first().is_some_and(is_here);
            return Fate::Stays { is_misplaced_now, is_first };
        }
        Fate::Leaves { is_misplaced_now, is_first: first.is_some_and(is_here) }
    }

    /// Counts that nobody sends the last metric, which stays here, to its other owners.
    pub(super) fn keep(&mut self, fate: Fate) {
        let Fate::Stays { is_first: true, .. } = fate else { return };
        for host in self.owned_by.iter().filter(|host| !self.held_by.contains(*host)) {
            if let Some(gets) = self.gets.get_mut(*host as usize) {
                gets.lacks += 1;
            }
        }
    }

    /// Counts that the last metric, which leaves, is sent. Its file has this length.
    pub(super) fn send(&mut self, fate: Fate, bytes: u64) {
        let Fate::Leaves { is_misplaced_now, is_first } = fate else { return };
        for host in &self.owned_by {
            let Some(gets) = self.gets.get_mut(*host as usize) else { continue };
            gets.sent.add_file(bytes);
            // Where else a misplaced metric is cannot be known by the ring.
            if is_misplaced_now || (is_first && !self.held_by.contains(host)) {
                gets.arrives.add_file(bytes);
            }
        }
    }

    /// The hosts that get or lack something.
    pub(super) fn destinations(self) -> Vec<PlanDestination> {
        let is_part = |gets: &PlanDestination| gets.sent.metrics > 0 || gets.lacks > 0;
        self.gets.into_iter().filter(is_part).collect()
    }
}

/// Puts the hosts of `nodes` into `hosts`, each once, in the order of the nodes.
fn each_once(hosts: &mut Vec<u32>, host_of: &[u32], nodes: impl Iterator<Item = usize>) {
    hosts.clear();
    for host in nodes.filter_map(|node| host_of.get(node)) {
        if !hosts.contains(host) {
            hosts.push(*host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bucky_ring::{Algorithm, RingSpec, resolve};

    fn ring(nodes: &[&str]) -> Ring {
        let (relay, tagged_names) = resolve(Algorithm::Carbon, None, None).unwrap();
        Ring::new(RingSpec {
            nodes: nodes.iter().map(|node| node.parse().unwrap()).collect(),
            algorithm: Algorithm::Carbon,
            relay,
            replication_factor: 1,
            diverse_replicas: false,
            tagged_names,
            aggregation: None,
            routes: None,
        })
        .unwrap()
    }

    /// What `here` sends of one metric of 10 bytes: to which host, and whether it arrives as a new file.
    fn sent(here: &str, before: &[usize], after: &[usize]) -> Vec<(String, bool)> {
        let now = ring(&["a:1", "b:1", "c:1"]);
        let then = ring(&["a:1", "b:1", "c:1", "d:1"]);
        let mut hosts = Hosts::of(&now, &then, here);
        let fate = hosts.fate(before.iter().copied(), after.iter().copied());
        hosts.send(fate, 10);
        let destinations = hosts.destinations().into_iter();
        destinations
            .map(|gets| {
                assert_eq!(gets.sent, MetricAmount { metrics: 1, bytes: 10 });
                (gets.host, gets.arrives.metrics == 1)
            })
            .collect()
    }

    const A: usize = 0;
    const B: usize = 1;
    const C: usize = 2;
    const D: usize = 3;

    #[test]
    fn a_metric_goes_to_its_new_host_and_to_nobody_else() {
        assert_eq!(sent("a", &[A], &[D]), [("d".into(), true)]);
        assert_eq!(sent("a", &[A], &[A]), []);
        assert_eq!(sent("a", &[A, B], &[A, D]), [], "the other copy goes");
    }

    #[test]
    fn a_host_that_has_the_metric_is_sent_it_too_but_gets_no_new_file() {
        assert_eq!(sent("b", &[A, B], &[A, D]), [("a".into(), false), ("d".into(), true)]);
    }

    #[test]
    fn a_metric_that_two_nodes_send_arrives_once() {
        assert_eq!(sent("a", &[A, B], &[C, D]), [("c".into(), true), ("d".into(), true)]);
        assert_eq!(sent("b", &[A, B], &[C, D]), [("c".into(), false), ("d".into(), false)]);
        assert_eq!(sent("b", &[B, A], &[C, D]), [("c".into(), true), ("d".into(), true)]);
    }

    #[test]
    fn what_is_misplaced_already_is_expected_nowhere_else() {
        assert_eq!(sent("c", &[A], &[B]), [("b".into(), true)]);
        assert_eq!(sent("old", &[A], &[A]), [("a".into(), true)], "a node to drain");
    }

    /// More copies, or a rule of carbon's aggregator that matches now.
    #[test]
    fn an_owner_to_whom_nobody_sends_lacks_the_metric_once() {
        let (now, then) = (ring(&["a:1", "b:1"]), ring(&["a:1", "b:1", "c:1"]));
        let lacks = |here: &str, before: &[usize], after: &[usize]| {
            let mut hosts = Hosts::of(&now, &then, here);
            let fate = hosts.fate(before.iter().copied(), after.iter().copied());
            hosts.keep(fate);
            hosts
                .destinations()
                .iter()
                .map(|host| (host.host.clone(), host.lacks))
                .collect::<Vec<_>>()
        };
        assert_eq!(lacks("a", &[A], &[A, C]), [("c".to_owned(), 1)]);
        assert_eq!(lacks("a", &[A, B], &[B, A, C]), [("c".to_owned(), 1)]);
        assert_eq!(lacks("b", &[A, B], &[B, A, C]), [], "a speaks for both");
        assert_eq!(lacks("a", &[A, B], &[A, C]), [], "b sends it");
        assert_eq!(lacks("a", &[A], &[A]), []);
    }

    #[test]
    fn two_instances_of_a_host_are_one_destination() {
        let now = ring(&["a:1=x"]);
        let then = ring(&["a:1=x", "b:1=x", "b:2=y"]);
        let mut hosts = Hosts::of(&now, &then, "a");
        let fate = hosts.fate([0].into_iter(), [1, 2].into_iter());
        assert_eq!(fate, Fate::Leaves { is_misplaced_now: false, is_first: true });
        hosts.send(fate, 7);
        let once = MetricAmount { metrics: 1, bytes: 7 };
        let b = PlanDestination { host: "b".into(), sent: once, arrives: once, lacks: 0 };
        assert_eq!(hosts.destinations(), [b]);
    }

    #[test]
    fn a_misplaced_copy_on_a_new_owner_stays() {
        let (now, then) = (ring(&["a:1", "b:1"]), ring(&["b:1"]));
        let mut hosts = Hosts::of(&now, &then, "b");
        let fate = hosts.fate([0].into_iter(), [0].into_iter());
        assert_eq!(fate, Fate::Stays { is_misplaced_now: true, is_first: false });
    }
}
