//! One request to an owner, and what its answer means.

use std::sync::Arc;

use bucky_api::{ClientError, Encoding, HealLine, HealOrders, OnSchemaDifference, Problem};

use super::super::batch_body::batch_body;
use super::super::long_body::long_body;
use super::pending::{FileContent, PendingFile};
use crate::chain;
use crate::fleet::Node;
use crate::patience::Trouble;
use crate::run::failure::Failure;
use crate::run::failure_kind::FailureKind;
use crate::run::tally::Effect;

/// Why an attempt left files undone.
pub(super) struct DeliverySetback {
    pub(super) trouble: Trouble,
    pub(super) failure: Failure,
}

/// The result in the owner's line about a file.
pub(super) fn outcome(
    node: &Node,
    file: &PendingFile,
    line: Option<HealLine>,
) -> Result<Effect, DeliverySetback> {
    let passing = |kind, reason: &str| DeliverySetback {
        trouble: Trouble::Passing,
        failure: Failure::at(node.addr(), kind, reason.to_owned()),
    };
    let line = line
        .ok_or_else(|| passing(FailureKind::NoAnswer, "the owner's answer does not mention it"))?;
    if line.outcome.is_healed() {
        if line.digest != Some(file.digest) {
            return Err(passing(
                FailureKind::DamagedOnTheWay,
                "the owner received different content",
            ));
        }
        return Ok(Effect { outcome: line.outcome, points: line.points, bytes: line.bytes });
    }
    let may_pass = line.problem.is_some_and(Problem::may_pass);
    let trouble = if may_pass { Trouble::Passing } else { Trouble::Lasting };
    Err(DeliverySetback {
        trouble,
        failure: Failure::at(node.addr(), FailureKind::of_line(&line), line.reason),
    })
}

/// Why `node` did not take files. If the connection broke and the node answers nothing else either, as a
/// frozen daemon does, it does not answer, and fewer files would not help. The run also gives up on a node
/// whose connections break for long.
pub(super) async fn setback(node: &Node, error: ClientError) -> DeliverySetback {
    let broke = is_broken(&error) || matches!(error, ClientError::Lines { .. });
    let silence = if broke { node.daemon.status().await.err() } else { None };
    let silence = silence.filter(|error| is_silence(error) || is_broken(error));
    let is_away = silence.is_some() || is_silence(&error);
    let error = silence.unwrap_or(error);
    let reason = chain(&error);
    if is_away || broke {
        node.unreachable(&reason);
    }
    let kind = if is_away { FailureKind::NodeAway } else { FailureKind::TransferFailed };
    DeliverySetback {
        trouble: Trouble::of(&error),
        failure: Failure::at(node.addr(), kind, reason),
    }
}

fn is_silence(error: &ClientError) -> bool {
    matches!(error, ClientError::Unreachable { .. } | ClientError::TimedOut { .. })
}

fn is_broken(error: &ClientError) -> bool {
    matches!(error, ClientError::Broken { .. })
}

/// Sends files together, or one that is too long for memory alone, and returns the owner's lines.
pub(super) async fn heal(
    node: &Node,
    files: &[Arc<PendingFile>],
    on_schema_difference: OnSchemaDifference,
) -> Result<Vec<HealLine>, ClientError> {
    let orders = HealOrders { replace_corrupt: false, on_schema_difference };
    let long = files.iter().find_map(|file| match &file.content {
        FileContent::Held(_) => None,
        FileContent::Spooled(spool) => Some((file, spool)),
    });
    let answer = match long {
        Some((file, spool)) => {
            let stream = long_body(file.metric.clone(), file.meta, file.is_sparse, spool.clone());
            node.daemon.heal_long(orders, spool.len_bytes(), stream).await?
        }
        None => {
            let stream = batch_body(files.iter().filter_map(|file| file.to_send()).collect());
            node.daemon.heal_by(orders, Encoding::Identity, stream).await?
        }
    };
    answer.collect_at_most(files.len()).await
}
