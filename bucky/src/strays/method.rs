//! How a node's misplaced metrics are found, by what its daemon can do.

use crate::cluster::DaemonKind;

/// How a node's misplaced metrics are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StrayMethod {
    /// The daemon is asked, as this host of the ring, or under its own name if `None`.
    Asked { host: Option<String> },
    /// Its list is read page by page and placed here. It is not a host of the ring, so every metric is
    /// misplaced.
    PlacedHere,
    /// A Go daemon's list is read as a whole and placed here. It is this host of the ring, or not in the ring
    /// if `None`.
    GoPlacedHere { host: Option<String> },
    /// Every metric of its list goes to these nodes of the ring, whatever the ring says.
    Whole { to: Vec<usize> },
    /// Like `Whole`, for a Go daemon.
    GoWhole { to: Vec<usize> },
}

impl StrayMethod {
    /// For a node that is `host` of the ring; if `None`, the daemon uses its own name.
    pub(crate) fn of_member(kind: DaemonKind, host: Option<String>) -> Self {
        if kind.finds_misplaced() { Self::Asked { host } } else { Self::GoPlacedHere { host } }
    }

    /// For a node that is not in the ring: every metric is misplaced.
    pub(crate) fn of_stranger(kind: DaemonKind) -> Self {
        if kind.pages_its_list() { Self::PlacedHere } else { Self::GoPlacedHere { host: None } }
    }

    /// For a node whose metrics all go to these nodes of the ring.
    pub(crate) fn whole(kind: DaemonKind, to: Vec<usize>) -> Self {
        if kind.pages_its_list() { Self::Whole { to } } else { Self::GoWhole { to } }
    }
}
