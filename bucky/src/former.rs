//! Former members of the ring, as the daemons remember them. They may still hold metrics that no member
//! lists.
//!
//! Each is asked. One that holds nothing that would have to be moved is skipped. For each of the others, the
//! command that drains it is printed.

use std::collections::BTreeMap;

use bucky_api::client::MisplacedQuery;
use bucky_api::{Client, Daemon, DaemonAddr};
use futures_util::{StreamExt, stream};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::cluster::{Cluster, Member, ask_member};
use crate::counted::{self, counted};
use crate::output::Output;

/// How many nodes are asked at once.
const ASKED_AT_ONCE: usize = 8;

/// A former member, and what it may still hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OldMember {
    addr: DaemonAddr,
    /// When it left, in Unix seconds.
    until: u64,
    holds: HeldMetrics,
}

/// What is known of a former member's metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeldMetrics {
    /// It holds nothing that would have to be moved.
    Nothing,
    /// It holds this many metrics.
    Metrics(u64),
    /// It holds only this many tombstones that are not confirmed.
    Tombstones(u64),
    /// It answers, but does not say what it holds.
    Unknown,
    /// It does not answer.
    Away,
}

impl OldMember {
    /// The warning about it, or `None` if it holds nothing.
    fn sentence(&self) -> Option<String> {
        let Self { addr, until, holds } = self;
        let until = time_of(*until);
        let what = match holds {
            HeldMetrics::Nothing => return None,
            HeldMetrics::Metrics(count) => format!("still has {}", counted::metrics(*count)),
            HeldMetrics::Tombstones(count) => {
                return Some(format!(
                    "{addr} was a member of the ring until {until} and has {} that the owners have not \
                     confirmed; keep it running until `bucky servers {addr}` shows none",
                    counted(*count, "tombstone", "tombstones")
                ));
            }
            HeldMetrics::Unknown => "may still have metrics".to_owned(),
            HeldMetrics::Away => "may still have metrics, but does not answer".to_owned(),
        };
        Some(format!(
            "{addr} was a member of the ring until {until} and {what}; to drain it: bucky rebalance {addr}"
        ))
    }
}

/// Warns of former members of `cluster` that may still hold metrics, except those in `named`.
pub(crate) async fn report_former_members(
    cluster: &Cluster,
    named: &[DaemonAddr],
    output: &Output,
) {
    for member in find(cluster, named).await {
        if let Some(sentence) = member.sentence() {
            output.say(format_args!("bucky: {sentence}"));
        }
    }
}

/// The warnings about former members of `cluster` that are not in `named`.
pub(crate) async fn sentences(cluster: &Cluster, named: &[DaemonAddr]) -> Vec<String> {
    find(cluster, named).await.iter().filter_map(OldMember::sentence).collect()
}

async fn find(cluster: &Cluster, named: &[DaemonAddr]) -> Vec<OldMember> {
    // The operator did not name these addresses, and other hosts may have them by now: they get no token.
    let client = cluster.client().without_token();
    let asked = remembered(&cluster.members, cluster.seed.port())
        .into_iter()
        .filter(|(addr, _)| !named.iter().any(|named| named.host() == addr.host()))
        .map(|(addr, until)| {
            let daemon = client.daemon(addr.clone());
            async move { OldMember { addr, until, holds: holds(cluster, &daemon).await } }
        });
    stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await
}

/// The former members that these nodes remember and that are not members now. For each, the latest time at
/// which it left.
fn remembered(members: &[Member], port: u16) -> BTreeMap<DaemonAddr, u64> {
    let mut former: BTreeMap<DaemonAddr, u64> = BTreeMap::new();
    for one in members.iter().filter_map(Member::status).flat_map(|status| &status.former_members) {
        let Ok(addr) = DaemonAddr::new(&one.host, port) else { continue };
        if members.iter().any(|member| member.addr().host() == addr.host()) {
            continue;
        }
        let until = former.entry(addr).or_default();
        *until = one.until.max(*until);
    }
    former
}

