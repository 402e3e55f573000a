//! Who takes part, how often something may happen, and which of the protocol's rules hold.

use crate::file::{Layout, Points};

/// How many nodes there are: 0 is the source of the first move.
pub const NODES: usize = 3;
/// How many clients and writers there are at most.
pub const CLIENTS: usize = 2;
/// How many writers there are at most.
pub const WRITERS: usize = 2;

/// One world to explore.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The rules.
    pub protocol: Protocol,
    /// What becomes of points without a place.
    pub policy: Policy,
    /// What each node has at first.
    pub files: [Option<(Layout, Points)>; NODES],
    /// Whose clock is ahead, so that the old slot has expired by it.
    pub ahead: Option<usize>,
    /// A client's move each.
    pub moves: Vec<Move>,
    /// Carbons.
    pub writers: Vec<Carbon>,
    /// What may go wrong, and how often.
    pub mishaps: Mishaps,
    /// Whether losses that are documented as possible count as losses.
    pub counts_exceptions: bool,
}

/// What a client is to do.
#[derive(Clone, Copy, Debug)]
pub struct Move {
    /// From here.
    pub source: usize,
    /// To all of these, by the client's ring.
    pub owners: Nodes,
}

/// A process that writes to one node's file.
#[derive(Clone, Copy, Debug)]
pub struct Carbon {
    /// Where it writes.
    pub at: usize,
    /// Whether it takes the lock (WHISPER_LOCK_WRITES).
    pub locks: bool,
    /// How long it has the file open.
    pub pace: Pace,
    /// It creates a file that is not there, with this layout, by looking first and truncating then.
    pub creates: Option<Layout>,
    /// How many updates it has.
    pub updates: u8,
}

/// How long a writer has the file open for an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// For less time than anything else takes: it opens and writes in one step.
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
    /// A node loses its power, and with it all that was not synced.
    pub power_cuts: u8,
}

/// `--on-schema-difference`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The source stays.
    Keep,
    /// The owner's file gets the archives of both.
    Reshape,
    /// A coarser point that covers it counts.
    Coarsen,
    /// They are given up, after the operator was asked.
    Drop,
}

/// The rules that a move relies on. [`Protocol::full`] has all; each of the others puts an old behaviour back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The owners are asked for all valid points of a tombstone, not for a sample.
    pub confirms_all: bool,
    /// A fill that left points without a place gives no receipt.
    pub no_place_is_no_receipt: bool,
    /// The source is compared with the receipt right before it becomes a tombstone.
    pub compares_at_delete: bool,
    /// The tombstone is read after the grace time, and compared once more before it is unlinked.
    pub reads_tombstone_again: bool,
    /// A tombstone is left alone until the grace time is over.
    pub waits_for_grace: bool,
    /// A point counts that is valid by either side's clock.
    pub minds_both_clocks: bool,
    /// A new file is put in place only where there is none.
    pub replaces_nothing: bool,
    /// An owner answers a heal only once everything is on its disk.
    pub syncs_before_answer: bool,
    /// An owner confirms only what is on its disk.
    pub syncs_before_confirm: bool,
    /// With [`Policy::Drop`], a tombstone's points are given up only where its receipt said so.
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
    /// These.
    pub fn of(nodes: &[usize]) -> Self {
        Self(nodes.iter().fold(0, |set, node| set | 1 << node))
    }

    /// The first that comes at `from` or later.
    pub fn first_from(self, from: usize) -> Option<usize> {
        (from..NODES).find(|node| self.0 >> node & 1 == 1)
    }

    /// All, in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..NODES).filter(move |node| self.0 >> node & 1 == 1)
    }
}

impl Scenario {
    /// The source has all points, one owner has no file, one client moves it, and nothing else happens.
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

    /// The points that `node` takes for valid.
    pub(crate) fn valid_at(&self, node: usize) -> Points {
        if self.ahead == Some(node) { Points::ALL.without(Points::OLD) } else { Points::ALL }
    }

    /// The points of `from` that count when `at` is healed from it.
    pub(crate) fn valid_to_heal(&self, from: usize, at: usize) -> Points {
        let here = self.valid_at(at);
        if self.protocol.minds_both_clocks { here.and(self.valid_at(from)) } else { here }
    }

    /// The points of `from` that `at` is asked for, and minds.
    pub(crate) fn valid_to_ask(&self, from: usize, at: usize) -> Points {
        let (here, there) = (self.valid_at(at), self.valid_at(from));
        if self.protocol.minds_both_clocks { here.and(there) } else { here.within(there) }
    }
}
