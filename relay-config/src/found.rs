//! What a configuration file contains: its program, and the rings that can be chosen.

use std::fmt;

use bucky_ring::RingSpec;

use crate::c_relay::Routing;
use crate::{Need, Place, Refusal, Warning};

/// The program that reads a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// carbon: `carbon.conf`.
    Carbon,
    /// carbon-c-relay: `carbon-c-relay.conf`, `relay.conf`.
    CarbonCRelay,
    /// carbon-relay-ng: its TOML file.
    CarbonRelayNg,
    /// carbonate: `carbonate.conf`.
    Carbonate,
    /// graphite-web: `local_settings.py`, which has no ring.
    GraphiteWeb,
    /// The command line of a daemon: the Go tool's `buckyd`, or ours.
    Buckyd,
    /// A ring document, as `GET /hashring` serves it.
    RingDocument,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Carbon => "carbon",
            Self::CarbonCRelay => "carbon-c-relay",
            Self::CarbonRelayNg => "carbon-relay-ng",
            Self::Carbonate => "carbonate",
            Self::GraphiteWeb => "graphite-web",
            Self::Buckyd => "buckyd",
            Self::RingDocument => "ring document",
        })
    }
}

/// The flag by which one of several rings is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// `--section`: carbon and carbonate.
    Section,
    /// `--cluster`: carbon-c-relay.
    Cluster,
    /// `--route`: carbon-relay-ng.
    Route,
}

impl Selector {
    /// The flag.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Section => "--section",
            Self::Cluster => "--cluster",
            Self::Route => "--route",
        }
    }
}

/// A configuration file that could be read as its program reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// The program.
    pub program: Program,
    /// How its rings are chosen; `None` if a file of this kind has exactly one, without a name.
    pub selector: Option<Selector>,
    /// Everything that could be a ring, in the order of the file.
    pub choices: Vec<Choice>,
    /// The rules that lead to the rings, if several of them can be taken together.
    pub(crate) routing: Option<Routing>,
}

/// A section, cluster or route of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Its name; empty if the file has only one.
    pub name: String,
    /// Its ring, or why it is refused.
    pub ring: Result<FoundRing, Refusal>,
}

/// A ring, and where it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundRing {
    /// The ring as the relay has it. [`bucky_ring::Ring::new`] may still refuse it.
    pub spec: RingSpec,
    /// Where its parts were found.
    pub origins: Origins,
    /// What an operator must know about it.
    pub warnings: Vec<Warning>,
    /// What is needed besides it to place names.
    pub needs: Vec<Need>,
}

/// Where the parts of a ring were found; `None` where the program's default counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// The nodes, in the order of the spec; as many.
    pub nodes: Vec<Place>,
    /// The kind of ring.
    pub algorithm: Option<Place>,
    /// The replication factor.
    pub replication_factor: Option<Place>,
    /// Whether copies are on different hosts.
    pub diverse_replicas: Option<Place>,
}
