//! A heal at an owner: `VolumeBatch` of `buckyd/src/store/heal/mod.rs`, for one metric.

use crate::file::{Image, Points};
use crate::scenario::{Nodes, Policy, Scenario};
use crate::state::{Handle, Heal, HealPhase, Outcome, State, Sweep, Tombstone};
use crate::step::Name;

/// The result of a step of a heal.
pub(crate) enum Progress {
    Going(Heal),
    Answered(Outcome),
}

/// The next step of `heal`, or `None` if it waits for a lock.
pub(crate) fn advance(
    scenario: &Scenario,
    state: &State,
    heal: Heal,
) -> Option<(Name, State, Progress)> {
    let mut state = state.clone();
    let live = state.nodes[heal.at].live;
    match (heal.phase, live) {
        (HealPhase::Sent, None) => Some((Name::PutDown, state, going(heal, HealPhase::Staged))),
        (HealPhase::Staged, None) => {
            put_in_place(&mut state, &heal);
            Some((Name::PutInPlace, state, going(heal, HealPhase::Written(Outcome::Created))))
        }
        (HealPhase::Staged, Some(_)) if !scenario.protocol.replaces_nothing => {
            put_in_place(&mut state, &heal);
            Some((Name::Replace, state, going(heal, HealPhase::Written(Outcome::Created))))
        }
        (HealPhase::Sent | HealPhase::Staged, Some(_)) if state.is_locked(heal.at) => None,
        (HealPhase::Sent | HealPhase::Staged, Some(live))
            if must_reshape(scenario, &heal, &live) =>
        {
            let free = state.tombstones.iter().position(Option::is_none)?;
            reshape(&mut state, &heal, &live, free);
            Some((Name::Reshape, state, Progress::Going(heal)))
        }
        (HealPhase::Sent | HealPhase::Staged, Some(live)) => {
            let name = if heal.phase == HealPhase::Sent { Name::FillOpen } else { Name::PutOrFill };
            let gains = live.gains(&heal.content, scenario.valid_to_heal(heal.from, heal.at));
            Some((name, state, going(heal, HealPhase::Planned { gains })))
        }
        (HealPhase::Planned { gains }, _) => {
            let mut heal = heal;
            let outcome = write_in_place(scenario, &mut state, &mut heal, gains);
            Some((Name::WriteInPlace, state, going(heal, HealPhase::Written(outcome))))
        }
        (HealPhase::Written(outcome), _) => {
            if scenario.protocol.syncs_before_answer && outcome != Outcome::Refused {
                sync(&mut state, heal.at);
            }
            Some((Name::SyncFinal, state, Progress::Answered(outcome)))
        }
    }
}

fn going(heal: Heal, phase: HealPhase) -> Progress {
    Progress::Going(Heal { phase, ..heal })
}

fn put_in_place(state: &mut State, heal: &Heal) {
    state.renamed(Handle::Live(heal.at), Handle::Nowhere);
    state.nodes[heal.at].live = Some(heal.content);
}

fn write_in_place(
    scenario: &Scenario,
    state: &mut State,
    heal: &mut Heal,
    gains: Points,
) -> Outcome {
    let Some(live) = &mut state.nodes[heal.at].live else { return Outcome::Refused };
    live.take_from(&heal.content, gains);
    let live = *live;
    let without_place = without_place(scenario, heal, &live);
    if !without_place.is_empty() && scenario.protocol.no_place_is_no_receipt {
        if !heal.may_give_up {
            return Outcome::Refused;
        }
        heal.gave_up = true;
        state.ledger.given_up = state.ledger.given_up.and(without_place);
    }
    if gains.is_empty() { Outcome::Unchanged } else { Outcome::Filled }
}

/// The points of the source, valid by either clock, for which the owner's file has no slot.
fn without_place(scenario: &Scenario, heal: &Heal, live: &Image) -> Points {
    let counts = heal.content.points().within(scenario.valid_to_heal(heal.from, heal.at));
    counts.without(live.layout().places()).without(covered(scenario, live))
}

/// The points that the policy counts as held, although the file has no slot for them.
pub(crate) fn covered(scenario: &Scenario, live: &Image) -> Points {
    match scenario.policy {
        Policy::Coarsen if Points::COARSE.are_in(live.points()) => Points::OLD.and(Points::NEW),
        _ => Points::NONE,
    }
}

fn must_reshape(scenario: &Scenario, heal: &Heal, live: &Image) -> bool {
    scenario.policy == Policy::Reshape && !without_place(scenario, heal, live).is_empty()
}

/// The new file is complete and synced before it replaces the old one. The old file becomes a tombstone whose
/// owner is this node's own file: a process that has it open may still write to it.
fn reshape(state: &mut State, heal: &Heal, live: &Image, free: usize) {
    state.nodes[heal.at].live = Some(live.in_layout(live.layout().joined(heal.content.layout())));
    state.tombstones[free] = Some(Tombstone {
        at: heal.at,
        content: *live,
        digest: *live,
        owners: Nodes::of(&[heal.at]),
        gives_up: false,
        sweep: Sweep::Waiting,
    });
    state.renamed(Handle::Live(heal.at), Handle::Tombstone(free));
}

/// Syncs everything that `node` has.
pub(crate) fn sync(state: &mut State, node: usize) {
    state.nodes[node].disk = state.nodes[node].live;
    let synced = state.nodes[node].live.map_or(Points::NONE, |live| live.points());
    for alone in &mut state.ledger.alone {
        *alone = alone.without(synced);
    }
}
