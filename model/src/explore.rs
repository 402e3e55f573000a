//! Explores every state that can be reached, the nearest first, so that the first violation has the shortest
//! story.
//!
//! States are stored and compared in full: two states with the same hash are not taken for one.

use std::fmt;
use std::hash::{Hash, Hasher};

/// A system whose states can be explored.
pub trait Model {
    /// Everything that the future depends on.
    type State: Clone + Eq + Hash;
    /// A transition from one state to the next.
    type Step: Copy + fmt::Display;

    /// The first state.
    fn start(&self) -> Self::State;

    /// Adds every step that can come next, and the state that it leads to.
    fn steps(&self, state: &Self::State, next: &mut Vec<(Self::Step, Self::State)>);

    /// The rule that the state violates, or `None`.
    fn wrong(&self, state: &Self::State) -> Option<String>;
}

/// A violation, and the shortest way to it.
#[derive(Debug)]
pub struct Counterexample {
    /// The violation.
    pub wrong: String,
    /// The steps that lead to it, in order.
    pub steps: Vec<String>,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:3}  {step}", number + 1)?;
        }
        write!(f, "  => {}", self.wrong)
    }
}

/// Every state that can be reached, or the states up to the first violation.
pub struct Explored<M: Model> {
    states: Vec<M::State>,
    /// The number of the previous state, and the step from there. The first state has none.
    ways: Vec<Option<(u32, M::Step)>>,
    wrong: Option<String>,
}

/// Explores `model`.
///
/// # Panics
/// If there are more than `limit` states: a model must stay small enough to be explored completely.
pub fn explore<M: Model>(model: &M, limit: u32) -> Explored<M> {
    let start = model.start();
    let mut seen = StateIndex::default();
    let mut explored =
        Explored { wrong: model.wrong(&start), states: vec![start], ways: vec![None] };
    seen.add(&explored.states, 0);
    let (mut at, mut next) = (0, Vec::new());
    while explored.wrong.is_none() && at < explored.states.len() {
        model.steps(&explored.states[at], &mut next);
        for (step, state) in next.drain(..) {
            if seen.has(&explored.states, &state) {
                continue;
            }
            explored.wrong = model.wrong(&state);
            explored.states.push(state);
            explored.ways.push(Some((number(at), step)));
            seen.add(&explored.states, explored.states.len() - 1);
            if explored.wrong.is_some() {
                break;
            }
        }
        assert!(explored.states.len() <= limit as usize, "more than {limit} states");
        at += 1;
    }
    explored
}

impl<M: Model> Explored<M> {
    /// How many states there are.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Always false: there is always a first state.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The first violation, or `None`.
    pub fn counterexample(&self) -> Option<Counterexample> {
        let wrong = self.wrong.clone()?;
        Some(Counterexample { wrong, steps: self.way_to(self.states.len() - 1) })
    }

    /// The shortest way to a state for which `wanted` is true.
    pub fn way_to_one(&self, wanted: impl Fn(&M::State) -> bool) -> Option<Vec<String>> {
        Some(self.way_to(self.states.iter().position(wanted)?))
    }

    fn way_to(&self, state: usize) -> Vec<String> {
        let mut steps = Vec::new();
        let mut way = self.ways[state];
        while let Some((before, step)) = way {
            steps.push(step.to_string());
            way = self.ways[before as usize];
        }
        steps.reverse();
        steps
    }
}

fn number(state: usize) -> u32 {
    u32::try_from(state).expect("the limit is below")
}

/// The numbers of the states seen so far, by their hashes: open addressing, at most half full.
#[derive(Default)]
struct StateIndex {
    /// One more than a state's number; 0 if the slot is free.
    slots: Vec<u32>,
    len: usize,
}

impl StateIndex {
    fn has<S: Eq + Hash>(&self, states: &[S], state: &S) -> bool {
        let mut slot = self.first_slot(state);
        while let Some(found) = self.slots[slot].checked_sub(1) {
            if states[found as usize] == *state {
                return true;
            }
            slot = (slot + 1) % self.slots.len();
        }
        false
    }

    fn add<S: Eq + Hash>(&mut self, states: &[S], added: usize) {
        if self.slots.len() < 2 * (self.len + 1) {
            self.slots = vec![0; (4 * (self.len + 1)).next_power_of_two().max(1024)];
            (0..added).for_each(|state| self.put(states, state));
        }
        self.put(states, added);
        self.len += 1;
    }

    fn put<S: Eq + Hash>(&mut self, states: &[S], state: usize) {
        let mut slot = self.first_slot(&states[state]);
        while self.slots[slot] != 0 {
            slot = (slot + 1) % self.slots.len();
        }
        self.slots[slot] = number(state) + 1;
    }

    #[expect(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
    fn first_slot<S: Hash>(&self, state: &S) -> usize {
        let mut hasher = QuickHasher(0);
        state.hash(&mut hasher);
        hasher.finish() as usize % self.slots.len()
    }
}

/// Multiplies and rotates. Collisions only cost a comparison.
struct QuickHasher(u64);

impl Hasher for QuickHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A counter that may grow by one or by three, and must not be 7.
    struct Counter;

    impl Model for Counter {
        type State = u32;
        type Step = u32;

        fn start(&self) -> u32 {
            0
        }

        fn steps(&self, state: &u32, next: &mut Vec<(u32, u32)>) {
            next.extend([1, 3].map(|by| (by, (state + by) % 5000)));
        }

        fn wrong(&self, state: &u32) -> Option<String> {
            (*state == 7).then(|| "seven".to_owned())
        }
    }

    #[test]
    fn the_shortest_way_to_a_violation_is_found() {
        let explored = explore(&Counter, 10_000);
        let found = explored.counterexample().unwrap();
        assert_eq!((found.steps.len(), found.wrong.as_str()), (3, "seven"));
        assert!(found.to_string().starts_with("  1  "), "{found}");
    }

    #[test]
    fn every_state_is_seen_once() {
        struct Sound;
        impl Model for Sound {
            type State = u32;
            type Step = u32;
            fn start(&self) -> u32 {
                0
            }
            fn steps(&self, state: &u32, next: &mut Vec<(u32, u32)>) {
                Counter.steps(state, next);
            }
            fn wrong(&self, _: &u32) -> Option<String> {
                None
            }
        }
        let explored = explore(&Sound, 10_000);
        assert_eq!(explored.len(), 5000);
        assert!(explored.counterexample().is_none());
        assert_eq!(explored.way_to_one(|state| *state == 6).unwrap(), ["3", "3"]);
    }
}
