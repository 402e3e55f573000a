//! `bucky rebalance`: brings every metric to the nodes that own it.
//!
//! All nodes are asked, and refused unless they agree. This module finds out which nodes take part and what
//! is selected; the plan, the move and the summary are [`crate::transfer`]'s. A later run finishes what an
//! earlier one left.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bucky_api::{Client, DaemonAddr};
use futures_util::{StreamExt, stream};

use crate::args::relay_file::RingOfRelay;
use crate::cluster::{Cluster, Member, Scope, ask_member};
use crate::fleet::Fleet;
use crate::former;
use crate::outcome::{Outcome, UnhealthyError, UsageError};
use crate::output::Output;
use crate::plan::Plan;
use crate::plan::survey::StraySelection;
use crate::ring_fit::FitQuery;
use crate::ring_plan::RingPlan;
use crate::shuffle_guard::{self, Work};
use crate::transfer::opening::open;
use crate::transfer::{ASKED_AT_ONCE, MoveOrder, plan_and_move};

/// A plan that was made before the daemons had the ring, and its file.
pub(crate) struct EarlierPlan {
    path: PathBuf,
    plan: RingPlan,
}

impl EarlierPlan {
    /// The plan in the file at `path`.
    ///
    /// # Errors
    /// [`UsageError`] if it is not a plan.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        Ok(Self { path: path.to_owned(), plan: RingPlan::read(path)? })
    }

    /// Adds the nodes that leave the ring by the plan to those that are drained.
    pub(crate) fn add_departing(&self, drained: &mut Vec<DaemonAddr>) {
        for node in self.plan.departing() {
            if !drained.contains(node) {
                drained.push(node.clone());
            }
        }
    }

    /// Refuses a cluster that the plan was not made for.
    fn require_same(&self, cluster: &Cluster, drained: &[Member]) -> anyhow::Result<()> {
        let ring = cluster.ring()?;
        let lines = self.plan.differences(ring.spec(), &cluster.members, drained);
        if lines.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = lines.iter().map(|line| format!("\n  {line}")).collect();
        Err(UnhealthyError::because(format!(
            "the cluster is not as the plan {} has it, and nothing was moved:{}\nTo move by the ring of the \
             daemons as it is, or to continue a run that was stopped, leave out --plan and name the nodes to \
             drain; look first with `bucky rebalance --no-op`",
            self.path.display(),
            lines.concat()
        )))
    }
}

/// What must hold before anything moves.
pub(crate) struct Conditions {
    /// The cluster is the one that this plan was made for.
    pub(crate) plan: Option<EarlierPlan>,
    /// The daemons have this ring.
    pub(crate) ring_of_relay: Option<RingOfRelay>,
    /// Also a move that only another ring explains is carried out.
    pub(crate) expects_shuffle: bool,
}

/// Carries out `order`, if the `conditions` hold.
///
/// # Errors
/// Everything that is refused before the first move. What fails later is in the outcome.
pub(crate) async fn run(
    client: Client,
    order: MoveOrder,
    conditions: Conditions,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let mut cluster =
        Cluster::discover_healthy(client, order.seed.clone(), Scope::All, order.verbose, output)
            .await?;
    if let Some(due) = &conditions.ring_of_relay {
        due.judge(&mut cluster)?;
        cluster.require_healthy()?;
    }
    let drained = ask_all(cluster.client(), &order.selected.drained).await;
    if let Some(plan) = &conditions.plan {
        plan.require_same(&cluster, &drained)?;
    }
    let (fleet, selection) = prepare(&cluster, &order, &drained, output).await?;
    former::report_former_members(&cluster, &order.selected.drained, output).await;
    output.say(format_args!("Ring: {}", selection.ring.spec().summary()));
    let query = FitQuery {
        series: order.selected.series.clone(),
        local_prefix: order.selected.local_prefix.clone(),
        ..FitQuery::default()
    };
    let check = async |plan: &Plan| match conditions.expects_shuffle {
        true => Ok(()),
        false => shuffle_guard::check(&cluster, plan, Work::Move, query, output).await,
    };
    plan_and_move(fleet, selection, order, check, output).await
}

/// Which nodes take part, and what is moved.
async fn prepare(
    cluster: &Cluster,
    order: &MoveOrder,
    drained: &[Member],
    output: &Arc<Output>,
) -> anyhow::Result<(Fleet, StraySelection)> {
    let ring = cluster.ring()?;
    let seed = if order.selected.only_seed {
        Some(ask_member(cluster.client(), order.seed.clone(), None).await)
    } else {
        None
    };
    let fleet = Fleet::of_cluster(cluster, &ring, drained, seed.as_ref())?;
    open(&fleet, cluster.present().chain(drained), order.preparation.fresh, output).await?;
    let allowed = order
        .selected
        .allowed_destinations
        .as_ref()
        .map(|allowed| indexes(&fleet, allowed))
        .transpose()?;
    let selection = order.selected.on(ring, allowed);
    Ok((fleet, selection))
}

async fn ask_all(client: &Client, addrs: &[DaemonAddr]) -> Vec<Member> {
    let asked = addrs.iter().map(|addr| ask_member(client, addr.clone(), None));
    stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await
}

/// The indexes of the members at these addresses.
fn indexes(fleet: &Fleet, addrs: &[DaemonAddr]) -> anyhow::Result<Vec<usize>> {
    let index = |addr: &DaemonAddr| {
        let index = fleet.members.iter().position(|node| node.addr() == addr);
        index.ok_or_else(|| {
            UsageError::because(format!("--allowed-dsts: {addr} is not a member of the ring"))
        })
    };
    addrs.iter().map(index).collect()
}
