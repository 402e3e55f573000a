//! The nodes that take part: the members of the ring, and drained nodes.
//!
//! Nodes are distinguished by the stores that they report. A drained node that is a member under another name
//! is refused, and so is one store that is given twice: moving its metrics onto itself and deleting them
//! would lose them all.

pub(crate) mod breaker;
pub(crate) mod full;
pub(crate) mod seen;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bucky_api::{Daemon, DaemonAddr, DiskStatus, PROOF_LEVEL, VolumeStatus};
use bucky_ring::Ring;
use tokio::sync::{Semaphore, SemaphorePermit};

use self::breaker::{Breaker, FailureRow};
use self::full::FullMark;
use self::seen::FirstSeen;
use crate::cluster::{Cluster, ClusterFinding, DaemonKind, Member, completed, read_only, store_of};
use crate::outcome::{UnhealthyError, UsageError};
use crate::strays::StrayMethod;

/// After this many failures in a row to reach a node, the run gives up on it, if they last longer than a
/// restart takes.
const NODE_FAILURES: u32 = 3;
/// The most transfers of a Go daemon at once, in each direction: it has no limit of its own.
const GO_TRANSFERS: u32 = 8;

/// The index of a node in `Fleet::members`.
pub(crate) type OwnerIndex = usize;

/// A node that takes part.
pub(crate) struct Node {
    /// Its daemon.
    pub(crate) daemon: Daemon,
    /// What kind of daemon that is.
    pub(crate) kind: DaemonKind,
    /// What distinguishes its store from others.
    pub(crate) store: String,
    /// The room it has, if it reports that.
    pub(crate) disk: Option<DiskStatus>,
    /// When it was first seen.
    pub(crate) seen: FirstSeen,
    /// Its volumes below the prefix.
    pub(crate) volumes: Vec<VolumeStatus>,
    /// Whether it has run out of room.
    pub(crate) full: FullMark,
    /// Permits for its transfers.
    pub(crate) gate: Gate,
    reach: Mutex<Breaker>,
}

/// Permits for the batches of a node: half of what it allows, so that others get through too.
pub(crate) struct Gate {
    sending: Semaphore,
    receiving: Semaphore,
    limit: usize,
}

impl Gate {
    fn new(limit: u32) -> Self {
        let half = usize::try_from(limit / 2).unwrap_or(1).max(1);
        Self { sending: Semaphore::new(half), receiving: Semaphore::new(half), limit: half }
    }

    /// The most transfers at once, in each direction.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Waits for a permit to send.
    pub(crate) async fn send(&self) -> Option<SemaphorePermit<'_>> {
        // `None` only if the semaphore were closed, which never happens.
        self.sending.acquire().await.ok()
    }

    /// Waits for a permit to receive.
    pub(crate) async fn receive(&self) -> Option<SemaphorePermit<'_>> {
        self.receiving.acquire().await.ok()
    }
}

impl Node {
    /// The node of this member, or `None` if it did not answer.
    pub(crate) fn of(member: &Member) -> Option<Self> {
        let kind = member.kind()?;
        let status = member.status();
        let limit = status.map_or(GO_TRANSFERS, |status| status.transfers.limit);
        Some(Self {
            daemon: member.daemon.clone(),
            kind,
            store: store_of(&member.answer)?,
            disk: status.map(|status| status.disk),
            seen: FirstSeen::now(),
            volumes: status.map(|status| status.volumes.clone()).unwrap_or_default(),
            full: FullMark::default(),
            gate: Gate::new(limit),
            reach: Mutex::new(Breaker::new(NODE_FAILURES, member.daemon.timeouts().away)),
        })
    }

    /// The volume of the metric `name`, whether the file exists or not; `None` for the prefix itself.
    pub(crate) fn volume_of(&self, name: &str) -> Option<usize> {
        let holds = |volume: &VolumeStatus| {
            let mut rest = name;
            let mut components = volume.path.split('/');
            components.all(|component| {
                let inner = rest.strip_prefix(component).and_then(|rest| rest.strip_prefix('.'));
                inner.map(|inner| rest = inner).is_some()
            })
        };
        let holding = self.volumes.iter().enumerate().filter(|(_, volume)| holds(volume));
        holding.max_by_key(|(_, volume)| volume.path.len()).map(|(index, _)| index)
    }

    /// Its address.
    pub(crate) fn addr(&self) -> &DaemonAddr {
        self.daemon.addr()
    }

