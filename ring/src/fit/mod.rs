//! Which ring explains what lies on the disks?
//!
//! Each candidate ring says for each name on which hosts it belongs. Two figures compare that with the hosts
//! that have it: the share of the copies found that are in place, and the share of the copies wanted that were
//! found. The rank is by their harmonic mean, `2 * in place / (found + wanted)`. So two copies do not win by
//! allowing more places, and one copy does not win by wanting fewer.
//!
//! Misplaced copies lower the first figure of every ring alike. A host that was not asked counts neither as
//! wanted nor as found. A host that is empty lowers the second figure of the rings that have it: a ring
//! without it then ranks higher, as it should, because that ring laid out the disks.

mod candidates;
mod jump_order;
mod shuffle;

pub use self::jump_order::jump_order;
pub use self::shuffle::shuffled_share;

/// The least shares with which a ring explains where copies are.
const EXPLAINS_FROM: f64 = 0.7;
use std::cmp::Ordering;

use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use self::candidates::{Candidate, candidates};
use crate::hash::{Key, KeyHash};
use crate::{Node, RingSpec, TaggedNames};

/// The candidate rings, ready to be compared with names and the hosts that have them.
pub struct Fit {
    candidates: Vec<Scored>,
    /// The hashes that the candidates need: each is computed once for a name.
    hashes: Vec<(KeyHash, TaggedNames)>,
    /// How many hosts were asked. They have the lowest numbers.
    asked: usize,
    tallies: usize,
}

struct Scored {
    candidate: Candidate,
    /// For each node of the ring, the number of its host.
    hosts: Vec<u16>,
    /// The hash of a name, as an index into [`Fit::hashes`].
    hash: usize,
    /// The tally of its fewest copies. Those of more copies follow.
    first: usize,
}

/// What was counted so far, for each ring.
#[derive(Clone, Debug)]
pub struct Score {
    names: u64,
    copies: u64,
    tallies: Vec<Tally>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    in_place: u64,
    wanted: u64,
    /// Equal for rings that have the same owners for all names counted.
    owners: u64,
}

/// A ring, and how well it explains what was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The ring, and those that have the same owners for every name counted.
    pub rings: Vec<RingSpec>,
    /// How many copies were found.
    pub copies: u64,
    /// How many of them are on an owner's host.
    pub in_place: u64,
    /// How many copies the ring wants on the hosts that were asked.
    pub wanted: u64,
}

impl Fit {
    /// Compares `given`, and every known ring of at most `most_copies` copies over each of `node_lists`.
    /// `asked` are the hosts whose names are known.
    pub fn new(
        given: &[RingSpec],
        node_lists: &[Vec<Node>],
        most_copies: usize,
        asked: &[&str],
    ) -> Self {
        let mut hosts: Vec<String> = asked.iter().map(|host| (*host).to_owned()).collect();
        let mut fit =
            Self { candidates: Vec::new(), hashes: Vec::new(), asked: asked.len(), tallies: 0 };
        for candidate in candidates(given, node_lists, most_copies) {
            let nodes = candidate.ring.nodes().iter();
            let numbers = nodes.map(|node| number_of(node.host(), &mut hosts)).collect();
            let kind = (candidate.ring.key_hash(), candidate.ring.spec().tagged_names);
            let known = fit.hashes.iter().position(|other| *other == kind);
            let hash = known.unwrap_or_else(|| {
                fit.hashes.push(kind);
                fit.hashes.len() - 1
            });
            let first = fit.tallies;
            fit.tallies += candidate.ring.spec().replication_factor + 1 - candidate.fewest;
            fit.candidates.push(Scored { candidate, hosts: numbers, hash, first });
        }
        fit
    }

    /// A score of nothing, to count with.
    pub fn score(&self) -> Score {
        Score { names: 0, copies: 0, tallies: vec![Tally::default(); self.tallies] }
    }

    /// Counts a name that was found on the hosts `found`, each once: indices of the hosts that were asked.
    /// `series` is what a relay hashes.
    pub fn count(&self, score: &mut Score, series: &str, found: &[u16]) {
        score.names += 1;
        score.copies += found.len() as u64;
        let name = xxh3_64(series.as_bytes());
        let hashes: SmallVec<[u64; 8]> = self
            .hashes
            .iter()
            .map(|(hash, tagged_names)| hash.of(Key { series, tagged_names: *tagged_names }))
            .collect();
        for scored in &self.candidates {
            let ring = &scored.candidate.ring;
            if ring.spec().has_rules() {
                let mut sum = NameSum::default();
                ring.owners(series)
                    .for_each(|owner| sum.add(scored.hosts[owner], found, self.asked));
                sum.end(name, &mut score.tallies[scored.first]);
                continue;
            }
            let mut sum = NameSum::default();
            for (copy, owner) in (1..).zip(ring.owners_of_hash(hashes[scored.hash])) {
                sum.add(scored.hosts[owner], found, self.asked);
                if let Some(place) = usize::checked_sub(copy, scored.candidate.fewest) {
                    sum.end(name, &mut score.tallies[scored.first + place]);
                }
            }
        }
    }

