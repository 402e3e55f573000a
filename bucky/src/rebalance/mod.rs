//! `bucky rebalance`: every metric to the nodes that own it.
//!
//! Ask all nodes and refuse unless they agree; make a plan and show it; look whether it fits; then move: heal at the
//! owners, make it durable, delete at the source. `batch`, `breaker`, `journal`, `plan` and the counts of `tally` are
//! pure; `mover` carries the plan out. Running it again at any time finishes what an earlier run left.

mod batch;
mod breaker;
mod clock_watch;
pub(crate) mod failure;
pub(crate) mod failure_files;
pub(crate) mod full;
mod held;
pub(crate) mod job_state;
pub(crate) mod journal;
mod left_behind;
pub(crate) mod mover;
pub(crate) mod nodes;
pub(crate) mod options;
pub(crate) mod pace;
pub(crate) mod plan;
mod preview;
pub(crate) mod progress;
mod resume;
pub(crate) mod room;
pub(crate) mod schemas;
pub(crate) mod statistics;
pub(crate) mod stop;
mod summary;
pub(crate) mod survey;
pub(crate) mod tally;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bucky_api::{Client, DaemonAddr};
use futures_util::{StreamExt, stream};

pub(crate) use self::batch::BatchLimits;
use self::failure_files::FailureFiles;
use self::job_state::JobState;
use self::journal::{Journal, Purpose};
use self::left_behind::left_behind;
pub(crate) use self::left_behind::tell_unread_folders;
use self::mover::{JobDesk, JournalDesk, Mover, MoverParts};
use self::nodes::{Fleet, Kind, Source, refuse_shared_addresses};
use self::options::{SyncOptions, Travel};
use self::plan::Plan;
use self::resume::Resume;
use self::room::Reserve;
use self::stop::Stop;
use self::summary::Summary;
use self::survey::{Selection, Survey};
use self::tally::Tally;
use crate::cluster::{Cluster, Member, Scope, ask_member};
use crate::former;
use crate::inventory::refresh;
use crate::outcome::{Outcome, UsageError};
use crate::output::{Output, human_count};
use crate::placement::Series;

/// What is said after a second Ctrl-C.
pub(crate) const STOPPED_AT_ONCE: &str =
    "bucky: stopped at once; run the same command again to go on";
/// How many nodes are asked at once.
const ASKED_AT_ONCE: usize = 32;

/// What metrics are carried for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// To bring what lies astray to its owners.
    Rebalance,
    /// To copy what one node or cluster has to another.
    Copy,
}

/// What the operator ordered.
pub(crate) struct Order {
    /// What for.
    pub(crate) task: Task,
    /// The daemon to ask first.
    pub(crate) seed: DaemonAddr,
    /// Only that node's strays are moved.
    pub(crate) only_seed: bool,
    /// Nodes out of the ring that are drained.
    pub(crate) drained: Vec<DaemonAddr>,
    /// Only metrics in whose name this is found.
    pub(crate) regex: Option<String>,
    /// Only to these.
    pub(crate) allowed_destinations: Option<Vec<DaemonAddr>>,
    /// What begins with this is each node's own, where we place.
    pub(crate) local_prefix: Option<String>,
    /// The series that are known by their hash.
    pub(crate) series: Series,
    /// Whether sources are deleted.
    pub(crate) deletes: bool,
    /// How long nobody may have written to a source that is deleted.
    pub(crate) rest: Duration,
    /// Whether owners' corrupt files are replaced by sound misplaced copies, and kept aside.
    pub(crate) replace_corrupt: bool,
    /// Whether the nodes scan anew first.
    pub(crate) fresh: bool,
    /// Print the plan and move nothing.
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
    /// Where it is noted what is finished.
    pub(crate) journal: Option<PathBuf>,
    /// How fast it may go, and where it tells of itself.
    pub(crate) sync: SyncOptions,
    /// Whether every metric that is moved is named.
    pub(crate) verbose: bool,
}

impl Order {
    /// Whether it is about some metrics or nodes only.
    fn is_selection(&self) -> bool {
        self.only_seed || self.regex.is_some() || self.allowed_destinations.is_some()
    }
}

/// Carries `order` out.
///
/// # Errors
/// Everything that is refused before something is moved. What fails later is in the outcome.
pub(crate) async fn run(
    client: Client,
    order: Order,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let cluster =
        Cluster::discover_healthy(client, order.seed.clone(), Scope::All, order.verbose, output)
            .await?;
    let (fleet, selection) = prepare(&cluster, &order, output).await?;
    former::tell(&cluster, &order.drained, output).await;
    plan_and_move(fleet, selection, order, output).await
}

