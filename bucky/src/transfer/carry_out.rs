//! Carries out a run, once it is known which nodes take part and what is selected: shows the plan, checks the
//! free space, moves, and prints the summary.

use std::collections::BTreeMap;
use std::sync::Arc;

use bucky_api::DaemonAddr;
use futures_util::{StreamExt, stream};

use super::drain::drain_all;
use super::left_behind::{left_behind, report_unread_folders};
use super::mover::{Mover, MoverParts};
use super::order::{MoveOrder, Task};
use super::records::Records;
use super::summary::MoveSummary;
use super::{ASKED_AT_ONCE, STOPPED_AT_ONCE, clock_watch, preview};
use crate::fleet::{Fleet, Source};
use crate::outcome::{Outcome, UsageError};
use crate::output::Output;
use crate::plan::Plan;
use crate::plan::survey::{self, MoveSurvey, StraySelection};
use crate::run::journal::{Journal, Purpose};
use crate::run::resume::Resume;
use crate::run::stop::Stop;

/// Plans what the nodes of `fleet` send, by `selection`, and moves it unless `check` refuses the plan.
///
/// # Errors
/// If a node does not answer while the plan is made, `check` refuses it, the journal cannot be opened, or the
/// clocks differ.
pub(crate) async fn plan_and_move(
    fleet: Fleet,
    selection: StraySelection,
    mut order: MoveOrder,
    check: impl AsyncFnOnce(&Plan) -> anyhow::Result<()>,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let fleet = Arc::new(fleet);
    clock_watch::require_agreement(&fleet, &order, output)?;
    let seen = report_unread_folders(&fleet, order.task.fate_of_unread(), output).await;
    let left = left_behind(&fleet, &order, output).await;
    let seen = seen.and(if left.is_empty() { Outcome::Done } else { Outcome::SomeFailed });
    let is_read = seen == Outcome::Done;
    let survey = survey::plan(&fleet, &selection, order.preparation.reserve, output).await?;
    let MoveSurvey { plan, unplaceable } = &survey;
    let seen = if *unplaceable == 0 { seen } else { Outcome::SomeFailed };
    if plan.is_empty() {
        let said = order.task.nothing(order.selected.is_part());
        let read = if is_read { "" } else { ", except for files that are not served" };
        let placed = if *unplaceable == 0 { "" } else { ", except for unplaceable files" };
        output.say(format_args!("{said}{read}{placed}."));
        left.iter().for_each(|line| output.say(line));
        return Ok(seen);
    }
    let shown = order.task.shown(plan, order.sources.deletes);
    if order.preparation.dry_run {
        output.data_line(shown)?;
        preview::print_sample(&fleet, &selection, plan, &order, output).await?;
        check(plan).await?;
        return Ok(Outcome::Done);
    }
    output.say(shown);
    check(plan).await?;
    if !fits(plan, order.preparation.ignore_free_space, output) {
        return Ok(Outcome::SomeFailed);
    }
    if !preview::may_drop(&fleet, &selection, &mut order, output).await? {
        output.say("bucky: nothing was moved");
        return Ok(Outcome::SomeFailed);
    }
    let outcome = carry_out(fleet, selection, &survey, order, output).await?;
    left.iter().for_each(|line| output.say(line));
    Ok(outcome.and(seen))
}

/// Whether there is room for the plan, or the operator wants to ignore that.
pub(crate) fn fits(plan: &Plan, ignore_free_space: bool, output: &Output) -> bool {
    let shortages = plan.shortages();
    for shortage in &shortages {
        output.say(format_args!("bucky: {shortage}"));
    }
    if shortages.is_empty() || ignore_free_space {
        return true;
    }
    output.say(
        "bucky: nothing was moved; free some space, or give a smaller --reserve or --ignore-free-space",
    );
    false
}