async fn holds(cluster: &Cluster, daemon: &Daemon) -> HeldMetrics {
    let status = match daemon.status().await {
        Ok(Some(status)) => status,
        Ok(None) => return HeldMetrics::Unknown,
        Err(error) if error.status().is_some() => return HeldMetrics::Unknown,
        Err(_) => return HeldMetrics::Away,
    };
    // A host that now has another name in the ring.
    let mut members = cluster.members.iter().filter_map(Member::status);
    if members.any(|member| member.store_id == status.store_id) {
        return HeldMetrics::Nothing;
    }
    let nothing = match status.tombstones.waiting {
        0 => HeldMetrics::Nothing,
        waiting => HeldMetrics::Tombstones(waiting),
    };
    let Some(metrics) = status.metrics else { return HeldMetrics::Unknown };
    let ours = cluster.ring().map(|ring| ring.spec().fingerprint());
    if metrics == 0 || ours.is_ok_and(|ours| ours != status.ring_fingerprint) {
        return if metrics == 0 { nothing } else { HeldMetrics::Metrics(metrics) };
    }
    // It has our ring and knows that it owns nothing; its own metrics (`carbon.agents.`) do not count.
    let host = Some(daemon.addr().to_string());
    let query = MisplacedQuery { host, ..MisplacedQuery::default() };
    match daemon.misplaced_count(&query).await {
        Ok(count) if count.metrics + count.unplaceable == 0 => nothing,
        Ok(count) => HeldMetrics::Metrics(count.metrics + count.unplaceable),
        Err(_) => HeldMetrics::Unknown,
    }
}

/// Asks the daemons at `addrs`, which are not in the ring.
pub(crate) async fn ask_others(client: &Client, addrs: &[DaemonAddr]) -> Vec<Member> {
    let asked = addrs.iter().map(|addr| ask_member(client, addr.clone(), None));
    stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await
}

/// `2006-01-02 15:04 UTC`.
fn time_of(unix_seconds: u64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let at = i64::try_from(unix_seconds).ok();
    let at = at.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let text = at.and_then(|at| at.format(format).ok());
    text.unwrap_or_else(|| format!("Unix time {unix_seconds}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Answer;
    use crate::cluster::test_cluster::{document, member, status};
    use bucky_api::FormerMember;

    fn remembering(host: &str, former: &[(&str, u64)]) -> Member {
        let mut status = status(host, host);
        status.former_members = former
            .iter()
            .map(|(host, until)| FormerMember { host: (*host).into(), until: *until })
            .collect();
        let document = document(&["a:2003", "b:2003"]);
        member(host, Answer::V1 { document, status: Box::new(status) })
    }

    #[test]
    fn a_former_member_that_any_node_remembers_counts_unless_it_is_a_member_now() {
        let members = [
            remembering("a", &[("old", 100), ("b", 50)]),
            remembering("b", &[("old", 160), ("older", 20), ("no host", 10)]),
        ];
        let found = remembered(&members, 4242);
        let expected = [("old", 160), ("older", 20)]
            .map(|(host, until)| (DaemonAddr::new(host, 4242).unwrap(), until));
        assert_eq!(found, BTreeMap::from(expected));
    }

    #[test]
    fn a_former_member_is_reported_with_the_command_that_drains_it() {
        let sentence = |holds| {
            let addr = DaemonAddr::new("graphite-4", 4242).unwrap();
            OldMember { addr, until: 1_796_056_800, holds }.sentence()
        };
        assert_eq!(
            sentence(HeldMetrics::Metrics(1836)).unwrap(),
            "graphite-4:4242 was a member of the ring until 2026-11-30 16:40 UTC and still has 1,836 metrics; to drain \
             it: bucky rebalance graphite-4:4242"
        );
        let waits = sentence(HeldMetrics::Tombstones(3)).unwrap();
        assert!(
            waits.contains("3 tombstones that the owners have not")
                && waits.contains("keep it running"),
            "{waits}"
        );
        assert!(sentence(HeldMetrics::Unknown).unwrap().contains("may still have metrics;"));
        assert!(sentence(HeldMetrics::Away).unwrap().contains("but does not answer;"));
        assert_eq!(sentence(HeldMetrics::Nothing), None);
        assert_eq!(time_of(u64::MAX), "Unix time 18446744073709551615");
    }
}
