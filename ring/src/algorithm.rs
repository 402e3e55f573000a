//! The names of the arithmetic: which hash, which relay's rules, and which part of a tagged series is hashed.
//!
//! This module has only the names and their valid combinations. The arithmetic is in [`crate::ring`] and the
//! modules that it uses.

use std::{fmt, str::FromStr};

/// A kind of ring, named as `--hash` names it. The relays' own names (`carbon_ch`, `fnv1a_ch`,
/// `jump_fnv1a_ch`, `mmh3_ch`) are read too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `carbon`: 100 entries a node at the first two bytes of an MD5 (the relays' `carbon_ch`).
    Carbon,
    /// `fnv1a`: 100 entries a node at a folded 32-bit FNV-1a (`fnv1a_ch`).
    Fnv1a,
    /// `jump_fnv1a`: jump consistent hash of a 64-bit FNV-1a (`jump_fnv1a_ch`).
    JumpFnv1a,
    /// `mmh3`: 100 entries a node at a signed 32-bit murmur3 (`mmh3_ch`, only in carbon).
    Mmh3,
    /// `fast-mmh3`: carbon's fast-hashing router with its default hash.
    FastMmh3,
    /// `fast-carbon`: carbon's fast-hashing router with `ROUTER_HASH_TYPE = carbon_ch`.
    FastCarbon,
    /// `fast-fnv1a`: carbon's fast-hashing router with `ROUTER_HASH_TYPE = fnv1a_ch`.
    FastFnv1a,
    /// `consistentHashing`: carbon-relay-ng's first ring, 100 entries a node at the first two bytes of an MD5.
    ConsistentHashing,
    /// `consistentHashing-v2`: the same, with entries that collide moved up.
    ConsistentHashingV2,
}

impl Algorithm {
    /// Every algorithm, in the order in which help texts list them.
    pub const ALL: [Self; 9] = [
        Self::Carbon,
        Self::Fnv1a,
        Self::JumpFnv1a,
        Self::Mmh3,
        Self::FastMmh3,
        Self::FastCarbon,
        Self::FastFnv1a,
        Self::ConsistentHashing,
        Self::ConsistentHashingV2,
    ];

    /// The name of the algorithm in `--hash` and in the key `Algo` of a ring document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Carbon => "carbon",
            Self::Fnv1a => "fnv1a",
            Self::JumpFnv1a => "jump_fnv1a",
            Self::Mmh3 => "mmh3",
            Self::FastMmh3 => "fast-mmh3",
            Self::FastCarbon => "fast-carbon",
            Self::FastFnv1a => "fast-fnv1a",
            Self::ConsistentHashing => "consistentHashing",
            Self::ConsistentHashingV2 => "consistentHashing-v2",
        }
    }

    /// The kind of ring that is used if none is named: the Go tool's default, except for carbon-relay-ng,
    /// which has its own.
    pub fn default_of(relay: Option<Relay>) -> Self {
        match relay {
            Some(Relay::CarbonRelayNg) => Self::ConsistentHashing,
            _ => Self::Carbon,
        }
    }

    /// The relay that is used if none is named: for a ring that only one relay has, that one; otherwise
    /// buckytools.
    pub fn default_relay(self) -> Relay {
        match self {
            Self::Carbon | Self::Fnv1a | Self::JumpFnv1a => Relay::Buckytools,
            Self::Mmh3 | Self::FastMmh3 | Self::FastCarbon | Self::FastFnv1a => Relay::Carbon,
            Self::ConsistentHashing | Self::ConsistentHashingV2 => Relay::CarbonRelayNg,
        }
    }

    /// Whether `relay` supports this kind of ring.
    pub fn is_known_to(self, relay: Relay) -> bool {
        match self {
            Self::Carbon | Self::Fnv1a => relay != Relay::CarbonRelayNg,
            Self::JumpFnv1a => matches!(relay, Relay::Buckytools | Relay::CarbonCRelay),
            Self::Mmh3 | Self::FastMmh3 | Self::FastCarbon | Self::FastFnv1a => {
                relay == Relay::Carbon
            }
            Self::ConsistentHashing | Self::ConsistentHashingV2 => relay == Relay::CarbonRelayNg,
        }
    }
}