async fn carry_out(
    fleet: Arc<Fleet>,
    selection: StraySelection,
    survey: &MoveSurvey,
    order: MoveOrder,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let (journal, resume) = open_journal(&order, &selection)?;
    let records = Records::open(&order.sync, journal, output)?;
    let stop = Stop::announced_on_signals(output)?;
    let mover = Arc::new(Mover::new(MoverParts {
        fleet,
        selection,
        batching: order.batching,
        sources: order.sources,
        sync: order.sync.clone(),
        verbose: order.verbose,
        records,
        stop: stop.clone(),
        output: Arc::clone(output),
    }));
    let asked_twice = mover.show(drain_all(&mover, resume), survey.plan.metrics).await;
    mover.records.tally.flush();
    let counts = mover.records.tally.counts();
    let is_whole = !asked_twice && !stop.is_asked();
    mover.records.journal.end(is_whole && !counts.is_failure(0));
    // The nodes' answers may take long: a second Ctrl-C ends this too.
    let summary = tokio::select! {
        summary = summarise(&mover, &order, survey.unplaceable, output), if !asked_twice => Some(summary),
        () = stop.asked_twice() => None,
    };
    let Some(summary) = summary else {
        output.say(STOPPED_AT_ONCE);
        return Ok(Outcome::Interrupted);
    };
    mover.records.tally.print_schemas(order.sync.on_schema_difference);
    output.say(summary);
    let is_success = is_whole && !counts.is_failure(order.sync.error_tolerance);
    Ok(if is_success { Outcome::Done } else { Outcome::SomeFailed })
}

fn open_journal(
    order: &MoveOrder,
    selection: &StraySelection,
) -> anyhow::Result<(Option<Journal>, BTreeMap<String, Resume>)> {
    let Some(path) = &order.journal else { return Ok((None, BTreeMap::new())) };
    let allowed = order.selected.allowed_destinations.iter().flatten().map(DaemonAddr::to_string);
    let ring = selection.ring.spec().fingerprint();
    let purpose = Purpose {
        ring: match order.task {
            Task::Rebalance => ring,
            // A copy finishes metrics for another purpose than a rebalance, so its journal names another
            // ring.
            Task::Copy => format!("copy to {ring}"),
        },
        regex: selection.regex.clone(),
        allowed_destinations: allowed.collect(),
        deletes: order.sources.deletes,
    };
    let (journal, resume) =
        Journal::open(path, &purpose).map_err(|error| UsageError::because(crate::chain(&error)))?;
    Ok((Some(journal), resume))
}

/// The summary: what was done, and what the nodes report as left.
async fn summarise(
    mover: &Mover,
    order: &MoveOrder,
    unplaceable: u64,
    output: &Arc<Output>,
) -> MoveSummary {
    let left = mover.fleet.sources.iter().map(|source| left_at(mover, source, output));
    let left: Vec<(Option<u64>, u64)> = stream::iter(left).buffered(ASKED_AT_ONCE).collect().await;
    MoveSummary {
        task: order.task,
        counts: mover.records.tally.counts(),
        elapsed: mover.records.tally.elapsed(),
        deletes: order.sources.deletes,
        stopped: mover.stop.is_asked(),
        is_selection: order.selected.is_part(),
        still_misplaced: left.iter().map(|(misplaced, _)| *misplaced).sum(),
        unplaceable,
        tombstones: left.iter().map(|(_, tombstones)| tombstones).sum(),
    }
}

/// How many misplaced metrics a source still has, if it reports them, and how many tombstones. A Go daemon is
/// not asked, because its list does not follow deletes; nor is a node that the run gave up on.
async fn left_at(mover: &Mover, source: &Source, output: &Arc<Output>) -> (Option<u64>, u64) {
    if !source.node.kind.pages_its_list() || source.node.admit().is_err() {
        return (None, 0);
    }
    // The status first, because it is answered at once: a node that does not answer is not asked for what may
    // take long.
    let Ok(status) = source.node.daemon.status().await else { return (None, 0) };
    let tombstones = status.map_or(0, |status| status.tombstones.waiting);
    if mover.sources.copies_from_owners {
        return (None, tombstones);
    }
    let misplaced = survey::count(&mover.fleet, source, &mover.selection, output).await;
    (misplaced.ok().map(|count| count.metrics), tombstones)
}
