//! Without one of the rules, the checker finds a loss. A model that cannot find a loss would prove nothing.

#![expect(clippy::print_stderr, reason = "a test prints what it saw")]

use bucky_model::{
    Carbon, Counterexample, Layout, Mishaps, Move, Nodes, Pace, Points, Policy, Protocol, Scenario,
    explore,
};

const LIMIT: u32 = 1_000_000;

fn find(scenario: &Scenario) -> Option<Counterexample> {
    explore(scenario, LIMIT).counterexample()
}

/// Checks that no point is lost with all rules, and returns the shortest story of a loss without the rules
/// that `take_out` removes.
#[track_caller]
fn loss(scenario: &Scenario, take_out: impl Fn(&mut Protocol)) -> Counterexample {
    if let Some(found) = find(scenario) {
        panic!("with all rules:\n{found}");
    }
    let mut without = scenario.clone();
    take_out(&mut without.protocol);
    let found = find(&without).expect("nothing is lost without the rule");
    eprintln!("{found}\n");
    found
}

/// The functions of those steps of a story that are Bucky's.
fn functions(found: &Counterexample) -> Vec<&str> {
    found.steps.iter().filter_map(|step| step.split('`').nth(1)).collect()
}

fn carbon(at: usize) -> Carbon {
    Carbon { at, locks: false, pace: Pace::Carbon, creates: None, updates: 1 }
}

/// A carbon at the owner creates the file while it is being moved.
fn emptying(layout: Layout) -> Scenario {
    let mut scenario = Scenario::plain();
    scenario.writers = vec![Carbon { creates: Some(layout), ..carbon(1) }];
    scenario
}

/// The source has the old point; a carbon writes the new one.
fn living(pace: Pace) -> Scenario {
    let mut scenario = Scenario::plain();
    scenario.files[0] = Some((Layout::Both, Points::OLD));
    scenario.writers = vec![Carbon { pace, ..carbon(0) }];
    scenario
}

#[test]
fn a_sampled_confirmation_takes_an_emptied_file_for_whole() {
    let found = loss(&emptying(Layout::Both), |rules| rules.confirms_all = false);
    assert!(found.wrong.contains("lost: old"), "{found}");
    assert!(found.steps.len() <= 12, "{found}");
}

#[test]
fn a_sampled_confirmation_overlooks_what_a_file_of_another_schema_has_no_place_for() {
    for layout in [Layout::Shorter, Layout::CoarseOnly, Layout::FineOnly] {
        let found = loss(&emptying(layout), |rules| rules.confirms_all = false);
        assert!(found.steps.len() <= 12, "{found}");
    }
}

#[test]
fn unchanged_is_no_receipt_where_points_have_no_place() {
    for layout in [Layout::Shorter, Layout::CoarseOnly, Layout::FineOnly] {
        let mut scenario = Scenario::plain();
        scenario.files[1] = Some((layout, Points::ALL));
        let found = loss(&scenario, |rules| rules.no_place_is_no_receipt = false);
        assert!(functions(&found).contains(&"delete_one"), "{found}");
        assert!(found.steps.len() <= 12, "{found}");
    }
}

/// As in the table of `docs/internals/safety-steps.md`: if only the digest at the delete is missing, the
/// second reading is enough.
#[test]
fn the_digest_at_the_delete_and_the_second_reading_stand_in_for_each_other() {
    let scenario = living(Pace::AtOnce);
    for (compares, reads_again) in [(false, true), (true, false)] {
        let mut one = scenario.clone();
        one.protocol.compares_at_delete = compares;
        one.protocol.reads_tombstone_again = reads_again;
        assert!(find(&one).is_none(), "{compares} {reads_again}");
    }
    let found = loss(&scenario, |rules| {
        rules.compares_at_delete = false;
        rules.reads_tombstone_again = false;
    });
    assert!(found.wrong.contains("lost: new"), "{found}");
}

#[test]
fn a_tombstone_that_is_not_read_again_loses_a_late_write() {
    let found = loss(&living(Pace::Carbon), |rules| rules.reads_tombstone_again = false);
    let deleted = found.steps.iter().position(|step| step.contains("`delete_one`"));
    let written = found.steps.iter().position(|step| step.contains("writes its update"));
    assert!(deleted.unwrap() < written.unwrap(), "{found}");
}

#[test]
fn without_the_grace_time_a_late_write_finds_no_tombstone() {
    let found = loss(&living(Pace::Carbon), |rules| rules.waits_for_grace = false);
    assert!(found.steps.last().unwrap().contains("writes its update"), "{found}");
}

