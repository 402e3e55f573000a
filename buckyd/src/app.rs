//! What the routes share.

use std::sync::Arc;

use bucky_placement::{HashedSeries, Place, SeriesList, place};
use bucky_ring::Ring;

use crate::auth::{Keys, Peers};
use crate::intake::links::Links;
use crate::inventory::Inventory;
use crate::memory::Memory;
use crate::store::Volumes;
use crate::sweeper::Sweeper;
use crate::transfers::Transfers;

/// The daemon, as its routes see it.
pub(crate) struct App {
    /// What this node calls itself.
    pub(crate) node: String,
    /// The ring it was told.
    pub(crate) ring: Ring,
    /// Beginnings of metrics that are never misplaced.
    pub(crate) local_prefixes: Vec<String>,
    /// Whether an upload over the Go tool's routes sets the file's time.
    pub(crate) set_mtime: bool,
    /// The files.
    pub(crate) store: Arc<Volumes>,
    /// The list of them.
    pub(crate) inventory: Arc<Inventory>,
    /// What watches over the tombstones.
    pub(crate) sweeper: Arc<Sweeper>,
    /// What requests take while they are in memory.
    pub(crate) memory: Memory,
    /// The places for transfers.
    pub(crate) transfers: Transfers,
    /// What tokens are signed with; none where everybody may do everything.
    pub(crate) keys: Option<Keys>,
    /// Other daemons.
    pub(crate) peers: Peers,
    /// How archives come from them.
    pub(crate) links: Links,
}

/// Where a metric belongs, seen from one host.
#[derive(Debug)]
pub(crate) enum Placement<'a> {
    /// On this host, or it is the node's own business.
    Here,
    /// The series is not known.
    Unplaceable,
    /// On these nodes of the ring, none of them on this host; by this series, where the file is named by its hash.
    Elsewhere(bucky_ring::Owners<'a>, Option<HashedSeries>),
}

impl App {
    /// The ring as it is seen from the host that it calls `host`.
    pub(crate) fn seen_from(&self, host: &str) -> View<'_> {
        let here = self.ring.nodes().iter().map(|node| node.host() == host);
        View {
            ring: &self.ring,
            local_prefixes: &self.local_prefixes,
            known: self.inventory.known_series(),
            here: here.collect(),
        }
    }
}

/// Where metrics belong, seen from one host.
pub(crate) struct View<'a> {
    ring: &'a Ring,
    local_prefixes: &'a [String],
    known: Option<Arc<SeriesList>>,
    /// For each node of the ring whether it is on this host.
    here: Vec<bool>,
}

impl<'a> View<'a> {
    /// Where the metric `name` belongs.
    pub(crate) fn placement(&self, name: &str) -> Placement<'a> {
        match place(self.ring, self.local_prefixes, &self.known, name) {
            Place::Local => Placement::Here,
            Place::Unplaceable => Placement::Unplaceable,
            Place::Owned { owners, .. } if owners.clone().any(|owner| self.here[owner]) => {
                Placement::Here
            }
            Place::Owned { owners, series } => Placement::Elsewhere(owners, series),
        }
    }
}
