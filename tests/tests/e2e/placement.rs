//! What is misplaced and what is not.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::tree;

use crate::cluster;

/// The Go tool knows only one copy: every second copy looks misplaced to it, and `-delete` removes them all.
#[test]
fn d16_second_copies_are_no_strays_and_a_cluster_with_two_copies_grows() {
    let mut cluster = cluster(4).replication_factor(2).lay();
    cluster.scatter(300, &cluster.ring_of_first(3));
    cluster.start();
    let before = cluster.ledger();
    let misplaced = before.misplaced(cluster.ring());
    assert!(misplaced > 0);
    let found = cluster.bucky(&["inconsistent"]).assert_code(0);
    assert!(found.stdout.lines().count() >= misplaced, "{found}");

    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
    cluster.bucky(&["inconsistent"]).assert_code(0).assert_stdout("");
    let copies: usize = cluster.nodes().iter().map(|node| node.metrics().len()).sum();
    assert_eq!(copies, 600, "each metric is on two nodes");
}

#[test]
fn a_stray_is_healed_to_every_owner_before_it_is_deleted() {
    let cluster = cluster(3).replication_factor(2).start();
    let names = cluster.names_owned_by(0, "copies", 400);
    let metric = names.iter().find(|name| !cluster.owners(name).contains(&2)).unwrap();
    cluster.node(2).write(metric, &MINUTES, &minutes(now(), [1.0, 2.0, 3.0]));
    cluster.bucky(&["list", "-f"]).assert_code(0);
    let before = cluster.ledger();
    cluster.bucky(&["rebalance"]).assert_code(0);
    assert!(
        cluster.node(0).has(metric) && cluster.node(1).has(metric) && !cluster.node(2).has(metric)
    );
    cluster.assert_all_in_place(&before);
}