/// The program whose arithmetic is used if the relays differ, named as in `--relay`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relay {
    /// `buckytools`: the Go tool of that name.
    Buckytools,
    /// `carbon`: carbon's own relay.
    Carbon,
    /// `carbon-c-relay`: the relay in C, as built for x86-64.
    CarbonCRelay,
    /// `carbon-relay-ng`: the relay in Go.
    CarbonRelayNg,
}

impl Relay {
    /// Every relay, in the order in which help texts list them.
    pub const ALL: [Self; 4] =
        [Self::Buckytools, Self::Carbon, Self::CarbonCRelay, Self::CarbonRelayNg];

    /// The name of the relay in `--relay` and in the key `Relay` of a ring document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Buckytools => "buckytools",
            Self::Carbon => "carbon",
            Self::CarbonCRelay => "carbon-c-relay",
            Self::CarbonRelayNg => "carbon-relay-ng",
        }
    }

    /// Which part of a tagged series this relay hashes by default.
    pub fn default_tagged_names(self) -> TaggedNames {
        match self {
            Self::Buckytools | Self::Carbon | Self::CarbonRelayNg => TaggedNames::Whole,
            Self::CarbonCRelay => TaggedNames::BeforeSemicolon,
        }
    }
}

/// Which part of a tagged series (`name;tag=value;…`) is hashed, named as in `--tagged-names`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaggedNames {
    /// `whole`: name and tags, unchanged.
    Whole,
    /// `before-semicolon`: only the part before the first `;`, so that all series of a name have the same
    /// owners.
    BeforeSemicolon,
}

impl TaggedNames {
    /// Both ways, in the order in which help texts list them.
    pub const ALL: [Self; 2] = [Self::Whole, Self::BeforeSemicolon];

    /// The name of the choice in `--tagged-names` and in the key `TaggedNames` of a ring document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::BeforeSemicolon => "before-semicolon",
        }
    }

    /// The part of `series` that is hashed.
    pub fn hashed_part(self, series: &str) -> &str {
        match self {
            Self::Whole => series,
            Self::BeforeSemicolon => match series.split_once(';') {
                Some((name, _tags)) => name,
                None => series,
            },
        }
    }
}

/// The relay and the treatment of tags, with defaults for what a command line or a document does not name.
///
/// # Errors
/// [`UnknownToRelay`] if the relay does not support this kind of ring.
pub fn resolve(
    algorithm: Algorithm,
    relay: Option<Relay>,
    tagged_names: Option<TaggedNames>,
) -> Result<(Relay, TaggedNames), UnknownToRelay> {
    let relay = relay.unwrap_or_else(|| algorithm.default_relay());
    if !algorithm.is_known_to(relay) {
        return Err(UnknownToRelay { algorithm, relay });
    }
    Ok((relay, tagged_names.unwrap_or_else(|| relay.default_tagged_names())))
}

/// A relay was named with a kind of ring that it does not support.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "relay {relay} has no {algorithm} ring; use {algorithm} with relay {}{}",
    relays_with(*algorithm),
    rings_of(*relay)
)]
pub struct UnknownToRelay {
    /// The kind of ring asked for.
    pub algorithm: Algorithm,
    /// The relay that does not support it.
    pub relay: Relay,
}

/// carbon-relay-ng has its own names for its rings.
fn rings_of(relay: Relay) -> String {
    if relay != Relay::CarbonRelayNg {
        return String::new();
    }
    let rings = Algorithm::ALL.into_iter().filter(|algorithm| algorithm.is_known_to(relay));
    let names = rings.map(Algorithm::name).collect::<Vec<_>>().join(" or ");
    format!(", or relay {relay} with {names}")
}

fn relays_with(algorithm: Algorithm) -> String {
    let relays = Relay::ALL.into_iter().filter(|relay| algorithm.is_known_to(*relay));
    relays.map(Relay::name).collect::<Vec<_>>().join(" or ")
}

