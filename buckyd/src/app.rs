//! The state that the routes share.

use std::sync::Arc;

use bucky_placement::{HashedSeries, Key, Place, SeriesList, key, place};
use bucky_ring::{Node, Ring};

use crate::auth::{Keys, Peers};
use crate::intake::links::Links;
use crate::inventory::Inventory;
use crate::memory::Memory;
use crate::ring_file::CurrentRing;
use crate::store::Volumes;
use crate::sweeper::Sweeper;
use crate::transfers::Transfers;

/// The daemon, as its routes see it.
pub(crate) struct App {
    /// The name of this node.
    pub(crate) node: String,
    /// The ring of this daemon.
    pub(crate) ring: Arc<CurrentRing>,
    /// Beginnings of the names of local metrics, which are never misplaced.
    pub(crate) local_prefixes: Vec<String>,
    /// Whether an upload through the Go tool's routes sets the file's time.
    pub(crate) set_mtime: bool,
    /// The files.
    pub(crate) store: Arc<Volumes>,
    /// The list of metrics.
    pub(crate) inventory: Arc<Inventory>,
    /// The task that has tombstones confirmed.
    pub(crate) sweeper: Arc<Sweeper>,
    /// The memory budget of requests.
    pub(crate) memory: Memory,
    /// The permits for transfers.
    pub(crate) transfers: Transfers,
    /// The keys that sign tokens. `None` if any client may do everything.
    pub(crate) keys: Option<Keys>,
    /// Other daemons.
    pub(crate) peers: Peers,
    /// How archives travel from other daemons.
    pub(crate) links: Links,
}

/// Where a metric belongs, as one host sees it.
#[derive(Debug)]
pub(crate) enum Placement<'a> {
    /// On this host, or it is a local metric.
    Here,
    /// The series is unknown.
    Unplaceable,
    /// No rule of the relay sends it to the ring.
    Unrouted,
    /// On these nodes of the ring, none of which is on this host. Set with the series if the file is named by
    /// its hash.
    Elsewhere(bucky_ring::Owners<'a>, Option<HashedSeries>),
}

impl App {
    /// The ring as the host `host` sees it.
    pub(crate) fn seen_from(&self, host: &str) -> View<'_> {
        let ring = self.ring.now();
        let here = ring.nodes().iter().map(|node| node.host() == host).collect();
        View {
            ring,
            local_prefixes: &self.local_prefixes,
            known: self.inventory.known_series(),
            here,
        }
    }
}

/// Where metrics belong, as one host sees it.
pub(crate) struct View<'a> {
    ring: Arc<Ring>,
    local_prefixes: &'a [String],
    known: Option<Arc<SeriesList>>,
    /// For each node of the ring, whether it is on this host.
    here: Vec<bool>,
}

impl View<'_> {
    /// The nodes of the ring; owners are indices into them.
    pub(crate) fn nodes(&self) -> &[Node] {
        self.ring.nodes()
    }

    /// What a relay hashes to place `name`. `None` if it is a local metric, or unplaceable.
    pub(crate) fn key<'name>(&self, name: &'name str) -> Option<Key<'name>> {
        let is_local = self.local_prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()));
        if is_local { None } else { key(&self.known, name) }
    }

    /// Where the metric `name` belongs.
    pub(crate) fn placement(&self, name: &str) -> Placement<'_> {
        match place(&self.ring, self.local_prefixes, &self.known, name) {
            Place::Local => Placement::Here,
            Place::Unrouted => Placement::Unrouted,
            Place::Unplaceable => Placement::Unplaceable,
            Place::Owned { owners, .. } if owners.clone().any(|owner| self.here[owner]) => {
                Placement::Here
            }
            Place::Owned { owners, series } => Placement::Elsewhere(owners, series),
        }
    }
}
