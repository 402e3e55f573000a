//! The guard: a plan that shuffles metrics among nodes that were members before is refused if the files on the
//! disks lie by another ring.
//!
//! With one wrong word in the rings of all daemons, every check agrees, and most metrics count as misplaced.
//! Nodes that come and go move metrics only to or from themselves. So where many would move between the
//! others, the rings are compared with the disks ([`crate::ring_fit`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use bucky_ring::{Explanation, Ring, RingSpec, shuffled_share};

use crate::cluster::{Cluster, Member};
use crate::counted;
use crate::outcome::UnhealthyError;
use crate::output::{Output, human_count};
use crate::plan::Plan;
use crate::ring_fit::{FitQuery, RingFit, fit};

/// Fewer metrics than this between nodes that were members before are not looked into.
const METRICS_LEAST: u64 = 20;
/// A smaller share of the metrics than one in this many is not looked into: strays are always there.
const ONE_IN: u64 = 200;
/// By how much another ring must explain the disks better, of 1, to count as their ring. Two relays that differ
/// only where entries collide differ by this much and more.
const BETTER_BY: f64 = 0.002;
/// Up to this share of copies may move between nodes that stay when a consistent ring gains or loses nodes.
const CONSISTENT: f64 = 0.003;

/// Refuses `plan` if it shuffles metrics among nodes that were members before, and another ring explains the
/// disks better than the ring of the daemons.
///
/// # Errors
/// [`UnhealthyError`] with that ring, and what to type.
pub(super) async fn check(
    cluster: &Cluster,
    plan: &Plan,
    query: FitQuery,
    output: &Arc<Output>,
) -> anyhow::Result<()> {
    let old = hosts_before(cluster);
    let is_old = |host: &str| old.contains(host);
    let rows = plan.rows.iter();
    let moved = rows.filter(|row| is_old(row.from.host()) && is_old(row.to.host()));
    let moved: u64 = moved.map(|row| row.load.metrics).sum();
    let held: u64 =
        cluster.members.iter().filter_map(Member::status).filter_map(|it| it.metrics).sum();
    if moved < METRICS_LEAST || moved.saturating_mul(ONE_IN) < held {
        return Ok(());
    }
    output.say(format_args!(
        "bucky: {} would move between nodes that were members before; comparing the ring with what is on the disks",
        counted::metrics(moved)
    ));
    let former = former_rings(cluster);
    let query = FitQuery { rings: former.iter().map(|(ring, _)| ring.clone()).collect(), ..query };
    let found = fit(cluster, &query, output).await?;
    match better(&found) {
        None => Ok(()),
        Some((best, present)) => {
            Err(UnhealthyError::because(refusal(&found, best, present, moved)))
        }
    }
}

/// The hosts that were members before: those of the ring that a daemon had before, if it is known. They still
/// are members.
fn hosts_before(cluster: &Cluster) -> BTreeSet<String> {
    let members = cluster.members.iter().map(|member| member.addr().host().to_owned());
    let members: BTreeSet<String> = members.collect();
    let former = former_rings(cluster);
    let Some((latest, _)) = former.first() else { return members };
    let before: BTreeSet<&str> = latest.nodes.iter().map(bucky_ring::Node::host).collect();
    members.into_iter().filter(|host| before.contains(host.as_str())).collect()
}

/// The rings that the daemons had before, each once, the latest first, with the time until which.
fn former_rings(cluster: &Cluster) -> Vec<(RingSpec, u64)> {
    let statuses = cluster.members.iter().filter_map(Member::status);
    let former = statuses.filter_map(|status| status.former_ring.as_ref());
    let mut rings: Vec<(RingSpec, u64)> =
        former.filter_map(|former| Some((former.ring.to_spec().ok()?, former.until))).collect();
    rings.sort_by_key(|(_, until)| std::cmp::Reverse(*until));
    let mut known: Vec<RingSpec> = Vec::new();
    rings.retain(|(ring, _)| {
        let is_new = !known.contains(ring);
        known.push(ring.clone());
        is_new
    });
    rings
}

/// The best explanation and that of the present ring, if the first is the ring of the disks and nodes that came
/// or went do not explain the difference.
fn better(found: &RingFit) -> Option<(&Explanation, Option<&Explanation>)> {
    let best = found.best().filter(|_| !found.present_is_best())?;
    let present = found.of_present();
    if best.score() - present.map_or(0.0, Explanation::score) < BETTER_BY {
        return None;
    }
    let is_explained =
        |ring: &RingSpec| shuffle(ring, &found.present).is_none_or(|share| share <= CONSISTENT);
    (!best.rings.iter().any(is_explained)).then_some((best, present))
}

/// The share of copies that move between nodes that both rings have. With equal copies only the first is
/// compared: a jump ring draws the further ones anew whenever a node is added. `None` if a ring cannot be built.
fn shuffle(before: &RingSpec, after: &RingSpec) -> Option<f64> {
    let first = |spec: &RingSpec| {
        let spec = spec.clone();
        match before.replication_factor == after.replication_factor {
            true => RingSpec { replication_factor: 1, diverse_replicas: false, ..spec },
            false => spec,
        }
    };
    Some(shuffled_share(&Ring::new(first(before)).ok()?, &Ring::new(first(after)).ok()?))
}

fn refusal(
    found: &RingFit,
    best: &Explanation,
    present: Option<&Explanation>,
    moved: u64,
) -> String {
    let percent = |share: f64| format!("{:.2} % in place", share * 100.0);
    let ring = best.rings.first().unwrap_or(&found.present);
    let of_present =
        present.map_or_else(|| "nothing in place".to_owned(), |it| percent(it.share_in_place()));
    format!(
        "refused: {} would move between nodes that were members before, and no node that came or went explains \
         it. The files lie by another ring than the daemons have ({} names compared):\n  \
         disks:   {}: {}\n  \
         daemons: {}: {of_present}\n\
         If the daemons' ring is wrong, restart each buckyd with that of the disks:\n  \
         buckyd {}\n\
         `bucky ring fit` shows more rings. If the new ring is right and all of this is to move, add \
         --expect-shuffle",
        counted::metrics(moved),
        human_count(found.names),
        ring.summary(),
        percent(best.share_in_place()),
        found.present.summary(),
        ring.daemon_words().join(" "),
    )
}
