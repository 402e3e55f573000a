//! What the nodes count, added up to a plan.
//!
//! Pure.

use std::collections::{BTreeMap, HashMap};

use bucky_api::{DaemonAddr, DiskStatus, MetricAmount, PlanCount};
use bucky_ring::{Node, Ring, RingDocument};

use super::PlannedMove;
use super::document::{PairMove, PlannedNode, RingPlan, Spread, Spreads};
use crate::plan::room::Reserve;
use crate::plan::{Load, Plan, PlanRow};

/// What one node counted.
pub(super) struct NodeCount {
    /// Its daemon.
    pub(super) addr: DaemonAddr,
    /// Its host in the rings.
    pub(super) host: String,
    /// Its room, if it reported it.
    pub(super) disk: Option<DiskStatus>,
    /// Its count; `None` for a node that does not answer and counts as empty.
    pub(super) count: Option<PlanCount>,
}

/// The plan to move from the ring `now` to the ring `then`, by the counts of all nodes of both.
pub(super) fn add_up(
    now: &Ring,
    then: &Ring,
    counts: &[NodeCount],
    reserve: Reserve,
) -> PlannedMove {
    let by_host: HashMap<&str, usize> =
        counts.iter().enumerate().map(|(index, node)| (node.host.as_str(), index)).collect();
    let mut gets = vec![MetricAmount::default(); counts.len()];
    let mut arrives = gets.clone();
    let mut rows = Vec::new();
    let mut all = MoveTotals::default();
    for node in counts {
        let Some(count) = &node.count else { continue };
        all.add(count);
        for destination in &count.destinations {
            // A daemon answers with hosts of the planned ring only, and all of them are counted.
            let Some(to) = by_host.get(destination.host.as_str()).copied() else { continue };
            gets[to].add(destination.sent);
            arrives[to].add(destination.arrives);
            all.lacking += destination.lacks;
            if destination.sent.metrics == 0 {
                continue;
            }
            let MetricAmount { metrics, bytes } = destination.sent;
            let (from, to) = (node.addr.clone(), counts[to].addr.clone());
            rows.push(PlanRow { from, to, load: Load { metrics, bytes, unknown: 0 } });
        }
    }
    let disks: BTreeMap<&DaemonAddr, Option<DiskStatus>> =
        counts.iter().map(|node| (&node.addr, node.disk)).collect();
    let disk = |addr: &DaemonAddr| disks.get(addr).copied().flatten();
    let moves = Plan::new(rows, all.leaves.metrics, disk).reserving(reserve);
    let mut nodes: Vec<PlannedNode> = counts
        .iter()
        .zip(gets.into_iter().zip(arrives))
        .map(|(node, (gets, arrives))| planned_node(node, gets, arrives, now, then, &moves))
        .collect();
    set_shares(&mut nodes);
    let spread = Spreads {
        before: spread(nodes.iter().filter(|node| node.in_ring_before).map(|node| node.before)),
        after: spread(nodes.iter().filter(|node| node.in_ring_after).map(|node| node.after)),
    };
    let plan = RingPlan {
        level: RingPlan::LEVEL,
        ring_before: RingDocument::from_spec("", now.spec()),
        ring_after: RingDocument::from_spec("", then.spec()),
        nodes,
        moves: moves.rows.iter().map(pair).collect(),
        sent: all.sent,
        leaves: all.leaves,
        unplaceable: all.unplaceable,
        misplaced_before: all.misplaced_before,
        lacking_after: all.lacking,
        spread,
        suggestion: None,
        bytes_per_second: None,
        seconds: None,
    };
    PlannedMove { plan, moves }
}

/// Sums over all nodes.
#[derive(Default)]
struct MoveTotals {
    sent: MetricAmount,
    leaves: MetricAmount,
    unplaceable: u64,
    misplaced_before: u64,
    lacking: u64,
}

impl MoveTotals {
    fn add(&mut self, count: &PlanCount) {
        count.destinations.iter().for_each(|destination| self.sent.add(destination.sent));
        self.leaves.add(count.leaves);
        self.unplaceable += count.unplaceable;
        self.misplaced_before += count.misplaced_now;
    }
}

fn planned_node(
    node: &NodeCount,
    gets: MetricAmount,
    arrives: MetricAmount,
    now: &Ring,
    then: &Ring,
    moves: &Plan,
) -> PlannedNode {
    let is_in = |ring: &Ring| ring.nodes().iter().map(Node::host).any(|host| host == node.host);
    let (before, leaves, one_in) = match &node.count {
        Some(count) => (count.held, count.leaves, count.one_in),
        None => (MetricAmount::default(), MetricAmount::default(), 1),
    };
    let mut after = before.without(leaves);
    after.add(arrives);
    let free_inodes = node.disk.and_then(|disk| disk.free_inodes);
    let destination = moves.destinations.iter().find(|other| other.addr == node.addr);
    PlannedNode {
        node: node.addr.clone(),
        host: node.host.clone(),
        in_ring_before: is_in(now),
        in_ring_after: is_in(then),
        answered: node.count.is_some(),
        before,
        after,
        share_before: 0.0,
        share_after: 0.0,
        one_in,
        leaves,
        gets,
        arrives,
        disk: node.disk,
        free_inodes_after: free_inodes
            .map(|free| (free + leaves.metrics).saturating_sub(arrives.metrics)),
        fits: match destination {
            None => node.disk.map(|_| true),
            Some(destination) => destination.disk.map(|_| moves.fits(destination)),
        },
    }
}

