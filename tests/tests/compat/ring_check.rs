//! `bucky ring check`: the relay itself says where it sends the cluster's metrics.

use bucky_tests::{TestCluster, peer};

use crate::cluster;

const RULES: &str = r"
cluster old carbon_ch replication 2 {0} {1};
cluster new fnv1a_ch {1} {2};
match ^servers\.([^.]+)\.(.*)$ route using \1 send to old stop;
match ^shop\.orders\. send to old new stop;
match * send to new stop;
";

fn check(cluster: &TestCluster, clusters: &str, file: &str) -> bucky_tests::Finished {
    let program = peer::program("carbon-c-relay");
    let program = program.to_str().unwrap();
    let (against, file) = ("carbon-c-relay", cluster.path(file));
    let file = file.to_str().unwrap();
    let args = ["ring", "check", "--against", against, "--program", program, "--cluster", clusters];
    cluster.bucky(&[args.as_slice(), &[file]].concat())
}

/// A cluster with this many metrics, all of them where the rules send them.
fn holding(metrics: usize) -> TestCluster {
    let mut cluster = cluster(3).relay_config(RULES, "old,new").lay();
    cluster.scatter(metrics, cluster.ring());
    cluster.start();
    cluster
}

#[test]
fn the_relay_agrees_with_the_ring_of_its_file_and_with_the_cluster() {
    let cluster = holding(300);
    check(&cluster, "old,new", "relay.conf")
        .assert_code(0)
        .assert_stdout_has(" metrics compared with carbon-c-relay v")
        .assert_stdout_has("it sends all of them where the ring has them.")
        .assert_stdout_has("The cluster has the ring of the file.");
    // One of the clusters alone is another ring than the daemons'.
    check(&cluster, "new", "relay.conf")
        .assert_code(1)
        .assert_stdout_has("Its rules send ")
        .assert_stdout_has("The cluster has another ring than the file:\n  ");
}

#[test]
fn what_the_relay_does_otherwise_is_shown_and_a_relay_that_fails_is_no_agreement() {
    let cluster = holding(100);
    // A program that answers as if everything went to one server.
    let lying = cluster.path("relay");
    let script = "#!/bin/sh\necho 'starting carbon-c-relay v9 (x)'\n\
                  while read name; do printf 'match\\n    * -> %s\\n    x(new)\\n        a:1\\n' \"$name\"; done\n";
    std::fs::write(&lying, script).unwrap();
    let mut mode = lying.metadata().unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
    std::fs::set_permissions(&lying, mode).unwrap();
    let file = cluster.path("relay.conf");
    let ask = |program: &str| {
        let args = ["ring", "check", "--against", "carbon-c-relay", "--program", program];
        cluster
            .bucky(&[args.as_slice(), &["--cluster", "old,new", file.to_str().unwrap()]].concat())
    };
    ask(lying.to_str().unwrap())
        .assert_code(1)
        .assert_stdout_has(" metrics elsewhere; 10 are shown.");
    ask("false").assert_code(1).assert_stderr_has("false does not take");
    ask("/no/such/program")
        .assert_code(1)
        .assert_stderr_has("name the program with --program PATH");
}
