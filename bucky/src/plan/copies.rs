//! The plan of a run that knows how many copies go from which node to which, but not the length of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Load, Plan, PlanRow};
use crate::fleet::Node;

/// The plan for these numbers of copies by source and destination, both as indexes of `members`.
pub(crate) fn plan_of_copies(
    copies: &BTreeMap<(usize, usize), u64>,
    averages: &[Option<u64>],
    members: &[Arc<Node>],
) -> Plan {
    let row = |(&(from, to), &metrics): (&(usize, usize), &u64)| {
        let load = match averages.get(from).copied().flatten() {
            Some(average) => Load { metrics, bytes: average.saturating_mul(metrics), unknown: 0 },
            None => Load { metrics, bytes: 0, unknown: metrics },
        };
        let (from, to) = (members.get(from)?, members.get(to)?);
        Some(PlanRow { from: from.addr().clone(), to: to.addr().clone(), load })
    };
    let rows: Vec<PlanRow> = copies.iter().filter_map(row).collect();
    let disk = |addr: &bucky_api::DaemonAddr| {
        members.iter().find(|node| node.addr() == addr).and_then(|node| node.disk)
    };
    Plan::new(rows, copies.values().sum(), disk)
}