    /// Whether it should be asked; the error is the reason why not.
    pub(crate) fn admit(&self) -> Result<(), String> {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now())
    }

    /// Notes that it answered.
    pub(crate) fn answered(&self) {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner).succeeded();
    }

    /// Notes that it could not be reached.
    pub(crate) fn unreachable(&self, reason: &str) -> FailureRow {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner).failed(Instant::now(), reason)
    }
}

/// Refuses daemons of ours that are too old to prove what they hold: they report a file as unchanged although
/// points of the source have no place in it. A Go daemon proves nothing either, but its files are fetched and
/// compared here.
pub(crate) fn refuse_older_daemons<'m>(
    nodes: impl Iterator<Item = &'m Member>,
) -> anyhow::Result<()> {
    let older = nodes.filter_map(|member| {
        let status = member.status().filter(|status| status.api_level < PROOF_LEVEL)?;
        Some(format!("{} (buckyd {})", member.addr(), status.version))
    });
    let older: Vec<String> = older.collect();
    if older.is_empty() {
        return Ok(());
    }
    Err(UnhealthyError::because(format!(
        "{}: too old to confirm every point (API level below {PROOF_LEVEL}); upgrade buckyd there, then run \
         this again",
        older.join(", ")
    )))
}

/// A node whose misplaced metrics are moved.
#[derive(Clone)]
pub(crate) struct Source {
    /// The node.
    pub(crate) node: Arc<Node>,
    /// How its misplaced metrics are found.
    pub(crate) method: StrayMethod,
}

/// All nodes that take part.
pub(crate) struct Fleet {
    /// The members, in the order of the ring's hosts.
    pub(crate) members: Vec<Arc<Node>>,
    /// The nodes whose misplaced metrics are moved: members first.
    pub(crate) sources: Vec<Source>,
    by_ring_node: Vec<OwnerIndex>,
}

impl Fleet {
    /// The fleet of a healthy cluster. `drained` are the drained nodes with their answers. If only one node's
    /// misplaced metrics are moved, `only` is that node.
    ///
    /// # Errors
    /// [`UsageError`] if a drained node is a member or given twice, or `only` is not a member;
    /// [`UnhealthyError`] if a drained node did not answer.
    pub(crate) fn of_cluster(
        cluster: &Cluster,
        ring: &Ring,
        drained: &[Member],
        only: Option<&Member>,
    ) -> anyhow::Result<Self> {
        let mut members = Vec::new();
        let mut sources = Vec::new();
        refuse_older_daemons(cluster.members.iter().chain(drained))?;
        for member in &cluster.members {
            let node = Arc::new(Node::of(member).ok_or_else(|| away(member))?);
            let method = StrayMethod::of_member(node.kind, member.host.clone());
            sources.push(Source { node: Arc::clone(&node), method });
            members.push(node);
        }
        let by_host = |host: &str| {
            cluster.members.iter().position(|member| member.host.as_deref() == Some(host))
        };
        let by_ring_node: Option<Vec<usize>> =
            ring.nodes().iter().map(|node| by_host(node.host())).collect();
        let by_ring_node = by_ring_node.ok_or_else(|| {
            UnhealthyError::because("the ring has a node that is not a member of the cluster")
        })?;
        if let Some(only) = only {
            let store = store_of(&only.answer).ok_or_else(|| away(only))?;
            sources.retain(|source| source.node.store == store);
            if sources.is_empty() {
                return Err(UsageError::because(format!(
                    "{} is not a member of the ring; to drain it, give it as an argument without -s",
                    only.addr()
                )));
            }
        }
        for member in drained {
            let node = Node::of(member).ok_or_else(|| away(member))?;
            require_writable(member)?;
            if let Some(same) = sources
                .iter()
                .map(|source| &source.node)
                .chain(&members)
                .find(|other| is_same(other, &node))
            {
                return Err(cannot_drain(&node, same));
            }
            let method = drained_method(cluster, member, node.kind);
            sources.push(Source { node: Arc::new(node), method });
        }
        Ok(Self { members, sources, by_ring_node })
    }

