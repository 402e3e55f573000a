//! `bucky plan` says what a rebalance by another ring will do, before any daemon has that ring.

use std::collections::{BTreeMap, BTreeSet};

use bucky_ring::{Algorithm, Relay};
use bucky_tests::TestCluster;
use bucky_tests::cluster::ClusterPlan;
use serde_json::Value;

use crate::cluster;

/// Carbon sends a name that a rule matches to the nodes of each output.
const RULES: &str = "all.http.<field>.<code> (60) = sum shop.*.http.<field>.<code>\n\
                     all.hosts.<host> (60) = count shop.<host>.http.status.*\n\
                     all.stores.<store> (60) = sum shop.orders.*.<store>.*\n";

/// By source and destination, how many metrics and bytes.
pub(crate) type Pairs = BTreeMap<(String, String), (u64, u64)>;

/// A cluster whose daemons will have the ring of all nodes, and have that of the first three now. The last
/// node does not run.
fn before_it_grows(plan: ClusterPlan, metrics: usize) -> TestCluster {
    let mut cluster = plan.lay();
    cluster.scatter(metrics, &cluster.ring_of_first(3));
    for member in members_of(&cluster, 3) {
        for node in 0..3 {
            cluster.node_mut(node).remove_ring_member(&member);
        }
    }
    (0..3).for_each(|node| cluster.node_mut(node).start());
    cluster
}

/// Gives all daemons the ring of all nodes.
fn grow(cluster: &mut TestCluster) {
    let members = members_of(cluster, 3);
    for node in 0..3 {
        cluster.node_mut(node).stop();
        for member in &members {
            cluster.node_mut(node).ring_member(member);
        }
    }
    cluster.start();
}

/// The nodes of the ring on one host.
fn members_of(cluster: &TestCluster, node: usize) -> Vec<String> {
    let host = cluster.node(node).host();
    let nodes = cluster.ring().nodes().iter().filter(|node| node.host() == host);
    nodes.map(ToString::to_string).collect()
}

pub(crate) fn planned(cluster: &TestCluster, args: &[&str]) -> Value {
    let args = [&["plan", "-j", "--reserve", "0", "-o", "plan.json"], args].concat();
    let plan = cluster.bucky(&args).assert_code(0);
    serde_json::from_str(&plan.stdout).unwrap()
}

pub(crate) fn amount(value: &Value) -> (u64, u64) {
    (value["metrics"].as_u64().unwrap(), value["bytes"].as_u64().unwrap())
}

pub(crate) fn pairs(plan: &Value) -> Pairs {
    let host = |value: &Value| value.as_str().unwrap().rsplit_once(':').unwrap().0.to_owned();
    let moves = plan["moves"].as_array().unwrap().iter();
    moves.map(|pair| ((host(&pair["from"]), host(&pair["to"])), amount(pair))).collect()
}

/// What the daemons, which have the new ring now, name for a rebalance.
pub(crate) fn named(cluster: &TestCluster) -> Pairs {
    let mut pairs = Pairs::new();
    for (number, node) in cluster.nodes().iter().enumerate() {
        for line in cluster.get(number, "/v1/misplaced?stat=1").text().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let owners = line["owners"].as_array().unwrap().iter();
            let owner =
                |owner: &Value| owner.as_str().unwrap().parse::<bucky_ring::Node>().unwrap();
            let hosts: BTreeSet<String> =
                owners.map(|name| owner(name).host().to_owned()).collect();
            for host in hosts {
                let pair = pairs.entry((node.host().to_owned(), host)).or_default();
                *pair = (pair.0 + 1, pair.1 + line["bytes"].as_u64().unwrap());
            }
        }
    }
    pairs
}

