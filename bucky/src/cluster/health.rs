//! Whether the nodes of a cluster agree. Takes what each node answered and returns what is wrong.
//!
//! Pure. A cluster is healthy if every member answers, has the same ring as the reference, and has a store of
//! its own. A Go daemon knows nothing of relay, diversity and tagged names. It agrees if the fields that it
//! has agree. Nodes are distinguished by their stores, not by the text of their addresses: with two addresses
//! of one store, a metric could be moved onto itself. A Go daemon does not report a store; its name in the
//! ring document stands for it.

use std::collections::BTreeMap;
use std::fmt;

use bucky_api::{DaemonAddr, DiskStatus, RingFileState, RingFileStatus};
use bucky_ring::{Difference, RingDocument};

use super::{Absence, Answer, Member};
use crate::chain;
use crate::clocks::ClockFinding;
use crate::counted::counted;
use crate::output::human_count;

/// A file system with fewer free inodes than one in this many is noted.
const FEW_INODES: u64 = 20;

/// A reason why the cluster is not healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClusterFinding {
    /// A host of the ring whose name cannot be a daemon's address.
    NoAddress { host: String, reason: String },
    /// A member that does not answer, or whose answer is not usable.
    Away { addr: DaemonAddr, state: Absence, reason: String },
    /// A member whose ring cannot be used.
    BadRing { addr: DaemonAddr, reason: String },
    /// A member whose ring differs from the reference.
    OtherRing { addr: DaemonAddr, differences: Vec<Difference> },
    /// The daemons have another ring than the relay's file.
    OtherThanFile { file: String, differences: Vec<Difference> },
    /// A member that writes and deletes nothing.
    ReadOnly { addr: DaemonAddr, reason: String },
    /// A clock that differs too much.
    Clock(ClockFinding),
    /// Several members that serve one store.
    OneStore { store: String, addrs: Vec<DaemonAddr> },
}

impl fmt::Display for ClusterFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress { host, reason } => {
                write!(f, "cannot ask host {host:?} of the ring: {reason}")
            }
            Self::Away { addr, state, reason } => {
                let predicate = state.predicate();
                // The reason of a node that is down also begins with its address.
                match reason.strip_prefix(&format!("cannot reach {addr} ")) {
                    Some(rest) => write!(f, "{addr} {predicate} {rest}"),
                    None => write!(f, "{addr} {predicate}: {reason}"),
                }
            }
            Self::BadRing { addr, reason } => {
                write!(f, "cannot use the ring of {addr}: {reason}")
            }
            Self::OtherRing { addr, differences } => {
                write!(f, "the ring of {addr} differs: ")?;
                let texts: Vec<String> = differences.iter().map(Difference::to_string).collect();
                f.write_str(&texts.join("; "))
            }
            Self::OtherThanFile { file, differences } => {
                write!(f, "the daemons have another ring than {file}: ")?;
                let texts: Vec<String> =
                    differences.iter().map(|difference| difference.told("in the file")).collect();
                f.write_str(&texts.join("; "))
            }
            Self::ReadOnly { addr, reason } => {
                write!(f, "{addr} is read-only: {reason}")
            }
            Self::Clock(finding) => finding.fmt(f),
            Self::OneStore { store, addrs } => {
                let addrs: Vec<String> = addrs.iter().map(DaemonAddr::to_string).collect();
                write!(
                    f,
                    "{} serve the same files (store {store}); the ring has one node under several hosts, or \
                     two daemons serve one folder",
                    addrs.join(" and ")
                )
            }
        }
    }
}

impl ClusterFinding {
    /// The finding that a node is unavailable, or `None` if it answered.
    pub(crate) fn away(member: &Member) -> Option<Self> {
        let Answer::Away { state, reason } = &member.answer else { return None };
        Some(Self::Away { addr: member.addr().clone(), state: *state, reason: reason.clone() })
    }
}

