//! A destination that has no room: it gets nothing more in this run.
//!
//! Every further metric would travel and then fail for the same reason. So the first failure closes the node.
//! That failure is named; everything else that was meant for the node is only counted.

use std::sync::{Arc, OnceLock};

use bucky_api::DaemonAddr;

use super::Node;
use crate::run::failure::Failure;
use crate::run::failure_kind::FailureKind;

/// Whether a node has run out of room, and the reason that it gave.
#[derive(Debug, Default)]
pub(crate) struct FullMark(OnceLock<String>);

impl FullMark {
    /// Closes the node if `failure` says that it has no room.
    pub(crate) fn note(&self, failure: &Failure) {
        if failure.kind == FailureKind::NoSpace {
            // The first reason is kept.
            let _ = self.0.set(failure.reason.clone());
        }
    }

    /// The failure of every metric for the node at `addr`, or `None` if it has room.
    pub(crate) fn failure(&self, addr: &DaemonAddr) -> Option<Failure> {
        let reason = self.0.get()?.clone();
        Some(Failure { node: addr.clone(), kind: FailureKind::NoSpace, reason })
    }
}

/// The failure of a metric with these owners because one of them is full.
pub(crate) fn full_owner(owners: &[Arc<Node>]) -> Option<Failure> {
    owners.iter().find_map(|owner| owner.full.failure(owner.addr()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_closed_by_the_first_failure_for_want_of_room_and_by_no_other() {
        let addr: DaemonAddr = "a".parse().unwrap();
        let failure =
            |kind, reason: &str| Failure { node: addr.clone(), kind, reason: reason.into() };
        let mark = FullMark::default();
        mark.note(&failure(FailureKind::Busy, "locked"));
        assert_eq!(mark.failure(&addr), None);
        mark.note(&failure(FailureKind::NoSpace, "no space left on /a"));
        mark.note(&failure(FailureKind::NoSpace, "no space left on /b"));
        assert_eq!(mark.failure(&addr), Some(failure(FailureKind::NoSpace, "no space left on /a")));
    }
}
