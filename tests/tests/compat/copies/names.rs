//! `bucky backfill`: from old names to new names.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{Running, TestCluster, wait};
use bucky_whisper::Point;
use rustix::process::Signal;
use serde_json::json;

use super::{assert_kept, map_file, marks, minutes_of, rescan};
use crate::{PROGRAMS, cluster};

fn expected(points: &[Point]) -> BTreeMap<u32, f64> {
    points.iter().map(|point| (point.timestamp, point.value)).collect()
}

/// D48: if a source is on two servers, the Go tool uses one by chance, and leaves out the other's points.
#[test]
fn d48_every_copy_of_an_old_name_goes_into_the_new_one_at_all_its_owners() {
    let cluster = cluster(3).replication_factor(2).start();
    let now = now();
    let all = minutes(now, (0..90).map(f64::from));
    let mut map = serde_json::Map::new();
    for number in 0..12 {
        let old = format!("old.app{}.m{number}", number % 3);
        map.insert(old.clone(), json!(format!("new.app{}.m{number}", number % 3)));
        for (third, node) in cluster.nodes().iter().enumerate() {
            let part: Vec<Point> = all.iter().skip(third).step_by(3).copied().collect();
            node.write(&old, &MINUTES, &part);
        }
    }
    rescan(&cluster);
    let before: Vec<_> = cluster.nodes().iter().map(marks).collect();
    let map = map_file(&cluster, &map.into());
    let plan = cluster.bucky(&["backfill", "-no-op", &map]).assert_code(0);
    plan.assert_stdout_has("72 copies to fill, for 12 names");
    let run = cluster.bucky(&["backfill", "-v", "-w", "2", "-offload", &map]).assert_code(0);
    let run = run.assert_stdout("").assert_stderr_has("Backfill request complete.");
    run.assert_stderr_has("24 metrics created under new names, 48 filled")
        .assert_stderr_has(&format!("Backfilling [{}] old.app0.m0 => [", cluster.node(1).addr()));
    for number in 0..12 {
        let new = format!("new.app{}.m{number}", number % 3);
        let holders: BTreeSet<usize> =
            (0..3).filter(|node| cluster.node(*node).has(&new)).collect();
        assert_eq!(holders, cluster.owners(&new).into_iter().collect(), "{new}");
        for owner in holders {
            assert_eq!(minutes_of(&cluster, owner, &new), expected(&all), "{new} on {owner}");
        }
    }
    for (node, before) in cluster.nodes().iter().zip(&before) {
        assert_kept(node, before);
    }
    let new: Vec<_> = cluster.nodes().iter().map(marks).collect();
    let again = cluster.bucky(&["backfill", &map]).assert_code(0);
    again.assert_stderr_has("0 metrics created under new names, 0 filled, 72 unchanged");
    for (node, new) in cluster.nodes().iter().zip(&new) {
        assert_kept(node, new);
    }
}

/// D48: names that the cluster does not have are dropped silently, and the exit code is 0.
#[test]
fn d48_names_that_no_node_has_are_reported() {
    let cluster = cluster(2).start();
    cluster.node(1).write("here", &MINUTES, &minutes(now(), [1.0]));
    let map = map_file(&cluster, &json!({"here": "there", "nobody.has": "x", "nor.this": "y"}));
    let run = cluster.bucky(&["backfill", "-f", &map]).assert_code(1);
    run.assert_stderr_has("Metric not found: nobody.has\nMetric not found: nor.this\n")
        .assert_stderr_has("1 metric created")
        .assert_stderr_has("Backfill request complete.\nErrors are present.");
    assert!(cluster.node(cluster.owners("there")[0]).has("there"));
    let map = map_file(&cluster, &json!({"nobody": "x"}));
    cluster
        .bucky(&["backfill", &map])
        .assert_code(1)
        .assert_stderr_has("There is nothing to fill.");
    let map = map_file(&cluster, &json!({}));
    cluster.bucky(&["backfill", &map]).assert_code(0).assert_stderr_has("nothing to do");
}

#[test]
fn backfill_cleans_new_names_and_reads_its_map_from_standard_input() {
    let cluster = cluster(2).start();
    for (number, name) in ["a", "b", "c"].iter().enumerate() {
        cluster.node(number % 2).write(name, &MINUTES, &minutes(now(), [1.0]));
    }
    rescan(&cluster);
    let map = map_file(&cluster, &json!({"a": "new..h3/x", "b": ".lead", "c": "/c//d"}));
    let mut bucky = Command::new("sh");
    bucky.args(["-c", "exec \"$0\" \"$@\" < \"$MAP\"", PROGRAMS.bucky]);
    bucky.args(["backfill", "-h", &cluster.node(0).addr(), "-"]).env("MAP", &map);
    Running::start(bucky).finish().assert_code(0).assert_stderr_has("3 metrics created");
    for name in ["new.h3.x", "lead", "c.d"] {
        assert!(cluster.node(cluster.owners(name)[0]).has(name), "{name}");
    }
}

