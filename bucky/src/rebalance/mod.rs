//! `bucky rebalance`: brings every metric to the nodes that own it.
//!
//! All nodes are asked, and refused unless they agree. This module finds out which nodes take part and what
//! is selected; the plan, the move and the summary are [`crate::transfer`]'s. A later run finishes what an
//! earlier one left.

use std::sync::Arc;

use bucky_api::{Client, DaemonAddr};
use futures_util::{StreamExt, stream};

use crate::cluster::{Cluster, Member, Scope, ask_member};
use crate::fleet::Fleet;
use crate::former;
use crate::outcome::{Outcome, UsageError};
use crate::output::Output;
use crate::plan::survey::StraySelection;
use crate::transfer::opening::open;
use crate::transfer::{ASKED_AT_ONCE, MoveOrder, plan_and_move};

/// Carries out `order`.
///
/// # Errors
/// Everything that is refused before the first move. What fails later is in the outcome.
pub(crate) async fn run(
    client: Client,
    order: MoveOrder,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let cluster =
        Cluster::discover_healthy(client, order.seed.clone(), Scope::All, order.verbose, output)
            .await?;
    let (fleet, selection) = prepare(&cluster, &order, output).await?;
    former::report_former_members(&cluster, &order.selected.drained, output).await;
    plan_and_move(fleet, selection, order, output).await
}

/// Which nodes take part, and what is moved.
async fn prepare(
    cluster: &Cluster,
    order: &MoveOrder,
    output: &Arc<Output>,
) -> anyhow::Result<(Fleet, StraySelection)> {
    let ring = cluster.ring()?;
    let drained = ask_all(cluster.client(), &order.selected.drained).await;
    let seed = if order.selected.only_seed {
        Some(ask_member(cluster.client(), order.seed.clone(), None).await)
    } else {
        None
    };
    let fleet = Fleet::of_cluster(cluster, &ring, &drained, seed.as_ref())?;
    open(&fleet, cluster.present().chain(&drained), order.preparation.fresh, output).await?;
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
