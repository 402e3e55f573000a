//! Kills and power cuts. A process that starts again knows only what is on its disk.

use crate::scenario::{NODES, Scenario};
use crate::state::{ClientPhase, Heal, State, Sweep, WriterPhase, begin};
use crate::step::{Name, Step, Who};

/// Adds everything that may go wrong now.
pub(crate) fn steps(scenario: &Scenario, state: &State, next: &mut Vec<(Step, State)>) {
    if state.left.kills > 0 {
        for node in (0..NODES).filter(|node| is_at_work(state, *node)) {
            let mut after = state.clone();
            after.left.kills -= 1;
            restarted(&mut after, node);
            next.push((Step { who: Who::Node(node), name: Name::Killed, at: node }, after));
        }
        for client in 0..scenario.moves.len() {
            kill_client(scenario, state, client, next);
        }
    }
    if state.left.power_cuts > 0 {
        for node in (0..NODES).filter(|node| state.nodes[*node].live.is_some()) {
            let after = powered_off(scenario, state, node);
            next.push((Step { who: Who::Node(node), name: Name::PowerCut, at: node }, after));
        }
    }
}

/// Whether the daemon has a state that a kill would erase.
fn is_at_work(state: &State, node: usize) -> bool {
    let sweeps = |sweep: &Sweep| *sweep != Sweep::Waiting;
    state.heals().any(|heal| heal.at == node)
        || state.tombstones.iter().flatten().any(|one| one.at == node && sweeps(&one.sweep))
}

/// The daemon of `node` was killed and has started again.
pub(crate) fn restarted(state: &mut State, node: usize) {
    for client in &mut state.clients {
        if let ClientPhase::Healing { heal, .. } = &mut client.phase
            && heal.is_some_and(|heal| heal.at == node)
        {
            // The client sends its request again.
            *heal = None;
        }
    }
    for tombstone in state.tombstones.iter_mut().flatten() {
        let is_asked = match tombstone.sweep {
            Sweep::Healing { heal, .. } => heal.at == node,
            _ => false,
        };
        if tombstone.at == node || is_asked {
            tombstone.sweep = Sweep::Waiting;
        }
    }
    state.orphan = state.orphan.filter(|heal| heal.at != node);
}

fn kill_client(scenario: &Scenario, state: &State, number: usize, next: &mut Vec<(Step, State)>) {
    let heal: Option<Heal> = match state.clients[number].phase {
        ClientPhase::Ended(_) => return,
        ClientPhase::Healing { heal, .. } => heal,
        ClientPhase::Deleting { .. } => None,
    };
    let mut after = state.clone();
    after.left.kills -= 1;
    after.clients[number].phase = begin(scenario.moves[number].owners);
    let step = |name| Step { who: Who::Client(number), name, at: scenario.moves[number].source };
    if heal.is_some() && state.orphan.is_none() {
        let mut with_orphan = after.clone();
        with_orphan.orphan = heal;
        next.push((step(Name::ClientKilledOrphan), with_orphan));
    }
    next.push((step(Name::ClientKilled), after));
}

fn powered_off(scenario: &Scenario, state: &State, node: usize) -> State {
    let mut state = state.clone();
    state.left.power_cuts -= 1;
    restarted(&mut state, node);
    forget_unsynced(scenario, &mut state, node);
    state.nodes[node].live = state.nodes[node].disk;
    for (carbon, writer) in scenario.writers.iter().zip(&mut state.writers) {
        if carbon.at == node {
            writer.phase = WriterPhase::Idle;
        }
    }
    state
}

/// Carbon does not sync. A power cut loses the points that its node's disk does not have yet, with or without
/// Bucky. Such a point is not owed if no other node ever had it, and an owner need not have it because the
/// source had it.
fn forget_unsynced(scenario: &Scenario, state: &mut State, node: usize) {
    if scenario.counts_exceptions {
        return;
    }
    let gone = state.nodes[node].unsynced();
    let ledger = &mut state.ledger;
    ledger.owed = ledger.owed.without(gone.within(ledger.alone[node]));
    if node == 0 {
        ledger.at_source = ledger.at_source.without(gone);
    }
}