/// Two old names may have the same new name. If both have a value, that of the first one in the map is used,
/// at every owner.
#[test]
fn old_names_that_become_one_are_filled_in_as_the_map_has_them() {
    let cluster = cluster(3).replication_factor(2).start();
    let now = now();
    let names: Vec<String> = (0..20).map(|number| format!("z{}.old{number}", number % 2)).collect();
    for (number, pair) in names.chunks(2).enumerate() {
        // The first name in the map sorts last. It is on one node, and the other name is on all nodes.
        cluster.node(number % 3).write(&pair[1], &MINUTES, &minutes(now, [1.0, 1.0]));
        for node in cluster.nodes() {
            node.write(&pair[0], &MINUTES, &minutes(now, [2.0, 2.0, 2.0]));
        }
    }
    rescan(&cluster);
    // The map is written as text, because the library sorts the keys of JSON objects.
    let entries = names.chunks(2).enumerate().map(|(number, pair)| {
        format!("\"{}\": \"one.m{number}\", \"{}\": \"one.m{number}\"", pair[1], pair[0])
    });
    let map = cluster.path("map.json");
    std::fs::write(&map, format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))).unwrap();
    cluster.bucky(&["backfill", map.to_str().unwrap()]).assert_code(0);
    for number in 0..10 {
        let name = format!("one.m{number}");
        for owner in cluster.owners(&name) {
            let values: Vec<f64> = minutes_of(&cluster, owner, &name).into_values().collect();
            assert_eq!(values, [2.0, 1.0, 1.0], "{name} on {owner}");
        }
    }
}

#[test]
fn a_map_that_cannot_mean_one_thing_is_refused_before_anything_is_touched() {
    let cluster = cluster(2).start();
    cluster.node(0).write("a", &MINUTES, &minutes(now(), [1.0]));
    cluster.node(0).write("b", &MINUTES, &minutes(now(), [2.0]));
    rescan(&cluster);
    let hashed = format!("_tagged.x.y.{}", "0".repeat(64));
    for (map, message) in [
        ("{\"a\": \"b\", \"b\": \"c\"}".to_owned(), "run the one with b => c first"),
        ("{\"a\": \"b\", \"b\": \"a\"}".to_owned(), "would depend on the order"),
        ("{\"a\": \"x\", \"a\": \"y\"}".to_owned(), "it maps a to both x and y"),
        // D48: a trailing dot makes a file called `.wsp`.
        ("{\"a\": \"x.\"}".to_owned(), "the new name \"x.\" ends with a dot"),
        ("{\"a\": \"\"}".to_owned(), "the name of a metric is empty"),
        (format!("{{\"a\": \"{hashed}\"}}"), "no place on the ring"),
        ("[\"a\"]".to_owned(), "not a JSON object"),
        ("{\"a\": \"x\"".to_owned(), "EOF while parsing"),
    ] {
        let path = cluster.path("map.json");
        std::fs::write(&path, &map).unwrap();
        let run = cluster.bucky(&["backfill", path.to_str().unwrap()]).assert_code(2);
        run.assert_stderr_has(message);
    }
    cluster.bucky(&["backfill"]).assert_code(2).assert_stderr_has("<FILE>");
    cluster
        .bucky(&["backfill", "/nowhere/map"])
        .assert_code(2)
        .assert_stderr_has("cannot open the map");
    let map = map_file(&cluster, &json!({"a": "x"}));
    cluster
        .bucky(&["backfill", "-s", &map])
        .assert_code(2)
        .assert_stderr_has("-s cannot be used with");
    cluster.bucky(&["backfill", "-delete", &map]).assert_code(2).assert_stderr_has("--delete");
    let names = |node: usize| cluster.node(node).metrics();
    assert_eq!((names(0), names(1)), (vec!["a".to_owned(), "b".to_owned()], Vec::new()));
}

#[test]
fn backfill_of_a_cluster_that_is_not_complete_does_nothing() {
    let mut cluster = cluster(2).start();
    cluster.node(0).write("a", &MINUTES, &minutes(now(), [1.0]));
    cluster.node_mut(1).stop();
    let map = map_file(&cluster, &json!({"a": "x"}));
    cluster.bucky(&["backfill", "-f", &map]).assert_code(3).assert_stderr_has("not healthy");
    assert_eq!(cluster.node(0).metrics(), ["a"]);
}

fn stopped(cluster: &TestCluster, map: &str) -> bucky_tests::Finished {
    cluster.node(1).gate().hold("POST /v1/pull");
    let run = cluster.start_bucky(&["backfill", "--batch-metrics", "5", "-w", "1", map]);
    cluster.node(1).gate().wait_until_held();
    run.signal(Signal::INT);
    wait::until("the run says that it stops", || run.stderr().contains("finishing what is"));
    cluster.node(1).gate().release();
    run.finish()
}

#[test]
fn a_stopped_backfill_continues_when_it_is_run_again() {
    let cluster = cluster(2).replication_factor(2).gate(1).start();
    let mut map = serde_json::Map::new();
    for number in 0..40 {
        let (old, new) = (format!("old.m{number}"), format!("new.m{number}"));
        cluster.node(0).write(&old, &MINUTES, &minutes(now(), [1.0, f64::from(number)]));
        map.insert(old, json!(new));
    }
    rescan(&cluster);
    let map = map_file(&cluster, &map.into());
    let run = stopped(&cluster, &map).assert_code(1);
    run.assert_stderr_has(" of 80 are left.\nStopped. Run the same command again to continue.");
    cluster
        .bucky(&["backfill", &map])
        .assert_code(0)
        .assert_stderr_has("Backfill request complete.");
    for number in 0..40 {
        for node in 0..2 {
            let there = minutes_of(&cluster, node, &format!("new.m{number}"));
            let there: Vec<f64> = there.into_values().collect();
            assert_eq!(there, [f64::from(number), 1.0]);
        }
    }
}
