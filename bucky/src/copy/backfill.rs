//! `backfill`: fills the old names of a map into their new names, at the owners of the new names.

use std::collections::BTreeMap;
use std::sync::Arc;

use bucky_api::{Client, DaemonAddr};
use bucky_ring::Ring;
use futures_util::{StreamExt, stream};

use super::carry::JobRunner;
use super::holding::Holding;
use super::jobs::{FetchJob, jobs};
use super::name_map::NameMap;
use super::report::{BackfillPlan, BackfillSummary};
use super::{healthy, parties};
use crate::fleet::{Fleet, Node};
use crate::outcome::{Outcome, UsageError};
use crate::output::Output;
use crate::placement::{self, Series};
use crate::plan::Plan;
use crate::plan::copies::plan_of_copies;
use crate::run::stop::Stop;
use crate::sizes::{EvenSample, average};
use crate::transfer::left_behind::report_unread_folders;
use crate::transfer::mover::{Mover, MoverParts};
use crate::transfer::opening::open;
use crate::transfer::options::{Batching, Preparation, SourceRules, SyncOptions};
use crate::transfer::records::Records;
use crate::transfer::{self, MoveSelection, STOPPED_AT_ONCE};

/// How many nodes are asked for sizes at once.
const ASKED_AT_ONCE: usize = 32;
/// How many new names that cannot be placed are reported.
const NAMED_MOST: usize = 20;

/// The arguments of a backfill.
pub(crate) struct BackfillOrder {
    /// A daemon of the cluster that has the old names.
    pub(crate) from: DaemonAddr,
    /// A daemon of the cluster that gets the new names, if that is another cluster.
    pub(crate) to: Option<DaemonAddr>,
    /// The map of old names to new ones.
    pub(crate) map: NameMap,
    /// The series that are known by their hash.
    pub(crate) series: Series,
    /// What is prepared before the first batch.
    pub(crate) preparation: Preparation,
    /// How large the batches are, and how many run at once.
    pub(crate) batching: Batching,
    /// How fast it may go, and where it reports.
    pub(crate) sync: SyncOptions,
    /// Whether every metric is named when it is done.
    pub(crate) verbose: bool,
}

/// Fills every copy of each old name into its new name, at all owners of the new name.
///
/// # Errors
/// Everything that is refused before the first write. What fails later is in the outcome.
pub(crate) async fn backfill(
    client: Client,
    order: BackfillOrder,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    if order.map.is_empty() {
        output.say("The map is empty: there is nothing to do.");
        return Ok(Outcome::Done);
    }
    let sources = healthy(&client, order.from.clone(), order.verbose, output).await?;
    let (fleet, ring) = match &order.to {
        None => {
            let ring = sources.ring()?;
            (Fleet::of_cluster(&sources, &ring, &[], None)?, ring)
        }
        Some(to) => {
            let destinations = healthy(&client, to.clone(), order.verbose, output).await?;
            (parties::of_clusters(&sources, &destinations)?, destinations.ring()?)
        }
    };
    parties::refuse_local_addresses(&fleet)?;
    refuse_chains(&fleet, &order.map)?;
    refuse_unplaceable(&ring, &order)?;
    open(&fleet, sources.present(), order.preparation.fresh, output).await?;
    let seen = report_unread_folders(&fleet, "are not found", output).await;
    let mut work = BackfillWork::find(&fleet, &ring, &order, output).await?;
    work.plan = work.plan.reserving(order.preparation.reserve);
    let seen = seen.and(work.holding.report_missing(&order.map, output));
    if work.jobs.is_empty() {
        output.say("There is nothing to fill.");
        return Ok(seen);
    }
    let shown =
        BackfillPlan { plan: &work.plan, entries: order.map.len(), found: work.holding.found() };
    if order.preparation.dry_run {
        output.data_line(shown)?;
        return Ok(seen);
    }
    output.say(shown);
    if !transfer::fits(&work.plan, order.preparation.ignore_free_space, output) {
        return Ok(Outcome::SomeFailed);
    }
    carry_out(fleet, ring, work, order, seen, output).await
}

/// Refuses a map in which a new name is also an old one: what is read under that name would depend on whether
/// it was written before. This matters only within one cluster.
fn refuse_chains(fleet: &Fleet, map: &NameMap) -> anyhow::Result<()> {
    let is_shared = |node: &Arc<Node>| fleet.members.iter().any(|member| Arc::ptr_eq(member, node));
    if !fleet.sources.iter().any(|source| is_shared(&source.node)) {
        return Ok(());
    }
    let Some((entry, next)) = map.chain() else { return Ok(()) };
    Err(UsageError::because(format!(
        "the map fills {} from {}, and {} from {}; the result would depend on the order and on how often it is \
         run. Split the map in two, run the one with {} => {} first, and run each only once",
        entry.new, entry.old, next.new, next.old, next.old, next.new
    )))
}

