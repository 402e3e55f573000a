//! The full protocol loses no point, for any participants and any order of steps, and it moves everything
//! that it can.

#![expect(clippy::print_stderr, reason = "a test prints what it saw")]

use std::time::Instant;

use bucky_model::{
    Carbon, Explored, Layout, Mishaps, Move, Nodes, Pace, Points, Policy, Scenario, explore,
};

/// A model with more states would be too slow for a test that always runs.
const LIMIT: u32 = 500_000;

const LAYOUTS: [Layout; 4] = [Layout::Both, Layout::Shorter, Layout::CoarseOnly, Layout::FineOnly];
const POLICIES: [Policy; 4] = [Policy::Keep, Policy::Reshape, Policy::Coarsen, Policy::Drop];

/// The result that must be reachable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Moved,
    Reported,
}

/// Checks every state: no point is lost in any, and the expected result can be reached.
fn check(name: &str, scenario: &Scenario, ends: Ends) -> Explored<Scenario> {
    let begun = Instant::now();
    let explored = explore(scenario, LIMIT);
    eprintln!("{:>9} states, {:>5} ms: {name}", explored.len(), begun.elapsed().as_millis());
    if let Some(found) = explored.counterexample() {
        panic!("{name}:\n{found}");
    }
    let (moved, reported) = (
        explored.way_to_one(|state| state.everything_has_moved(scenario)).is_some(),
        explored.way_to_one(|state| state.is_reported()).is_some(),
    );
    match ends {
        Ends::Moved => assert!(moved, "{name}: not everything can be moved"),
        Ends::Reported => {
            assert!(!moved && reported, "{name}: moved {moved}, reported {reported}")
        }
    }
    explored
}

/// The source has the old point; a carbon writes the new one.
fn living() -> Scenario {
    let mut scenario = Scenario::plain();
    scenario.files[0] = Some((Layout::Both, Points::OLD));
    scenario.writers = vec![carbon(0)];
    scenario
}

fn carbon(at: usize) -> Carbon {
    Carbon { at, locks: false, pace: Pace::Carbon, creates: None, updates: 1 }
}

fn creating(at: usize, layout: Layout) -> Carbon {
    Carbon { creates: Some(layout), ..carbon(at) }
}

fn mishaps(kills: u8, power_cuts: u8) -> Mishaps {
    Mishaps { kills, power_cuts }
}

#[test]
fn a_move_that_nothing_disturbs_is_nine_steps() {
    let scenario = Scenario::plain();
    let explored = check("nothing else", &scenario, Ends::Moved);
    let way = explored.way_to_one(|state| state.everything_has_moved(&scenario)).unwrap();
    let functions: Vec<&str> = way.iter().map(|step| step.split('`').nth(1).unwrap()).collect();
    assert_eq!(
        functions,
        [
            "read",
            "write_new",
            "put_in_place",
            "sync_final",
            "delete_one",
            "read_tombstones",
            "ask_owner",
            "unlink_one",
            "unlink_one"
        ]
    );
}

#[test]
fn carbons_may_write_at_the_source_and_create_at_the_owner() {
    for locks in [false, true] {
        for pace in [Pace::AtOnce, Pace::Carbon, Pace::Slow] {
            let mut scenario = living();
            let late = Carbon { locks, pace, updates: 2, ..carbon(0) };
            let new = Carbon { locks, pace, ..creating(1, Layout::Both) };
            scenario.writers = vec![late, new];
            scenario.mishaps = mishaps(1, 0);
            check(&format!("carbons, {pace:?}, locks: {locks}"), &scenario, Ends::Moved);
            // The writers return, and create a file that was moved away.
            scenario.writers = vec![Carbon { creates: Some(Layout::Both), ..late }];
            scenario.mishaps = mishaps(1, 1);
            check(&format!("misplaced again, {pace:?}, locks: {locks}"), &scenario, Ends::Moved);
        }
    }
}

#[test]
fn anything_may_be_killed_or_lose_its_power() {
    for owners in [&[1][..], &[1, 2]] {
        let mut scenario = living();
        scenario.moves[0].owners = Nodes::of(owners);
        scenario.mishaps = mishaps(2, 1);
        let name = format!("kills and power cuts, owners {owners:?}");
        check(&name, &scenario, Ends::Moved);
        // The owner's carbon already has the file, and has synced nothing.
        scenario.files[1] = Some((Layout::Both, Points::NONE));
        scenario.writers = vec![carbon(0), carbon(1)];
        scenario.mishaps = mishaps(1, 1);
        check(&format!("{name}, both written"), &scenario, Ends::Moved);
        // The owner's carbon empties the file that was just put in place.
        scenario.files = [Some((Layout::Both, Points::ALL)), None, None];
        scenario.writers = vec![Carbon { updates: 2, ..creating(1, Layout::Both) }];
        check(&format!("{name}, emptied"), &scenario, Ends::Moved);
    }
}

