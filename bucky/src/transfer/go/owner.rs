//! An owner with a Go daemon: what it is sent is read back.

use bucky_api::archive::FileMeta;
use bucky_api::clock::unix_now;
use bucky_api::go::owner::{Held, NotComparable};
use bucky_api::go::{self, MetricStat};
use bucky_api::{ClientError, HealOutcome, OnSchemaDifference};
use bucky_whisper::{Clocks, Digest, MetricName};
use bytes::Bytes;

use super::copied::Copied;
use super::setback::{GoSetback, client, lasting, passing};
use crate::fleet::Node;
use crate::patience::{NextStep, Patience, jitter};
use crate::run::failure::Failure;
use crate::run::failure_kind::FailureKind;
use crate::run::stop::Stop;
use crate::run::tally::{Effect, Tally};
use crate::{chain, counted};

/// A file for a Go daemon that does not come from a node.
pub(crate) struct GoUpload {
    /// Its name there.
    pub(crate) metric: MetricName,
    /// Its mode and modification time.
    pub(crate) meta: FileMeta,
    /// The digest of the content.
    pub(crate) digest: Digest,
    /// The whole file, which was checked.
    pub(crate) content: Bytes,
}

impl GoUpload {
    /// Sends it to `owner`, and checks that the owner holds all its points then. Tries again where that may
    /// help.
    ///
    /// # Errors
    /// The [`Failure`] of the last attempt.
    pub(crate) async fn send_to_go_daemon(
        self,
        owner: &Node,
        rule: OnSchemaDifference,
        tally: &Tally,
        stop: &Stop,
    ) -> Result<Effect, Failure> {
        let Self { metric, meta, digest, content } = self;
        let stat = MetricStat {
            mode: i64::from(meta.mode),
            mod_time: i64::try_from(meta.mtime).unwrap_or(0),
            ..MetricStat::default()
        };
        let copied =
            Copied { stored_as: metric.clone(), metric, stat, content, digest, rest: None };
        let mut patience = Patience::with(&owner.daemon);
        loop {
            let filled = match owner.admit() {
                Ok(()) => fill_at(owner, &copied, rule, tally).await,
                Err(reason) => Err(lasting(owner, FailureKind::NodeAway, reason)),
            };
            let Err(setback) = filled else { return filled.map_err(|setback| setback.failure) };
            match patience.after(setback.trouble, jitter()) {
                NextStep::Wait(pause) if !stop.asked_within(pause).await => {}
                NextStep::Wait(_) | NextStep::GiveUp => return Err(setback.failure),
            }
        }
    }
}

/// Sends the metric to a Go daemon, and checks that it holds all its points then.
pub(super) async fn fill_at(
    owner: &Node,
    copied: &Copied,
    rule: OnSchemaDifference,
    tally: &Tally,
) -> Result<Effect, GoSetback> {
    let name = copied.stored_as.as_str();
    let error = |error: ClientError| client(owner, &error);
    let owned = owner.daemon.go_get(name).await.map_err(error)?;
    let (outcome, content) = match owned {
        None => (HealOutcome::Created, copied.content.clone()),
        Some(owned) => {
            let to_send = go::owner::to_send(&copied.content, &owned.content, clocks_with(owner));
            match to_send.map_err(|error| not_comparable(owner, &error))? {
                None => {
                    owner.answered();
                    check(owner, copied, &owned.content, rule, tally)?;
                    return Ok(Effect { outcome: HealOutcome::Unchanged, points: 0, bytes: 0 });
                }
                Some(to_send) => (HealOutcome::Filled, to_send.into()),
            }
        }
    };
    let bytes = content.len() as u64;
    let size = i64::try_from(content.len()).unwrap_or(i64::MAX);
    let stat = MetricStat { name: name.to_owned(), encoding: 0, size, ..copied.stat.clone() };
    owner.daemon.go_fill(name, &stat, content).await.map_err(error)?;
    let there = owner.daemon.go_get(name).await.map_err(error)?;
    owner.answered();
    let Some(there) = there else {
        return Err(passing(
            owner,
            FailureKind::Storage,
            "the Go daemon accepted it, but does not have it".into(),
        ));
    };
    check(owner, copied, &there.content, rule, tally)?;
    Ok(Effect { outcome, points: 0, bytes })
}

/// Checks that `there`, which the Go daemon has now, holds enough of what was sent for the source to be
/// deleted.
fn check(
    owner: &Node,
    copied: &Copied,
    there: &[u8],
    rule: OnSchemaDifference,
    tally: &Tally,
) -> Result<(), GoSetback> {
    let held = go::owner::held(&copied.content, there, clocks_with(owner));
    let Held { coverage, difference } = held.map_err(|error| not_comparable(owner, &error))?;
    let is_enough = rule.accepts(&coverage);
    tally.schema_found(&copied.metric, difference.as_ref(), is_enough);
    if is_enough {
        return Ok(());
    }
    let without_place = coverage.without_place();
    if without_place == 0 {
        let left_out = coverage.missing() + coverage.displaced();
        let reason = format!(
            "the fill of the Go daemon left out {}; the source stays",
            counted::points(left_out)
        );
        return Err(lasting(owner, FailureKind::IncompleteFill, reason));
    }
    let schemas = difference.map(|difference| {
        let (source, owned) = (&difference.source.archives, &difference.owner.archives);
        format!(": the source has {source}, the owner's file {owned}")
    });
    let reshaping = if rule == OnSchemaDifference::Reshape {
        "; the file of a Go daemon cannot be reshaped while carbon runs"
    } else {
        ""
    };
    let reason = format!(
        "the file of the Go daemon has no place for {}{}; the source stays{reshaping}",
        counted::points(without_place),
        schemas.unwrap_or_default()
    );
    Err(lasting(owner, FailureKind::OtherSchema, reason))
}

fn not_comparable(owner: &Node, error: &NotComparable) -> GoSetback {
    let kind = match error {
        NotComparable::Compressed => FailureKind::Compressed,
        NotComparable::Source(_) => FailureKind::SourceDamaged,
        NotComparable::Owner(_) => FailureKind::OwnerDamaged,
    };
    lasting(owner, kind, chain(error))
}

/// Our clock and that of an owner: a point that is valid by either of them must be there.
fn clocks_with(owner: &Node) -> Clocks {
    let now = unix_now();
    Clocks::new(now, owner.daemon.clock_offset().map_or(now, |offset| offset.seconds_at(now)))
}
