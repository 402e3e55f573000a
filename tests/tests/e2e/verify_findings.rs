//! `bucky verify` with copies that have different schemas, and with owners whose copies differ.

use bucky_tests::metrics::{self, Layout, MINUTES, minutes, now};
use bucky_tests::{Clock, Finished};
use bucky_whisper::Point;
use serde_json::Value;

use crate::cluster;

/// Two days of minutes.
const LONGER: Layout = Layout { retentions: "1m:2d", ..MINUTES };

fn json(run: &Finished) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run}"))
}

/// A new node without the cluster's storage-schemas.conf: a move that deleted this source would lose its
/// older points.
#[test]
fn points_that_the_owners_file_has_no_slot_for_are_a_failure() {
    let cluster = cluster(2).start();
    let name = cluster.name_owned_by(0, "short");
    let old = now() - 30 * 3600;
    let hours = |t| minutes(t, [1.0, 2.0, 3.0]);
    cluster.node(0).write(&name, &MINUTES, &hours(now()));
    cluster.node(1).write(&name, &LONGER, &[hours(old), hours(now())].concat());
    let found = json(&cluster.bucky(&["verify", "-j"]).assert_code(1));
    let of_kind = |kind: &str| {
        let findings = found["findings"].as_array().unwrap();
        findings.iter().filter(|one| one["kind"] == kind).cloned().collect::<Vec<_>>()
    };
    let no_place = of_kind("no_place");
    assert_eq!(no_place.len(), 1, "{found}");
    assert_eq!(no_place[0]["node"], cluster.node(0).addr(), "{found}");
    assert_eq!(no_place[0]["points"], 3, "{found}");
    assert_eq!(no_place[0]["archives"][0]["has_archive"], true, "{found}");
    assert_eq!(of_kind("lacks").len(), 0, "{found}");
    let pair = &found["summary"]["layouts"][0];
    assert_eq!(pair["layout"], "60s:1d, average, xff 0.5", "{found}");
    assert_eq!(pair["others"], "60s:2d, average, xff 0.5", "{found}");
    let run = cluster.bucky(&["verify"]).assert_code(1);
    run.assert_stdout_has(&format!(
        "{name}: has no place for 3 points of {}",
        cluster.node(1).addr()
    ))
    .assert_stdout_has("--on-schema-difference reshape");
    cluster.bucky(&["rebalance", "-f", "--on-schema-difference", "reshape"]).assert_code(0);
    cluster.wait_until_no_tombstones();
    let run = cluster.bucky(&["verify"]).assert_code(0).assert_stdout_has("all in place");
    assert!(run.stdout.starts_with("1 metric on 2 nodes, 1 copy read, 6 points"), "{run}");
}

#[test]
fn owners_whose_copies_differ_are_never_called_all_in_place() {
    let cluster = cluster(3).replication_factor(2).start();
    let names = cluster.names_owned_by(0, "app", 3);
    for name in &names {
        for owner in cluster.owners(name) {
            cluster.node(owner).write(name, &MINUTES, &minutes(now(), [1.0]));
        }
    }
    let older = [Point { timestamp: metrics::newest_minute() - 3600, value: 7.0 }];
    metrics::update(&cluster.node(0).path(&names[1]), &older);
    let run = cluster.bucky(&["verify"]).assert_code(0);
    run.assert_stdout_has("every copy is where it belongs, but copies of 1 metric differ")
        .assert_stdout_has(&format!("{}: lacks 1 point that the owner", names[1]))
        .assert_stdout_has("bucky heal -h")
        .assert_stdout_has("--points");
    let run = cluster.bucky(&["verify", "-j"]).assert_code(0);
    assert_eq!(json(&run)["summary"]["all_in_place"], false, "{run}");
    cluster.bucky(&["verify", "--strict"]).assert_code(1);
    cluster.bucky(&["heal", "--points"]).assert_code(0);
    cluster.bucky(&["verify", "--strict"]).assert_code(0).assert_stdout_has("all in place");
}

#[test]
fn headers_that_differ_between_owners_are_counted_by_their_pair() {
    let cluster = cluster(2).replication_factor(2).start();
    let names = cluster.names_owned_by(0, "app", 5);
    let sums = Layout { aggregation: bucky_whisper::Aggregation::Sum, ..MINUTES };
    for name in &names {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), [1.0, 2.0]));
        cluster.node(1).write(name, &sums, &minutes(now(), [1.0, 2.0]));
    }
    let run = cluster.bucky(&["verify"]).assert_code(0);
    run.assert_stdout_has("copies of 5 metrics differ")
        .assert_stdout_has(
            "5 metrics whose copies have different schemas:\n  5 copies: owner 60s:1d, average",
        )
        .assert_stdout_has("other copy 60s:1d, sum, xff 0.5. For example app");
    cluster.bucky(&["verify", "--strict"]).assert_code(1);
}

#[test]
fn advice_names_the_nodes_that_were_to_be_drained() {
    let cluster = cluster(3).in_ring(2).start();
    let name = cluster.name_owned_by(0, "left.behind");
    cluster.node(2).write(&name, &MINUTES, &minutes(now(), [1.0]));
    let (seed, drained) = (cluster.node(0).addr(), cluster.node(2).addr());
    let run = cluster.bucky(&["verify", "--drained", &drained]).assert_code(1);
    run.assert_stdout_has(&format!("bucky rebalance -h {seed} {drained}"));
    cluster.bucky(&["rebalance", "-f", &drained]).assert_code(0);
}

/// Which points have expired depends on the clock: a point that is valid by any of the clocks is compared.
#[test]
fn a_node_whose_clock_is_off_is_named_and_points_that_only_some_clocks_count_are_compared() {
    let mut cluster = cluster(2).lay();
    let name = cluster.name_owned_by(0, "late");
    // Expires in an hour and a half by the clock that is ahead, but not by the other.
    let old = minutes(now() - 23 * 3600, [4.0, 5.0]);
    cluster.node(0).write(&name, &MINUTES, &minutes(now(), [1.0]));
    cluster.node(1).write(&name, &MINUTES, &[old, minutes(now(), [1.0])].concat());
    cluster.node_mut(0).set_clock(Clock::Ahead(2 * 3600));
    cluster.start();
    let off = cluster.node(0).addr();
    let run = cluster.bucky(&["verify"]).assert_code(1);
    run.assert_stdout_has(&format!("the clock of {off} is 2 h ahead of that of"))
        .assert_stdout_has(&format!("{name}: lacks 2 points that"));
    let found = json(&cluster.bucky(&["verify", "-j"]).assert_code(1));
    assert_eq!(found["summary"]["remarks"][0]["node"], off, "{found}");
    cluster.node_mut(0).set_clock(Clock::Ahead(0));
    let run = cluster.bucky(&["verify"]).assert_code(1);
    assert!(!run.stdout.contains("the clock of"), "{run}");
}
