//! `bucky plan`: what a move to another ring would do, before any daemon has that ring.
//!
//! Each node counts its own metrics by the planned ring ([`PlanCount`]), so the client sees numbers only, as
//! many as there are pairs of nodes. The move itself is planned by [`crate::plan`], as for a rebalance.

pub(crate) mod check;
mod document;
mod next_ring;
pub(crate) mod rate;
mod suggest;
mod sums;
mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use bucky_api::{DaemonAddr, PlanCount, PlanRequest};
use bucky_ring::{Ring, RingDocument};
use futures_util::{StreamExt, stream};

pub(crate) use self::document::RingPlan;
pub(crate) use self::next_ring::changed;
pub(crate) use self::suggest::suggest;
use self::sums::NodeCount;
pub(crate) use self::tables::{PairsShown, suggested, text};
use crate::cluster::{Answer, Cluster, DaemonKind, Member, ask_member, store_of};
use crate::inventory::refresh;
use crate::outcome::{UnhealthyError, UsageError};
use crate::output::Output;
use crate::plan::Plan;
use crate::plan::room::Reserve;
use crate::{chain, patience};

/// How many nodes count at once.
const COUNTING: usize = 32;

/// What is planned, and the move that a rebalance would plan.
pub(crate) struct PlannedMove {
    /// The numbers, for programs and for `rebalance --plan`.
    pub(crate) plan: RingPlan,
    /// The move, with what fits.
    pub(crate) moves: Plan,
}

/// Plans the move of `cluster` to the ring `then`.
///
/// # Errors
/// [`UsageError`] for a host that cannot be the address of a daemon; [`UnhealthyError`] if a node cannot
/// count.
pub(crate) async fn plan(
    cluster: &Cluster,
    then: &Ring,
    reserve: Reserve,
    fresh: bool,
    output: &Arc<Output>,
) -> anyhow::Result<PlannedMove> {
    let now = cluster.ring()?;
    let new = new_nodes(cluster, then, output).await?;
    let nodes: Vec<&Member> = cluster.members.iter().chain(&new).collect();
    if fresh {
        refresh(nodes.iter().copied().filter(|node| node.is_there()), output).await?;
    }
    report_volumes(&nodes, output);
    let document = RingDocument::from_spec("", then.spec());
    let asked = nodes.iter().map(|node| count(node, &document, output));
    let counted: Vec<anyhow::Result<Option<PlanCount>>> =
        stream::iter(asked).buffered(COUNTING).collect().await;
    let mut counts = Vec::with_capacity(nodes.len());
    for (node, count) in nodes.iter().zip(counted) {
        counts.push(NodeCount {
            addr: node.addr().clone(),
            host: node.host.clone().unwrap_or_default(),
            disk: node.status().map(|status| status.disk),
            count: count?,
        });
    }
    Ok(sums::add_up(&now, then, &counts, reserve))
}

/// The nodes that only the planned ring has. They need not exist.
async fn new_nodes(cluster: &Cluster, then: &Ring, output: &Output) -> anyhow::Result<Vec<Member>> {
    let is_member =
        |host: &str| cluster.members.iter().any(|member| member.host.as_deref() == Some(host));
    let mut hosts: BTreeMap<&str, usize> = BTreeMap::new();
    for (position, node) in then.nodes().iter().enumerate() {
        if !is_member(node.host()) {
            hosts.entry(node.host()).or_insert(position);
        }
    }
    let mut hosts: Vec<(usize, &str)> = hosts.into_iter().map(|(host, at)| (at, host)).collect();
    hosts.sort_unstable();
    let mut asked = Vec::with_capacity(hosts.len());
    for (_, host) in hosts {
        let addr = DaemonAddr::new(host, cluster.seed.port()).map_err(|error| {
            UsageError::because(format!("the node {host} of the planned ring: {error}"))
        })?;
        asked.push(ask_member(cluster.client(), addr, Some(host.to_owned())));
    }
    let nodes: Vec<Member> = stream::iter(asked).buffered(COUNTING).collect().await;
    for node in &nodes {
        refuse_renamed(cluster, node)?;
        if let Answer::Away { reason, .. } = &node.answer {
            output.say(format_args!(
                "bucky: {} is new and does not answer; it counts as empty, and its room is unknown ({reason})",
                node.addr()
            ));
        }
    }
    Ok(nodes)
}

/// Refuses a new node that is a member under another name: its metrics would count as moved.
fn refuse_renamed(cluster: &Cluster, node: &Member) -> anyhow::Result<()> {
    let store = store_of(&node.answer);
    let is_same = |member: &&Member| store.is_some() && store_of(&member.answer) == store;
    match cluster.members.iter().find(is_same) {
        None => Ok(()),
        Some(member) => Err(UsageError::because(format!(
            "{} of the planned ring serves the same files as {}: it is a member under another name, and its \
             metrics do not move; plan with its present name",
            node.addr(),
            member.addr()
        ))),
    }
}

/// Says that what fits is not known for each volume.
fn report_volumes(nodes: &[&Member], output: &Output) {
    for node in nodes {
        if node.status().is_some_and(|status| !status.volumes.is_empty()) {
            output.say(format_args!(
                "bucky: {} has other volumes below its prefix, and FITS counts its prefix only; when the daemons \
                 have the planned ring, `bucky rebalance --no-op` counts each volume",
                node.addr()
            ));
        }
    }
}

/// What `node` would send by the ring of `document`; `None` if it does not exist yet.
async fn count(
    node: &Member,
    document: &RingDocument,
    output: &Output,
) -> anyhow::Result<Option<PlanCount>> {
    if !node.is_there() {
        return Ok(None);
    }
    let addr = node.addr();
    let cannot = |reason: &str| {
        UnhealthyError::because(format!("{addr} cannot count what would move: {reason}"))
    };
    if !node.can(DaemonKind::finds_misplaced) {
        return Err(cannot(
            "it is a Go daemon; install buckyd there, or give all daemons the new ring and use `bucky rebalance \
             --no-op`",
        ));
    }
    let request = PlanRequest { ring: document.clone(), host: node.host.clone() };
    let on_wait = |error: &bucky_api::ClientError| {
        output.say(format_args!("Results from {} not available. Sleeping.", error.addr()));
    };
    let answer = patience::ask(&node.daemon, || node.daemon.plan(&request), on_wait).await;
    match answer.map_err(|error| cannot(&chain(&error)))? {
        Some(count) => Ok(Some(count)),
        None => Err(cannot("its buckyd is too old; upgrade it")),
    }
}