/// A name that is not one of the known names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind}: {found:?} ({known})")]
pub struct UnknownName {
    kind: &'static str,
    found: String,
    known: String,
}

macro_rules! named {
    ($type:ty, $kind:literal, $other:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                let found = Self::ALL
                    .into_iter()
                    .find(|value| [value.name(), value.$other()].contains(&text));
                found.ok_or_else(|| UnknownName {
                    kind: $kind,
                    found: text.to_owned(),
                    known: Self::ALL.map(Self::name).join(", "),
                })
            }
        }
    };
}

named!(Algorithm, "hash", name_in_relays);
named!(Relay, "relay", name);
named!(TaggedNames, "way to hash tagged names", name);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        }
        for relay in Relay::ALL {
            assert_eq!(relay.to_string().parse(), Ok(relay));
        }
        for tagged_names in TaggedNames::ALL {
            assert_eq!(tagged_names.to_string().parse(), Ok(tagged_names));
        }
    }

    #[test]
    fn the_names_of_the_relays_configurations_are_read() {
        assert_eq!("carbon_ch".parse(), Ok(Algorithm::Carbon));
        assert_eq!("fnv1a_ch".parse(), Ok(Algorithm::Fnv1a));
        assert_eq!("jump_fnv1a_ch".parse(), Ok(Algorithm::JumpFnv1a));
        assert_eq!("mmh3_ch".parse(), Ok(Algorithm::Mmh3));
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "fnv".parse::<Algorithm>().expect_err("no such hash");
        assert_eq!(
            error.to_string(),
            "not a valid hash: \"fnv\" (carbon, fnv1a, jump_fnv1a, mmh3, fast-mmh3, fast-carbon, fast-fnv1a, \
             consistentHashing, consistentHashing-v2)"
        );
        assert!("Carbon".parse::<Relay>().is_err());
        assert!("".parse::<TaggedNames>().is_err());
    }

    #[test]
    fn a_ring_that_only_carbon_has_implies_carbon() {
        use {Algorithm::*, TaggedNames::*};
        assert_eq!(resolve(Carbon, None, None), Ok((Relay::Buckytools, Whole)));
        assert_eq!(resolve(FastMmh3, None, None), Ok((Relay::Carbon, Whole)));
        assert_eq!(resolve(ConsistentHashingV2, None, None), Ok((Relay::CarbonRelayNg, Whole)));
        assert_eq!(
            resolve(Fnv1a, Some(Relay::CarbonCRelay), None),
            Ok((Relay::CarbonCRelay, BeforeSemicolon))
        );
        assert_eq!(
            resolve(Fnv1a, Some(Relay::CarbonCRelay), Some(Whole)),
            Ok((Relay::CarbonCRelay, Whole))
        );
    }

    #[test]
    fn a_relay_without_that_ring_is_refused() {
        let error = resolve(Algorithm::JumpFnv1a, Some(Relay::Carbon), None).expect_err("no jump");
        assert_eq!(
            error.to_string(),
            "relay carbon has no jump_fnv1a ring; use jump_fnv1a with relay buckytools or carbon-c-relay"
        );
        assert!(resolve(Algorithm::Mmh3, Some(Relay::Buckytools), None).is_err());
        assert!(resolve(Algorithm::FastFnv1a, Some(Relay::CarbonCRelay), None).is_err());
        let error =
            resolve(Algorithm::Carbon, Some(Relay::CarbonRelayNg), None).expect_err("no carbon");
        assert_eq!(
            error.to_string(),
            "relay carbon-relay-ng has no carbon ring; use carbon with relay buckytools or carbon or \
             carbon-c-relay, or relay carbon-relay-ng with consistentHashing or consistentHashing-v2"
        );
    }

    #[test]
    fn only_the_first_semicolon_cuts() {
        let series = "disk.used;host=a;dc=b";
        assert_eq!(TaggedNames::Whole.hashed_part(series), series);
        assert_eq!(TaggedNames::BeforeSemicolon.hashed_part(series), "disk.used");
        assert_eq!(TaggedNames::BeforeSemicolon.hashed_part("disk.used"), "disk.used");
    }
}
