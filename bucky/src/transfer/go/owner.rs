//! An owner with a daemon of the Go tool: what it is given is read back.

use std::time::{SystemTime, UNIX_EPOCH};

use bucky_api::archive::FileMeta;
use bucky_api::go::MetricStat;
use bucky_api::{ClientError, HealOutcome, OnSchemaDifference, SchemaDifference};
use bucky_whisper::{
    AggregationSix, Clocks, Coverage, Digest, FillOptions, Image, ImageError, MetricName, fill,
};
use bytes::Bytes;

use super::Copied;
use super::setback::{Setback, client, lasting, passing};
use crate::chain;
use crate::fleet::Node;
use crate::patience::{Next, Patience, jitter};
use crate::run::failure::{Failure, NODE_AWAY, OTHER_SCHEMA};
use crate::run::stop::Stop;
use crate::run::tally::{Effect, Tally};

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
pub(super) async fn fill_at(
    owner: &Node,
    copied: &Copied,
    rule: OnSchemaDifference,
    tally: &Tally,
) -> Result<Effect, Setback> {
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
    let clocks = || {
        let now = unix_now();
        Clocks::new(now, owner.daemon.clock_offset().map_or(now, |offset| offset.seconds_at(now)))
    };
    let (outcome, content) = match own {
        None => (HealOutcome::Created, copied.content.clone()),
        Some(own) => match union(&copied.content, &own.content, clocks()).map_err(damaged)? {
            None => {
                owner.answered();
                check(owner, copied, &own.content, (rule, clocks()), tally)?;
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
            "the Go daemon accepted it, but does not have it".into(),
        ));
    };
    check(owner, copied, &there.content, (rule, clocks()), tally)?;
    Ok(Effect { outcome, points: 0, bytes })
}

/// Whether `there`, what the Go daemon has now, holds enough of what it was given for the source to go.
fn check(
    owner: &Node,
    copied: &Copied,
    there: &[u8],
    (rule, clocks): (OnSchemaDifference, Clocks),
    tally: &Tally,
) -> Result<(), Setback> {
    if *there == *copied.content {
        return Ok(());
    }
    let damaged = |error: ImageError| lasting(owner, "owner's file damaged", chain(&error));
    let source = Image::parse(&copied.content).map_err(damaged)?;
    let there = Image::parse(there).map_err(damaged)?;
    let coverage = Coverage::of(&source, &there, clocks);
    let difference = SchemaDifference::of(source.header(), there.header(), &coverage);
    let is_enough = rule.accepts(&coverage);
    tally.schema_found(&copied.metric, difference.as_ref(), is_enough);
    if is_enough {
        return Ok(());
    }
    if coverage.without_place() > 0 {
        let reshaping = if rule == OnSchemaDifference::Reshape {
            "; the file of a Go daemon cannot be reshaped while carbon runs"
        } else {
            ""
        };
        let reason = format!(
            "{} points have no place in the file of the Go daemon: the source has {}, the owner's file {}; the \
             source stays{reshaping}",
            coverage.without_place(),
            source.header().layout(),
            there.header().layout()
        );
        return Err(lasting(owner, OTHER_SCHEMA, reason));
    }
    let reason = format!(
        "the fill of the Go daemon left out {} points; the source stays",
        coverage.missing() + coverage.displaced()
    );
    Err(lasting(owner, "incomplete fill", reason))
}

/// The owner's file with the points of `source` that it lacks; none where it lacks none.
///
/// A Go daemon's fill overwrites the good point behind a gap with what it is given (D8): so it is given the owner's own.
fn union(source: &[u8], own: &[u8], clocks: Clocks) -> Result<Option<Bytes>, ImageError> {
    if source == own {
        return Ok(None);
    }
    let options = FillOptions { clocks, aggregation_six: AggregationSix::default() };
    let plan = fill(&Image::parse(source)?, &Image::parse(own)?, options);
    if plan.is_empty() {
        return Ok(None);
    }
    let mut union = own.to_vec();
    plan.apply(&mut union);
    Ok(Some(union.into()))
}

fn unix_now() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    u32::try_from(now).unwrap_or(u32::MAX)
}
