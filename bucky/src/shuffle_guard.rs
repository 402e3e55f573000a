//! The guard: a plan that shuffles metrics among nodes that were members before is refused if the files on the
//! disks lie by another ring.
//!
//! With one wrong word in the rings of all daemons, every check agrees, and most metrics count as misplaced.
//! Nodes that come and go move metrics only to or from themselves. So where many would move between the
//! others, the rings are compared with the disks ([`crate::ring_fit`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use bucky_ring::{Explanation, Relay, Ring, RingSpec, shuffled_share};

use crate::cluster::{Cluster, Member};
use crate::counted;
use crate::outcome::UnhealthyError;
use crate::output::{Output, human_count};
use crate::plan::Plan;
use crate::ring_fit::{FitQuery, RingFit, fit};

/// Fewer metrics than this between nodes that were members before are not looked into.
const METRICS_LEAST: u64 = 100;
/// A smaller share of the metrics than one in this many is not looked into: strays are always there.
const ONE_IN: u64 = 10_000;
/// How many times the spread of pure chance the difference must be.
const SIGMAS: u64 = 5;
/// Up to this share of copies may move between nodes that stay when a consistent ring gains or loses nodes.
const CONSISTENT: f64 = 0.003;

/// What a plan does with metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// They go to their owners, and their sources are deleted.
    Move,
    /// Owners that lack them get copies. More copies than the disks have are what it is for.
    Copy,
}

impl Work {
    fn would(self) -> &'static str {
        match self {
            Self::Move => "would move",
            Self::Copy => "would be copied",
        }
    }
}

/// Refuses `plan` if it shuffles metrics among nodes that were members before, and another ring explains the
/// disks better than the ring of the daemons.
///
/// # Errors
/// [`UnhealthyError`] with that ring, and what to type.
pub(crate) async fn check(
    cluster: &Cluster,
    plan: &Plan,
    work: Work,
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
        "bucky: {} {}; comparing the ring with what is on the disks",
        counted::metrics(moved),
        work.would()
    ));
    let former = former_rings(cluster);
    let query = FitQuery { rings: former.iter().map(|(ring, _)| ring.clone()).collect(), ..query };
    let found = fit(cluster, &query, output).await?;
    match verdict(&found, work, moved, held) {
        Verdict::Explained => Ok(()),
        Verdict::OtherRing(best) => {
            Err(UnhealthyError::because(of_another_ring(&found, best, work, moved)))
        }
        Verdict::NoRing => Err(UnhealthyError::because(of_no_ring(&found, work, moved))),
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

/// What the disks say about a shuffle.
enum Verdict<'f> {
    /// The ring of the daemons is theirs, or nodes that came or went explain the difference.
    Explained,
    /// They lie by this ring.
    OtherRing(&'f Explanation),
    /// They lie by no ring that is known, and most of them would move.
    NoRing,
}

fn verdict(found: &RingFit, work: Work, moved: u64, held: u64) -> Verdict<'_> {
    let Some(best) = found.best() else { return Verdict::Explained };
    let present = found.of_present();
    let is_explained = |ring: &RingSpec| {
        let is_as_many = ring.replication_factor == found.present.replication_factor;
        (is_as_many || work == Work::Copy)
            && shuffle(ring, &found.present).is_some_and(|share| share <= CONSISTENT)
    };
    if found.present_is_best() || best.rings.iter().any(is_explained) {
        return Verdict::Explained;
    }
    if is_significant(best, present) && best.explains() {
        return Verdict::OtherRing(best);
    }
    if !present.is_some_and(Explanation::explains) && moved.saturating_mul(2) > held {
        Verdict::NoRing
    } else {
        Verdict::Explained
    }
}

/// Whether chance alone does not give so many more copies in place. Only copies that one of the two rings has in
/// place and the other has not can come from chance; there are at most as many as are out of place in either.
fn is_significant(best: &Explanation, present: Option<&Explanation>) -> bool {
    let in_place = present.map_or(0, |present| present.in_place);
    let wanted_more = present.map_or(0, |present| present.wanted).abs_diff(best.wanted);
    let more = best.in_place.saturating_sub(in_place).max(wanted_more);
    let out_of_place = |in_place| best.copies.saturating_sub(in_place);
    let apart = out_of_place(in_place).saturating_add(out_of_place(best.in_place)).max(1);
    more.saturating_mul(more) > apart.saturating_mul(SIGMAS * SIGMAS)
}

