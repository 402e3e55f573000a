//! A model of heal-then-delete, small enough to check every possible order of its steps.
//!
//! It accompanies the code that it models. Each step has the name of the function that performs it
//! ([`Name::function`]). A test fails if that function no longer exists, so that a change of the protocol
//! also changes the model. `docs/internals/model.md` says what is modelled, what is left out and why, and how
//! to read the story of a loss.
//!
//! - [`explore()`]: every state that can be reached, the nearest first
//! - [`Scenario`]: the participants, and the rules that apply ([`Protocol`])
//! - `heal`, `mover`, `sweeper`: the steps of the owners, of `bucky`, and of the daemon that waits to unlink
//!   a source
//! - `carbon`, `mishap`: writers, kills and power cuts
//! - `safety`: what must hold in every state

mod carbon;
mod explore;
mod file;
mod heal;
mod mishap;
mod mover;
mod safety;
mod scenario;
mod state;
mod step;
mod sweeper;

pub use self::explore::{Counterexample, Explored, Model, explore};
pub use self::file::{Image, Layout, Points};
pub use self::scenario::{
    CLIENTS, Carbon, Mishaps, Move, NODES, Nodes, Pace, Policy, Protocol, Scenario, WRITERS,
};
pub use self::state::State;
pub use self::step::{Name, Step, Who};

impl Model for Scenario {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        State::of(self)
    }

    fn steps(&self, state: &State, next: &mut Vec<(Step, State)>) {
        (0..self.moves.len()).for_each(|client| mover::steps(self, state, client, next));
        (0..state.tombstones.len()).for_each(|one| sweeper::steps(self, state, one, next));
        (0..self.writers.len()).for_each(|writer| carbon::steps(self, state, writer, next));
        if let Some(heal) = state.orphan
            && let Some((name, mut after, progress)) = heal::advance(self, state, heal)
        {
            after.orphan = match progress {
                heal::Progress::Going(heal) => Some(heal),
                heal::Progress::Answered(_) => None,
            };
            next.push((Step { who: Who::Orphan, name, at: heal.at }, after));
        }
        mishap::steps(self, state, next);
    }

    fn wrong(&self, state: &State) -> Option<String> {
        safety::wrong(self, state)
    }
}
