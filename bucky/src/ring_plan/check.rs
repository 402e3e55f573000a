//! Whether a cluster is the one that a plan was made for.
//!
//! Pure.

use bucky_api::DaemonAddr;
use bucky_ring::{Difference, RingSpec};

use super::document::{PlannedNode, RingPlan};
use crate::chain;
use crate::cluster::Member;
use crate::output::human_count;

/// A count may differ by one in this many metrics: carbon creates metrics all the time.
const TOLERANCE: u128 = 100;

impl RingPlan {
    /// The nodes that the planned ring does not have any more, and that have metrics to move.
    pub(crate) fn departing(&self) -> impl Iterator<Item = &DaemonAddr> {
        let departs = |node: &&PlannedNode| !node.in_ring_after && node.leaves.metrics > 0;
        self.nodes.iter().filter(departs).map(|node| &node.node)
    }

    /// What is different now: a line each. Empty if the plan may be carried out on a cluster with the ring
    /// `ring`, its `members`, and these nodes to drain.
    pub(crate) fn differences(
        &self,
        ring: &RingSpec,
        members: &[Member],
        drained: &[Member],
    ) -> Vec<String> {
        let mut lines = self.ring_differences(ring);
        if !lines.is_empty() {
            return lines;
        }
        for node in members.iter().chain(drained) {
            match self.nodes.iter().find(|planned| planned.node == *node.addr()) {
                Some(planned) => lines.extend(count_difference(planned, node)),
                None => lines.push(format!("{} is not in the plan", node.addr())),
            }
        }
        let takes_part =
            |addr: &DaemonAddr| members.iter().chain(drained).any(|node| node.addr() == addr);
        for planned in &self.nodes {
            if planned.in_ring_after && !takes_part(&planned.node) {
                lines.push(format!("{} is in the plan, but not in the cluster", planned.node));
            }
        }
        lines
    }

    fn ring_differences(&self, ring: &RingSpec) -> Vec<String> {
        let planned = match self.ring_after.to_spec() {
            Ok(planned) => planned,
            Err(error) => return vec![format!("its ring cannot be used: {}", chain(&error))],
        };
        let differences = planned.differences(ring);
        if differences.is_empty() {
            return Vec::new();
        }
        if self.ring_before.to_spec().is_ok_and(|before| before == *ring) {
            return vec![
                "the daemons still have the old ring; give them the planned one and restart them, then run \
                 this again"
                    .to_owned(),
            ];
        }
        let texts: Vec<String> = differences.iter().map(Difference::to_string).collect();
        vec![format!(
            "the ring of the plan (here) is not that of the cluster (there): {}",
            texts.join("; ")
        )]
    }
}

