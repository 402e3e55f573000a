//! The sweeper of a tombstone: `Sweeper::round` of `buckyd/src/sweeper/`, for one metric. It asks the owners
//! one by one.
//!
//! Time is modelled by its purpose. The grace time is over when every writer, except the slow ones, has
//! closed the files that it had open and created the files that it was about to create: carbon opens, writes
//! and closes for each update.

use crate::file::{Image, Points};
use crate::heal::{Progress, advance, covered, sync};
use crate::scenario::{Pace, Scenario};
use crate::state::{Handle, Heal, HealPhase, Outcome, State, Sweep, Tombstone, WriterPhase};
use crate::step::{Name, Step, Who};

/// Adds the step of the sweeper of tombstone `number`.
pub(crate) fn steps(
    scenario: &Scenario,
    state: &State,
    number: usize,
    next: &mut Vec<(Step, State)>,
) {
    let Some(tombstone) = state.tombstones[number] else { return };
    let done = match tombstone.sweep {
        Sweep::Waiting => read(scenario, state, number, &tombstone),
        Sweep::Asking { body, owner } => ask(scenario, state, number, &tombstone, body, owner),
        Sweep::Healing { body, heal } => send(scenario, state, number, &tombstone, body, heal),
        Sweep::Confirmed { body } => compare(scenario, state, number, &tombstone, &body),
        Sweep::Compared => {
            let mut state = state.clone();
            state.tombstones[number] = None;
            state.renamed(Handle::Tombstone(number), Handle::Nowhere);
            Some((Name::Unlink, tombstone.at, state))
        }
    };
    if let Some((name, at, state)) = done {
        next.push((Step { who: Who::Sweeper(number), name, at }, state));
    }
}

type Done = Option<(Name, usize, State)>;

fn read(scenario: &Scenario, state: &State, number: usize, tombstone: &Tombstone) -> Done {
    if scenario.protocol.waits_for_grace && !is_grace_over(scenario, state, number) {
        return None;
    }
    let again = scenario.protocol.reads_tombstone_again;
    let body = if again { tombstone.content } else { tombstone.digest };
    let owner = tombstone.owners.first_from(0)?;
    Some((Name::ReadTombstones, tombstone.at, with(state, number, Sweep::Asking { body, owner })))
}

fn is_grace_over(scenario: &Scenario, state: &State, number: usize) -> bool {
    let mut writers = scenario.writers.iter().zip(&state.writers);
    writers.all(|(carbon, writer)| match writer.phase {
        WriterPhase::Absent => false,
        WriterPhase::Open(handle) => {
            carbon.pace == Pace::Slow || handle != Handle::Tombstone(number)
        }
        _ => true,
    })
}

fn ask(
    scenario: &Scenario,
    state: &State,
    number: usize,
    tombstone: &Tombstone,
    body: Image,
    owner: usize,
) -> Done {
    let to_heal = |name| {
        let heal = Heal {
            from: tombstone.at,
            at: owner,
            content: tombstone.content,
            may_give_up: tombstone.gives_up,
            gave_up: false,
            phase: HealPhase::Sent,
        };
        Some((name, owner, with(state, number, Sweep::Healing { body, heal })))
    };
    if body != tombstone.digest {
        return to_heal(Name::HealChanged);
    }
    if state.is_locked(owner) {
        return None;
    }
    let Some(live) = state.nodes[owner].live else { return to_heal(Name::AskLacks) };
    if !is_complete(scenario, tombstone, owner, &body, &live) {
        return to_heal(Name::AskLacks);
    }
    let mut state = state.clone();
    if tombstone.gives_up {
        let without_place = body.points().without(live.layout().places());
        state.ledger.given_up = state.ledger.given_up.and(without_place);
    }
    if scenario.protocol.syncs_before_confirm {
        sync(&mut state, owner);
    }
    confirmed(&mut state, number, tombstone, body, owner);
    Some((Name::Ask, owner, state))
}

fn send(
    scenario: &Scenario,
    state: &State,
    number: usize,
    tombstone: &Tombstone,
    body: Image,
    heal: Heal,
) -> Done {
    let (name, mut state, progress) = advance(scenario, state, heal)?;
    match progress {
        Progress::Going(heal) => set(&mut state, number, Sweep::Healing { body, heal }),
        Progress::Answered(Outcome::Unchanged) if heal.content == body => {
            confirmed(&mut state, number, tombstone, body, heal.at);
        }
        // If a file was created or filled, the owner is asked again. A refused heal waits, and is reported.
        Progress::Answered(_) => set(&mut state, number, Sweep::Waiting),
    }
    Some((name, heal.at, state))
}

/// `owner` has confirmed `body`; the next owner is asked.
fn confirmed(state: &mut State, number: usize, tombstone: &Tombstone, body: Image, owner: usize) {
    let sweep = match tombstone.owners.first_from(owner + 1) {
        Some(owner) => Sweep::Asking { body, owner },
        None => Sweep::Confirmed { body },
    };
    set(state, number, sweep);
}

/// Step 9, under the exclusive lock. A writer that takes no lock may still write between this step and the
/// unlink.
fn compare(
    scenario: &Scenario,
    state: &State,
    number: usize,
    tombstone: &Tombstone,
    body: &Image,
) -> Done {
    let compares = scenario.protocol.reads_tombstone_again;
    if compares && tombstone.content != *body {
        return Some((Name::CompareChanged, tombstone.at, with(state, number, Sweep::Waiting)));
    }
    Some((Name::CompareSame, tombstone.at, with(state, number, Sweep::Compared)))
}

/// Whether the owner's file holds the points that it must confirm.
fn is_complete(
    scenario: &Scenario,
    tombstone: &Tombstone,
    owner: usize,
    body: &Image,
    live: &Image,
) -> bool {
    let from = tombstone.at;
    if !scenario.protocol.confirms_all {
        return holds_sample(scenario, from, owner, body, live);
    }
    let counts = body.points().within(scenario.valid_to_ask(from, owner));
    let held = live.points().and(covered(scenario, live));
    let without_place = Points::ALL.without(live.layout().places());
    let given_up = if tombstone.gives_up { without_place } else { Points::NONE };
    *body == *live || counts.are_in(held.and(given_up))
}

/// The old confirmation: the newest point of each archive stands for all, a slot without a place is not
/// checked, and at least one point must be held.
fn holds_sample(
    scenario: &Scenario,
    from: usize,
    owner: usize,
    body: &Image,
    live: &Image,
) -> bool {
    let valid = body.points().within(scenario.valid_at(from));
    let fine = if Points::NEW.are_in(valid) { Points::NEW } else { valid.within(Points::OLD) };
    let sample = fine.and(valid.within(Points::COARSE));
    let found = sample.within(live.points());
    let missed = sample.within(live.layout().places()).within(scenario.valid_at(owner));
    sample.is_empty() || (!found.is_empty() && missed.are_in(live.points()))
}

fn with(state: &State, number: usize, sweep: Sweep) -> State {
    let mut state = state.clone();
    set(&mut state, number, sweep);
    state
}

fn set(state: &mut State, number: usize, sweep: Sweep) {
    if let Some(tombstone) = &mut state.tombstones[number] {
        tombstone.sweep = sweep;
    }
}
