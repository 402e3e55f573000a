//! The files that a run leaves, the metrics that it names, and how many failures it tolerates.

use std::path::Path;

use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{Finished, TestCluster};

use super::misplaced;

/// A file that is not a metric's, as a crash may leave it.
const DAMAGED: &[u8] = b"this is no whisper file, and has the length of some header or other";

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

/// D27: the Go tool records failed jobs as done, skips the first line when it reads, and panics at an unknown
/// job.
#[test]
fn only_what_succeeded_is_in_the_job_state_file_and_the_next_run_does_the_rest() {
    let (cluster, _, names) = misplaced(10);
    let state = cluster.path("state");
    let failing = &names[4];
    let whole = std::fs::read(cluster.node(0).path(failing)).unwrap();
    std::fs::write(cluster.node(0).path(failing), DAMAGED).unwrap();
    let args = ["rebalance", "-no-delete", "-job-state-file", "state"];
    cluster.bucky(&args).assert_code(1);
    let (source, owner) = (cluster.node(0).addr(), cluster.node(1).addr());
    let job = |name: &String| {
        format!(
            r#"{{"SrcServer":"{source}","DstServer":"{owner}","OldName":"{name}","NewName":"{name}"}}"#
        )
    };
    let mut expected: Vec<String> = names.iter().filter(|name| *name != failing).map(job).collect();
    let mut found = lines(&state);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);

    std::fs::write(cluster.node(0).path(failing), &whole).unwrap();
    // A node that takes no part today, and a line that a crash has cut off.
    let stranger =
        r#"{"SrcServer":"gone:4242","DstServer":"away:4242","OldName":"x","NewName":"x"}"#;
    let text = format!("{}\n{stranger}\n{}", found.join("\n"), r#"{"SrcServer":"#);
    std::fs::write(&state, text).unwrap();
    cluster.bucky(&args).assert_code(0).assert_stderr_has("1 metric copied");
    let found = lines(&state);
    assert_eq!((found.len(), found.last()), (11, Some(&job(failing))));
    assert!(cluster.node(1).has(failing));
    cluster.bucky(&args).assert_code(0).assert_stderr_has("0 metrics copied");

    let nowhere = ["rebalance", "-job-state-file", "no/such/folder"];
    cluster.bucky(&nowhere).assert_code(1).assert_stderr_has("no/such/folder");
    assert_eq!(cluster.node(0).metrics(), names, "nothing is moved");

    let before = cluster.ledger();
    cluster.bucky(&["rebalance", "-job-state-file", "state"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

/// Six metrics, one of which is damaged at its source, and one at its owner.
fn damaged(cluster: &TestCluster, names: &[String]) {
    std::fs::write(cluster.node(0).path(&names[1]), DAMAGED).unwrap();
    cluster.node(1).put(&names[2], DAMAGED);
}

fn rebalance(cluster: &TestCluster, more: &[&str]) -> Finished {
    cluster.bucky(&[&["rebalance"], more].concat())
}

#[test]
fn failed_copies_are_appended_to_the_error_file_with_the_side_to_blame() {
    let (cluster, _, names) = misplaced(6);
    damaged(&cluster, &names);
    let file = cluster.path("failed");
    std::fs::write(&file, "of an earlier run\n").unwrap();
    let run = rebalance(&cluster, &["-metric-err-file", "failed", "--errors", "reasons"]);
    run.assert_code(1);
    let mut found: Vec<String> = lines(&file).split_off(1);
    assert!(found.iter().all(|line| line.as_bytes()[4] == b'/' && line.as_bytes()[13] == b':'));
    found.iter_mut().for_each(|line| drop(line.drain(..20)));
    found.sort();
    let (source, owner) = (cluster.node(0).addr(), cluster.node(1).addr());
    assert_eq!(found, [format!("dst,{},{owner}", names[2]), format!("src,{},{source}", names[1])]);
    assert_eq!(lines(&cluster.path("reasons")).len(), 2, "--errors has the reasons as well");
    rebalance(&cluster, &["-metric-err-file", "no/such/folder"])
        .assert_code(1)
        .assert_stderr_has("no/such/folder");
}

#[test]
fn as_many_failures_as_are_tolerated_are_a_success() {
    let (cluster, _, names) = misplaced(6);
    damaged(&cluster, &names);
    rebalance(&cluster, &["-error-tolerance", "1"]).assert_code(1).assert_stderr_has(" failed: ");
    rebalance(&cluster, &["-error-tolerance", "2"]).assert_code(0).assert_stderr_has(" failed: ");
    rebalance(&cluster, &[]).assert_code(1);
}

#[test]
fn deleted_sources_are_named_where_that_is_asked_for() {
    let (cluster, before, names) = misplaced(4);
    rebalance(&cluster, &["-no-delete", "-print-deletion"]).assert_code(0);
    let run = rebalance(&cluster, &["-delete", "-print-deletion", "-offload"]).assert_code(0);
    let mut printed: Vec<&str> = run
        .stderr
        .lines()
        .filter_map(|line| line.split_once(" DELETED: ").map(|(_, name)| name))
        .collect();
    printed.sort_unstable();
    assert_eq!(printed, names);
    cluster.assert_all_in_place(&before);
    cluster.node(0).write(&names[0], &MINUTES, &minutes(now(), [1.0]));
    let run = rebalance(&cluster, &[]).assert_code(0);
    assert!(!run.stderr.contains("DELETED"), "not asked for: {}", run.stderr);
}

/// For the Go tool that is a failure unless `-ignore404` is given; here it never is.
#[test]
fn a_source_that_has_vanished_is_reported_and_is_no_failure() {
    for flag in [&["-ignore404"][..], &[]] {
        let (cluster, _, names) = misplaced(4);
        cluster.node(1).gate().hold("POST /v1/pull");
        let run = cluster.start_bucky(&[&["rebalance"], flag].concat());
        cluster.node(1).gate().wait_until_held();
        std::fs::remove_file(cluster.node(0).path(&names[2])).unwrap();
        cluster.node(1).gate().release();
        run.finish().assert_code(0).assert_stderr_has("1 was gone before its turn");
        assert!(!cluster.node(1).has(&names[2]));
    }
}
