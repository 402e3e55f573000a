//! A carbon daemon. It checks whether a file exists, and then opens or creates it. It opens, writes and
//! closes the file for each update.

use crate::file::{Image, Points};
use crate::scenario::{Carbon, Pace, Scenario};
use crate::state::{Handle, State, Sweep, WriterPhase};
use crate::step::{Name, Step, Who};

/// Adds the step of writer `number`.
pub(crate) fn steps(
    scenario: &Scenario,
    state: &State,
    number: usize,
    next: &mut Vec<(Step, State)>,
) {
    let Some(carbon) = scenario.writers.get(number) else { return };
    let is_there = state.nodes[carbon.at].live.is_some();
    let mut after = state.clone();
    let name = match state.writers[number].phase {
        WriterPhase::Idle if state.writers[number].updates == 0 => return,
        WriterPhase::Idle if is_there => {
            after.writers[number].phase = WriterPhase::Found;
            Name::Looks
        }
        WriterPhase::Idle if carbon.creates.is_some() => {
            after.writers[number].phase = WriterPhase::Absent;
            Name::Looks
        }
        // No node has the point, so it was never valid.
        WriterPhase::Idle => return,
        WriterPhase::Found if is_there && carbon.pace == Pace::AtOnce => {
            if !write(scenario, &mut after, number, carbon, Handle::Live(carbon.at)) {
                return;
            }
            over(&mut after, number);
            Name::OpensAndWrites
        }
        WriterPhase::Found if is_there => {
            after.writers[number].phase = WriterPhase::Open(Handle::Live(carbon.at));
            Name::Opens
        }
        WriterPhase::Found => {
            over(&mut after, number);
            Name::Drops
        }
        WriterPhase::Absent => {
            create(&mut after, carbon);
            after.writers[number].phase = WriterPhase::Open(Handle::Live(carbon.at));
            Name::Creates
        }
        WriterPhase::Open(handle) => {
            if !write(scenario, &mut after, number, carbon, handle) {
                return;
            }
            over(&mut after, number);
            Name::Writes
        }
    };
    next.push((Step { who: Who::Carbon(number), name, at: carbon.at }, after));
}

fn over(state: &mut State, number: usize) {
    state.writers[number].phase = WriterPhase::Idle;
    state.writers[number].updates -= 1;
}

/// Truncates the existing file, which no lock prevents, and turns it into a file without points.
fn create(state: &mut State, carbon: &Carbon) {
    let Some(layout) = carbon.creates else { return };
    state.nodes[carbon.at].live = Some(Image::with(layout, Points::NONE));
}

/// Writes one update to the open inode. Returns false if it waits for the lock.
fn write(
    scenario: &Scenario,
    state: &mut State,
    number: usize,
    carbon: &Carbon,
    handle: Handle,
) -> bool {
    let value = u8::try_from(number).unwrap_or(0) + 2;
    let (image, is_source) = match handle {
        Handle::Live(node) if carbon.locks && state.is_locked(node) => return false,
        Handle::Tombstone(one) if carbon.locks && is_compared(state, one) => return false,
        Handle::Live(node) => (state.nodes[node].live.as_mut(), node == 0),
        Handle::Tombstone(one) => {
            let tombstone = state.tombstones[one].as_mut();
            let is_source = tombstone.as_ref().is_some_and(|one| one.at == 0);
            (tombstone.map(|tombstone| &mut tombstone.content), is_source)
        }
        Handle::Nowhere => (None, carbon.at == 0),
    };
    let written = match image {
        Some(image) => {
            image.put(Points::UPDATE, value);
            Points::UPDATE.within(image.layout().places())
        }
        None => Points::UPDATE,
    };
    if is_exception(scenario, state, carbon, handle) {
        return true;
    }
    owe(state, carbon.at, written, is_source);
    true
}

/// The loss that `docs/internals/safety-steps.md` documents as possible: a writer has a file open for longer
/// than the grace time, and writes after the last comparison, so it writes to an unlinked file.
fn is_exception(scenario: &Scenario, state: &State, carbon: &Carbon, handle: Handle) -> bool {
    let is_too_late = match handle {
        Handle::Nowhere => true,
        Handle::Tombstone(one) => is_compared(state, one),
        _ => false,
    };
    !scenario.counts_exceptions && carbon.pace == Pace::Slow && is_too_late
}

fn is_compared(state: &State, tombstone: usize) -> bool {
    state.tombstones[tombstone].is_some_and(|one| one.sweep == Sweep::Compared)
}

/// Records that `points` are at `node` now and must not be lost.
fn owe(state: &mut State, node: usize, points: Points, is_source: bool) {
    let ledger = &mut state.ledger;
    let new = points.without(ledger.owed);
    for (other, alone) in ledger.alone.iter_mut().enumerate() {
        *alone = if other == node { alone.and(new) } else { alone.without(points) };
    }
    ledger.owed = ledger.owed.and(points);
    if is_source {
        ledger.at_source = ledger.at_source.and(points);
    }
}