#[test]
fn two_clients_may_do_the_same_move() {
    for owners in [&[1][..], &[1, 2]] {
        let mut scenario = living();
        scenario.moves[0].owners = Nodes::of(owners);
        scenario.moves.push(scenario.moves[0]);
        scenario.mishaps = mishaps(1, 0);
        check(&format!("two clients, owners {owners:?}"), &scenario, Ends::Moved);
    }
    let mut scenario = living();
    scenario.moves.push(scenario.moves[0]);
    scenario.writers = vec![creating(1, Layout::Both)];
    scenario.mishaps = mishaps(1, 1);
    check("two clients, power cuts, emptied", &scenario, Ends::Moved);
}

/// The ring changes between heal and delete: one client still uses the old ring, another the new one.
#[test]
fn rings_may_differ() {
    for (source, owner) in [(1, 0), (1, 2), (0, 2)] {
        let mut scenario = living();
        scenario.moves.push(Move { source, owners: Nodes::of(&[owner]) });
        scenario.mishaps = mishaps(1, 0);
        let name = format!("ring change, {source} to {owner}");
        check(&name, &scenario, Ends::Moved);
        scenario.writers.clear();
        scenario.mishaps = mishaps(1, 1);
        check(&format!("{name}, power cuts"), &scenario, Ends::Moved);
    }
}

#[test]
fn layouts_may_differ_from_the_start_and_change_later() {
    for layout in LAYOUTS {
        for policy in POLICIES {
            let mut scenario = Scenario::plain();
            (scenario.policy, scenario.mishaps) = (policy, mishaps(1, 1));
            scenario.files[1] = Some((layout, Points::NONE));
            scenario.writers = vec![carbon(1)];
            let ends = match (layout, policy) {
                (Layout::Both, _) | (_, Policy::Reshape | Policy::Drop) => Ends::Moved,
                (Layout::Shorter | Layout::CoarseOnly, Policy::Coarsen) => Ends::Moved,
                _ => Ends::Reported,
            };
            let name = format!("{policy:?}, owner {layout:?}");
            check(&name, &scenario, ends);
            let mut live = scenario.clone();
            live.files[0] = Some((Layout::Both, Points::OLD.and(Points::COARSE)));
            live.writers.push(Carbon { locks: true, pace: Pace::Slow, ..carbon(0) });
            live.mishaps = mishaps(1, 0);
            check(&format!("{name}, both written"), &live, ends);
            // Carbon creates the file with this layout during the move.
            scenario.files[1] = None;
            scenario.writers = vec![creating(1, layout)];
            check(&format!("{policy:?}, created {layout:?}"), &scenario, Ends::Moved);
        }
    }
}

#[test]
fn one_of_two_owners_may_have_another_layout() {
    for policy in POLICIES {
        let mut scenario = living();
        (scenario.policy, scenario.mishaps) = (policy, mishaps(1, 0));
        scenario.moves[0].owners = Nodes::of(&[1, 2]);
        scenario.files[0] = Some((Layout::Both, Points::OLD.and(Points::COARSE)));
        scenario.files[2] = Some((Layout::CoarseOnly, Points::NONE));
        let ends = if policy == Policy::Keep { Ends::Reported } else { Ends::Moved };
        check(&format!("{policy:?}, one of two owners"), &scenario, ends);
    }
}

#[test]
fn two_sources_may_have_different_layouts() {
    for layout in LAYOUTS {
        for policy in POLICIES {
            let mut scenario = Scenario::plain();
            (scenario.policy, scenario.mishaps) = (policy, mishaps(1, 0));
            scenario.files[2] = Some((layout, Points::ALL));
            scenario.moves.push(Move { source: 2, owners: Nodes::of(&[1]) });
            // With `keep`, in the order in which the second move finds a place for all its points.
            check(&format!("{policy:?}, two sources, {layout:?}"), &scenario, Ends::Moved);
        }
    }
}

#[test]
fn either_clock_may_be_ahead() {
    for ahead in [0, 1] {
        for creates in [None, Some(Layout::Both)] {
            let mut scenario = Scenario::plain();
            (scenario.ahead, scenario.mishaps) = (Some(ahead), mishaps(1, 1));
            scenario.writers = vec![Carbon { creates, ..carbon(1) }];
            if creates.is_none() {
                scenario.files[1] = Some((Layout::Both, Points::NONE));
            }
            check(&format!("node {ahead} ahead, creates {creates:?}"), &scenario, Ends::Moved);
        }
    }
}

#[test]
fn all_of_it_may_come_together() {
    let mut scenario = living();
    scenario.moves.push(scenario.moves[0]);
    scenario.writers = vec![carbon(0), creating(1, Layout::Both)];
    scenario.mishaps = mishaps(1, 0);
    check("two clients, two carbons, a kill", &scenario, Ends::Moved);
    scenario.moves.pop();
    scenario.moves[0].owners = Nodes::of(&[1, 2]);
    check("two owners, two carbons, a kill", &scenario, Ends::Moved);
    scenario.policy = Policy::Reshape;
    scenario.writers[1] = Carbon { pace: Pace::Slow, ..creating(1, Layout::CoarseOnly) };
    check("two owners, two carbons, a kill, reshape", &scenario, Ends::Moved);
}
