//! The receipt for a metric that moved one by one. Nothing is deleted without it.

use std::sync::Arc;

use bucky_api::archive::ArchiveWriter;
use bucky_api::{DaemonAddr, Encoding, HealLine, HealOrders, HealOutcome};
use bytes::Bytes;
use futures_util::stream;

use super::copied::Copied;
use super::owner::fill_at;
use super::setback::{GoSetback, client, lasting, passing};
use crate::fleet::Node;
use crate::run::failure_kind::FailureKind;
use crate::run::tally::Effect;
use crate::transfer::heal::Healed;
use crate::transfer::mover::Mover;

/// Proof that every owner has the metric as it was copied. An owner with `/v1` reported it; the file of a Go
/// daemon was read back. Only [`deliver`] makes one.
pub(super) struct GoReceipt {
    copied: Copied,
    /// The request for a conditional delete, if an owner with `/v1` can be asked again later.
    healed: Option<Healed>,
}

impl GoReceipt {
    /// The metric as the owners have it.
    pub(super) fn copied(&self) -> &Copied {
        &self.copied
    }

    /// The request for a conditional delete at a source with `/v1`, once; `None` if all owners are Go
    /// daemons.
    pub(super) fn take_healed(&mut self) -> Option<Healed> {
        self.healed.take()
    }
}

/// Brings `copied` to all of `owners`, one after the other.
///
/// # Errors
/// [`GoSetback`] for the first owner that does not hold all its points in the end.
pub(super) async fn deliver(
    mover: &Mover,
    source: &Node,
    owners: &[Arc<Node>],
    copied: Copied,
) -> Result<(GoReceipt, Effect), GoSetback> {
    let mut effect: Option<Effect> = None;
    let mut healed: Option<Healed> = None;
    let can_prove = |owner: &&Arc<Node>| owner.kind.exchanges_archives();
    let proven_owners: Arc<[DaemonAddr]> =
        owners.iter().filter(can_prove).map(|owner| owner.addr().clone()).collect();
    for owner in owners {
        let here = if owner.kind.exchanges_archives() {
            let line = heal_at(mover, owner, &copied).await?;
            let proof = Healed::by_line(&line, Arc::clone(&proven_owners));
            healed = match healed {
                None => proof,
                Some(earlier) => proof.map(|proof| earlier.and(&proof)),
            };
            Effect { outcome: line.outcome, points: line.points, bytes: line.bytes }
        } else {
            let rule = mover.sync.on_schema_difference;
            fill_at(owner, &copied, rule, &mover.records.tally).await?
        };
        effect = Some(effect.map_or(here, |effect| effect.and(here)));
    }
    match effect {
        Some(effect) => Ok((GoReceipt { copied, healed }, effect)),
        None => Err(lasting(source, FailureKind::NoOwner, "no owner was healed".into())),
    }
}

/// Heals at a daemon with `/v1`, and returns its line.
async fn heal_at(mover: &Mover, owner: &Node, copied: &Copied) -> Result<HealLine, GoSetback> {
    let archive =
        archive(copied).map_err(|error| lasting(owner, FailureKind::Storage, error.to_string()))?;
    let body = stream::iter([Ok(Bytes::from(archive))]);
    let orders = HealOrders {
        replace_corrupt: mover.sync.repairs.replace_corrupt,
        on_schema_difference: mover.sync.on_schema_difference,
    };
    let answer = owner.daemon.heal_by(orders, Encoding::Identity, body).await;
    let lines: Vec<HealLine> = match answer {
        Ok(lines) => lines.collect_at_most(1).await.map_err(|error| client(owner, &error))?,
        Err(error) => return Err(client(owner, &error)),
    };
    owner.answered();
    let line = lines.into_iter().find(|line| line.metric == copied.stored_as);
    let line = line.ok_or_else(|| {
        passing(owner, FailureKind::NoAnswer, "the owner's answer does not mention it".into())
    })?;
    if line.outcome == HealOutcome::Replaced {
        mover.records.tally.replaced(line.metric.as_str(), owner.addr(), &line.reason);
    }
    mover.records.tally.schema(&line);
    if line.outcome.is_healed() && line.digest == Some(copied.digest) {
        return Ok(line);
    }
    let may_pass =
        line.outcome.is_healed() || line.problem.is_some_and(bucky_api::Problem::may_pass);
    let (kind, reason) = (FailureKind::of_line(&line), line.reason);
    let setback =
        if may_pass { passing(owner, kind, reason) } else { lasting(owner, kind, reason) };
    owner.full.note(&setback.failure);
    Err(setback)
}

fn archive(copied: &Copied) -> std::io::Result<Vec<u8>> {
    let meta = copied.stat.file_meta();
    let mut writer = ArchiveWriter::new(Vec::with_capacity(copied.content.len() + 8192));
    writer.append(&copied.stored_as, meta, copied.digest, &copied.content)?;
    writer.finish()
}
