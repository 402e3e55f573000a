//! `bucky copy`, `bucky backfill`, `bucky backfill2`: from one node or cluster to another, and from old names
//! to new ones.
//!
//! Whole nodes and clusters (`copy`, `backfill2 -r`) use the engine of a rebalance, with the sources in the
//! part of drained nodes. `parties` finds the nodes; everything after that, with the conditional delete, is
//! `transfer`'s. The names of a map (`name_map`) are looked for on all nodes (`holding`). They become jobs in
//! an order that all owners of a new name share (`jobs`, pure), and those owners fetch them (`carry`). No old
//! metric is deleted.

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
use crate::transfer::{self, MoveOrder};

/// Copies all metrics that the daemon at `from` lists to the daemon at `to`.
///
/// # Errors
/// Everything that is refused before the first copy: above all, two addresses of one store (D29).
pub(crate) async fn node_to_node(
    client: Client,
    from: DaemonAddr,
    to: DaemonAddr,
    order: MoveOrder,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let ring = parties::ring_of_one(&to)?;
    let (source, destination) =
        tokio::join!(ask_member(&client, from, None), ask_member(&client, to, None));
    let fleet = parties::of_two(&source, &destination)?;
    parties::refuse_local_addresses(&fleet)?;
    open(&fleet, [&source].into_iter(), order.preparation.fresh, output).await?;
    let selection = order.selected.on(ring, None);
    transfer::plan_and_move(fleet, selection, order, async |_| Ok(()), output).await
}

/// Copies the metrics that the cluster of `from` lists and `order` selects to their owners in the cluster of
/// `to`.
///
/// # Errors
/// Everything that is refused before the first copy.
pub(crate) async fn cluster_to_cluster(
    client: Client,
    from: DaemonAddr,
    to: DaemonAddr,
    order: MoveOrder,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let sources = healthy(&client, from, order.verbose, output).await?;
    let destinations = healthy(&client, to, order.verbose, output).await?;
    let fleet = parties::of_clusters(&sources, &destinations)?;
    parties::refuse_local_addresses(&fleet)?;
    open(&fleet, sources.present(), order.preparation.fresh, output).await?;
    let selection = order.selected.on(destinations.ring()?, None);
    transfer::plan_and_move(fleet, selection, order, async |_| Ok(()), output).await
}

/// The cluster of the daemon at `seed`, on the port of `seed` (D25), if all its nodes answer and agree.
async fn healthy(
    client: &Client,
    seed: DaemonAddr,
    verbose: bool,
    output: &Output,
) -> anyhow::Result<Cluster> {
    Cluster::discover_healthy(client.clone(), seed, Scope::All, verbose, output).await
}
