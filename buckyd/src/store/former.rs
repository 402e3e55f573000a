//! The former members of the ring. They are recorded in the state folder, so that a node that still holds
//! metrics is not forgotten.
//!
//! The file `ring` has the members at the last start and those that have left since. A file that cannot be
//! understood counts as empty.

use std::collections::BTreeSet;
use std::io;

use bucky_api::clock::unix_now;
use bucky_api::{DaemonAddr, FormerMember, FormerRing, chain};
use bucky_ring::{RingDocument, RingSpec};
use serde::{Deserialize, Serialize};

use super::Store;
use super::error::StoreError;

const NAME: &str = "ring";
/// How many former members are recorded: the latest.
const REMEMBERED: usize = 64;
/// How long a former member is recorded. By then it was drained, or it is gone for good.
const KEPT_SECONDS: u64 = 30 * 86_400;

/// What a daemon remembers of the rings that it had.
#[derive(Clone, Debug, Default)]
pub(crate) struct FormerRings {
    /// Nodes that were members, the latest first.
    pub(crate) members: Vec<FormerMember>,
    /// The last ring that was another one.
    pub(crate) ring: Option<FormerRing>,
}

/// The content of the file `ring`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct RingRecord {
    /// The hosts of the ring at the last start.
    members: BTreeSet<String>,
    /// The former members, the latest first.
    former: Vec<FormerMember>,
    /// The ring at the last start.
    #[serde(default)]
    ring: Option<RingDocument>,
    /// The ring before that was another.
    #[serde(default)]
    former_ring: Option<FormerRing>,
}

impl RingRecord {
    /// Parses `text`. Text that cannot be understood counts as empty.
    fn parse(text: &[u8]) -> Self {
        let Ok(mut memory) = serde_json::from_slice::<Self>(text) else { return Self::default() };
        memory.members.retain(|host| is_host(host));
        memory.former.retain(|former| is_host(&former.host));
        memory
    }

    /// The record after a start with a ring of `hosts` at `now`, in Unix seconds.
    fn renewed(&self, spec: &RingSpec, now: u64) -> Self {
        let hosts = spec.nodes.iter().map(|node| node.host().to_owned());
        let ring = RingDocument::from_spec("", spec);
        let former_ring = match &self.ring {
            Some(before) if *before != ring => {
                Some(FormerRing { ring: before.clone(), until: now })
            }
            _ => self.former_ring.clone(),
        };
        let (ring, members) = (Some(ring), self.with_hosts(hosts.collect(), now));
        Self { ring, former_ring, ..members }
    }

    /// The members of the record after that start.
    fn with_hosts(&self, hosts: BTreeSet<String>, now: u64) -> Self {
        let has_left = |host: &&String| !hosts.contains(*host);
        let mut former: Vec<FormerMember> = self
            .members
            .iter()
            .filter(has_left)
            .map(|host| FormerMember { host: host.clone(), until: now })
            .collect();
        let kept = self.former.iter().filter(|former| {
            has_left(&&former.host)
                && !self.members.contains(&former.host)
                && now < former.until.saturating_add(KEPT_SECONDS)
        });
        former.extend(kept.cloned());
        former.sort_by(|a, b| b.until.cmp(&a.until).then_with(|| a.host.cmp(&b.host)));
        former.dedup_by(|a, b| a.host == b.host);
        former.truncate(REMEMBERED);
        Self { members: hosts, former, ..Self::default() }
    }
}

fn is_host(host: &str) -> bool {
    DaemonAddr::new(host, 1).is_ok()
}

impl Store {
    /// Records `ring` as the present one, and returns the former members and the former ring. A record that
    /// cannot be read or written is logged, and the daemon starts anyway.
    pub(crate) fn remember_ring(&self, ring: &RingSpec) -> FormerRings {
        let before = self.read_ring().unwrap_or_else(|error| {
            tracing::warn!(error = %chain(&error), "cannot read the rings of earlier starts");
            RingRecord::default()
        });
        let now = before.renewed(ring, u64::from(unix_now()));
        if now != before
            && let Err(error) = self.write_ring(&now)
        {
            tracing::warn!(error = %chain(&error), "cannot save the ring for later starts");
        }
        FormerRings { members: now.former, ring: now.former_ring }
    }

