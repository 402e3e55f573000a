//! `bucky heal`: brings every metric to the owners that lack it, from an owner that has it.
//!
//! For clusters with a replication factor above 1, after a node was replaced by an empty one or lost files.
//! The nodes' lists show what each owner lacks (`need`, pure). The owners fetch it in batches (`gather`,
//! pure; `carry`), as they do in a move. With `--points`, owners that have a copy are also filled from each
//! other. Nothing is ever deleted: [`Mover::bring`] returns no receipt for a delete.

mod carry;
mod need;
mod report;
pub(crate) mod survey;

use std::sync::Arc;

use bucky_api::{Client, DaemonAddr};

use self::carry::HealRunner;
use self::need::Needs;
use self::report::{HealPlan, HealSummary, to_rebalance};
use self::survey::{HealSurvey, NeedReader, survey};
use crate::cluster::{Cluster, DaemonKind, Scope, ask_member, store_of};
use crate::fleet::Fleet;
use crate::holders::{Holders, Placer};
use crate::names::Selection;
use crate::outcome::{Outcome, UsageError};
use crate::output::Output;
use crate::placement::Series;
use crate::ring_fit::FitQuery;
use crate::run::stop::Stop;
use crate::shuffle_guard::{self, Work};
use crate::transfer::gather::Gatherer;
use crate::transfer::left_behind::report_unread_folders;
use crate::transfer::mover::{Mover, MoverParts};
use crate::transfer::opening::open;
use crate::transfer::options::{Batching, Preparation, SourceRules, SyncOptions};
use crate::transfer::records::Records;
use crate::transfer::{self, MoveSelection, STOPPED_AT_ONCE};

/// How many metrics may wait in half-full batches, at some 130 bytes each.
const HELD: usize = 50_000;

/// The arguments of a heal.
pub(crate) struct HealOrder {
    /// The daemon to ask first.
    pub(crate) seed: DaemonAddr,
    /// Whether only that node is healed.
    pub(crate) only_seed: bool,
    /// Which metrics are healed.
    pub(crate) selection: Selection,
    /// Whether owners that have a copy are healed from each other too.
    pub(crate) points: bool,
    /// The prefix of Go daemons' own metrics, which are never misplaced.
    pub(crate) local_prefix: Option<String>,
    /// The series that are known by their hash.
    pub(crate) series: Series,
    /// Whether copies between nodes that were members before are made although the files lie by another ring.
    pub(crate) expects_shuffle: bool,
    /// What is prepared before the first batch.
    pub(crate) preparation: Preparation,
    /// How large the batches are, and how many run at once.
    pub(crate) batching: Batching,
    /// How fast it may go, and where it reports.
    pub(crate) sync: SyncOptions,
    /// Whether every metric is named when it is done.
    pub(crate) verbose: bool,
}

/// Carries out `order`.
///
/// # Errors
/// Everything that is refused before the first write. What fails later is in the outcome.
pub(crate) async fn run(
    client: Client,
    order: HealOrder,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let cluster =
        Cluster::discover_healthy(client, order.seed.clone(), Scope::All, order.verbose, output)
            .await?
            .with_series(&order.series);
    let ring = cluster.ring()?;
    if ring.spec().has_one_owner_each() {
        output.say(format_args!(
            "The replication factor is 1: each metric has only one owner, so there is no other owner to copy \
             it from. To move misplaced metrics to their owners: bucky rebalance -h {}",
            order.seed
        ));
        return Ok(Outcome::Done);
    }
    let fleet = Fleet::of_cluster(&cluster, &ring, &[], None)?;
    refuse_go_daemons(&fleet, order.points)?;
    let scope = HealScope::of(&cluster, &order).await?;
    open(&fleet, cluster.present(), order.preparation.fresh, output).await?;
    let seen = report_unread_folders(&fleet, "seem to be missing there", output).await;
    let mut survey = survey(scope.reader(output).await?, &fleet).await?;
    survey.plan = survey.plan.reserving(order.preparation.reserve);
    survey::report_totals(&survey.seen, &fleet, order.selection != Selection::All, output);
    let seen = seen.and(survey.unfound.report(output));
    let seen = seen.and(survey.seen.report_unplaceable(&order.series, output));
    if survey.plan.is_empty() && survey.compared == 0 {
        let limit =
            if seen == Outcome::Done { "" } else { ", but not everything could be checked" };
        output.say(format_args!("No owner lacks a copy{limit}."));
        if let Some(advice) = to_rebalance(survey.seen.to_rebalance, &order.seed.to_string()) {
            output.say(advice);
        }
        return Ok(seen);
    }
    if order.preparation.dry_run {
        output.data_line(HealPlan(&survey))?;
    } else {
        output.say(HealPlan(&survey));
    }
    if !order.expects_shuffle {
        shuffle_guard::check(&cluster, &survey.plan, Work::Copy, fit_query(&order), output).await?;
    }
    if order.preparation.dry_run {
        return Ok(seen);
    }
    if !transfer::fits(&survey.plan, order.preparation.ignore_free_space, output) {
        return Ok(Outcome::SomeFailed);
    }
    Ok(carry_out(&scope, fleet, &survey, output).await?.and(seen))
}

/// The ring is compared with what is on the disks by the same names as the survey.
fn fit_query(order: &HealOrder) -> FitQuery {
    FitQuery {
        series: order.series.clone(),
        local_prefix: order.local_prefix.clone(),
        ..FitQuery::default()
    }
}

