//! Why a metric could not be moved, and whether another attempt may help.

use bucky_api::ClientError;

use crate::chain;
use crate::fleet::Node;
use crate::patience::Trouble;
use crate::run::failure::Failure;
use crate::run::failure_kind::FailureKind;

/// Why an attempt failed.
pub(super) struct GoSetback {
    pub(super) trouble: Trouble,
    pub(super) failure: Failure,
}

/// The setback for a daemon's error answer, or for no answer.
pub(super) fn client(node: &Node, error: &ClientError) -> GoSetback {
    let reason = chain(error);
    let is_away = matches!(error, ClientError::Unreachable { .. } | ClientError::TimedOut { .. });
    if is_away {
        node.unreachable(&reason);
    }
    let kind = if is_away { FailureKind::NodeAway } else { FailureKind::TransferFailed };
    GoSetback {
        trouble: Trouble::of(error),
        failure: Failure { node: node.addr().clone(), kind, reason },
    }
}

/// The same setback, after the metric was copied.
pub(super) fn not_deleted(mut setback: GoSetback) -> GoSetback {
    if setback.failure.kind != FailureKind::NodeAway {
        setback.failure.kind = FailureKind::NotDeleted;
    }
    setback
}

/// A setback after which another attempt is made.
pub(super) fn passing(node: &Node, kind: FailureKind, reason: String) -> GoSetback {
    GoSetback {
        trouble: Trouble::Passing,
        failure: Failure { node: node.addr().clone(), kind, reason },
    }
}

/// A setback after which no further attempt is made.
pub(super) fn lasting(node: &Node, kind: FailureKind, reason: String) -> GoSetback {
    GoSetback {
        trouble: Trouble::Lasting,
        failure: Failure { node: node.addr().clone(), kind, reason },
    }
}
