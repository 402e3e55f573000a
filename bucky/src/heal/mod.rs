//! `bucky heal`: every metric to the owners that lack it, from an owner that has it.
//!
//! For clusters with a replication factor above 1: a node was replaced by an empty one, or lost files. The nodes' lists
//! tell who lacks what (`need`, pure); the owners fetch it in batches (`gather`, pure; `carry`), as they do in a move.
//! With `--points` the owners that have a copy are filled from each other, too. Nothing is ever deleted: no receipt for
//! a delete comes out of [`Mover::bring`].

mod carry;
mod need;
mod report;
pub(crate) mod survey;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bucky_api::{Client, DaemonAddr, OnSchemaDifference};

use self::carry::Carrier;
use self::need::Needs;
use self::report::{Shown, Summary, to_rebalance};
use self::survey::{Reader, Survey, survey};
use crate::cluster::{Cluster, Scope, ask_member, store_of};
use crate::fleet::{Fleet, Kind, refuse_shared_addresses};
use crate::holders::{Holders, Placer};
use crate::inventory::refresh;
use crate::names::Selection;
use crate::outcome::{Outcome, UsageError};
use crate::output::Output;
use crate::placement::Series;
use crate::plan::room::Reserve;
use crate::run::failure_files::FailureFiles;
use crate::run::shared_job_state::SharedJobState;
use crate::run::shared_journal::SharedJournal;
use crate::run::stop::Stop;
use crate::run::tally::Tally;
use crate::transfer::batch::BatchLimits;
use crate::transfer::gather::{Gatherer, batch_len};
use crate::transfer::left_behind::tell_unread_folders;
use crate::transfer::mover::{Mover, MoverParts};
use crate::transfer::options::{PaceOptions, SyncOptions, Travel};
use crate::transfer::{self, STOPPED_AT_ONCE};

/// How many metrics may wait in half-full batches: some 130 bytes each.
const HELD: usize = 50_000;

/// What the operator ordered.
pub(crate) struct Order {
    /// The daemon to ask first.
    pub(crate) seed: DaemonAddr,
    /// Only that node is healed.
    pub(crate) only_seed: bool,
    /// Which metrics.
    pub(crate) selection: Selection,
    /// Whether owners that have a copy are healed from each other too.
    pub(crate) points: bool,
    /// What the names of Go daemons' own metrics begin with.
    pub(crate) local_prefix: Option<String>,
    /// The series that are known by their hash.
    pub(crate) series: Series,
    /// Whether the nodes scan anew first.
    pub(crate) fresh: bool,
    /// Print the plan and do nothing.
    pub(crate) dry_run: bool,
    /// Begin although it does not fit.
    pub(crate) ignore_free_space: bool,
    /// What is left free at each destination.
    pub(crate) reserve: Reserve,
    /// Batches at once.
    pub(crate) workers: usize,
    /// How files travel.
    pub(crate) travel: Travel,
    /// How large batches are.
    pub(crate) limits: BatchLimits,
    /// How fast it may go.
    pub(crate) pace: PaceOptions,
    /// What becomes of points that have no place in an owner's file.
    pub(crate) on_schema_difference: OnSchemaDifference,
    /// Where every failure is written.
    pub(crate) errors: Option<PathBuf>,
    /// Whether every metric that is done is named.
    pub(crate) verbose: bool,
}

/// Carries `order` out.
///
/// # Errors
/// Everything that is refused before something is done. What fails later is in the outcome.
pub(crate) async fn run(
    client: Client,
    order: Order,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let cluster =
        Cluster::discover_healthy(client, order.seed.clone(), Scope::All, order.verbose, output)
            .await?
            .with_series(&order.series);
    let ring = cluster.ring()?;
    for warning in ring.warnings() {
        output.say(format_args!("bucky: the ring: {warning}"));
    }
    if ring.spec().replication_factor == 1 {
        output.say(format_args!(
            "The replication factor is 1: each metric has only one owner, so there is no other owner to copy \
             it from. To move misplaced metrics to their owners: bucky rebalance -h {}",
            order.seed
        ));
        return Ok(Outcome::Done);
    }
    let fleet = Fleet::muster(&cluster, &ring, &[], None)?;
    refuse_shared_addresses(&fleet).await?;
    look_at_go_daemons(&fleet, order.points, output)?;
    let scope = HealScope::of(&cluster, &order).await?;
    if order.fresh {
        refresh(cluster.present(), output).await?;
    }
    let seen = tell_unread_folders(&fleet, "seem to be missing there", output).await;
    let mut survey = survey(scope.reader(output).await?, &fleet).await?;
    survey.plan = survey.plan.reserving(order.reserve);
    survey::tell(&survey.seen, &fleet, order.selection != Selection::All, output);
    let seen = seen.and(survey.sought.tell(output));
    let seen = seen.and(survey.seen.tell_unplaceable(&order.series, output));
    if survey.plan.is_empty() && survey.compared == 0 {
        let limit =
            if seen == Outcome::Done { "" } else { ", but not everything could be checked" };
        output.say(format_args!("No owner lacks a copy{limit}."));
        if let Some(told) = to_rebalance(survey.seen.to_rebalance, &order.seed.to_string()) {
            output.say(told);
        }
        return Ok(seen);
    }
    if order.dry_run {
        output.data_line(Shown(&survey))?;
        return Ok(seen);
    }
    output.say(Shown(&survey));
    if !transfer::fits(&survey.plan, order.ignore_free_space, output) {
        return Ok(Outcome::SomeFailed);
    }
    Ok(carry_out(&scope, fleet, &survey, output).await?.and(seen))
}