/// Refuses new names that the ring cannot place.
fn refuse_unplaceable(ring: &Ring, order: &BackfillOrder) -> anyhow::Result<()> {
    let bad: Vec<String> = order
        .map
        .entries()
        .iter()
        .filter_map(|entry| placement::owners(ring, &order.series, entry.new.as_str()).err())
        .take(NAMED_MOST)
        .map(|error| format!("\n  {error}"))
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    Err(UsageError::because(format!(
        "the map has new names that have no place on the ring:{}",
        bad.concat()
    )))
}

/// The jobs of a backfill, and the nodes that carry them out.
struct BackfillWork {
    holding: Holding,
    jobs: Vec<FetchJob>,
    plan: Plan,
    /// All nodes; the jobs refer to them by index. The owners come first.
    nodes: Vec<Arc<Node>>,
    /// By node, the average length of the files that it sends.
    averages: Vec<Option<u64>>,
}

impl BackfillWork {
    async fn find(
        fleet: &Fleet,
        ring: &Ring,
        order: &BackfillOrder,
        output: &Output,
    ) -> anyhow::Result<Self> {
        let (map, series) = (&order.map, &order.series);
        let mut nodes = fleet.members.clone();
        let mut sources = Vec::with_capacity(fleet.sources.len());
        for source in fleet.sources.iter().map(|source| &source.node) {
            let index = nodes.iter().position(|node| Arc::ptr_eq(node, source));
            let index = index.unwrap_or_else(|| {
                nodes.push(Arc::clone(source));
                nodes.len() - 1
            });
            sources.push((u32::try_from(index)?, Arc::clone(source)));
        }
        let holding = Holding::ask(map, &sources, output).await?;
        let owners = |name: &bucky_whisper::MetricName| {
            let owners = placement::owners(ring, series, name.as_str()).unwrap_or_default();
            let owners = fleet.owners(&owners).into_iter();
            owners.filter_map(|owner| u32::try_from(owner).ok()).collect()
        };
        let jobs = jobs(map, |entry| holding.of(entry).collect(), owners);
        let averages = averages(&nodes, &jobs, map).await;
        let mut copies: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        for job in &jobs {
            *copies.entry((job.from as usize, job.to as usize)).or_default() += 1;
        }
        let plan = plan_of_copies(&copies, &averages, &nodes);
        Ok(Self { holding, jobs, plan, nodes, averages })
    }
}

/// By node, the average length of the files that it sends.
async fn averages(nodes: &[Arc<Node>], jobs: &[FetchJob], map: &NameMap) -> Vec<Option<u64>> {
    let mut samples: Vec<EvenSample> = nodes.iter().map(|_| EvenSample::default()).collect();
    for job in jobs {
        if let (Some(sample), Some(entry)) =
            (samples.get_mut(job.from as usize), map.get(job.entry))
        {
            sample.offer(&entry.old);
        }
    }
    let asked = nodes.iter().zip(samples).map(|(node, sample)| average(&node.daemon, sample));
    stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await
}

async fn carry_out(
    fleet: Fleet,
    ring: Arc<Ring>,
    work: BackfillWork,
    order: BackfillOrder,
    seen: Outcome,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let BackfillOrder { batching, map, .. } = order;
    let limits = batching.limits;
    let full = work.averages.iter();
    let full = full.map(|average| limits.metrics_of_average(*average)).collect();
    let records = Records::open(&order.sync, None, output)?;
    let stop = Stop::announced_on_signals(output)?;
    let mover = Mover::new(MoverParts {
        fleet: Arc::new(fleet),
        selection: MoveSelection { series: order.series.clone(), ..MoveSelection::default() }
            .on(ring, None),
        batching,
        sources: SourceRules::default(),
        sync: order.sync.clone(),
        verbose: order.verbose,
        records,
        stop: stop.clone(),
        output: Arc::clone(output),
    });
    let BackfillWork { jobs, nodes, averages, plan, .. } = work;
    let runner = Arc::new(JobRunner { mover, map, nodes, averages, full });
    let mover = &runner.mover;
    let planned = plan.metrics;
    let asked_twice = mover.show(runner.run(&jobs), planned).await;
    mover.records.tally.flush();
    if asked_twice {
        output.say(STOPPED_AT_ONCE);
        return Ok(Outcome::Interrupted);
    }
    let counts = mover.records.tally.counts();
    let is_success = !counts.is_failure(order.sync.error_tolerance) && !stop.is_asked();
    let outcome = seen.and(if is_success { Outcome::Done } else { Outcome::SomeFailed });
    mover.records.tally.print_schemas(order.sync.on_schema_difference);
    output.say(BackfillSummary {
        counts,
        elapsed: mover.records.tally.elapsed(),
        stopped: stop.is_asked(),
        planned,
        failed: outcome != Outcome::Done,
    });
    Ok(outcome)
}