/// `document`, with the fields that it leaves open taken from `other`.
pub(crate) fn completed(document: &RingDocument, other: &RingDocument) -> RingDocument {
    // A daemon that names its relay has no rules if it shows none.
    let rules = if document.relay.is_some() { document } else { other };
    RingDocument {
        aggregation_rules: rules.aggregation_rules.clone(),
        routes: rules.routes.clone(),
        relay: document.relay.clone().or_else(|| other.relay.clone()),
        diverse: document.diverse.or(other.diverse),
        tagged_names: document.tagged_names.clone().or_else(|| other.tagged_names.clone()),
        ..document.clone()
    }
}

/// All differences between `members` and the ring of `reference`, or among the members.
pub(crate) fn judge(reference: &RingDocument, members: &[Member]) -> Vec<ClusterFinding> {
    let mut findings: Vec<ClusterFinding> =
        members.iter().filter_map(|member| judge_member(reference, member)).collect();
    findings.extend(members.iter().filter_map(read_only));
    let mut stores: BTreeMap<String, Vec<DaemonAddr>> = BTreeMap::new();
    for member in members {
        if let Some(store) = store_of(&member.answer) {
            stores.entry(store).or_default().push(member.addr().clone());
        }
    }
    let shared = stores.into_iter().filter(|(_, addrs)| addrs.len() > 1);
    findings.extend(shared.map(|(store, addrs)| ClusterFinding::OneStore { store, addrs }));
    findings
}

fn judge_member(reference: &RingDocument, member: &Member) -> Option<ClusterFinding> {
    let addr = member.addr().clone();
    let document = match &member.answer {
        Answer::Away { .. } => return ClusterFinding::away(member),
        Answer::V1 { document, .. } | Answer::Go { document } => document,
    };
    // A reference that cannot be used is reported where the ring is needed.
    let wanted = reference.to_spec().ok()?;
    match completed(document, reference).to_spec() {
        Err(error) => Some(ClusterFinding::BadRing { addr, reason: chain(&error) }),
        Ok(found) => {
            let differences = wanted.differences(&found);
            (!differences.is_empty()).then_some(ClusterFinding::OtherRing { addr, differences })
        }
    }
}

/// The finding that a member's daemon writes and deletes nothing, if it does not.
pub(crate) fn read_only(member: &Member) -> Option<ClusterFinding> {
    let reason = &member.status()?.read_only;
    let addr = member.addr().clone();
    (!reason.is_empty()).then(|| ClusterFinding::ReadOnly { addr, reason: reason.clone() })
}

/// What identifies a node's store, as far as the node reports it.
pub(crate) fn store_of(answer: &Answer) -> Option<String> {
    match answer {
        Answer::V1 { status, .. } => Some(status.store_id.clone()),
        Answer::Go { document } => Some(format!("Go daemon named {:?}", document.name)),
        Answer::Away { .. } => None,
    }
}

/// What an operator should know about a node, although nothing is refused because of it.
pub(crate) fn notes(reference: &RingDocument, member: &Member) -> Vec<String> {
    let mut notes = Vec::new();
    let name = match &member.answer {
        Answer::V1 { status, .. } => &status.node,
        Answer::Go { document } => &document.name,
        Answer::Away { .. } => return notes,
    };
    let is_known = reference.nodes.iter().any(|node| node.server == *name);
    if member.host.is_some() && !is_known {
        notes.push(format!(
            "calls itself {name:?}, which is not a host of the ring; start it with -node HOST"
        ));
    } else if let Some(host) = member.host.as_ref().filter(|host| *host != name) {
        notes.push(format!(
            "is {host:?} in the ring and calls itself {name:?}; start it with -node {host}"
        ));
    }
    let Some(status) = member.status() else { return notes };
    for held in &status.tombstones.held {
        let tombstones = counted(held.count, "tombstone", "tombstones");
        notes.push(format!("keeps {tombstones} that cannot be confirmed: {}", held.reason));
    }
    // A read-only node is a finding already; its reason is not noted a second time.
    if !status.inventory.problem.is_empty() && status.inventory.problem != status.read_only {
        notes.push(format!("inventory: {}", status.inventory.problem));
    }
    notes.extend(few_inodes(&status.disk));
    if status.replaced.files > 0 {
        notes.push(format!(
            "{} replaced and kept in .bucky/replaced; check and remove them",
            counted(status.replaced.files, "corrupt file was", "corrupt files were")
        ));
    }
    let not_served = status.inventory.all_not_served().text();
    if !not_served.is_empty() {
        notes.push(format!(
            "not served: {not_served}; details: bucky list --not-served -s -h {}",
            member.addr()
        ));
    }
    if let Some(series) = status.inventory.series.as_ref().filter(|it| !it.problem.is_empty()) {
        notes.push(format!("--series: {}; it still uses what it read before", series.problem));
    }
    notes.extend(status.ring_file.as_ref().and_then(ring_file));
    notes
}

