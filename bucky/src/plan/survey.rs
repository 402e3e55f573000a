//! How much there is to move. Nodes that can count for themselves are asked; the others' lists are counted
//! here.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bucky_api::client::MisplacedQuery;
use bucky_ring::Ring;
use futures_util::{StreamExt, stream};

use super::room::Reserve;
use super::{Destination, Load, Plan, PlanRow};
use crate::fleet::{Fleet, OwnerIndex, Source};
use crate::inventory::page_len;
use crate::outcome::UnhealthyError;
use crate::output::Output;
use crate::placement::{self, Series};
use crate::strays::{Item, MisplacedMetric, StrayListing, StrayMethod, StrayQuery};
use crate::{chain, patience};

/// How many nodes count at once.
const COUNTING: usize = 32;

/// How many paths of a Go daemon's list that are not a metric's name are reported.
const UNUSABLE_NAMED: u64 = 20;

/// Which misplaced metrics are moved.
#[derive(Clone)]
pub(crate) struct StraySelection {
    /// The ring.
    pub(crate) ring: Arc<Ring>,
    /// The series that are known by their hash.
    pub(crate) series: Series,
    /// Only metrics whose name matches this.
    pub(crate) regex: Option<String>,
    /// Only metrics whose owners are all among these; `None` if all are allowed.
    pub(crate) allowed: Option<Vec<OwnerIndex>>,
    /// Names with this prefix are local metrics; used where a list is placed here.
    pub(crate) local_prefix: Option<String>,
}

impl StraySelection {
    /// Whether metrics of these owners are moved. A metric goes to all of its owners or stays where it is.
    pub(crate) fn allows(&self, owners: &[OwnerIndex]) -> bool {
        self.allowed
            .as_ref()
            .is_none_or(|allowed| owners.iter().all(|owner| allowed.contains(owner)))
    }

    /// What is asked of `source`.
    pub(crate) fn query(&self, fleet: &Fleet, source: &Source) -> StrayQuery {
        StrayQuery {
            method: source.method.clone(),
            ring: Arc::clone(&self.ring),
            series: self.series.clone(),
            regex: self.regex.clone(),
            after: None,
            page: page_len(fleet.sources.len()),
            with_bytes: true,
            local_prefix: self.local_prefix.clone(),
        }
    }
}

/// What one node has to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Misplaced metrics, each once.
    pub(crate) metrics: u64,
    /// By owner, what it gets.
    pub(crate) loads: BTreeMap<OwnerIndex, Load>,
    /// The part that goes to volumes: by owner and the index of the volume in the owner's list.
    pub(crate) volume_loads: BTreeMap<(OwnerIndex, usize), Load>,
    /// Tagged files that are unplaceable.
    pub(crate) unplaceable: u64,
    /// Metrics that no rule of the relay sends to the ring.
    pub(crate) unrouted: u64,
    /// Paths in a Go daemon's list that are not a metric's name.
    pub(crate) unusable: u64,
}

/// What there is to move, and what is unplaceable.
#[derive(Clone, Debug)]
pub(crate) struct MoveSurvey {
    /// The plan for all sources.
    pub(crate) plan: Plan,
    /// Unplaceable tagged files: they stay where they are.
    pub(crate) unplaceable: u64,
}

/// The plan for all sources.
///
/// # Errors
/// [`UnhealthyError`] if a node cannot count.
pub(crate) async fn plan(
    fleet: &Fleet,
    selection: &StraySelection,
    reserve: Reserve,
    output: &Arc<Output>,
) -> anyhow::Result<MoveSurvey> {
    let counted = fleet.sources.iter().map(|source| async move {
        count(fleet, source, selection, output).await.map(|count| (source, count))
    });
    let mut counted = stream::iter(counted).buffered(COUNTING);
    let (mut rows, mut metrics, mut unplaceable) = (Vec::new(), 0, 0);
    let mut unrouted: Vec<(String, u64)> = Vec::new();
    let mut volume_loads: BTreeMap<(OwnerIndex, usize), Load> = BTreeMap::new();
    while let Some(result) = counted.next().await {
        let (source, count) = result?;
        metrics += count.metrics;
        unplaceable += count.unplaceable;
        if count.unrouted > 0 {
            unrouted.push((source.node.addr().to_string(), count.unrouted));
        }
        if count.unusable > UNUSABLE_NAMED {
            let (addr, count) = (source.node.addr(), count.unusable);
            output.say(format_args!(
                "bucky: {addr} lists {count} names that cannot be moved; the others are not named"
            ));
        }
        for (volume, load) in count.volume_loads {
            volume_loads.entry(volume).or_default().add(load);
        }
        for (owner, load) in count.loads {
            let Some(to) = fleet.member(owner) else { continue };
            rows.push(PlanRow { from: source.node.addr().clone(), to: to.addr().clone(), load });
        }
    }
    if unplaceable > 0 {
        output.say(format_args!("bucky: {}", selection.series.unplaceable(unplaceable)));
    }
    if let Some(message) = placement::unrouted(&unrouted) {
        output.say(message);
    }
    let disk = |addr: &bucky_api::DaemonAddr| {
        fleet.members.iter().find(|node| node.addr() == addr).and_then(|node| node.disk)
    };
    let volumes = volume_loads.into_iter().filter_map(|((owner, volume), load)| {
        let node = fleet.member(owner)?;
        let volume = node.volumes.get(volume)?;
        let (addr, disk) = (node.addr().clone(), Some(volume.disk));
        Some(Destination { addr, volume: Some(volume.path.clone()), load, disk })
    });
    let plan = Plan::new(rows, metrics, disk).with_volumes(volumes.collect()).reserving(reserve);
    Ok(MoveSurvey { plan, unplaceable })
}

