//! Rings that carbon-c-relay's rules lead to: several clusters, mirrors, other texts than the name, and names
//! that go nowhere.

use std::process::Command;

use bucky_tests::cluster::ClusterPlan;
use bucky_tests::metrics;
use bucky_tests::{TestCluster, wait};
use rustix::process::{Pid, Signal, kill_process};

use crate::cluster;
use crate::plans::{amount, each_node, held, named, pairs, planned};

/// Two rings that share a host. `shop.orders` is a mirror; of `servers.*`, all of a host lies together.
const CONFIG: &str = r"
cluster old carbon_ch replication 2 {0} {1} {2};
cluster new fnv1a_ch {2} {3};
match ^servers\.([^.]+)\.(.*)$ route using \1 send to old stop;
match ^shop\.orders\. send to old new stop;
match ^shop\. send to new stop;
match ^requests send to old stop;
";

/// Before: one ring of all, for every name.
const BEFORE: &str = "cluster old carbon_ch {0} {1} {2} {3};\n\
                      cluster new carbon_ch {0} {1} {2} {3};\n\
                      match * send to old stop;\n";

const CLUSTERS: &str = "old,new";

fn routed() -> ClusterPlan {
    cluster(4).relay_config(CONFIG, CLUSTERS)
}

/// Writes the relay's configuration `text`.
fn write(cluster: &TestCluster, name: &str, text: &str) {
    let hosts = cluster.nodes().iter().map(|node| format!("{}:2003", node.host()));
    let text = hosts.enumerate().fold(text.to_owned(), |text, (number, host)| {
        text.replace(&format!("{{{number}}}"), &host)
    });
    std::fs::write(cluster.path(name), text).unwrap();
}

/// Every daemon takes the ring of its file.
fn reload(cluster: &TestCluster) {
    for (number, node) in cluster.nodes().iter().enumerate() {
        kill_process(Pid::from_raw(node.pid() as i32).unwrap(), Signal::HUP).unwrap();
        wait::until("the daemon has the rules", || {
            let ring = cluster.get(number, "/hashring").text();
            ring.contains("route") || ring.contains("servers")
        });
    }
}

/// A plan for the rules is what a rebalance by them does, and afterwards every file is where the relay writes
/// it. A file that no rule sends anywhere stays.
#[test]
fn a_rebalance_by_routing_rules_is_planned_and_puts_every_metric_in_place() {
    let mut cluster = routed().lay();
    cluster.scatter(400, &cluster.ring_of_first(4));
    let node = cluster.node(1);
    node.write(
        "other.m1",
        &metrics::LAYOUTS[0],
        &metrics::history(&metrics::LAYOUTS[0], metrics::now(), 1),
    );
    write(&cluster, "relay.conf", BEFORE);
    cluster.start();
    let ledger = cluster.ledger();
    cluster.bucky(&["inconsistent"]).assert_code(0);

    write(&cluster, "planned.conf", CONFIG);
    let file = cluster.path("planned.conf");
    let plan = planned(&cluster, &["--ring-from", file.to_str().unwrap(), "--cluster", CLUSTERS]);
    assert_eq!(each_node(&plan, "before"), held(&cluster));
    write(&cluster, "relay.conf", CONFIG);
    reload(&cluster);
    assert_eq!(pairs(&plan), named(&cluster));

    let addr = cluster.node(1).addr();
    let said = format!("no rule of the relay sends 1 metric to this ring; they stay on {addr} (1)");
    cluster.bucky(&["inconsistent"]).assert_stderr_has(&said);

    // Nothing but the rules explains so many moves among nodes that stay.
    let refused = cluster.bucky(&["rebalance"]).assert_code(3);
    refused.assert_stderr_has("--expect-shuffle");
    let run = ["rebalance", "--expect-shuffle", "--plan", "plan.json"];
    cluster.bucky(&run).assert_code(0).assert_stderr_has(&said);
    assert_eq!(each_node(&plan, "after"), held(&cluster));
    assert!(amount(&plan["leaves"]).0 > 100, "{plan}");
    // Mirrors and second copies that nobody sent.
    cluster.bucky(&["heal"]).assert_code(0);
    cluster.assert_all_in_place(&ledger);
    assert!(cluster.node(1).has("other.m1"));
    assert!(!cluster.node(0).has("other.m1"));
    cluster.bucky(&["verify"]).assert_code(0);
}

#[test]
fn locate_names_the_owners_by_the_rules_and_what_goes_nowhere() {
    let cluster = routed().lay();
    let locate = |names: &[&str]| {
        let mut command = Command::new(cluster.programs().bucky);
        command.args(["locate", "--ring-from"]).arg(cluster.path("relay.conf"));
        command.args(["--cluster", CLUSTERS]).args(names);
        bucky_tests::Running::start(command).finish()
    };
    let hosts = |name: &str| {
        let found = locate(&[name]).assert_code(0);
        let lines = found.stdout.lines().map(|line| line.rsplit_once("=> ").unwrap().1.to_owned());
        lines.collect::<Vec<_>>()
    };
    assert_eq!(hosts("servers.db-1.cpu.user"), hosts("servers.db-1.disk.read"));
    assert_eq!(hosts("servers.db-1.cpu.user").len(), 2);
    assert!((2..=3).contains(&hosts("shop.orders.x").len()));
    assert_eq!(hosts("shop.web.x").len(), 1);
    locate(&["other.m1"])
        .assert_code(1)
        .assert_stderr_has("no rule of the relay sends other.m1 to this ring");
}
