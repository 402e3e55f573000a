//! Our client, with only daemons of the Go tool. The fake daemons fail the test if they get a request that
//! the real ones would refuse.

use bucky_tests::cluster::assert_untouched;
use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{Ledger, TestCluster, tree};

use super::Mixed;
use crate::cluster;

#[test]
fn our_client_reads_a_cluster_of_go_daemons() {
    let Mixed { go, cluster } = Mixed::grown(3, 3, 2, &[0, 1, 2]);
    let before = cluster.ledger();
    let misplaced = before.misplaced(cluster.ring());
    let marks: Vec<_> = cluster.nodes().iter().map(|node| tree::marks(&node.prefix())).collect();
    cluster.bucky(&["servers"]).assert_code(0).assert_stdout_has("Is cluster healthy: true");
    let listed = cluster.bucky(&["list"]).assert_code(0);
    assert_eq!(listed.stdout.lines().count(), before.metrics());
    assert_eq!(sorted(&listed.stdout), listed.stdout.lines().collect::<Vec<_>>());
    let name = listed.stdout.lines().next().unwrap();
    cluster.bucky(&["list", name, "nobody"]).assert_stdout(&format!("{name}\n"));
    cluster.bucky(&["list", "-r", "^nobody"]).assert_code(0).assert_stdout("");
    let owner = cluster.node(cluster.owners(name)[0]).host();
    cluster.bucky(&["locate", name]).assert_code(0).assert_stdout(&format!("{name} => {owner}\n"));
    let found = cluster.bucky(&["inconsistent"]).assert_code(0);
    assert_eq!(found.stdout.lines().count(), misplaced, "{found}");
    let stat = cluster.bucky(&["stat", name]).assert_code(0);
    assert!(stat.stdout.ends_with(&format!("\t{name}\n")), "{stat}");
    cluster.bucky(&["du", "-r", "."]).assert_code(0);
    let line = format!("{misplaced} metrics on nodes that do not own them");
    cluster.bucky(&["verify"]).assert_code(1).assert_stdout_has(&line);
    let wanted = cluster.bucky(&["rebalance", "--no-op"]).assert_code(0);
    assert!(wanted.stdout.contains(&go[2].addr()), "{wanted}");
    assert!(go.iter().all(|daemon| !asked(&daemon.requests(), &["POST /metrics/", "DELETE"])));
    for (node, marks) in cluster.nodes().iter().zip(&marks) {
        assert_untouched(marks, &node.prefix());
    }
}

#[test]
fn our_rebalance_over_go_daemons_moves_metrics_that_they_take_completely() {
    let Mixed { go, cluster } = Mixed::grown(3, 3, 2, &[0, 1, 2]);
    let before = cluster.ledger();
    assert!(before.misplaced(cluster.ring()) > 10);
    cluster.bucky(&["rebalance"]).assert_code(0).assert_stderr_has("Go daemons take part");
    cluster.assert_all_in_place(&before);
    // Their lists do not have it until they scan again.
    cluster.bucky(&["rebalance", "-f"]).assert_code(0).assert_stderr_has("balanced");
    assert!(go.iter().all(|daemon| !asked(&daemon.requests(), &["PUT"])), "D3: PUT destroys");
}

/// D8: a Go daemon's fill leaves single points out, and reports success.
#[test]
fn a_source_whose_points_a_go_daemon_leaves_out_stays_and_is_reported() {
    let cluster = cluster(2).lay();
    let now = now();
    let [gaps, longer] = two_names(&cluster);
    // Every other point is on its owner already, the rest on the other node; and there is a gap that a Go
    // fill does fill.
    let every_other = |first: usize| {
        let all = minutes(now, (0..60).map(f64::from));
        all.into_iter().skip(first).step_by(2).collect::<Vec<_>>()
    };
    cluster.node(1).write(&gaps, &MINUTES, &every_other(0));
    cluster.node(0).write(&gaps, &MINUTES, &every_other(1));
    cluster.node(1).write(&longer, &MINUTES, &minutes(now, (0..20).map(f64::from)));
    cluster.node(0).write(
        &longer,
        &MINUTES,
        &minutes(now, (0..60).map(|age| f64::from(age) + 0.5)),
    );
    let Mixed { go: _go, cluster } = Mixed::start(cluster, &[0, 1]);
    let before = cluster.ledger();
    let run = cluster.bucky(&["rebalance"]).assert_code(1);
    assert!(run.stderr.contains(&gaps) && run.stderr.contains("left out"), "{run}");
    assert!(cluster.node(0).has(&gaps), "what was not copied completely stays where it is");
    assert!(!cluster.node(0).has(&longer), "what was copied completely is moved");
    let after = cluster.ledger();
    assert_eq!(lost(&before, &after, &gaps, &cluster), 0);
    // The owner had the newest twenty points. None of them may now be the source's, nor the one beside the
    // gap.
    let there = after.archive(&longer, cluster.node(1).host(), 60).unwrap();
    let of_source = there.iter().rev().take(20).filter(|point| point.value.fract() != 0.0);
    assert_eq!(of_source.count(), 0, "{there:?}");
    assert_eq!(there.len(), 60);
    // A second run gives the same result and loses nothing.
    cluster.bucky(&["rebalance", "-f"]).assert_code(1).assert_stderr_has(&gaps);
    assert_eq!(lost(&before, &cluster.ledger(), &gaps, &cluster), 0);
}

/// Two names that the second node owns.
fn two_names(cluster: &TestCluster) -> [String; 2] {
    cluster.names_owned_by(1, "go.fill", 2).try_into().unwrap()
}

/// How many points of `before` no node has any more, or has with a value that no node had.
fn lost(before: &Ledger, after: &Ledger, metric: &str, cluster: &TestCluster) -> usize {
    let hosts = [cluster.node(0).host(), cluster.node(1).host()];
    let of = |ledger: &Ledger| -> Vec<bucky_whisper::Point> {
        let archives = hosts.iter().filter_map(|host| ledger.archive(metric, host, 60));
        archives.flatten().copied().collect()
    };
    let after = of(after);
    of(before).iter().filter(|point| !after.contains(point)).count()
}

fn asked(requests: &[String], starts: &[&str]) -> bool {
    requests.iter().any(|request| starts.iter().any(|start| request.starts_with(start)))
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}
