//! What must hold in every state.

use crate::file::Points;
use crate::heal::covered;
use crate::scenario::Scenario;
use crate::state::{ClientPhase, End, State};

/// The rule that `state` violates, or `None`.
pub(crate) fn wrong(scenario: &Scenario, state: &State) -> Option<String> {
    let lost = lost(scenario, state);
    if !lost.is_empty() {
        return Some(format!("lost: {lost:?} is in no file and no tombstone of any node"));
    }
    if are_owners_disputed(scenario) || !is_source_gone(scenario, state) {
        return None;
    }
    let lacking = |owner: &usize| !owed_to(scenario, state, *owner).is_empty();
    let owner = scenario.moves.first()?.owners.iter().find(lacking)?;
    let lacks = owed_to(scenario, state, owner);
    Some(format!("lost: {lacks:?} is not at its owner, node {owner}, and the source is gone"))
}

/// The points that were valid at any node, and are now neither in a file nor in a tombstone of any node.
fn lost(scenario: &Scenario, state: &State) -> Points {
    let files = state.nodes.iter().filter_map(|node| node.live);
    let tombstones = state.tombstones.iter().flatten().map(|tombstone| tombstone.content);
    let held = files
        .chain(tombstones)
        .fold(Points::NONE, |held, file| held.and(file.points()).and(covered(scenario, &file)));
    state.ledger.owed.without(state.ledger.given_up).without(held)
}

/// The points that were at the source and that `owner` does not hold.
fn owed_to(scenario: &Scenario, state: &State, owner: usize) -> Points {
    let live = state.nodes[owner].live;
    let held = live.map_or(Points::NONE, |live| live.points().and(covered(scenario, &live)));
    state.ledger.at_source.without(state.ledger.given_up).without(held)
}

/// If the clients' rings differ, they disagree on the owners of a point: it is enough that any node has it.
fn are_owners_disputed(scenario: &Scenario) -> bool {
    let first = scenario.moves.first();
    scenario.moves.iter().any(|job| {
        first.is_some_and(|first| (first.source, first.owners) != (job.source, job.owners))
    })
}

fn is_source_gone(scenario: &Scenario, state: &State) -> bool {
    let Some(job) = scenario.moves.first() else { return false };
    let mut tombstones = state.tombstones.iter().flatten();
    state.nodes[job.source].live.is_none() && tombstones.all(|one| one.at != job.source)
}

impl State {
    /// Every client reported "moved", and only the owners' files are left.
    pub fn everything_has_moved(&self, scenario: &Scenario) -> bool {
        let moved = |number: usize| self.clients[number].phase == ClientPhase::Ended(End::Moved);
        let gone = |number: usize| {
            matches!(self.clients[number].phase, ClientPhase::Ended(End::Moved | End::Gone))
        };
        let mut clients = 0..scenario.moves.len();
        clients.clone().any(moved)
            && clients.all(gone)
            && is_source_gone(scenario, self)
            && self.tombstones.iter().all(Option::is_none)
    }

    /// A client reported what it could not move, and exits with 1.
    pub fn is_reported(&self) -> bool {
        self.clients.iter().any(|client| client.phase == ClientPhase::Ended(End::Reported))
    }

    /// The operator gave up points.
    pub fn has_given_up(&self) -> bool {
        !self.ledger.given_up.is_empty()
    }

    /// No node has a file of the metric.
    pub fn is_only_in_tombstones(&self) -> bool {
        self.nodes.iter().all(|node| node.live.is_none())
    }
}