fn count_difference(planned: &PlannedNode, node: &Member) -> Option<String> {
    let addr = node.addr();
    let Some(found) = node.status().map(|status| status.metrics) else {
        return Some(format!("{addr} does not say how many metrics it has"));
    };
    let Some(found) = found else {
        return Some(format!(
            "{addr} is still scanning its files; run this again when `bucky servers` shows its metrics"
        ));
    };
    let expected = planned.before.metrics;
    // A new node was empty or not there. What it has now is compared with what it will have.
    let base = if planned.in_ring_before { expected } else { planned.after.metrics };
    let differs = u128::from(found.abs_diff(expected)) * TOLERANCE > u128::from(base);
    differs.then(|| {
        format!(
            "{addr} has {} metrics, and the plan was made with {}",
            human_count(found),
            human_count(expected)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Answer;
    use crate::cluster::test_cluster::{document, member, status};
    use crate::ring_plan::document::{Spread, Spreads};
    use bucky_api::MetricAmount;

    fn planned(host: &str, before: u64, after: u64, rings: (bool, bool)) -> PlannedNode {
        let amount = |metrics| MetricAmount { metrics, bytes: 0 };
        PlannedNode {
            node: DaemonAddr::new(host, 4242).unwrap(),
            host: host.to_owned(),
            in_ring_before: rings.0,
            in_ring_after: rings.1,
            answered: true,
            before: amount(before),
            after: amount(after),
            share_before: 0.0,
            share_after: 0.0,
            one_in: 1,
            leaves: amount(before.saturating_sub(after)),
            gets: amount(0),
            arrives: amount(0),
            disk: None,
            free_inodes_after: None,
            fits: None,
        }
    }

    /// `a` and `b` become `a` and `c`.
    fn plan() -> RingPlan {
        let none = Spread { by_metrics: None, by_bytes: None };
        RingPlan {
            level: RingPlan::LEVEL,
            ring_before: document(&["a:1", "b:1"]),
            ring_after: document(&["a:1", "c:1"]),
            nodes: vec![
                planned("a", 1000, 1000, (true, true)),
                planned("b", 900, 0, (true, false)),
                planned("c", 0, 900, (false, true)),
            ],
            moves: Vec::new(),
            sent: MetricAmount::default(),
            leaves: MetricAmount::default(),
            unplaceable: 0,
            misplaced_before: 0,
            lacking_after: 0,
            spread: Spreads { before: none, after: none },
            suggestion: None,
            bytes_per_second: None,
            seconds: None,
        }
    }

    fn found(host: &str, metrics: Option<u64>) -> Member {
        let status = bucky_api::Status { metrics, ..status(host, host) };
        member(host, Answer::V1 { document: document(&["a:1", "c:1"]), status: Box::new(status) })
    }

    fn differences(ring: &[&str], counts: [Option<u64>; 3]) -> Vec<String> {
        let [a, b, c] = counts;
        let spec = document(ring).to_spec().unwrap();
        plan().differences(&spec, &[found("a", a), found("c", c)], &[found("b", b)])
    }

    const NEW: [&str; 2] = ["a:1", "c:1"];

    #[test]
    fn a_plan_is_for_its_own_cluster_whose_counts_may_differ_by_one_in_a_hundred() {
        assert_eq!(differences(&NEW, [Some(1000), Some(900), Some(0)]), [""; 0]);
        assert_eq!(differences(&NEW, [Some(1010), Some(891), Some(9)]), [""; 0]);
        assert_eq!(
            differences(&NEW, [Some(1011), Some(890), Some(10)]),
            [
                "a:4242 has 1,011 metrics, and the plan was made with 1,000",
                "c:4242 has 10 metrics, and the plan was made with 0",
                "b:4242 has 890 metrics, and the plan was made with 900",
            ]
        );
        assert!(differences(&NEW, [None, Some(900), Some(0)])[0].contains("still scanning"));
        let mut edited = plan();
        edited.nodes[0].before.metrics = u64::MAX;
        let spec = document(&NEW).to_spec().unwrap();
        let (a, c, b) = (found("a", Some(1000)), found("c", Some(0)), found("b", Some(900)));
        assert_eq!(edited.differences(&spec, &[a, c], &[b]).len(), 1);
    }

    #[test]
    fn the_ring_must_be_the_planned_one() {
        let old = differences(&["a:1", "b:1"], [Some(1000), Some(900), Some(0)]);
        assert!(old[0].contains("still have the old ring; give them the planned one"), "{old:?}");
        let other = differences(&["a:1", "c:2"], [Some(1000), Some(900), Some(0)]);
        assert!(other[0].contains("node 2: port 1, there 2"), "{other:?}");
    }

    #[test]
    fn the_nodes_must_be_those_of_the_plan() {
        let spec = document(&NEW).to_spec().unwrap();
        let (a, d) = (found("a", Some(1000)), found("d", Some(0)));
        assert_eq!(
            plan().differences(&spec, &[a], &[d]),
            ["d:4242 is not in the plan", "c:4242 is in the plan, but not in the cluster"]
        );
    }

    #[test]
    fn the_nodes_to_drain_are_those_that_leave_and_have_metrics() {
        let departing: Vec<String> = plan().departing().map(ToString::to_string).collect();
        assert_eq!(departing, ["b:4242"]);
    }
}