    fn read_ring(&self) -> Result<RingRecord, StoreError> {
        let text = self.state.read_file(NAME)?;
        Ok(text.map_or_else(RingRecord::default, |text| RingRecord::parse(&text)))
    }

    fn write_ring(&self, memory: &RingRecord) -> Result<(), StoreError> {
        let text = serde_json::to_vec(memory).map_err(|error| {
            StoreError::io("write", self.state.path().join(NAME), io::Error::from(error))
        })?;
        self.state.replace_file(NAME, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn hosts(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn former_members(memory: &RingRecord) -> Vec<(&str, u64)> {
        memory.former.iter().map(|former| (former.host.as_str(), former.until)).collect()
    }

    #[test]
    fn a_member_that_is_left_out_is_remembered_until_it_comes_back_or_is_long_gone() {
        let first = RingRecord::default().with_hosts(hosts(&["a", "b", "c"]), 100);
        assert_eq!(former_members(&first), []);
        let same = first.with_hosts(hosts(&["a", "b", "c"]), 200);
        assert_eq!(same, first, "nothing to write");
        let second = first.with_hosts(hosts(&["a", "b"]), 300);
        assert_eq!(former_members(&second), [("c", 300)]);
        let third = second.with_hosts(hosts(&["a", "d"]), 400);
        assert_eq!(former_members(&third), [("b", 400), ("c", 300)]);
        assert_eq!(
            former_members(&third.with_hosts(hosts(&["a", "c"]), 500)),
            [("d", 500), ("b", 400)]
        );
        let later = third.with_hosts(hosts(&["a", "d"]), 350 + 30 * DAY);
        assert_eq!(former_members(&later), [("b", 400)]);
    }

    #[test]
    fn only_the_last_to_leave_are_remembered() {
        let many: BTreeSet<String> = (0..100).map(|number| format!("n{number:03}")).collect();
        let memory = RingRecord::default().with_hosts(many, 100).with_hosts(hosts(&["a"]), 200);
        assert_eq!(memory.former.len(), REMEMBERED);
        let next = memory.with_hosts(hosts(&["b"]), 300);
        assert_eq!(former_members(&next)[0], ("a", 300));
        assert_eq!(next.former.len(), REMEMBERED);
    }

    #[test]
    fn the_last_other_ring_is_remembered() {
        let spec = |nodes: &str| {
            let json = format!(r#"{{"Nodes":[{nodes}],"Algo":"carbon","Replicas":1}}"#);
            RingDocument::from_json(json.as_bytes()).unwrap().to_spec().unwrap()
        };
        let one = spec(r#"{"Server":"a","Port":1}"#);
        let two = spec(r#"{"Server":"a","Port":2}"#);
        let first = RingRecord::default().renewed(&one, 100);
        assert_eq!((first.former_ring.clone(), first.renewed(&one, 200)), (None, first.clone()));
        let second = first.renewed(&two, 300);
        let former = second.former_ring.clone().unwrap();
        assert_eq!((former.ring.to_spec().unwrap(), former.until), (one.clone(), 300));
        assert_eq!(second.renewed(&two, 400), second, "nothing to write");
        let back = second.renewed(&one, 500).former_ring.unwrap();
        assert_eq!((back.ring.to_spec().unwrap(), back.until), (two, 500));
        // A record of an earlier version has no ring.
        let old = RingRecord::parse(br#"{"members":["a"],"former":[]}"#);
        assert_eq!(old.renewed(&one, 600).former_ring, None);
    }

    #[test]
    fn junk_counts_as_nothing() {
        for junk in ["", "{", "[]", "null", "{\"members\": 7}", "{\"members\": [\"a\"]}", "\0\0\0"]
        {
            assert_eq!(RingRecord::parse(junk.as_bytes()), RingRecord::default(), "{junk:?}");
        }
        let odd =
            br#"{"members": ["a", "", "b c", "x/y"], "former": [{"host": "\n", "until": 1}]}"#;
        let memory = RingRecord::parse(odd);
        assert!(memory.members.contains("a") && memory.former.is_empty(), "{memory:?}");
        assert!(!memory.members.contains(""), "{memory:?}");
    }
}
