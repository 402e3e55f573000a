//! Destinations that are short of bytes or of inodes: the plan says which, and a full one gets nothing more
//! in the run.

use std::path::Path;

use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{Launch, TestCluster};

use crate::cluster;

const MIB: u64 = 1 << 20;

/// Two nodes, the second on a separate disk. The first one has `count` metrics that the second owns.
fn with_disk(launch: Launch, count: usize) -> (TestCluster, Vec<String>) {
    let mut cluster = cluster(2).lay();
    cluster.node_mut(1).launch(launch);
    let names = cluster.names_owned_by(1, "room", count);
    for name in &names {
        cluster.node(0).write(name, &MINUTES, &minutes(now(), (0..20).map(f64::from)));
    }
    cluster.start();
    (cluster, names)
}

fn size(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}

#[test]
fn a_plan_says_that_inodes_are_short_and_nothing_is_begun() {
    let (cluster, names) = with_disk(Launch::OnDisk { bytes: 64 * MIB, inodes: 60 }, 100);
    let owner = cluster.node(1).addr();
    let plan =
        cluster.bucky(&["rebalance", "--no-op"]).assert_code(0).assert_stdout_has("NO: inodes");
    assert!(!plan.stdout.contains("bytes,"), "{plan}");
    let run = cluster.bucky(&["rebalance", "--reserve", "5%"]).assert_code(1);
    let run = run.assert_stderr_has("nothing was moved");
    run.assert_stderr_has(&format!("{owner} would get 100 files and has "))
        .assert_stderr_has("inodes free, 3 reserved for carbon (--reserve)");
    assert_eq!(cluster.node(0).metrics().len(), names.len());
    assert_eq!(cluster.node(1).metrics(), [""; 0]);
}

#[test]
fn a_reserve_is_left_for_carbon_unless_it_is_made_smaller() {
    let probe = with_disk(Launch::Plain, 1);
    let file = size(&probe.0.node(0).path(&probe.1[0]));
    // Space for all of it, but not for a twentieth in addition.
    let count = 100;
    let needed = file.next_multiple_of(4096) * count as u64;
    let (cluster, _) = with_disk(Launch::OnSmallDisk(needed + needed / 30 + 64 * 4096), count);
    let before = cluster.ledger();
    let run = cluster.bucky(&["rebalance", "--reserve", "40%"]).assert_code(1);
    run.assert_stderr_has("reserved for carbon (--reserve)").assert_stderr_has("nothing was moved");
    cluster.bucky(&["rebalance", "--reserve", "0"]).assert_code(0);
    cluster.assert_all_in_place(&before);
    let wrong = cluster.bucky(&["rebalance", "--reserve", "lots"]).assert_code(2);
    wrong.assert_stderr_has("try 5% or 50G");
}

#[test]
fn a_full_destination_is_reported_once_and_asked_for_nothing_more() {
    let (cluster, names) = with_disk(Launch::OnDisk { bytes: 64 * MIB, inodes: 120 }, 600);
    let args = ["rebalance", "--ignore-free-space", "--batch-metrics", "20", "-w", "1"];
    let errors = cluster.path("errors");
    let args = [args.as_slice(), &["--errors", errors.to_str().unwrap()]].concat();
    let run = cluster.bucky(&args).assert_code(1).assert_stderr_has("No space left on device");
    let owner = cluster.node(1).addr();
    let run = run.assert_stderr_has(&format!("{owner} gets nothing more in this run"));
    assert!(run.stderr.lines().count() < 25, "{run}");
    assert_eq!(run.stderr.matches("No space left").count(), 1, "{run}");
    let left = cluster.node(0).metrics().len();
    let run = run.assert_stderr_has(&format!("{left} failed: {left} no space"));
    assert!(left > 0 && left < names.len(), "{left} are left: {run}");
    assert_eq!(std::fs::read_to_string(&errors).unwrap().lines().count(), left);
    let asked = cluster.node(1).log().matches("POST /v1/pull").count();
    assert!(asked < 12, "asked {asked} times: {run}");
    assert!(names.iter().all(|name| cluster.node(0).has(name) || cluster.node(1).has(name)));
}