/// Refuses `--points` if a Go daemon takes part: its fill overwrites points that it should keep (D8), so it
/// only gets metrics that it lacks.
fn refuse_go_daemons(fleet: &Fleet, points: bool) -> anyhow::Result<()> {
    match fleet.node_without(DaemonKind::fills_exactly) {
        Some(go) if points => Err(UsageError::because(format!(
            "{} is a Go daemon, whose fill changes points that it should keep, so --points is not \
             possible; run without --points, or run buckyd there",
            go.addr()
        ))),
        _ => Ok(()),
    }
}

/// What the lists are read for. They are read twice: to count, and to fetch.
struct HealScope<'a> {
    cluster: &'a Cluster,
    order: &'a HealOrder,
    placer: Arc<Placer>,
    needs: Needs,
}

impl<'a> HealScope<'a> {
    async fn of(cluster: &'a Cluster, order: &'a HealOrder) -> anyhow::Result<Self> {
        let placer = Arc::new(Placer::of(cluster, order.local_prefix.as_deref())?);
        let only = if order.only_seed { Some(index_of_seed(cluster, order).await?) } else { None };
        let needs = Needs::new(cluster.members.len(), order.points, only);
        Ok(Self { cluster, order, placer, needs })
    }

    async fn reader(&self, output: &Arc<Output>) -> anyhow::Result<NeedReader> {
        let holders = Holders::begin(self.cluster, &self.order.selection, output).await?;
        let nodes = self.cluster.members.len();
        Ok(NeedReader::new(holders, Arc::clone(&self.placer), self.needs.clone(), nodes))
    }
}

/// The index of the member that `-h` leads to, under any name.
async fn index_of_seed(cluster: &Cluster, order: &HealOrder) -> anyhow::Result<usize> {
    let seed = ask_member(cluster.client(), order.seed.clone(), None).await;
    let store = store_of(&seed.answer).ok_or_else(|| crate::fleet::away(&seed))?;
    let is_seed =
        |member: &crate::cluster::Member| store_of(&member.answer).as_ref() == Some(&store);
    cluster.members.iter().position(is_seed).ok_or_else(|| {
        UsageError::because(format!(
            "{} is not a member of the ring, so it owns nothing",
            order.seed
        ))
    })
}

async fn carry_out(
    scope: &HealScope<'_>,
    fleet: Fleet,
    survey: &HealSurvey,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let order = scope.order;
    let limits = order.sync.pace.limits(order.batching.limits);
    let full = survey.averages.iter();
    let full = full.map(|average| limits.metrics_of_average(*average)).collect();
    let records = Records::open(&order.sync, None, output)?;
    let stop = Stop::announced_on_signals(output)?;
    let runner = Arc::new(HealRunner::new(Mover::new(MoverParts {
        fleet: Arc::new(fleet),
        selection: MoveSelection {
            local_prefix: order.local_prefix.clone(),
            series: order.series.clone(),
            ..MoveSelection::default()
        }
        .on(scope.cluster.ring()?, None),
        batching: Batching { limits, ..order.batching },
        sources: SourceRules::default(),
        sync: order.sync.clone(),
        verbose: order.verbose,
        records,
        stop: stop.clone(),
        output: Arc::clone(output),
    })));
    let mover = &runner.mover;
    let planned = survey.plan.metrics + survey.compared;
    let reader = scope.reader(output).await?;
    let gatherer = Gatherer::new(full, HELD);
    let asked_twice = mover.show(runner.run(reader, gatherer), planned).await;
    mover.records.tally.flush();
    if asked_twice {
        output.say(STOPPED_AT_ONCE);
        return Ok(Outcome::Interrupted);
    }
    let counts = mover.records.tally.counts();
    let failed = counts.failures() > 0 || counts.broken_sources > 0;
    mover.records.tally.print_schemas(order.sync.on_schema_difference);
    output.say(HealSummary {
        counts,
        elapsed: mover.records.tally.elapsed(),
        stopped: stop.is_asked(),
        planned,
        refetched: runner.refetched(),
        to_rebalance: survey.seen.to_rebalance,
        seed: order.seed.to_string(),
    });
    Ok(if failed || stop.is_asked() { Outcome::SomeFailed } else { Outcome::Done })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::test_cluster::{document, go, member, v1};

    #[test]
    fn copies_are_not_filled_from_each_other_where_a_go_daemon_takes_part() {
        let mut ring = document(&["a", "b"]);
        ring.replicas = 2;
        let sink = || Box::new(std::io::sink());
        let _output = Output::to_writers(sink(), sink());
        for (b, is_go) in [(v1(&ring, "b", "s2"), false), (go(&ring, "b"), true)] {
            let members = vec![member("a", v1(&ring, "a", "s1")), member("b", b)];
            let cluster = Cluster::from_answers(ring.clone(), members);
            let fleet = Fleet::of_cluster(&cluster, &cluster.ring().unwrap(), &[], None).unwrap();
            refuse_go_daemons(&fleet, false).unwrap();
            let refused = refuse_go_daemons(&fleet, true).map_err(|error| error.to_string());
            assert_eq!(refused.is_err(), is_go, "{refused:?}");
            assert!(!is_go || refused.is_err_and(|text| text.starts_with("b:4242 is a Go daemon")));
        }
    }
}
