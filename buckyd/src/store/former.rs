//! The former members of the ring. They are recorded in the state folder, so that a node that still holds
//! metrics is not forgotten.
//!
//! The file `ring` has the members at the last start and those that have left since. A file that cannot be
//! understood counts as empty.

use std::collections::BTreeSet;
use std::io;

use bucky_api::clock::unix_now;
use bucky_api::{DaemonAddr, FormerMember, chain};
use serde::{Deserialize, Serialize};

use super::Store;
use super::error::StoreError;

const NAME: &str = "ring";
/// How many former members are recorded: the latest.
const REMEMBERED: usize = 64;
/// How long a former member is recorded. By then it was drained, or it is gone for good.
const KEPT_SECONDS: u64 = 30 * 86_400;

/// The content of the file `ring`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct RingRecord {
    /// The hosts of the ring at the last start.
    members: BTreeSet<String>,
    /// The former members, the latest first.
    former: Vec<FormerMember>,
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
    fn renewed(&self, hosts: BTreeSet<String>, now: u64) -> Self {
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
        Self { members: hosts, former }
    }
}

fn is_host(host: &str) -> bool {
    DaemonAddr::new(host, 1).is_ok()
}

impl Store {
    /// Records the ring of `hosts` as the present one, and returns the former members. A record that cannot
    /// be read or written is logged, and the daemon starts anyway.
    pub(crate) fn remember_ring<'a>(
        &self,
        hosts: impl Iterator<Item = &'a str>,
    ) -> Vec<FormerMember> {
        let before = self.read_ring().unwrap_or_else(|error| {
            tracing::warn!(error = %chain(&error), "cannot read the rings of earlier starts");
            RingRecord::default()
        });
        let now = before.renewed(hosts.map(str::to_owned).collect(), u64::from(unix_now()));
        if now != before
            && let Err(error) = self.write_ring(&now)
        {
            tracing::warn!(error = %chain(&error), "cannot save the ring for later starts");
        }
        now.former
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
        let first = RingRecord::default().renewed(hosts(&["a", "b", "c"]), 100);
        assert_eq!(former_members(&first), []);
        let same = first.renewed(hosts(&["a", "b", "c"]), 200);
        assert_eq!(same, first, "nothing to write");
        let second = first.renewed(hosts(&["a", "b"]), 300);
        assert_eq!(former_members(&second), [("c", 300)]);
        let third = second.renewed(hosts(&["a", "d"]), 400);
        assert_eq!(former_members(&third), [("b", 400), ("c", 300)]);
        assert_eq!(
            former_members(&third.renewed(hosts(&["a", "c"]), 500)),
            [("d", 500), ("b", 400)]
        );
        let later = third.renewed(hosts(&["a", "d"]), 350 + 30 * DAY);
        assert_eq!(former_members(&later), [("b", 400)]);
    }

    #[test]
    fn only_the_last_to_leave_are_remembered() {
        let many: BTreeSet<String> = (0..100).map(|number| format!("n{number:03}")).collect();
        let memory = RingRecord::default().renewed(many, 100).renewed(hosts(&["a"]), 200);
        assert_eq!(memory.former.len(), REMEMBERED);
        let next = memory.renewed(hosts(&["b"]), 300);
        assert_eq!(former_members(&next)[0], ("a", 300));
        assert_eq!(next.former.len(), REMEMBERED);
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