    /// The rings, the best explanation first. Of equals, those that were given come first.
    pub fn ranked(&self, score: &Score) -> Vec<Explanation> {
        let mut groups: Vec<(Tally, Explanation)> = Vec::new();
        for (spec, tally) in self.rings().zip(&score.tallies) {
            let group = groups.iter_mut().find(|(other, _)| other == tally);
            match group {
                Some((_, group)) if group.rings.contains(&spec) => {}
                Some((_, group)) => group.rings.push(spec),
                None => {
                    let Tally { in_place, wanted, .. } = *tally;
                    let copies = score.copies;
                    let group = Explanation { rings: vec![spec], copies, in_place, wanted };
                    groups.push((*tally, group));
                }
            }
        }
        let mut ranked: Vec<Explanation> = groups.into_iter().map(|(_, group)| group).collect();
        ranked.sort_by(|a, b| b.compare(a));
        ranked
    }

    /// The ring of each tally.
    fn rings(&self) -> impl Iterator<Item = RingSpec> {
        self.candidates.iter().flat_map(|Scored { candidate, .. }| {
            let spec = candidate.ring.spec();
            (candidate.fewest..=spec.replication_factor)
                .map(|replication_factor| RingSpec { replication_factor, ..spec.clone() })
        })
    }
}

impl Score {
    /// Adds what another thread has counted with the same [`Fit`].
    pub fn add(&mut self, other: &Self) {
        self.names += other.names;
        self.copies += other.copies;
        for (tally, more) in self.tallies.iter_mut().zip(&other.tallies) {
            tally.in_place += more.in_place;
            tally.wanted += more.wanted;
            tally.owners = tally.owners.wrapping_add(more.owners);
        }
    }

    /// How many names were counted.
    pub fn names(&self) -> u64 {
        self.names
    }
}

impl Explanation {
    /// The share of the copies found that are in place, 0 to 1.
    pub fn share_in_place(&self) -> f64 {
        share(self.in_place, self.copies)
    }

    /// The share of the copies wanted that were found, 0 to 1.
    pub fn share_found(&self) -> f64 {
        share(self.in_place, self.wanted)
    }

    /// How well the ring explains the copies, 0 to 1: twice those in place, of those found and those wanted.
    #[expect(clippy::cast_precision_loss, reason = "counts of copies are far below 2^53")]
    pub fn score(&self) -> f64 {
        2.0 * self.in_place as f64 / (self.copies + self.wanted).max(1) as f64
    }

    /// Whether it explains where the copies are: most are in place, and most that it wants are there. A ring of
    /// three copies over four nodes has most copies in place wherever they lie, but few of those it wants.
    pub fn explains(&self) -> bool {
        self.share_in_place() >= EXPLAINS_FROM && self.share_found() >= EXPLAINS_FROM
    }

    /// Compares how well two rings explain the same copies.
    pub fn compare(&self, other: &Self) -> Ordering {
        let scaled = |one: &Self, other: &Self| {
            u128::from(one.in_place) * (u128::from(other.copies) + u128::from(other.wanted))
        };
        scaled(self, other).cmp(&scaled(other, self))
    }
}

/// What a ring says about one name.
#[derive(Default)]
struct NameSum {
    hosts: SmallVec<[u16; 4]>,
    in_place: u64,
    wanted: u64,
    owners: u64,
}

impl NameSum {
    fn add(&mut self, host: u16, found: &[u16], asked: usize) {
        if self.hosts.contains(&host) {
            return;
        }
        self.hosts.push(host);
        self.owners = self.owners.wrapping_add(mixed(u64::from(host) + 1));
        self.wanted += u64::from(usize::from(host) < asked);
        self.in_place += u64::from(found.contains(&host));
    }

    fn end(&self, name: u64, tally: &mut Tally) {
        tally.in_place += self.in_place;
        tally.wanted += self.wanted;
        tally.owners = tally.owners.wrapping_add(mixed(name ^ self.owners));
    }
}

/// The finisher of SplitMix64: spreads every bit over all bits.
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn number_of(host: &str, hosts: &mut Vec<String>) -> u16 {
    let known = hosts.iter().position(|other| other == host);
    let number = known.unwrap_or_else(|| {
        hosts.push(host.to_owned());
        hosts.len() - 1
    });
    u16::try_from(number).unwrap_or(u16::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "for people; counts of copies are far below 2^53")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests;