/// A Go daemon's fill overwrites points that it should keep (D2), so it is given nothing that it has.
fn look_at_go_daemons(fleet: &Fleet, points: bool, output: &Output) -> anyhow::Result<()> {
    let Some(go) = fleet.members.iter().find(|node| node.kind == Kind::Go) else { return Ok(()) };
    let addr = go.addr();
    if points {
        return Err(UsageError::because(format!(
            "{addr} is a Go daemon, whose fill changes points that it should keep, so --points is not \
             possible; run without --points, or run buckyd there"
        )));
    }
    output.say(format_args!(
        "bucky: {addr} is a Go daemon: its metrics travel one by one, and it answers before they are on disk"
    ));
    Ok(())
}

/// What is read, again and again.
struct HealScope<'a> {
    cluster: &'a Cluster,
    order: &'a Order,
    placer: Arc<Placer>,
    needs: Needs,
}

impl<'a> HealScope<'a> {
    async fn of(cluster: &'a Cluster, order: &'a Order) -> anyhow::Result<Self> {
        let placer = Arc::new(Placer::of(cluster, order.local_prefix.as_deref())?);
        let only = if order.only_seed { Some(place_of_seed(cluster, order).await?) } else { None };
        let needs = Needs::new(cluster.members.len(), order.points, only);
        Ok(Self { cluster, order, placer, needs })
    }

    async fn reader(&self, output: &Arc<Output>) -> anyhow::Result<Reader> {
        let holders = Holders::begin(self.cluster, &self.order.selection, output).await?;
        let nodes = self.cluster.members.len();
        Ok(Reader::new(holders, Arc::clone(&self.placer), self.needs.clone(), nodes))
    }
}

/// The member that `-h` leads to, by whatever name.
async fn place_of_seed(cluster: &Cluster, order: &Order) -> anyhow::Result<usize> {
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
    survey: &Survey,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let order = scope.order;
    let limits = order.pace.limits(order.limits);
    let full = survey.averages.iter();
    let full = full.map(|average| batch_len(limits.metrics, limits.bytes, *average)).collect();
    // Before the signals are the run's: whoever opens a pipe that nobody reads can still be ended.
    let files = FailureFiles::open(order.errors.as_deref(), None)?;
    let stop = Stop::told_on_signals(output)?;
    let carrier = Arc::new(Carrier::new(Mover::new(MoverParts {
        tally: Tally::begin(files, Arc::clone(output)),
        journal: SharedJournal::new(None, Arc::clone(output)),
        jobs: SharedJobState::new(None, Arc::clone(output)),
        sync: SyncOptions {
            pace: order.pace.clone(),
            on_schema_difference: order.on_schema_difference,
            ..SyncOptions::default()
        },
        stop: stop.clone(),
        output: Arc::clone(output),
        fleet: Arc::new(fleet),
        selection: crate::plan::survey::Selection {
            ring: scope.cluster.ring()?,
            regex: None,
            allowed: None,
            local_prefix: order.local_prefix.clone(),
            series: order.series.clone(),
        },
        limits,
        travel: order.travel,
        deletes: false,
        copies_from_owners: false,
        rest: Duration::ZERO,
        replace_corrupt: false,
        verbose: order.verbose,
        workers: order.workers,
    })));
    let mover = &carrier.mover;
    let planned = survey.plan.metrics + survey.compared;
    let reader = scope.reader(output).await?;
    let gatherer = Gatherer::new(full, HELD);
    let insisted = mover.show(carrier.run(reader, gatherer), planned).await;
    mover.tally.flush();
    if insisted {
        output.say(STOPPED_AT_ONCE);
        return Ok(Outcome::Interrupted);
    }
    let counts = mover.tally.counts();
    let failed = counts.failures() > 0 || counts.broken_sources > 0;
    mover.tally.tell_schemas(order.on_schema_difference);
    output.say(Summary {
        counts,
        elapsed: mover.tally.elapsed(),
        stopped: stop.is_asked(),
        planned,
        turned: carrier.turned(),
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
        let output = Output::to_writers(sink(), sink());
        for (b, is_go) in [(v1(&ring, "b", "s2"), false), (go(&ring, "b"), true)] {
            let members = vec![member("a", v1(&ring, "a", "s1")), member("b", b)];
            let cluster = Cluster::from_answers(ring.clone(), members);
            let fleet = Fleet::muster(&cluster, &cluster.ring().unwrap(), &[], None).unwrap();
            look_at_go_daemons(&fleet, false, &output).unwrap();
            let refused =
                look_at_go_daemons(&fleet, true, &output).map_err(|error| error.to_string());
            assert_eq!(refused.is_err(), is_go, "{refused:?}");
            assert!(!is_go || refused.is_err_and(|text| text.starts_with("b:4242 is a Go daemon")));
        }
    }
}