/// What `source` has to send.
///
/// # Errors
/// [`UnhealthyError`] if it cannot count.
pub(crate) async fn count(
    fleet: &Fleet,
    source: &Source,
    selection: &StraySelection,
    output: &Arc<Output>,
) -> anyhow::Result<Count> {
    // A node's own count is by node of the ring. With several owners it does not show which metrics have only
    // allowed owners, nor which ring nodes are instances of one host, which gets one copy.
    let spec = selection.ring.spec();
    let is_host_once = spec.diverse_replicas || fleet.members.len() == selection.ring.nodes().len();
    // Nor does it show which metrics go to which volume of an owner.
    let has_volumes = fleet.members.iter().any(|node| !node.volumes.is_empty());
    let is_exact = !has_volumes
        && (spec.has_one_owner_each() || (selection.allowed.is_none() && is_host_once));
    match &source.method {
        StrayMethod::Asked { host } if !is_exact && spec.routes.is_some() => {
            // The list of what is misplaced does not have them.
            let unrouted = asked(fleet, source, host.clone(), selection, output).await?.unrouted;
            let count = listed(fleet, source, selection, output).await?;
            Ok(Count { unrouted, ..count })
        }
        StrayMethod::Asked { host } if is_exact => {
            let count = asked(fleet, source, host.clone(), selection, output).await?;
            // Our `--series` may have series that the node does not know.
            if count.unplaceable == 0 || !selection.series.is_given() {
                return Ok(count);
            }
            listed(fleet, source, selection, output).await
        }
        _ => listed(fleet, source, selection, output).await,
    }
}

async fn asked(
    fleet: &Fleet,
    source: &Source,
    host: Option<String>,
    selection: &StraySelection,
    output: &Output,
) -> anyhow::Result<Count> {
    let query =
        MisplacedQuery { host, regex: selection.regex.clone(), ..MisplacedQuery::default() };
    let daemon = &source.node.daemon;
    let on_wait = |error: &bucky_api::ClientError| {
        output.say(format_args!("Results from {} not available. Sleeping.", error.addr()));
    };
    let answer = patience::ask(daemon, || daemon.misplaced_count(&query), on_wait).await;
    let answer = answer.map_err(|error| cannot_count(source, &chain(&error)))?;
    let nodes = selection.ring.nodes().iter().enumerate();
    let indexes: HashMap<String, usize> =
        nodes.map(|(index, node)| (node.to_string(), index)).collect();
    let mut count = Count {
        metrics: answer.metrics,
        unplaceable: answer.unplaceable,
        unrouted: answer.unrouted,
        ..Count::default()
    };
    let mut refused = 0;
    for destination in answer.destinations {
        let node = *indexes.get(&destination.node).ok_or_else(|| {
            cannot_count(
                source,
                &format!(
                    "it places metrics on {}, which is not in the ring of -h",
                    destination.node
                ),
            )
        })?;
        for owner in fleet.owners(&[node]) {
            if selection.allows(&[owner]) {
                let load =
                    Load { metrics: destination.metrics, bytes: destination.bytes, unknown: 0 };
                count.loads.entry(owner).or_default().add(load);
            } else {
                refused += destination.metrics;
            }
        }
    }
    count.metrics = count.metrics.saturating_sub(refused);
    Ok(count)
}

async fn listed(
    fleet: &Fleet,
    source: &Source,
    selection: &StraySelection,
    output: &Arc<Output>,
) -> anyhow::Result<Count> {
    let mut listing = StrayListing::begin(
        source.node.daemon.clone(),
        selection.query(fleet, source),
        Arc::clone(output),
    );
    let mut count = Count::default();
    while let Some(item) =
        listing.next().await.map_err(|error| cannot_count(source, &chain(&error)))?
    {
        match item {
            Item::Stray(found) => add(fleet, source, selection, &mut count, &found),
            Item::Unplaceable(_) => count.unplaceable += 1,
            Item::Unrouted(_) => count.unrouted += 1,
            Item::Unusable { name, reason } => {
                count.unusable += 1;
                if count.unusable <= UNUSABLE_NAMED {
                    output.say(format_args!(
                        "bucky: {} lists {name:?}, which cannot be moved: {reason}",
                        source.node.addr()
                    ));
                }
            }
        }
    }
    Ok(count)
}

fn add(
    fleet: &Fleet,
    source: &Source,
    selection: &StraySelection,
    count: &mut Count,
    found: &MisplacedMetric,
) {
    let owners = fleet.owners(&found.owners);
    if !selection.allows(&owners) || fleet.is_only_owner(&source.node, &owners) {
        return;
    }
    count.metrics += 1;
    for owner in owners {
        let Some(node) = fleet.member(owner) else { continue };
        if node.store == source.node.store {
            continue;
        }
        if let Some(volume) = node.volume_of(found.metric.as_str()) {
            count.volume_loads.entry((owner, volume)).or_default().add_metric(found.bytes);
        }
        count.loads.entry(owner).or_default().add_metric(found.bytes);
    }
}

fn cannot_count(source: &Source, reason: &str) -> anyhow::Error {
    UnhealthyError::because(format!(
        "cannot find out what is misplaced on {}: {reason}",
        source.node.addr()
    ))
}