/// The share of copies that move between nodes that both rings have. Only the first copies are compared: a jump
/// ring chooses all other copies again when the number of nodes changes. The rings of routing rules have their
/// own numbers of copies, which count. `None` if a ring cannot be built.
fn shuffle(before: &RingSpec, after: &RingSpec) -> Option<f64> {
    let first = |spec: &RingSpec| match spec.routes {
        Some(_) => spec.clone(),
        None => RingSpec { replication_factor: 1, diverse_replicas: false, ..spec.clone() },
    };
    Some(shuffled_share(&Ring::new(first(before)).ok()?, &Ring::new(first(after)).ok()?))
}

fn percent(explanation: Option<&Explanation>) -> String {
    let share = explanation.map_or(0.0, Explanation::share_in_place);
    format!("{:.2} % in place", share * 100.0)
}

fn of_another_ring(found: &RingFit, best: &Explanation, work: Work, moved: u64) -> String {
    // Of several relays that agree, the daemons' own; buckytools is only a way to compute a relay's ring.
    let ring = best
        .rings
        .iter()
        .min_by_key(|ring| (ring.relay != found.present.relay, ring.relay == Relay::Buckytools))
        .unwrap_or(&found.present);
    let agree = match best.rings.iter().any(|other| other.relay != ring.relay) {
        true => "Several relays agree on all of it: name the one that writes the metrics.\n",
        false => "",
    };
    format!(
        "refused: {} {} between nodes that were members before, and no node that came or went explains \
         it. The files lie by another ring than the daemons have ({} names compared):\n  \
         disks:   {}: {}\n  \
         daemons: {}: {}\n\
         If the daemons' ring is wrong, restart each buckyd with that of the disks:\n  \
         buckyd {}\n{agree}\
         `bucky ring fit` shows more rings. If the new ring is right and all of this is meant, add \
         --expect-shuffle",
        counted::metrics(moved),
        work.would(),
        human_count(found.names),
        ring.summary(),
        percent(Some(best)),
        found.present.summary(),
        percent(found.of_present()),
        ring.daemon_words().join(" "),
    )
}

fn of_no_ring(found: &RingFit, work: Work, moved: u64) -> String {
    format!(
        "refused: {} {} between nodes that were members before, and no ring that is known explains where \
         the files lie ({} names compared):\n  \
         daemons: {}: {}\n\
         Is a node missing, or does the relay have other instances? `bucky ring fit NODE...` compares other \
         nodes. If all of this is meant, add --expect-shuffle",
        counted::metrics(moved),
        work.would(),
        human_count(found.names),
        found.present.summary(),
        percent(found.of_present()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explanation(copies: u64, in_place: u64, wanted: u64) -> Explanation {
        Explanation { rings: Vec::new(), copies, in_place, wanted }
    }

    /// The arithmetic of two relays differs for few names, but for those without exception.
    #[test]
    fn a_small_difference_between_two_relays_is_no_chance() {
        let best = explanation(80_000, 79_980, 80_000);
        let present = explanation(80_000, 79_500, 80_000);
        assert!(is_significant(&best, Some(&present)));
        assert!(is_significant(&best, None));
        // A sample so small that a few strays make the difference.
        let best = explanation(400, 399, 400);
        let present = explanation(400, 395, 400);
        assert!(!is_significant(&best, Some(&present)));
    }

    #[test]
    fn the_luckiest_of_many_rings_does_not_count_where_files_lie_anywhere() {
        let best = explanation(20_000, 5_300, 20_000);
        let present = explanation(20_000, 5_000, 20_000);
        assert!(!is_significant(&best, Some(&present)));
        let best = explanation(20_000, 20_000, 20_000);
        assert!(is_significant(&best, Some(&present)));
        // As many copies in place, but twice as many wanted.
        assert!(is_significant(
            &explanation(20_000, 20_000, 20_000),
            Some(&explanation(20_000, 20_000, 40_000))
        ));
    }
}
