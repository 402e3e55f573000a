//! Nothing is deleted while clocks differ: they are compared before a run that deletes, and again before each
//! delete.
//!
//! Every answer of a node has its time, so a clock that is set during the run is noticed at the next answer.
//! A node whose clock was once wrong deletes nothing more in this run: it is unknown what it took for expired
//! in the meantime.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bucky_api::{ClockOffset, ClockReading, DaemonAddr};

use super::MoveOrder;
use crate::clocks::{ClockFinding, ClockOwner, judge};
use crate::fleet::{Fleet, Node};
use crate::outcome::UnhealthyError;
use crate::output::Output;
use crate::run::failure::Failure;
use crate::run::failure_kind::FailureKind;

/// Refuses a run that deletes if the clocks of its nodes, or ours, differ too much. A run that only copies
/// gets a warning.
///
/// # Errors
/// [`UnhealthyError`] names each clock that differs, by how much, and from which other clock.
pub(crate) fn require_agreement(
    fleet: &Fleet,
    order: &MoveOrder,
    output: &Output,
) -> anyhow::Result<()> {
    let limit = order.sync.max_clock_difference;
    let findings = judge(offsets(fleet), ClockReading::now(), limit);
    if findings.is_empty() {
        return Ok(());
    }
    if !order.sources.deletes {
        for finding in &findings {
            output.say(format_args!("bucky: {finding}"));
        }
        return Ok(());
    }
    let named: Vec<String> = findings.iter().map(|finding| format!("\n  {finding}")).collect();
    Err(UnhealthyError::because(format!(
        "the clocks differ by more than {} s (--max-clock-difference), so nothing may be deleted:{}\n\
         Set the wrong clock, or copy without deleting (--no-delete).",
        limit.as_secs(),
        named.concat()
    )))
}

/// How far the clock of each node is from ours, each node once.
fn offsets(fleet: &Fleet) -> BTreeMap<DaemonAddr, Option<ClockOffset>> {
    let sources = fleet.sources.iter().map(|source| &source.node);
    let nodes = fleet.members.iter().chain(sources);
    nodes.map(|node| (node.addr().clone(), node.daemon.clock_offset())).collect()
}

/// Watches the clocks of the nodes during a run.
pub(crate) struct ClockWatch {
    limit: Duration,
    /// Nodes whose clocks differed, and how.
    off: Mutex<BTreeMap<DaemonAddr, String>>,
    output: Arc<Output>,
}

impl ClockWatch {
    /// A watch that lets clocks differ by `limit`.
    pub(crate) fn new(limit: Duration, output: Arc<Output>) -> Self {
        Self { limit, off: Mutex::default(), output }
    }

    /// Whether `source` may delete what `owners` report that they hold.
    ///
    /// # Errors
    /// A [`Failure`] of the node whose clock differs, or differed earlier.
    pub(crate) fn allows(
        &self,
        fleet: &Fleet,
        source: &Node,
        owners: &[Arc<Node>],
    ) -> Result<(), Failure> {
        self.look(fleet, source, owners);
        let off = self.off.lock().unwrap_or_else(PoisonError::into_inner);
        let mut nodes = owners.iter().map(AsRef::as_ref).chain([source]);
        let Some((node, reason)) = nodes.find_map(|node| Some((node, off.get(node.addr())?)))
        else {
            return Ok(());
        };
        let reason = format!("its owners have all of it, but it was not deleted: {reason}");
        Err(Failure { node: node.addr().clone(), kind: FailureKind::ClockDiffers, reason })
    }

    /// Compares the clocks of a source and its owners; if they differ, the clocks of all nodes.
    fn look(&self, fleet: &Fleet, source: &Node, owners: &[Arc<Node>]) {
        let Some(here) = source.daemon.clock_offset() else { return };
        let differs = |owner: &&Arc<Node>| {
            let there = owner.daemon.clock_offset();
            there.is_some_and(|there| there.relative_to(here).exceeds(self.limit))
        };
        let Some(owner) = owners.iter().find(differs) else { return };
        let now = ClockReading::now();
        let mut findings = judge(self::offsets(fleet), now, self.limit);
        let is_named = |finding: &ClockFinding| match finding.owner() {
            ClockOwner::Node(addr) => addr == owner.addr() || addr == source.addr(),
            ClockOwner::ThisHost => false,
        };
        if !findings.iter().any(is_named)
            && let Some(there) = owner.daemon.clock_offset()
        {
            findings.push(ClockFinding::Differs {
                owner: ClockOwner::Node(owner.addr().clone()),
                offset: there.relative_to(here),
                other: ClockOwner::Node(source.addr().clone()),
            });
        }
        for finding in &findings {
            self.note(finding);
        }
    }

    fn note(&self, finding: &ClockFinding) {
        let ClockOwner::Node(addr) = finding.owner() else { return };
        let mut off = self.off.lock().unwrap_or_else(PoisonError::into_inner);
        if off.contains_key(addr) {
            return;
        }
        off.insert(addr.clone(), finding.to_string());
        self.output.say(format_args!(
            "bucky: {finding}; from now on this run deletes nothing that {addr} has or owns"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Cluster;
    use crate::cluster::test_cluster::{document, member, v1};

    #[test]
    fn nodes_that_tell_no_time_are_let_pass_and_one_that_was_off_never_again() {
        let ring = document(&["a:2003", "b:2003"]);
        let members = vec![member("a", v1(&ring, "a", "s1")), member("b", v1(&ring, "b", "s2"))];
        let cluster = Cluster::from_answers(ring, members);
        let fleet = Fleet::of_cluster(&cluster, &cluster.ring().unwrap(), &[], None).unwrap();
        let (output, _, people) = Output::captured();
        let watch = ClockWatch::new(Duration::from_secs(30), Arc::new(output));
        let (source, owners) = (&fleet.members[0], &fleet.members[1..]);
        assert_eq!(watch.allows(&fleet, source, owners), Ok(()));
        let finding = ClockFinding::Inexpressible {
            owner: ClockOwner::Node(owners[0].addr().clone()),
            reading: ClockReading::from_unix_millis(0),
        };
        watch.note(&finding);
        watch.note(&finding);
        assert_eq!(people.text().matches("from now on").count(), 1, "{}", people.text());
        let failure = watch.allows(&fleet, source, owners).unwrap_err();
        assert_eq!((failure.node.host(), failure.kind), ("b", FailureKind::ClockDiffers));
        assert!(failure.reason.contains("shows 1970/01/01"), "{failure:?}");
        assert!(watch.allows(&fleet, &owners[0], &[]).is_err(), "as a source as well");
        assert_eq!(watch.allows(&fleet, source, &[]), Ok(()));
    }
}
