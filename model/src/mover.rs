//! A client: `run_batch` of `bucky/src/transfer/`, for one metric.

use crate::heal::{Progress, advance};
use crate::scenario::{Move, Policy, Scenario};
use crate::state::{
    Client, ClientPhase, End, Handle, Heal, HealPhase, Outcome, State, Sweep, Tombstone, begin,
};
use crate::step::{Name, Step, Who};

/// How many times a metric that keeps changing is healed. The mover's `ROUNDS` is 5.
const ROUNDS: u8 = 2;

/// Adds the steps of client `number`.
pub(crate) fn steps(
    scenario: &Scenario,
    state: &State,
    number: usize,
    next: &mut Vec<(Step, State)>,
) {
    let Some(job) = scenario.moves.get(number) else { return };
    let who = Who::Client(number);
    match state.clients[number].phase {
        ClientPhase::Ended(_) => {}
        ClientPhase::Deleting { receipt } => {
            delete_one(scenario, state, number, *job, &receipt, next);
        }
        ClientPhase::Healing { owner, heal: None, content, is_one } => {
            if state.is_locked(job.source) {
                return;
            }
            let mut state = state.clone();
            let name = match state.nodes[job.source].live {
                None => {
                    state.clients[number].phase = ClientPhase::Ended(End::Gone);
                    Name::SourceGone
                }
                Some(live) => {
                    let heal = Heal {
                        from: job.source,
                        at: owner,
                        content: live,
                        may_give_up: scenario.policy == Policy::Drop,
                        gave_up: false,
                        phase: HealPhase::Sent,
                    };
                    state.clients[number].phase =
                        ClientPhase::Healing { owner, heal: Some(heal), content, is_one };
                    Name::Read
                }
            };
            next.push((Step { who, name, at: job.source }, state));
        }
        ClientPhase::Healing { owner, heal: Some(heal), content, is_one } => {
            let Some((name, mut state, progress)) = advance(scenario, state, heal) else { return };
            let client = &mut state.clients[number];
            match progress {
                Progress::Going(heal) => {
                    client.phase =
                        ClientPhase::Healing { owner, heal: Some(heal), content, is_one };
                }
                Progress::Answered(Outcome::Refused) => {
                    client.phase = ClientPhase::Ended(End::Reported);
                }
                Progress::Answered(_) => {
                    let is_one = is_one && content.is_none_or(|content| content == heal.content);
                    healed(client, *job, owner, &heal, is_one);
                }
            }
            next.push((Step { who, name, at: heal.at }, state));
        }
    }
}

/// Another owner has healed.
fn healed(client: &mut Client, job: Move, owner: usize, heal: &Heal, is_one: bool) {
    client.gave_up |= heal.gave_up;
    match job.owners.first_from(owner + 1) {
        Some(owner) => {
            let content = Some(heal.content);
            client.phase = ClientPhase::Healing { owner, heal: None, content, is_one };
        }
        None if is_one => client.phase = ClientPhase::Deleting { receipt: heal.content },
        None => again(client, job),
    }
}

/// Heals again if there are rounds left.
fn again(client: &mut Client, job: Move) {
    client.round += 1;
    client.phase =
        if client.round < ROUNDS { begin(job.owners) } else { ClientPhase::Ended(End::Reported) };
}

/// Step 7, under the exclusive lock.
fn delete_one(
    scenario: &Scenario,
    state: &State,
    number: usize,
    job: Move,
    receipt: &crate::file::Image,
    next: &mut Vec<(Step, State)>,
) {
    let step = |name| Step { who: Who::Client(number), name, at: job.source };
    if state.is_locked(job.source) {
        return;
    }
    let mut after = state.clone();
    let Some(live) = state.nodes[job.source].live else {
        after.clients[number].phase = ClientPhase::Ended(End::Moved);
        next.push((step(Name::DeleteMissing), after));
        return;
    };
    if scenario.protocol.compares_at_delete && live != *receipt {
        again(&mut after.clients[number], job);
        next.push((step(Name::DeleteChanged), after));
        return;
    }
    let gives_up = scenario.policy == Policy::Drop
        && (state.clients[number].gave_up || !scenario.protocol.gives_up_by_receipt);
    let Some(free) = state.tombstones.iter().position(Option::is_none) else { return };
    after.tombstones[free] = Some(Tombstone {
        at: job.source,
        content: live,
        digest: *receipt,
        owners: job.owners,
        gives_up,
        sweep: Sweep::Waiting,
    });
    (after.nodes[job.source].live, after.nodes[job.source].disk) = (None, None);
    after.renamed(Handle::Live(job.source), Handle::Tombstone(free));
    if state.left.kills > 0 {
        let mut unheard = after.clone();
        unheard.left.kills -= 1;
        crate::mishap::restarted(&mut unheard, job.source);
        next.push((step(Name::DeleteUnheard), unheard));
    }
    after.clients[number].phase = ClientPhase::Ended(End::Moved);
    next.push((step(Name::DeleteOne), after));
}