fn set_shares(nodes: &mut [PlannedNode]) {
    let before = nodes.iter().map(|node| node.before.metrics).sum();
    let after = nodes.iter().map(|node| node.after.metrics).sum();
    for node in nodes {
        node.share_before = ratio(node.before.metrics, before).unwrap_or(0.0);
        node.share_after = ratio(node.after.metrics, after).unwrap_or(0.0);
    }
}

fn spread(amounts: impl Iterator<Item = MetricAmount> + Clone) -> Spread {
    let largest_to_smallest = |of: fn(MetricAmount) -> u64| {
        let amounts = amounts.clone().map(of);
        ratio(amounts.clone().max()?, amounts.min()?)
    };
    Spread {
        by_metrics: largest_to_smallest(|amount| amount.metrics),
        by_bytes: largest_to_smallest(|amount| amount.bytes),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn pair(row: &PlanRow) -> PairMove {
    let (from, to) = (row.from.clone(), row.to.clone());
    PairMove { from, to, metrics: row.load.metrics, bytes: row.load.bytes }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cluster::test_cluster::document;
    use bucky_api::PlanDestination;

    pub(in crate::ring_plan) fn amount(metrics: u64) -> MetricAmount {
        MetricAmount { metrics, bytes: metrics * 100 }
    }

    pub(in crate::ring_plan) fn ring(hosts: &[&str]) -> Ring {
        Ring::new(document(hosts).to_spec().unwrap()).unwrap()
    }

    /// A node that holds some metrics, and sends some of them: to whom, how many, how many are new there.
    pub(in crate::ring_plan) fn node(
        host: &str,
        held: u64,
        leaves: u64,
        sends: &[(&str, u64, u64)],
    ) -> NodeCount {
        let destinations = sends.iter().map(|(host, sent, arrives)| PlanDestination {
            host: (*host).to_owned(),
            sent: amount(*sent),
            arrives: amount(*arrives),
            lacks: 0,
        });
        let count = PlanCount {
            held: amount(held),
            stays: amount(held - leaves),
            leaves: amount(leaves),
            one_in: 1,
            destinations: destinations.collect(),
            ..PlanCount::default()
        };
        NodeCount {
            addr: DaemonAddr::new(host, 4242).unwrap(),
            host: host.to_owned(),
            disk: Some(DiskStatus {
                total_bytes: 1 << 20,
                free_bytes: 2_000,
                total_inodes: Some(1_000),
                free_inodes: Some(500),
            }),
            count: Some(count),
        }
    }

    /// Two copies of each metric: `b` leaves 20 metrics, of which `a` has a copy and `c` has none.
    #[test]
    fn a_copy_that_is_there_already_is_sent_but_does_not_make_a_node_larger() {
        let (now, then) = (ring(&["a", "b"]), ring(&["a", "b", "c"]));
        let mut new = node("c", 0, 0, &[]);
        (new.count, new.disk) = (None, None);
        let counts = [
            node("a", 100, 10, &[("b", 10, 0), ("c", 10, 10)]),
            node("b", 100, 20, &[("a", 20, 0), ("c", 20, 20)]),
            new,
        ];
        let PlannedMove { plan, moves } = add_up(&now, &then, &counts, Reserve::NONE);
        let after: Vec<u64> = plan.nodes.iter().map(|node| node.after.metrics).collect();
        assert_eq!(after, [90, 80, 30]);
        assert_eq!((plan.sent, plan.leaves), (amount(60), amount(30)));
        assert_eq!(moves.metrics, 30);
        let fits: Vec<Option<bool>> = plan.nodes.iter().map(|node| node.fits).collect();
        assert_eq!(
            fits,
            [Some(true), Some(true), None],
            "as a rebalance decides it: all that is sent"
        );
        assert_eq!(plan.nodes[0].free_inodes_after, Some(510));
        assert_eq!(plan.spread.before, Spread { by_metrics: Some(1.0), by_bytes: Some(1.0) });
        assert_eq!(plan.spread.after, Spread { by_metrics: Some(3.0), by_bytes: Some(3.0) });
        assert_eq!((plan.nodes[0].share_before, plan.nodes[0].share_after), (0.5, 0.45));
        let pairs: Vec<(String, u64)> = plan
            .moves
            .iter()
            .map(|pair| (format!("{} {}", pair.from.host(), pair.to.host()), pair.metrics))
            .collect();
        let expected = [("a b", 10), ("a c", 10), ("b a", 20), ("b c", 20)];
        assert_eq!(pairs, expected.map(|(pair, metrics)| (pair.to_owned(), metrics)));
    }

    #[test]
    fn a_node_that_leaves_is_not_part_of_the_spread_and_what_does_not_fit_is_said() {
        let (now, then) = (ring(&["a", "b"]), ring(&["a"]));
        let counts = [node("a", 50, 0, &[]), node("b", 40, 38, &[("a", 38, 38)])];
        let PlannedMove { plan, .. } = add_up(&now, &then, &counts, Reserve::NONE);
        assert_eq!(plan.spread.after, Spread { by_metrics: Some(1.0), by_bytes: Some(1.0) });
        assert_eq!(plan.nodes[1].after, amount(2), "its local metrics");
        assert!(!plan.nodes[1].in_ring_after);
        assert_eq!(plan.nodes[0].fits, Some(false), "3,800 bytes into 2,000");
    }
}