/// Tells what `selection` has the nodes of `fleet` give, and moves it.
///
/// # Errors
/// As [`run`].
pub(crate) async fn plan_and_move(
    fleet: Fleet,
    selection: Selection,
    mut order: Order,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let fleet = Arc::new(fleet);
    clock_watch::require_agreement(&fleet, &order, output)?;
    let seen = tell_unread_folders(&fleet, order.task.fate_of_unread(), output).await;
    let left = left_behind(&fleet, &order, output).await;
    let seen = seen.and(if left.is_empty() { Outcome::Done } else { Outcome::SomeFailed });
    let is_read = seen == Outcome::Done;
    let survey = survey::plan(&fleet, &selection, order.reserve, output).await?;
    let Survey { plan, unplaceable } = &survey;
    let seen = if *unplaceable == 0 { seen } else { Outcome::SomeFailed };
    if plan.is_empty() {
        let said = order.task.nothing(order.is_selection());
        let read = if is_read { "" } else { ", as far as its files are served" };
        let placed = if *unplaceable == 0 { "" } else { ", as far as its files can be placed" };
        output.say(format_args!("{said}{read}{placed}."));
        left.iter().for_each(|line| output.say(line));
        return Ok(seen);
    }
    let shown = order.task.shown(plan, order.deletes);
    if order.dry_run {
        output.data_line(shown)?;
        preview::tell_sample(&fleet, &selection, plan, &order, output).await?;
        return Ok(Outcome::Done);
    }
    output.say(shown);
    if !fits(plan, order.ignore_free_space, output) {
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

impl Task {
    fn fate_of_unread(self) -> &'static str {
        match self {
            Self::Rebalance => "is not moved",
            Self::Copy => "is not copied",
        }
    }

    /// What is said where there is nothing to do.
    fn nothing(self, is_selection: bool) -> &'static str {
        match (self, is_selection) {
            (Self::Rebalance, true) => "Nothing of what was selected lies astray",
            (Self::Rebalance, false) => "Cluster is balanced",
            (Self::Copy, true) => "Nothing of what was selected is to be copied",
            (Self::Copy, false) => "There is nothing to copy",
        }
    }

    fn shown(self, plan: &Plan, deletes: bool) -> String {
        let then = if deletes { ", and deleted where they are" } else { "" };
        match self {
            Self::Rebalance => plan.to_string(),
            Self::Copy => format!(
                "{}\n\n{} metrics are to be copied{then}.",
                plan.tables(),
                human_count(plan.metrics)
            ),
        }
    }
}

/// Who takes part, and what is moved.
async fn prepare(
    cluster: &Cluster,
    order: &Order,
    output: &Arc<Output>,
) -> anyhow::Result<(Fleet, Selection)> {
    let ring = cluster.ring()?;
    for warning in ring.warnings() {
        output.say(format_args!("bucky: the ring: {warning}"));
    }
    let drained = ask_all(cluster.client(), &order.drained).await;
    let seed = if order.only_seed {
        Some(ask_member(cluster.client(), order.seed.clone(), None).await)
    } else {
        None
    };
    let fleet = Fleet::muster(cluster, &ring, &drained, seed.as_ref())?;
    refuse_shared_addresses(&fleet).await?;
    tell_go_daemons(&fleet, output);
    if order.fresh {
        refresh(cluster.present().chain(&drained), output).await?;
    }
    let allowed =
        order.allowed_destinations.as_ref().map(|allowed| places(&fleet, allowed)).transpose()?;
    let selection = Selection {
        ring,
        regex: order.regex.clone(),
        allowed,
        local_prefix: order.local_prefix.clone(),
        series: order.series.clone(),
    };
    Ok((fleet, selection))
}

/// Tells what to expect where daemons of the Go tool take part.
pub(crate) fn tell_go_daemons(fleet: &Fleet, output: &Output) {
    if fleet.has_go() {
        output.say(
            "bucky: daemons of the Go tool take part: metrics go to and from them one by one, they make nothing \
             durable before they answer, and delete without a condition",
        );
    }
}

async fn ask_all(client: &Client, addrs: &[DaemonAddr]) -> Vec<Member> {
    let asked = addrs.iter().map(|addr| ask_member(client, addr.clone(), None));
    stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await
}

/// The members at these addresses.
fn places(fleet: &Fleet, addrs: &[DaemonAddr]) -> anyhow::Result<Vec<usize>> {
    let place = |addr: &DaemonAddr| {
        let place = fleet.members.iter().position(|node| node.addr() == addr);
        place.ok_or_else(|| {
            UsageError::because(format!("--allowed-dsts: {addr} is no member of the ring"))
        })
    };
    addrs.iter().map(place).collect()
}

/// Whether there is room for the plan, or the operator wants it all the same.
pub(crate) fn fits(plan: &Plan, ignore_free_space: bool, output: &Output) -> bool {
    let shortages = plan.shortages();
    for shortage in &shortages {
        output.say(format_args!("bucky: {shortage}"));
    }
    if shortages.is_empty() || ignore_free_space {
        return true;
    }
    output.say(
        "bucky: nothing was done; make room, give a smaller --reserve, or give --ignore-free-space",
    );
    false
}