#[test]
fn a_clock_that_is_ahead_takes_points_for_expired() {
    let mut at_owner = Scenario::plain();
    at_owner.ahead = Some(1);
    at_owner.files[1] = Some((Layout::Both, Points::NEW));
    let found = loss(&at_owner, |rules| rules.minds_both_clocks = false);
    assert!(found.wrong.contains("lost: old"), "{found}");
    // The source asks only for points that are valid by its own clock, and carbon has emptied the file.
    let mut at_source = emptying(Layout::Both);
    at_source.ahead = Some(0);
    let found = loss(&at_source, |rules| rules.minds_both_clocks = false);
    assert!(found.wrong.contains("lost: old"), "{found}");
}

#[test]
fn a_file_that_is_put_over_another_takes_its_points_away() {
    let mut scenario = emptying(Layout::Both);
    scenario.files[0] = Some((Layout::Both, Points::OLD));
    let found = loss(&scenario, |rules| rules.replaces_nothing = false);
    assert!(functions(&found).ends_with(&["put_in_place"]), "{found}");
}

#[test]
fn an_answer_before_the_sync_is_none_after_a_power_cut() {
    let mut scenario = Scenario::plain();
    scenario.mishaps = Mishaps { kills: 0, power_cuts: 1 };
    let found = loss(&scenario, |rules| {
        rules.syncs_before_answer = false;
        rules.syncs_before_confirm = false;
    });
    assert!(found.steps.last().unwrap().contains("loses its power"), "{found}");
}

/// The receipt's content was synced, and carbon emptied the file. A daemon that was killed before its sync
/// filled it again: the file reads as complete, but is not on the disk.
#[test]
fn a_confirmation_of_what_is_not_on_the_disk_is_none_after_a_power_cut() {
    let mut scenario = emptying(Layout::Both);
    scenario.mishaps = Mishaps { kills: 1, power_cuts: 1 };
    let found = loss(&scenario, |rules| rules.syncs_before_confirm = false);
    assert!(found.steps.last().unwrap().contains("loses its power"), "{found}");
    assert!(found.steps.iter().any(|step| step.contains("`ask_owner`")), "{found}");
}

/// Carbon creates a file with another schema after the delete. It was in no plan that the operator agreed to.
#[test]
fn a_tombstone_gives_up_only_what_its_receipt_gave_up() {
    let mut scenario = emptying(Layout::Shorter);
    scenario.policy = Policy::Drop;
    let given_up_unasked = |scenario: &Scenario| {
        let explored = explore(scenario, LIMIT);
        explored.way_to_one(|state| state.everything_has_moved(scenario) && state.has_given_up())
    };
    // The client itself may fill a file that existed before; it asks first.
    scenario.writers[0].updates = 1;
    let asked = given_up_unasked(&scenario);
    scenario.protocol.gives_up_by_receipt = false;
    let unasked = given_up_unasked(&scenario);
    assert!(unasked.is_some());
    let by_client = |way: Option<Vec<String>>| {
        way.is_none_or(|way| {
            let write = way.iter().rposition(|step| step.contains("`write_in_place`"));
            write.is_some_and(|write| way[write].starts_with("client"))
        })
    };
    assert!(by_client(asked));
}

/// The losses that `docs/internals/safety-steps.md` documents are in the model, and are reported if they are
/// counted.
#[test]
fn the_documented_exceptions_are_the_only_ones() {
    for locks in [false, true] {
        let mut scenario = living(Pace::Slow);
        scenario.writers[0].locks = locks;
        assert!(find(&scenario).is_none());
        scenario.counts_exceptions = true;
        let found = find(&scenario).unwrap();
        assert!(found.steps.last().unwrap().contains("writes its update"), "{found}");
    }
    let mut scenario = living(Pace::Carbon);
    scenario.mishaps.power_cuts = 1;
    assert!(find(&scenario).is_none());
    scenario.counts_exceptions = true;
    let found = find(&scenario).unwrap();
    assert!(found.steps.last().unwrap().contains("loses its power"), "{found}");
    assert!(functions(&found).is_empty(), "Bucky has no part in it: {found}");
}

/// With two rings that each call the other's owner misplaced, every copy is deleted because the other exists.
#[test]
fn clients_of_two_rings_may_send_a_metric_round_in_circles_and_lose_nothing() {
    let mut scenario = Scenario::plain();
    scenario.moves.push(Move { source: 1, owners: Nodes::of(&[0]) });
    let explored = explore(&scenario, LIMIT);
    assert!(explored.counterexample().is_none());
    assert!(explored.way_to_one(|state| state.is_only_in_tombstones()).is_some());
}
