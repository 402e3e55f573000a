//! An owner with a daemon of the Go tool: what it is given is read back.

use std::time::{SystemTime, UNIX_EPOCH};

use bucky_api::archive::FileMeta;
use bucky_api::go::MetricStat;
use bucky_api::{ClientError, HealOutcome};
use bucky_whisper::{
    AggregationSix, Clocks, Digest, FillOptions, Image, ImageError, MetricName, fill,
};
use bytes::Bytes;

use super::Copied;
use super::setback::{Setback, client, lasting, passing};
use crate::chain;
use crate::patience::{Next, Patience, jitter};
use crate::rebalance::failure::{Failure, NODE_AWAY};
use crate::rebalance::nodes::Node;
use crate::rebalance::stop::Stop;
use crate::rebalance::tally::Effect;

/// A file for a daemon of the Go tool that comes from somewhere else than a node.
pub(crate) struct GivenFile {
    /// What it is to be called there.
    pub(crate) metric: MetricName,
    /// Mode and time of change.
    pub(crate) meta: FileMeta,
    /// The digest of the content.
    pub(crate) digest: Digest,
    /// The whole file, which was looked at.
    pub(crate) content: Bytes,
}

impl GivenFile {
    /// Gives it to `owner`, and looks whether that has taken all of it; tried again where that may help.
    ///
    /// # Errors
    /// The [`Failure`] of the last attempt.
    pub(crate) async fn give_to_go_daemon(
        self,
        owner: &Node,
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
                Ok(()) => fill_at(owner, &copied).await,
                Err(reason) => Err(lasting(owner, NODE_AWAY, reason)),
            };
            let Err(setback) = filled else { return filled.map_err(|setback| setback.failure) };
            match patience.after(setback.trouble, jitter()) {
                Next::Wait(pause) if !stop.asked_within(pause).await => {}
                Next::Wait(_) | Next::GiveUp => return Err(setback.failure),
            }
        }
    }
}

/// Gives the metric to a Go daemon, and looks whether it has taken all of it.
pub(super) async fn fill_at(owner: &Node, copied: &Copied) -> Result<Effect, Setback> {
    let name = copied.stored_as.as_str();
    let error = |error: ClientError| client(owner, &error);
    let damaged = |error: ImageError| {
        let kind = match error {
            ImageError::Compressed => "compressed",
            _ => "owner's file damaged",
        };
        lasting(owner, kind, chain(&error))
    };
    let own = owner.daemon.go_get(name).await.map_err(error)?;
    let (outcome, content) = match own {
        None => (HealOutcome::Created, copied.content.clone()),
        Some(own) => match union(&copied.content, &own.content, unix_now()).map_err(damaged)? {
            None => {
                owner.answered();
                return Ok(Effect { outcome: HealOutcome::Unchanged, points: 0, bytes: 0 });
            }
            Some(union) => (HealOutcome::Filled, union),
        },
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
            "storage",
            "the Go daemon took it, and does not have it".into(),
        ));
    };
    let missing = points_missing(&copied.content, &there.content, unix_now()).map_err(damaged)?;
    if missing > 0 {
        let reason = format!(
            "the Go daemon's fill left out {missing} points; the source is left where it is"
        );
        return Err(lasting(owner, "not all taken", reason));
    }
    Ok(Effect { outcome, points: 0, bytes })
}

/// The owner's file with the points of `source` that it lacks; none where it lacks none.
///
/// A Go daemon's fill overwrites the good point behind a gap with what it is given (D8): so it is given the owner's own.
fn union(source: &[u8], own: &[u8], now: u32) -> Result<Option<Bytes>, ImageError> {
    if source == own {
        return Ok(None);
    }
    let options =
        FillOptions { clocks: Clocks::at(now), aggregation_six: AggregationSix::default() };
    let plan = fill(&Image::parse(source)?, &Image::parse(own)?, options);
    if plan.is_empty() {
        return Ok(None);
    }
    let mut union = own.to_vec();
    plan.apply(&mut union);
    Ok(Some(union.into()))
}

/// How many points of `source` are not in `destination` although they could be.
fn points_missing(source: &[u8], destination: &[u8], now: u32) -> Result<u64, ImageError> {
    if source == destination {
        return Ok(0);
    }
    let options =
        FillOptions { clocks: Clocks::at(now), aggregation_six: AggregationSix::default() };
    let plan = fill(&Image::parse(source)?, &Image::parse(destination)?, options);
    Ok(plan.points_filled())
}

fn unix_now() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    u32::try_from(now).unwrap_or(u32::MAX)
}