    /// The members that hold what these nodes of the ring own: sorted, each once.
    pub(crate) fn owners(&self, ring_nodes: &[usize]) -> Vec<OwnerIndex> {
        let mut owners: Vec<OwnerIndex> =
            ring_nodes.iter().filter_map(|node| self.by_ring_node.get(*node)).copied().collect();
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    /// The fleet that copies everything from `sources` to one node, which is the only one of its ring.
    pub(crate) fn to_one(node: Arc<Node>, sources: Vec<Source>) -> Self {
        Self { members: vec![node], sources, by_ring_node: vec![0] }
    }

    /// Whether `node` is the only one of `owners`: then there is nothing to do.
    pub(crate) fn is_only_owner(&self, node: &Node, owners: &[OwnerIndex]) -> bool {
        let is_node = |owner: &OwnerIndex| {
            self.members.get(*owner).is_some_and(|owner| owner.store == node.store)
        };
        !owners.is_empty() && owners.iter().all(is_node)
    }

    /// The member with this index.
    pub(crate) fn member(&self, owner: OwnerIndex) -> Option<&Arc<Node>> {
        self.members.get(owner)
    }

    /// The nodes that send or receive metrics, each once.
    pub(crate) fn addrs(&self) -> Vec<&DaemonAddr> {
        let sources = self.sources.iter().map(|source| source.node.addr());
        let mut addrs: Vec<&DaemonAddr> =
            self.members.iter().map(|node| node.addr()).chain(sources).collect();
        addrs.sort();
        addrs.dedup();
        addrs
    }

    /// A node that takes part and whose daemon cannot do what `ability` asks for.
    pub(crate) fn node_without(&self, ability: fn(DaemonKind) -> bool) -> Option<&Arc<Node>> {
        let sources = self.sources.iter().map(|source| &source.node);
        self.members.iter().chain(sources).find(|node| !ability(node.kind))
    }
}

/// Refuses nodes that may be one although they do not report it. A Go daemon does not report its store, so it
/// must not share an address with another node, whatever the port.
///
/// # Errors
/// [`UsageError`] names the two.
pub(crate) async fn refuse_shared_addresses(fleet: &Fleet) -> anyhow::Result<()> {
    if fleet.node_without(DaemonKind::reports_its_store).is_none() {
        return Ok(());
    }
    let mut nodes: Vec<&Arc<Node>> = fleet.members.iter().collect();
    nodes.extend(fleet.sources.iter().map(|source| &source.node));
    let mut seen: HashMap<IpAddr, &Arc<Node>> = HashMap::new();
    for node in nodes {
        // A name that does not resolve did not reach its node either.
        let Ok(found) = tokio::net::lookup_host((node.addr().host(), node.addr().port())).await
        else {
            continue;
        };
        for ip in found.map(|socket| socket.ip()) {
            let other = *seen.entry(ip).or_insert(node);
            let reported = other.kind.reports_its_store() && node.kind.reports_its_store();
            if !reported && !Arc::ptr_eq(other, node) {
                return Err(UsageError::because(format!(
                    "{} and {} are both on {ip} and may be one node, as a Go daemon does not report which \
                     files it serves; metrics must not be moved onto the same node",
                    other.addr(),
                    node.addr()
                )));
            }
        }
    }
    Ok(())
}

/// Whether two addresses lead to one node. Equal addresses do.
pub(crate) fn is_same(one: &Node, other: &Node) -> bool {
    one.store == other.store || one.addr() == other.addr()
}

/// How to find the metrics of a drained node: it is asked if it has our ring; otherwise its list is placed
/// here.
fn drained_method(cluster: &Cluster, member: &Member, kind: DaemonKind) -> StrayMethod {
    let theirs = member.document().map(|document| completed(document, &cluster.document).to_spec());
    let same = match (theirs, cluster.document.to_spec()) {
        (Some(Ok(theirs)), Ok(ours)) => ours.differences(&theirs).is_empty(),
        _ => false,
    };
    // The address with its port is not a host of any ring, so every metric of the node is misplaced.
    match same && kind.finds_misplaced() {
        true => StrayMethod::of_member(kind, Some(member.addr().to_string())),
        false => StrayMethod::of_stranger(kind),
    }
}

fn cannot_drain(node: &Node, same: &Node) -> anyhow::Error {
    let addr = node.addr();
    UsageError::because(if addr == same.addr() {
        format!("cannot drain {addr}: it is a member of the ring, or given twice")
    } else {
        format!("cannot drain {addr}: it is the same node as {} ({})", same.addr(), node.store)
    })
}

/// Refuses a node that writes and deletes nothing.
///
/// # Errors
/// [`UnhealthyError`] with its reason.
pub(crate) fn require_writable(member: &Member) -> anyhow::Result<()> {
    read_only(member).map_or(Ok(()), |finding| Err(UnhealthyError::because(finding.to_string())))
}

/// The error for a node that does not answer.
pub(crate) fn away(member: &Member) -> anyhow::Error {
    UnhealthyError::because(ClusterFinding::away(member).map_or_else(
        || format!("cannot use the answer of {}", member.addr()),
        |finding| finding.to_string(),
    ))
}

#[cfg(test)]
mod tests;
