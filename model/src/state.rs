//! Everything that the future of a move depends on: files, requests in flight, open files, and the points
//! that must not be lost.

use crate::file::{Image, Points};
use crate::scenario::{CLIENTS, Mishaps, NODES, Nodes, Scenario, WRITERS};

/// The largest number of tombstones at one time.
pub(crate) const TOMBSTONES: usize = 2;

/// The state of the model at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(crate) nodes: [Node; NODES],
    pub(crate) tombstones: [Option<Tombstone>; TOMBSTONES],
    pub(crate) clients: [Client; CLIENTS],
    pub(crate) writers: [Writer; WRITERS],
    /// A heal whose client was killed, and which the owner continues.
    pub(crate) orphan: Option<Heal>,
    pub(crate) left: Mishaps,
    pub(crate) ledger: Ledger,
}

/// A node's files of the metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    /// The file under the metric's name, as every process sees it.
    pub(crate) live: Option<Image>,
    /// The file on the disk, which is what remains after a power cut.
    pub(crate) disk: Option<Image>,
}

impl Node {
    /// The points that a power cut would lose.
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
    /// The digest and the owners in the manifest.
    pub(crate) digest: Image,
    pub(crate) owners: Nodes,
    /// Whether its points without a place are given up.
    pub(crate) gives_up: bool,
    pub(crate) sweep: Sweep,
}

/// How far the sweeper has processed a tombstone. A restart resets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sweep {
    Waiting,
    /// The tombstone was read as `body`, and all owners before `owner` have confirmed that.
    Asking {
        body: Image,
        owner: usize,
    },
    /// The owner `heal.at` lacked a point, or the tombstone had changed.
    Healing {
        body: Image,
        heal: Heal,
    },
    /// All owners have confirmed `body`.
    Confirmed {
        body: Image,
    },
    /// The tombstone was compared under the lock, and equals what was confirmed.
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
    /// The file was read at the source and is being sent.
    Sent,
    /// The new file is complete and synced, but has no name yet.
    Staged,
    /// The owner's file is locked and was read; these points will be written.
    Planned { gains: Points },
    /// The points are in the owner's file, perhaps not on its disk.
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
    /// Whether an owner gave up points of the metric.
    pub(crate) gave_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ClientPhase {
    /// The owners before `owner` have healed; `is_one` is false if they healed from different contents.
    Healing {
        owner: usize,
        heal: Option<Heal>,
        content: Option<Image>,
        is_one: bool,
    },
    /// All owners hold `receipt`.
    Deleting {
        receipt: Image,
    },
    Ended(End),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End {
    /// The source is deleted: exit 0.
    Moved,
    /// There was no source: exit 0.
    Gone,
    /// The client reported a failure, with exit 1; the source stays.
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
    /// It has found the file, and will open it.
    Found,
    /// It has found no file, and will create it.
    Absent,
    Open(Handle),
}

/// Where the inode is that a process has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Handle {
    Live(usize),
    Tombstone(usize),
    /// It was unlinked or replaced.
    Nowhere,
}

/// The points that must not be lost. No process knows this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ledger {
    /// The points that were valid at any node.
    pub(crate) owed: Points,
    /// The points that were at the source of the first move.
    pub(crate) at_source: Points,
    /// The points that only this node's carbon has written so far, and that were never synced.
    pub(crate) alone: [Points; NODES],
    /// The points that the operator has given up.
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

    /// All heals in progress.
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

    /// Whether a process holds the lock of this node's file.
    pub(crate) fn is_locked(&self, node: usize) -> bool {
        self.heals().any(|heal| heal.at == node && matches!(heal.phase, HealPhase::Planned { .. }))
    }

    /// Renames the open inodes `before` to `after`.
    pub(crate) fn renamed(&mut self, before: Handle, after: Handle) {
        for writer in &mut self.writers {
            if writer.phase == WriterPhase::Open(before) {
                writer.phase = WriterPhase::Open(after);
            }
        }
    }
}

/// The first phase of a client.
pub(crate) fn begin(owners: Nodes) -> ClientPhase {
    let owner = owners.first_from(0).unwrap_or(0);
    ClientPhase::Healing { owner, heal: None, content: None, is_one: true }
}
