//! `bucky copy`, `bucky backfill`, `bucky backfill2`: what one node or cluster has, to another; old names to new ones.
//!
//! Whole nodes and clusters (`copy`, `backfill2 -r`) go the way of a rebalance, with the sources for nodes that are
//! drained: `parties` says who they are, and everything after that, the conditional delete with it, is `rebalance`'s.
//! Names of a map (`name_map`) are looked for on all nodes (`holding`), become jobs in an order that all owners of a new
//! name share (`jobs`, pure), and are fetched by those owners (`carry`). No old metric is deleted.

mod backfill;
mod carry;
mod holding;
mod jobs;
mod name_map;
mod parties;
mod report;

use std::sync::Arc;

use bucky_api::{Client, DaemonAddr};

pub(crate) use self::backfill::{BackfillOrder, backfill};
pub(crate) use self::name_map::NameMap;
use crate::cluster::{Cluster, Scope, ask_member};
use crate::outcome::Outcome;
use crate::output::Output;
use crate::transfer::opening::open;
use crate::transfer::{self, Order};

/// Copies all that the daemon at `from` lists to the one at `to`.
///
/// # Errors
/// Everything that is refused before something is copied: above all two addresses of one store (D29).
pub(crate) async fn node_to_node(
    client: Client,
    from: DaemonAddr,
    to: DaemonAddr,
    order: Order,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let ring = parties::ring_of_one(&to)?;
    let (source, destination) =
        tokio::join!(ask_member(&client, from, None), ask_member(&client, to, None));
    let fleet = parties::of_two(&source, &destination)?;
    parties::refuse_local_addresses(&fleet)?;
    open(&fleet, [&source].into_iter(), order.preparation.fresh, output).await?;
    let selection = order.selected.on(ring, None);
    transfer::plan_and_move(fleet, selection, order, output).await
}

/// Copies what the nodes of the cluster of `from` list and `order` selects to its owners in the cluster of `to`.
///
/// # Errors
/// Everything that is refused before something is copied.
pub(crate) async fn cluster_to_cluster(
    client: Client,
    from: DaemonAddr,
    to: DaemonAddr,
    order: Order,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let sources = healthy(&client, from, order.verbose, output).await?;
    let destinations = healthy(&client, to, order.verbose, output).await?;
    let fleet = parties::of_clusters(&sources, &destinations)?;
    parties::refuse_local_addresses(&fleet)?;
    open(&fleet, sources.present(), order.preparation.fresh, output).await?;
    let selection = order.selected.on(destinations.ring()?, None);
    transfer::plan_and_move(fleet, selection, order, output).await
}

/// The cluster that the daemon at `seed` tells of, on its own port (D25), if all its nodes are there and agree.
async fn healthy(
    client: &Client,
    seed: DaemonAddr,
    verbose: bool,
    output: &Output,
) -> anyhow::Result<Cluster> {
    Cluster::discover_healthy(client.clone(), seed, Scope::All, verbose, output).await
}