/// The pairs that `rebalance --no-op` prints, as it prints them.
pub(crate) fn printed(cluster: &TestCluster) -> BTreeSet<String> {
    let plan = cluster.bucky(&["rebalance", "--no-op"]).assert_code(0);
    let lines = plan.stdout.lines().skip(1).take_while(|line| !line.is_empty());
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// The pairs of `plan`, as `rebalance` prints them.
pub(crate) fn as_printed(plan: &Value) -> BTreeSet<String> {
    let line = |pair: &Value| {
        let (metrics, bytes) = amount(pair);
        let (from, to) = (pair["from"].as_str().unwrap(), pair["to"].as_str().unwrap());
        format!("{from} {to} {metrics} {}", human_bytes(bytes))
    };
    plan["moves"].as_array().unwrap().iter().map(line).collect()
}

/// By node, how many metrics it has, and the lengths of their files.
pub(crate) fn held(cluster: &TestCluster) -> Vec<(u64, u64)> {
    let of_node = |node: &bucky_tests::Node| {
        let names = node.metrics();
        let bytes = names.iter().map(|name| node.path(name).metadata().unwrap().len()).sum();
        (names.len() as u64, bytes)
    };
    cluster.nodes().iter().map(of_node).collect()
}

pub(crate) fn each_node(plan: &Value, field: &str) -> Vec<(u64, u64)> {
    plan["nodes"].as_array().unwrap().iter().map(|node| amount(&node[field])).collect()
}

/// As `bucky` writes it.
fn human_bytes(bytes: u64) -> String {
    let (divisor, unit) = if bytes < 1 << 20 { (1 << 10, "KiB") } else { (1 << 20, "MiB") };
    let tenths = bytes * 10 / divisor;
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[test]
fn a_plan_predicts_the_rebalance_of_every_kind_of_ring() {
    let kinds: [fn(ClusterPlan) -> ClusterPlan; 7] = [
        |plan| plan,
        |plan| plan.algorithm(Algorithm::Fnv1a).relay(Relay::CarbonCRelay),
        |plan| plan.algorithm(Algorithm::JumpFnv1a),
        |plan| plan.relay(Relay::Carbon).replication_factor(2),
        |plan| {
            plan.algorithm(Algorithm::JumpFnv1a).relay(Relay::CarbonCRelay).replication_factor(2)
        },
        |plan| plan.instances(&["a", "b"]),
        |plan| plan.relay(Relay::Carbon).instances(&["a", "b"]).aggregation_rules(RULES),
    ];
    for kind in kinds {
        let mut cluster = before_it_grows(kind(cluster(4)), 400);
        let what = cluster.ring().spec().summary();
        let ledger = cluster.ledger();
        let added: Vec<String> = members_of(&cluster, 3);
        let added: Vec<&str> = added.iter().flat_map(|member| ["--add", member]).collect();
        let plan = planned(&cluster, &added);
        assert_eq!(each_node(&plan, "before"), held(&cluster), "{what}");
        assert_eq!(plan["nodes"][3]["answered"], false, "{what}");
        assert!(plan["leaves"]["metrics"].as_u64().unwrap() > 30, "{what}: {plan}");

        grow(&mut cluster);
        assert_eq!(pairs(&plan), named(&cluster), "{what}");
        assert_eq!(as_printed(&plan), printed(&cluster), "{what}");
        let run = cluster.bucky(&["rebalance", "--plan", "plan.json"]).assert_code(0);
        let (metrics, _) = amount(&plan["leaves"]);
        let (_, bytes) = amount(&plan["sent"]);
        let run = run
            .assert_stderr_has(&format!("\n{metrics} metrics moved: "))
            .assert_stderr_has("Done.");
        assert!(run.stderr.contains(&human_bytes(bytes)), "{what}: {bytes} of {run}");
        assert_eq!(each_node(&plan, "after"), held(&cluster), "{what}");
        let lacking = plan["lacking_after"].as_u64().unwrap();
        assert_eq!(lacking > 0, cluster.ring().spec().aggregation.is_some(), "{what}");
        if lacking > 0 {
            let heal = cluster.bucky(&["heal"]).assert_code(0);
            assert!(heal.stderr.contains(&format!("{lacking} ")), "{what}: {lacking} of {heal}");
        }
        cluster.assert_all_in_place(&ledger);
    }
}

/// Two copies of each metric: what leaves a node goes to both owners, one of which has it already.
#[test]
fn a_node_that_leaves_is_planned_and_drained_by_the_plan() {
    for copies in [1, 2] {
        let mut cluster = cluster(4).relay(Relay::Carbon).replication_factor(copies).lay();
        cluster.scatter(300, cluster.ring());
        cluster.start();
        let ledger = cluster.ledger();
        let host = cluster.node(3).host().to_owned();
        let plan = planned(&cluster, &["--remove", &host]);
        assert_eq!(plan["nodes"][3]["in_ring_after"], false);
        assert_eq!(each_node(&plan, "after")[3], (0, 0));

        let member = members_of(&cluster, 3).remove(0);
        for node in 0..4 {
            cluster.node_mut(node).stop();
            cluster.node_mut(node).remove_ring_member(&member);
        }
        cluster.start();
        cluster.bucky(&["rebalance", "--plan", "plan.json"]).assert_code(0);
        assert_eq!(each_node(&plan, "after"), held(&cluster), "{copies} copies");
        cluster.wait_until_no_tombstones();
        let findings = ledger.compare(&cluster.ledger(), &cluster.ring_of_first(3));
        assert!(findings.problems.is_empty(), "{:?}", findings.problems);
    }
}

#[test]
fn a_plan_is_refused_on_a_cluster_that_it_was_not_made_for() {
    let mut cluster = before_it_grows(cluster(4), 300);
    let member = members_of(&cluster, 3).remove(0);
    planned(&cluster, &["--add", &member]);
    let refused = |cluster: &TestCluster, reason: &str| {
        let run = cluster.bucky(&["rebalance", "--plan", "plan.json"]).assert_code(3);
        run.assert_stderr_has(reason).assert_stderr_has("nothing was moved");
    };
    refused(&cluster, "still have the old ring");

    // More than one metric in a hundred is new on a node.
    let node = cluster.node(1);
    let content = std::fs::read(node.path(&node.metrics()[0])).unwrap();
    (0..10).for_each(|number| node.put(&format!("new.m{number}"), &content));
    let held = held(&cluster);
    grow(&mut cluster);
    let found = held[1].0;
    let addr = cluster.node(1).addr();
    refused(
        &cluster,
        &format!("{addr} has {found} metrics, and the plan was made with {}", found - 10),
    );
    assert_eq!(self::held(&cluster), held);

    cluster.bucky(&["rebalance", "--plan", "nope.json"]).assert_stderr_has("cannot read the plan");
    cluster.bucky(&["rebalance", "--plan", "plan.json", "-r", "a"]).assert_code(2);
}

#[test]
fn a_plan_is_for_people_too_and_changes_nothing() {
    let cluster = before_it_grows(cluster(4), 200);
    let before = cluster.written();
    let member = members_of(&cluster, 3).remove(0);
    let host = cluster.node(3).host().to_owned();
    let plan = cluster
        .bucky(&["plan", "--add", &member, "--rate", "64K", "--reserve", "0"])
        .assert_code(0);
    let plan = plan
        .assert_stdout_has("Ring: carbon, carbon_ch arithmetic of buckytools")
        .assert_stdout_has("\nThen: carbon")
        .assert_stdout_has("Largest/smallest node: by metrics ")
        .assert_stdout_has("At 64.0 KiB/s it takes ");
    let too_long: Vec<&str> =
        plan.stdout.lines().filter(|line| line.chars().count() > 80).collect();
    assert_eq!(too_long, [""; 0]);
    assert!(plan.stderr.contains(&format!("{host}:")) && plan.stderr.contains("counts as empty"));
    assert_eq!(cluster.written(), before);

    for (args, code, said) in [
        (&["plan"][..], 2, "--ring"),
        (&["plan", "--remove", "nope"], 2, "the ring has no node nope; its nodes are"),
        (&["plan", "--add", &cluster.ring().nodes()[0].to_string()], 2, "already"),
        (&["plan", "--add", "a b"], 2, "--add"),
        (&["plan", "--add", &member, "-s"], 2, "leave out -s"),
    ] {
        let refused = cluster.bucky(args).assert_code(code);
        assert!(refused.stderr.contains(said), "{refused}");
    }
}

/// The suggestion is a ring like the planned one that keeps the old nodes, and its numbers come true.
#[test]
fn a_suggested_name_spreads_bytes_more_evenly_and_old_nodes_keep_theirs() {
    let cluster = before_it_grows(cluster(4), 600);
    let member = members_of(&cluster, 3).remove(0);
    let plan = planned(&cluster, &["--add", &member, "--suggest"]);
    let suggestion = &plan["suggestion"];
    assert!(suggestion.is_object(), "a carbon ring is rarely the most even of 500: {plan}");
    let by_bytes = |spread: &Value| spread["by_bytes"].as_f64().unwrap();
    assert!(by_bytes(&suggestion["spread"]) < by_bytes(&plan["spread"]["after"]), "{plan}");
    let old = |ring: &Value| ring["Nodes"].as_array().unwrap()[..3].to_vec();
    assert_eq!(old(&suggestion["ring"]), old(&plan["ring_after"]));

    let ring = cluster.path("suggested.json");
    std::fs::write(&ring, suggestion["ring"].to_string()).unwrap();
    let again = planned(&cluster, &["--ring", ring.to_str().unwrap()]);
    assert_eq!(again["spread"]["after"], suggestion["spread"]);

    let text = cluster.bucky(&["plan", "--add", &member, "--suggest"]).assert_code(0);
    text.assert_stdout_has("More even by bytes: ");
}

/// Its metrics would count as moved, and would be there twice.
#[test]
fn a_member_under_another_name_is_not_taken_for_a_new_node() {
    let cluster = cluster(2).start();
    let alias = cluster.alias_of(1);
    let host = alias.addr().ip().to_string();
    let refused = cluster.bucky(&["plan", "--add", &format!("{host}:2003")]).assert_code(2);
    refused.assert_stderr_has(&format!("serves the same files as {}", cluster.node(1).addr()));
}

/// The daemons know what they received, and how long that took.
#[test]
fn the_time_of_a_plan_is_by_the_rate_of_the_last_run() {
    let mut cluster = before_it_grows(cluster(4), 500);
    let member = members_of(&cluster, 3).remove(0);
    let plan = cluster.bucky(&["plan", "--add", &member, "-j"]).assert_code(0);
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    assert!(plan.get("seconds").is_none(), "there was no run yet: {plan}");
    let (_, bytes) = amount(&plan["sent"]);
    grow(&mut cluster);
    // A run of about seven seconds, in small batches.
    let bandwidth = (bytes / 7).max(64 << 10).to_string();
    let run = ["rebalance", "--bandwidth", &bandwidth, "--batch-metrics", "2", "-w", "1"];
    cluster.bucky(&run).assert_code(0);

    let host = cluster.node(3).host().to_owned();
    let plan = cluster.bucky(&["plan", "--remove", &host, "-j"]).assert_code(0);
    let plan = plan.assert_stderr_has("the time is by the rate of the last run, which ended ");
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    let rate = plan["bytes_per_second"].as_u64().unwrap();
    assert!((1..=bytes / 4).contains(&rate), "{rate} of {bytes}");
    assert_eq!(plan["seconds"].as_u64(), Some(amount(&plan["sent"]).1.div_ceil(rate)));
}