async fn carry_out(
    fleet: Arc<Fleet>,
    selection: Selection,
    survey: &Survey,
    order: Order,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let (journal, resume) = open_journal(&order, &selection)?;
    let jobs = order.sync.job_state.as_deref().map(JobState::open).transpose()?;
    let files = (order.sync.errors.as_deref(), order.sync.metric_errors.as_deref());
    // Before the signals are the run's: whoever opens a pipe that nobody reads can still be ended.
    let files = FailureFiles::open(files.0, files.1)?;
    let stop = Stop::told_on_signals(output)?;
    let mover = Arc::new(Mover::new(MoverParts {
        tally: Tally::begin(files, Arc::clone(output)),
        journal: JournalDesk::new(journal, Arc::clone(output)),
        jobs: JobDesk::new(jobs, Arc::clone(output)),
        sync: order.sync.clone(),
        stop: stop.clone(),
        output: Arc::clone(output),
        fleet,
        selection,
        limits: order.limits,
        travel: order.travel,
        deletes: order.deletes,
        copies_from_owners: order.task == Task::Copy,
        rest: order.rest,
        replace_corrupt: order.replace_corrupt,
        verbose: order.verbose,
        workers: order.workers,
    }));
    let insisted = mover.show(mover.run(resume), survey.plan.metrics).await;
    mover.tally.flush();
    let counts = mover.tally.counts();
    let is_whole = !insisted && !stop.is_asked();
    mover.journal.end(is_whole && !counts.is_failure(0));
    // The nodes' answers may take long: whoever has no patience for the run has none for them.
    let summary = tokio::select! {
        summary = summarise(&mover, &order, survey.unplaceable, output), if !insisted => Some(summary),
        () = stop.insisted() => None,
    };
    let Some(summary) = summary else {
        output.say(STOPPED_AT_ONCE);
        return Ok(Outcome::Interrupted);
    };
    mover.tally.tell_schemas(order.sync.on_schema_difference);
    output.say(summary);
    let is_success = is_whole && !counts.is_failure(order.sync.error_tolerance);
    Ok(if is_success { Outcome::Done } else { Outcome::SomeFailed })
}

fn open_journal(
    order: &Order,
    selection: &Selection,
) -> anyhow::Result<(Option<Journal>, BTreeMap<String, Resume>)> {
    let Some(path) = &order.journal else { return Ok((None, BTreeMap::new())) };
    let allowed = order.allowed_destinations.iter().flatten().map(DaemonAddr::to_string);
    let ring = selection.ring.spec().fingerprint();
    let purpose = Purpose {
        ring: match order.task {
            Task::Rebalance => ring,
            // Finished there is another thing than in place.
            Task::Copy => format!("copy to {ring}"),
        },
        regex: selection.regex.clone(),
        allowed_destinations: allowed.collect(),
        deletes: order.deletes,
    };
    let (journal, resume) =
        Journal::open(path, &purpose).map_err(|error| UsageError::because(crate::chain(&error)))?;
    Ok((Some(journal), resume))
}

/// What was done, and what the nodes say is left.
async fn summarise(
    mover: &Mover,
    order: &Order,
    unplaceable: u64,
    output: &Arc<Output>,
) -> Summary {
    let left = mover.fleet.sources.iter().map(|source| left_at(mover, source, output));
    let left: Vec<(Option<u64>, u64)> = stream::iter(left).buffered(ASKED_AT_ONCE).collect().await;
    Summary {
        task: order.task,
        counts: mover.tally.counts(),
        elapsed: mover.tally.elapsed(),
        deletes: order.deletes,
        stopped: mover.stop.is_asked(),
        is_selection: order.is_selection(),
        still_misplaced: left.iter().map(|(misplaced, _)| *misplaced).sum(),
        unplaceable,
        tombstones: left.iter().map(|(_, tombstones)| tombstones).sum(),
    }
}

/// How many strays a source still has, where it tells, and how many deleted sources wait there. The list of a Go
/// daemon is not kept true by what is deleted, so it is not asked; nor is a node that was given up.
async fn left_at(mover: &Mover, source: &Source, output: &Arc<Output>) -> (Option<u64>, u64) {
    if source.node.kind == Kind::Go || source.node.admit().is_err() {
        return (None, 0);
    }
    // First what is answered at once: a node that is silent is not asked for what may take long.
    let Ok(status) = source.node.daemon.status().await else { return (None, 0) };
    let tombstones = status.map_or(0, |status| status.tombstones.waiting);
    if mover.copies_from_owners {
        return (None, tombstones);
    }
    let misplaced = survey::count(&mover.fleet, source, &mover.selection, output).await;
    (misplaced.ok().map(|count| count.metrics), tombstones)
}
