//! Everything that the future of a move depends on: files, requests on their way, handles, and what is owed.

use crate::file::{Image, Points};
use crate::scenario::{CLIENTS, Mishaps, NODES, Nodes, Scenario, WRITERS};

/// How many tombstones there are at most at one time.
pub(crate) const TOMBSTONES: usize = 2;

/// One moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(crate) nodes: [Node; NODES],
    pub(crate) tombstones: [Option<Tombstone>; TOMBSTONES],
    pub(crate) clients: [Client; CLIENTS],
    pub(crate) writers: [Writer; WRITERS],
    /// A heal whose client was killed, and which the owner goes on with.
    pub(crate) orphan: Option<Heal>,
    pub(crate) left: Mishaps,
    pub(crate) ledger: Ledger,
}

/// A node's files of the metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    /// The file under the metric's name, as every process sees it.
    pub(crate) live: Option<Image>,
    /// The file as it is on the disk: what a power cut leaves.
    pub(crate) disk: Option<Image>,
}

impl Node {
    /// The points that a power cut takes.
    pub(crate) fn unsynced(&self) -> Points {
        let points = |file: Option<Image>| file.map_or(Points::NONE, |file| file.points());
        points(self.live).without(points(self.disk))
    }
}

/// A deleted source, or an owner's file before it was given other archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tombstone {
    pub(crate) at: usize,
    pub(crate) content: Image,
    /// What the manifest says it was, and who holds that.
    pub(crate) digest: Image,
    pub(crate) owners: Nodes,
    /// Whether its points without a place are given up.
    pub(crate) gives_up: bool,
    pub(crate) sweep: Sweep,
}

/// How far the sweeper is with a tombstone. A restart forgets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sweep {
    Waiting,
    /// It was read as `body`, and all owners before `owner` have confirmed that.
    Asking {
        body: Image,
        owner: usize,
    },
    /// `heal.at` lacked something, or the tombstone had changed.
    Healing {
        body: Image,
        heal: Heal,
    },
    /// All owners have confirmed `body`.
    Confirmed {
        body: Image,
    },
    /// It was `body` right now, under the lock.
    Compared,
}

/// One heal at one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Heal {
    pub(crate) from: usize,
    pub(crate) at: usize,
    pub(crate) content: Image,
    /// Whether points without a place may be given up, and whether some were.
    pub(crate) may_give_up: bool,
    pub(crate) gave_up: bool,
    pub(crate) phase: HealPhase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum HealPhase {
    /// Read at the source, on its way.
    Sent,
    /// Whole and synced, under no name.
    Staged,
    /// The owner's file is locked and was read; these points are about to be written.
    Planned { gains: Points },
    /// In the owner's file, perhaps not on its disk.
    Written(Outcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Created,
    Filled,
    Unchanged,
    Refused,
}

/// A client with one move to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Client {
    pub(crate) phase: ClientPhase,
    pub(crate) round: u8,
    /// Whether an owner gave up points of it.
    pub(crate) gave_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ClientPhase {
    /// The owners before `owner` have healed from `content`, or from several.
    Healing {
        owner: usize,
        heal: Option<Heal>,
        content: Option<Image>,
        is_one: bool,
    },
    /// All owners hold this.
    Deleting {
        receipt: Image,
    },
    Ended(End),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End {
    /// The source is deleted: exit 0.
    Moved,
    /// There was nothing: exit 0.
    Gone,
    /// Told, with exit 1; the source stays.
    Reported,
}

/// A carbon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Writer {
    pub(crate) phase: WriterPhase,
    pub(crate) updates: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum WriterPhase {
    Idle,
    /// It has seen the file, and is about to open it.
    Found,
    /// It has seen no file, and is about to create it.
    Absent,
    Open(Handle),
}

/// Where the inode is that somebody has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Handle {
    Live(usize),
    Tombstone(usize),
    /// Unlinked, or replaced.
    Nowhere,
}

/// What must not be lost. No process knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ledger {
    /// Points that were valid at any node.
    pub(crate) owed: Points,
    /// Those that were at the source of the first move.
    pub(crate) at_source: Points,
    /// Those that so far only this node's carbon has written, and nobody has synced.
    pub(crate) alone: [Points; NODES],
    /// Those that the operator has given up.
    pub(crate) given_up: Points,
}

impl State {
    pub(crate) fn of(scenario: &Scenario) -> Self {
        let file = |node: usize| scenario.files[node].map(|(layout, had)| Image::with(layout, had));
        let nodes = std::array::from_fn(|node| Node { live: file(node), disk: file(node) });
        let points = |node: &Node| node.live.map_or(Points::NONE, |file| file.points());
        let clients = std::array::from_fn(|client| Client {
            phase: match scenario.moves.get(client) {
                Some(job) => begin(job.owners),
                None => ClientPhase::Ended(End::Gone),
            },
            round: 0,
            gave_up: false,
        });
        let writers = std::array::from_fn(|writer| Writer {
            phase: WriterPhase::Idle,
            updates: scenario.writers.get(writer).map_or(0, |carbon| carbon.updates),
        });
        let ledger = Ledger {
            owed: nodes.iter().fold(Points::NONE, |all, node| all.and(points(node))),
            at_source: points(&nodes[0]),
            ..Ledger::default()
        };
        let (tombstones, left) = ([None; TOMBSTONES], scenario.mishaps);
        Self { nodes, tombstones, clients, writers, orphan: None, left, ledger }
    }

    /// All heals that are under way.
    pub(crate) fn heals(&self) -> impl Iterator<Item = &Heal> {
        let by_clients = self.clients.iter().filter_map(|client| match &client.phase {
            ClientPhase::Healing { heal, .. } => heal.as_ref(),
            _ => None,
        });
        let by_sweepers = self.tombstones.iter().flatten().filter_map(|one| match &one.sweep {
            Sweep::Healing { heal, .. } => Some(heal),
            _ => None,
        });
        by_clients.chain(by_sweepers).chain(&self.orphan)
    }

    /// Whether somebody holds the lock of this node's file.
    pub(crate) fn is_locked(&self, node: usize) -> bool {
        self.heals().any(|heal| heal.at == node && matches!(heal.phase, HealPhase::Planned { .. }))
    }

    /// The inodes that are known as `before` are known as `after` now.
    pub(crate) fn renamed(&mut self, before: Handle, after: Handle) {
        for writer in &mut self.writers {
            if writer.phase == WriterPhase::Open(before) {
                writer.phase = WriterPhase::Open(after);
            }
        }
    }
}

/// A client at its beginning.
pub(crate) fn begin(owners: Nodes) -> ClientPhase {
    let owner = owners.first_from(0).unwrap_or(0);
    ClientPhase::Healing { owner, heal: None, content: None, is_one: true }
}
