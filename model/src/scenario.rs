//! The participants, how often something may happen, and which rules of the protocol apply.

use crate::file::{Layout, Points};

/// How many nodes there are. Node 0 is the source of the first move.
pub const NODES: usize = 3;
/// The largest number of clients.
pub const CLIENTS: usize = 2;
/// The largest number of writers.
pub const WRITERS: usize = 2;

/// One set of conditions to explore.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The rules.
    pub protocol: Protocol,
    /// What happens to points without a place.
    pub policy: Policy,
    /// The file that each node has at first.
    pub files: [Option<(Layout, Points)>; NODES],
    /// The node whose clock is ahead, so that the old slot has expired by it.
    pub ahead: Option<usize>,
    /// The moves, one for each client.
    pub moves: Vec<Move>,
    /// The carbon daemons.
    pub writers: Vec<Carbon>,
    /// What may go wrong, and how often.
    pub mishaps: Mishaps,
    /// Whether losses that are documented as possible count as losses.
    pub counts_exceptions: bool,
}

/// The move that a client makes.
#[derive(Clone, Copy, Debug)]
pub struct Move {
    /// The source node.
    pub source: usize,
    /// The owners by the client's ring, which all get a copy.
    pub owners: Nodes,
}

/// A process that writes to one node's file.
#[derive(Clone, Copy, Debug)]
pub struct Carbon {
    /// The node.
    pub at: usize,
    /// Whether it takes the lock (WHISPER_LOCK_WRITES).
    pub locks: bool,
    /// How long it keeps the file open.
    pub pace: Pace,
    /// The layout with which it creates a missing file: it checks first and truncates later. `None` if it
    /// creates no file.
    pub creates: Option<Layout>,
    /// How many updates it makes.
    pub updates: u8,
}

/// How long a writer keeps the file open for an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// For a shorter time than any other step: it opens and writes in one step.
    AtOnce,
    /// As carbon does: for less than the grace time.
    Carbon,
    /// For longer than the grace time.
    Slow,
}

/// How often something goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mishaps {
    /// A client or daemon is killed; a daemon starts again, a client may be run again.
    pub kills: u8,
    /// A node loses its power, and everything that was not synced.
    pub power_cuts: u8,
}

/// `--on-schema-difference`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The source stays.
    Keep,
    /// The owner's file gets the archives of both.
    Reshape,
    /// A coarser point that covers it is enough.
    Coarsen,
    /// They are given up, after the operator was asked.
    Drop,
}

/// The rules that a move relies on. [`Protocol::full`] has all of them; each test of a rule restores the old
/// behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The owners must confirm all valid points of a tombstone, not a sample.
    pub confirms_all: bool,
    /// A fill that left points without a place gives no receipt.
    pub no_place_is_no_receipt: bool,
    /// The source is compared with the receipt immediately before it becomes a tombstone.
    pub compares_at_delete: bool,
    /// The tombstone is read after the grace time, and compared again before it is unlinked.
    pub reads_tombstone_again: bool,
    /// A tombstone is not processed until the grace time is over.
    pub waits_for_grace: bool,
    /// A point counts if it is valid by the clock of either side.
    pub minds_both_clocks: bool,
    /// A new file is put in place only if no file exists.
    pub replaces_nothing: bool,
    /// An owner answers a heal only after everything is on its disk.
    pub syncs_before_answer: bool,
    /// An owner confirms only what is on its disk.
    pub syncs_before_confirm: bool,
    /// With [`Policy::Drop`], a tombstone's points are given up only if its receipt said so.
    pub gives_up_by_receipt: bool,
}

impl Protocol {
    /// All rules.
    pub const fn full() -> Self {
        Self {
            confirms_all: true,
            no_place_is_no_receipt: true,
            compares_at_delete: true,
            reads_tombstone_again: true,
            waits_for_grace: true,
            minds_both_clocks: true,
            replaces_nothing: true,
            syncs_before_answer: true,
            syncs_before_confirm: true,
            gives_up_by_receipt: true,
        }
    }
}

/// A set of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nodes(u8);

impl Nodes {
    /// The set of `nodes`.
    pub fn of(nodes: &[usize]) -> Self {
        Self(nodes.iter().fold(0, |set, node| set | 1 << node))
    }

    /// The first node that is `from` or later.
    pub fn first_from(self, from: usize) -> Option<usize> {
        (from..NODES).find(|node| self.0 >> node & 1 == 1)
    }

    /// All nodes of the set, in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..NODES).filter(move |node| self.0 >> node & 1 == 1)
    }
}

impl Scenario {
    /// The source has all points, one owner has no file, one client makes the move, and nothing else happens.
    pub fn plain() -> Self {
        Self {
            protocol: Protocol::full(),
            policy: Policy::Keep,
            files: [Some((Layout::Both, Points::ALL)), None, None],
            ahead: None,
            moves: vec![Move { source: 0, owners: Nodes::of(&[1]) }],
            writers: Vec::new(),
            mishaps: Mishaps::default(),
            counts_exceptions: false,
        }
    }

    /// The points that are valid by the clock of `node`.
    pub(crate) fn valid_at(&self, node: usize) -> Points {
        if self.ahead == Some(node) { Points::ALL.without(Points::OLD) } else { Points::ALL }
    }

    /// The points of `from` that count when `at` is healed from it.
    pub(crate) fn valid_to_heal(&self, from: usize, at: usize) -> Points {
        let here = self.valid_at(at);
        if self.protocol.minds_both_clocks { here.and(self.valid_at(from)) } else { here }
    }

    /// The points of `from` that `at` must confirm.
    pub(crate) fn valid_to_ask(&self, from: usize, at: usize) -> Points {
        let (here, there) = (self.valid_at(at), self.valid_at(from));
        if self.protocol.minds_both_clocks { here.and(there) } else { here.within(there) }
    }
}