/// What is wrong with the file of `--ring-from`.
fn ring_file(file: &RingFileStatus) -> Option<String> {
    let RingFileStatus { path, detail, .. } = file;
    let detail = detail.join("; ");
    match file.state {
        RingFileState::Same => None,
        RingFileState::Differs => Some(format!(
            "{path} no longer gives the ring that buckyd runs: {detail}; to take the new one, send buckyd SIGHUP \
             on every node"
        )),
        RingFileState::NoRing => {
            Some(format!("{path} no longer gives a ring: {detail}; buckyd keeps the one it has"))
        }
    }
}

/// The note about a file system that can hold few more files, however many bytes are free.
fn few_inodes(disk: &DiskStatus) -> Option<String> {
    let (total, free) = (disk.total_inodes?, disk.free_inodes?);
    let is_few = free < total / FEW_INODES;
    is_few.then(|| {
        format!(
            "only {} of {} inodes are free, and each new metric takes one",
            human_count(free),
            human_count(total)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::test_cluster::{document, go, member, status, v1};

    fn texts(findings: &[ClusterFinding]) -> Vec<String> {
        findings.iter().map(ClusterFinding::to_string).collect()
    }

    #[test]
    fn members_that_agree_are_healthy_also_with_two_instances_on_a_host() {
        // D15: to the Go tool this layout of its own README is unhealthy.
        let ring = document(&["a:2003=a", "a:2003=b", "b:2003=a", "b:2003=b"]);
        let members = [member("a", v1(&ring, "a", "s1")), member("b", v1(&ring, "b", "s2"))];
        assert_eq!(judge(&ring, &members), []);
    }

    /// D4: if a member is down, every command of the Go tool panics.
    #[test]
    fn a_member_that_is_away_is_named_with_the_reason() {
        let ring = document(&["a", "b"]);
        let state = Absence::Down;
        let reason = "cannot reach b:4242 (is it running?): connection refused".into();
        let away = Answer::Away { state, reason };
        let members = [member("a", v1(&ring, "a", "s1")), member("b", away)];
        assert_eq!(
            texts(&judge(&ring, &members)),
            ["b:4242 is down (is it running?): connection refused"]
        );
    }

    /// D16: the Go tool takes rings that differ only in their replication for the same.
    #[test]
    fn every_difference_is_reported_node_by_node() {
        let ring = document(&["a:2003=a", "b:2003=b"]);
        let mut other = document(&["a:2003=a", "b:2004=b"]);
        other.replicas = 2;
        let members = [member("a", v1(&ring, "a", "s1")), member("b", v1(&other, "b", "s2"))];
        let found = texts(&judge(&ring, &members));
        assert_eq!(
            found,
            [
                "the ring of b:4242 differs: replication factor 1, there 2; node 2: port 2003, there 2004"
            ]
        );
    }

    #[test]
    fn a_go_daemon_agrees_where_what_it_has_agrees() {
        let mut ours = document(&["a", "b"]);
        ours.relay = Some("carbon".into());
        ours.diverse = Some(true);
        let mut theirs = document(&["a", "b"]);
        (theirs.relay, theirs.diverse, theirs.tagged_names) = (None, None, None);
        let members = [member("a", v1(&ours, "a", "s1")), member("b", go(&theirs, "b"))];
        assert_eq!(judge(&ours, &members), []);
        let reference = completed(&theirs, &ours);
        assert_eq!(judge(&reference, &members), [], "the Go daemon as the reference");
        ours.relay = Some("buckytools".into());
        let members = [member("a", v1(&ours, "a", "s1"))];
        assert_eq!(judge(&reference, &members).len(), 1);
    }

    /// D29: the Go tool distinguishes nodes by the text of their addresses.
    #[test]
    fn two_members_over_one_store_are_refused() {
        let ring = document(&["a", "alias"]);
        let members = [member("a", v1(&ring, "a", "s1")), member("alias", v1(&ring, "a", "s1"))];
        let found = texts(&judge(&ring, &members));
        assert!(
            found[0].starts_with("a:4242 and alias:4242 serve the same files (store s1)"),
            "{found:?}"
        );
        let members = [member("a", go(&ring, "a")), member("alias", go(&ring, "a"))];
        assert_eq!(judge(&ring, &members).len(), 1);
    }

    #[test]
    fn a_member_that_writes_nothing_is_a_finding() {
        let ring = document(&["a"]);
        let mut status = status("a", "s1");
        status.read_only = "/w is not the folder that this buckyd opened: restart buckyd".into();
        let answer = Answer::V1 { document: ring.clone(), status: Box::new(status) };
        let found = texts(&judge(&ring, &[member("a", answer)]));
        assert_eq!(
            found,
            ["a:4242 is read-only: /w is not the folder that this buckyd opened: restart buckyd"]
        );
    }

    #[test]
    fn a_ring_that_cannot_be_used_is_a_finding() {
        let ring = document(&["a", "b"]);
        let mut bad = ring.clone();
        bad.algo = "ketama".into();
        let found = texts(&judge(&ring, &[member("a", v1(&bad, "a", "s1"))]));
        assert!(
            found[0].contains("cannot use the ring of a:4242") && found[0].contains("ketama"),
            "{found:?}"
        );
    }

    #[test]
    fn a_node_that_is_short_of_inodes_is_noted() {
        let disk = |total, free| DiskStatus {
            total_inodes: total,
            free_inodes: free,
            ..DiskStatus::default()
        };
        assert_eq!(few_inodes(&disk(None, None)), None);
        assert_eq!(few_inodes(&disk(Some(1_000_000), Some(50_000))), None);
        assert_eq!(
            few_inodes(&disk(Some(1_000_000), Some(49_999))).unwrap(),
            "only 49,999 of 1,000,000 inodes are free, and each new metric takes one"
        );
    }

    #[test]
    fn a_node_by_another_name_is_noted() {
        let ring = document(&["a", "b"]);
        let noted = notes(&ring, &member("a", v1(&ring, "host-7", "s1")));
        assert!(noted[0].contains("\"host-7\", which is not a host of the ring"), "{noted:?}");
        let noted = notes(&ring, &member("a", v1(&ring, "b", "s1")));
        assert!(noted[0].contains("is \"a\" in the ring and calls itself \"b\""), "{noted:?}");
        assert_eq!(notes(&ring, &member("a", v1(&ring, "a", "s1"))), Vec::<String>::new());
        let mut other = status("a", "s1");
        other.ring_file = Some(RingFileStatus {
            path: "/etc/carbon.conf".into(),
            state: RingFileState::Differs,
            ring: String::new(),
            detail: vec!["node 2: port 1, in the file 2".into()],
            age_seconds: 3,
        });
        let answer = Answer::V1 { document: ring.clone(), status: Box::new(other) };
        let noted = notes(&ring, &member("a", answer));
        assert!(
            noted[0].contains("node 2: port 1, in the file 2; to take the new one"),
            "{noted:?}"
        );
    }
}