/// The layout in buckytools' README makes its cluster unhealthy.
#[test]
fn d15_instances_of_one_host_share_its_store() {
    let mut cluster = cluster(3).instances(&["a", "b"]).lay();
    cluster.scatter(300, &cluster.ring_of_first(2));
    cluster.start();
    let before = cluster.ledger();
    cluster.bucky(&["servers"]).assert_code(0).assert_stdout_has("Is cluster healthy: true");
    let misplaced = before.misplaced(cluster.ring());
    let found = cluster.bucky(&["inconsistent"]).assert_code(0);
    assert_eq!(found.stdout.lines().count(), misplaced, "{found}");
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

#[test]
fn metrics_that_a_node_writes_about_itself_stay() {
    let mut cluster =
        cluster(3).flag("--local-prefix", "carbon.agents.").flag("--local-prefix", "own.").lay();
    let points = minutes(now(), [1.0, 2.0]);
    for node in cluster.nodes() {
        node.write(
            &format!("carbon.agents.{}.cpuUsage", node.host().replace('.', "_")),
            &MINUTES,
            &points,
        );
        node.write("carbon.agents.same-on-all.cpuUsage", &MINUTES, &points);
        node.write("own.disk", &MINUTES, &points);
    }
    cluster.start();
    let marks: Vec<_> = cluster.nodes().iter().map(|node| tree::marks(&node.prefix())).collect();
    cluster.bucky(&["inconsistent"]).assert_code(0).assert_stdout("");
    cluster.bucky(&["rebalance"]).assert_code(0).assert_stderr_has("balanced");
    for (node, marks) in cluster.nodes().iter().zip(&marks) {
        bucky_tests::cluster::assert_untouched(marks, &node.prefix());
    }
}

/// A drained node is in no ring; its local metrics stay with it.
#[test]
fn metrics_that_a_drained_node_wrote_about_itself_stay_there() {
    let cluster = cluster(3).in_ring(2).start();
    let (old, own) = (cluster.node(2), "carbon.agents.old-1.cpuUsage");
    old.write(own, &MINUTES, &minutes(now(), [1.0]));
    old.write("app.hits", &MINUTES, &minutes(now(), [2.0]));
    let before = cluster.ledger();
    cluster.bucky(&["rebalance", "-f", &old.addr()]).assert_code(0);
    assert_eq!(old.metrics(), [own]);
    cluster.assert_all_in_place(&before);
}

/// Every command of the Go tool accepts `-s` and all but one ignore it.
#[test]
fn d7_with_single_a_node_is_worked_with_alone() {
    let mut cluster = cluster(3).lay();
    let [from_first, from_second] = ["first", "second"].map(|stem| cluster.name_owned_by(2, stem));
    cluster.node(0).write(&from_first, &MINUTES, &minutes(now(), [1.0]));
    cluster.node(1).write(&from_second, &MINUTES, &minutes(now(), [2.0]));
    cluster.start();
    let line = format!("{}: {from_first}\n", cluster.node(0).addr());
    cluster.bucky(&["list", "-s"]).assert_code(0).assert_stdout(&format!("{from_first}\n"));
    cluster.bucky(&["inconsistent", "-s"]).assert_code(0).assert_stdout(&line);
    cluster.bucky(&["rebalance", "-s"]).assert_code(0);
    assert_eq!(cluster.node(1).metrics(), [from_second]);
    assert_eq!(cluster.node(2).metrics(), [from_first]);
}

/// The Go tool lists these under names that mean other files: deleting `.dot` deletes `dot`.
#[test]
fn d31_files_that_no_name_refers_to_are_counted_and_left_alone() {
    let mut cluster = cluster(2).lay();
    let prefix = cluster.node(0).prefix();
    let whole = MINUTES.empty_file();
    std::fs::create_dir_all(prefix.join("x.y")).unwrap();
    let odd = [
        prefix.join("x.y/z.wsp"),
        prefix.join("..wsp"),
        prefix.join(OsStr::from_bytes(b"latin\xe9.wsp")),
        prefix.join("two\nlines.wsp"),
    ];
    for path in &odd {
        std::fs::write(path, &whole).unwrap();
    }
    std::fs::write(prefix.join(".dot.wsp"), &whole).unwrap();
    cluster.start();
    let marks = tree::marks(&prefix);
    let unusable = cluster.get(0, "/v1/status").json()["inventory"]["unusable"].as_u64().unwrap();
    assert_eq!(unusable, 3, "a name with a dot inside, one that is not UTF-8, one with a new line");
    let named = cluster.get(0, "/v1/metrics?unusable=1").assert_status(200).text();
    assert!(named.contains("x.y/z.wsp") && named.contains("two\\nlines.wsp"), "{named}");
    cluster.bucky(&["list"]).assert_code(0).assert_stdout("");
    cluster.bucky(&["inconsistent"]).assert_code(0).assert_stdout("").assert_stderr_has("3 files");
    cluster.bucky(&["rebalance"]).assert_code(0).assert_stderr_has("balanced");
    bucky_tests::cluster::assert_untouched(&marks, &prefix);
}

/// The Go daemon sees such a prefix as empty, and a rebalance takes the node for an empty one.
#[test]
fn d22_a_prefix_that_is_a_link_or_begins_with_a_dot_is_scanned() {
    for store in ["link", ".store"] {
        let mut cluster = cluster(1).lay();
        let prefix = cluster.path(store);
        let real = cluster.node(0).prefix();
        if store == "link" {
            std::fs::create_dir_all(&real).unwrap();
            std::os::unix::fs::symlink(&real, &prefix).unwrap();
        }
        bucky_tests::metrics::write(
            &prefix,
            &"a.b".parse().unwrap(),
            &MINUTES,
            &minutes(now(), [1.0]),
        );
        cluster.node_mut(0).flag("-p", prefix.to_str().unwrap());
        cluster.start();
        cluster.bucky(&["list"]).assert_code(0).assert_stdout("a.b\n");
    }
}

/// The relay hashed the name of the series, not that of its file.
#[test]
fn tagged_series_are_stored_where_their_names_belong() {
    let cluster = cluster(3).start();
    let metric = (0..)
        .map(|number| format!("_tagged.0a1.b2c.disk_DOT_used;host=db{number};mount=root"))
        .find(|name| cluster.owners(name) == [1])
        .unwrap();
    let by_file_name = cluster.ring().owner(&metric);
    assert!(by_file_name < 3);
    cluster.node(0).write(&metric, &MINUTES, &minutes(now(), [7.0]));
    cluster.bucky(&["list", "-f"]).assert_code(0);
    let before = cluster.ledger();
    cluster.bucky(&["rebalance"]).assert_code(0);
    assert_eq!(cluster.node(1).metrics(), [metric]);
    cluster.assert_all_in_place(&before);
}

#[test]
fn a_tagged_series_that_is_only_a_hash_is_counted_listed_and_never_moved() {
    let mut cluster = cluster(3).lay();
    let hashed = format!("_tagged.abc.def.{}", "0123456789abcdef".repeat(4));
    for node in cluster.nodes() {
        node.write(&hashed, &MINUTES, &minutes(now(), [7.0]));
    }
    cluster.start();
    let before = cluster.ledger();
    cluster
        .bucky(&["inconsistent"])
        .assert_code(0)
        .assert_stdout("")
        .assert_stderr_has("1 unplaceable files");
    let all = cluster.bucky(&["inconsistent", "--unplaceable"]).assert_code(0);
    assert_eq!(all.stdout.lines().count(), 3, "{all}");
    cluster.bucky(&["rebalance"]).assert_code(1).assert_stderr_has("3 tagged files");
    cluster.assert_all_in_place(&before);
}

/// `locate --ring` needs no cluster, and gives the same owners as the daemons of a running one.
#[test]
fn locate_names_the_owners_that_a_rebalance_moves_to() {
    let mut cluster = cluster(4).replication_factor(2).lay();
    cluster.scatter(60, &cluster.ring_of_first(3));
    let ring_file = cluster.ring_file();
    cluster.start();
    cluster.bucky(&["rebalance"]).assert_code(0);
    let ring_file = ring_file.to_str().unwrap();
    for number in 0..60 {
        let metric = bucky_tests::metrics::name(number);
        let located = cluster
            .bucky_alone(&["locate", "--ring", ring_file, "--all-owners", "-j", metric.as_str()])
            .assert_code(0);
        let located: serde_json::Value = serde_json::from_str(&located.stdout).unwrap();
        let mut owners: Vec<&str> = located[metric.as_str()]
            .as_array()
            .unwrap_or_else(|| panic!("{located}"))
            .iter()
            .map(|owner| owner.as_str().unwrap().split(':').next().unwrap())
            .collect();
        owners.sort_unstable();
        let holds = |node: &&bucky_tests::Node| node.has(metric.as_str());
        let mut holders: Vec<&str> =
            cluster.nodes().iter().filter(holds).map(bucky_tests::Node::host).collect();
        holders.sort_unstable();
        assert_eq!(owners, holders, "{metric}");
    }
}
