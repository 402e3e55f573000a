//! Which ring explains what lies on the disks: the names come from the nodes, the comparison is
//! [`bucky_ring::Fit`].

mod count;
mod lists;
mod sample;

use std::sync::Arc;

use bucky_api::DaemonAddr;
use bucky_ring::{Explanation, Fit, Node, RingSpec};

use self::count::Counter;
pub(crate) use self::lists::NodeLists;
use self::sample::NameSample;
use crate::cluster::{Cluster, Member, ask_member};
use crate::inventory::{ListDetail, MergedLists, Query};
use crate::names::Selection;
use crate::outcome::{Outcome, UnhealthyError};
use crate::output::Output;
use crate::placement::Series;

/// How many metrics of all nodes together are sampled at most, if nobody asks for more.
const SAMPLED_AT_MOST: u64 = 1_000_000;
/// How many metrics of a node are sampled, if nobody says.
const SAMPLED_OF_A_NODE: u64 = 20_000;

/// What is compared.
#[derive(Clone, Debug)]
pub(crate) struct FitQuery {
    /// Rings to compare beside those over [`Self::nodes`].
    pub(crate) rings: Vec<RingSpec>,
    /// The nodes of the rings; `None` for those of the cluster.
    pub(crate) nodes: Option<Vec<Node>>,
    /// The most copies that are tried.
    pub(crate) most_copies: usize,
    /// How many names of each node are compared; `None` for the usual number.
    pub(crate) sample: Option<u64>,
    /// Whether to compare all names.
    pub(crate) all: bool,
    /// The series that are known by their hash.
    pub(crate) series: Series,
    /// Names with this prefix are local metrics.
    pub(crate) local_prefix: Option<String>,
}

impl Default for FitQuery {
    fn default() -> Self {
        Self {
            rings: Vec::new(),
            nodes: None,
            most_copies: 3,
            sample: None,
            all: false,
            series: Series::default(),
            local_prefix: None,
        }
    }
}

/// How well each ring explains what was found.
#[derive(Debug)]
pub(crate) struct RingFit {
    /// The rings, the best explanation first.
    pub(crate) ranked: Vec<Explanation>,
    /// The cluster's own ring.
    pub(crate) present: RingSpec,
    /// The node lists that were tried.
    pub(crate) lists: NodeLists,
    /// How many names were compared.
    pub(crate) names: u64,
    /// Unhealthy if a node is missing.
    pub(crate) outcome: Outcome,
}

impl RingFit {
    /// The best explanation, if any copy is where it has it.
    pub(crate) fn best(&self) -> Option<&Explanation> {
        self.ranked.first().filter(|best| best.in_place > 0)
    }

    /// The cluster's ring as an explanation.
    pub(crate) fn of_present(&self) -> Option<&Explanation> {
        self.ranked.iter().find(|found| found.rings.contains(&self.present))
    }

    /// Whether no ring explains more than the cluster's.
    pub(crate) fn present_is_best(&self) -> bool {
        match (self.best(), self.of_present()) {
            (Some(best), Some(present)) => present.compare(best).is_ge(),
            _ => false,
        }
    }
}

/// Compares the names on the nodes of `cluster` with every ring that is known. Reports nodes that do not
/// answer.
///
/// # Errors
/// [`UnhealthyError`] if the cluster's ring cannot be read, or no node has a metric that a ring places.
pub(crate) async fn fit(
    cluster: &Cluster,
    query: &FitQuery,
    output: &Arc<Output>,
) -> anyhow::Result<RingFit> {
    let present = cluster.ring()?.spec().clone();
    let nodes = query.nodes.clone().unwrap_or_else(|| present.nodes.clone());
    let others = ask_others(cluster, &nodes, output).await;
    let members: Vec<&Member> = cluster.members.iter().chain(&others).collect();
    let sample = NameSample::take(&members, query, output).await;
    let outcome = sample.outcome;
    if sample.names.is_empty() {
        return Err(UnhealthyError::because(
            "no node that answered has a metric that a ring places; there is nothing to compare rings with",
        ));
    }
    let rings = query.rings.iter().map(|ring| ring.nodes.clone());
    let mut lists = NodeLists::new(&present.nodes, &nodes, rings, &sample.empty_hosts());
    let given: Vec<RingSpec> = std::iter::once(&present).chain(&query.rings).cloned().collect();
    let asked: Vec<&str> = sample.hosts.iter().map(String::as_str).collect();
    lists.add_orders(&asked, &sample.names);
    let fit = Fit::new(&given, lists.all(), query.most_copies, &asked);
    let mut counter = Counter::new(fit);
    let outcome = if query.all {
        outcome.and(count_all(cluster, query, &sample.hosts, &mut counter, output).await?)
    } else {
        counter.count(sample.names).await?;
        outcome
    };
    let (ranked, names) = counter.ranked();
    Ok(RingFit { ranked, present, lists, names, outcome })
}

/// The series of a sample of the cluster's metrics, and how well the nodes answered. Reports those that did not.
pub(crate) async fn sampled_names(
    cluster: &Cluster,
    query: &FitQuery,
    output: &Arc<Output>,
) -> (Vec<String>, Outcome) {
    let members: Vec<&Member> = cluster.members.iter().collect();
    let sample = NameSample::take(&members, query, output).await;
    (sample.names.into_iter().map(|(name, _)| name).collect(), sample.outcome)
}

/// The hosts of `nodes` that are not in the cluster's ring, asked on the same port.
async fn ask_others(cluster: &Cluster, nodes: &[Node], output: &Output) -> Vec<Member> {
    let mut others: Vec<Member> = Vec::new();
    for host in nodes.iter().map(Node::host) {
        let mut known = cluster.members.iter().chain(&others);
        if known.any(|member| host_of(member) == host) {
            continue;
        }
        match DaemonAddr::new(host, cluster.seed.port()) {
            Ok(addr) => {
                others.push(ask_member(cluster.client(), addr, Some(host.to_owned())).await);
            }
            Err(error) => output.say(format_args!("bucky: {host}: {}", crate::chain(&error))),
        }
    }
    others
}

/// The name by which the ring knows a node.
fn host_of(member: &Member) -> &str {
    let reported = || member.document().map(|document| document.name.as_str());
    member.host.as_deref().or_else(reported).unwrap_or_else(|| member.addr().host())
}

/// Counts all names of the cluster's members, and of no other node: `--all` with other nodes is refused.
async fn count_all(
    cluster: &Cluster,
    query: &FitQuery,
    hosts: &[String],
    counter: &mut Counter,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    const BATCH: usize = 50_000;
    let wanted = Query { selection: Selection::All, detail: ListDetail::Name, workers: 1 };
    let mut lists = MergedLists::begin(cluster, wanted, false, output).await?;
    let mut batch: Vec<(String, Vec<u16>)> = Vec::new();
    let mut last: Option<(String, Vec<u16>)> = None;
    while let Some((index, entry)) = lists.next().await {
        let host = cluster.members.get(index).map(host_of);
        let number = hosts.iter().position(|other| Some(other.as_str()) == host);
        let Some(number) = number.and_then(|number| u16::try_from(number).ok()) else { continue };
        match &mut last {
            Some((name, found)) if *name == entry.name => found.push(number),
            _ => {
                let ended = last.replace((entry.name, vec![number]));
                batch.extend(ended.and_then(|found| sample::placeable(found, query)));
            }
        }
        if batch.len() >= BATCH {
            counter.count(std::mem::take(&mut batch)).await?;
        }
    }
    batch.extend(last.and_then(|found| sample::placeable(found, query)));
    counter.count(batch).await?;
    Ok(lists.report_failures(output))
}
