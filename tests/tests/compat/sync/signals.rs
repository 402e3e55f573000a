//! SIGUSR1: prints a line of progress and stops a run while metrics are moved; at other times it has no
//! effect.

use bucky_tests::wait;
use rustix::process::Signal;

use super::misplaced;

/// D35: the Go tool says 100 % with nothing done.
#[test]
fn a_run_reports_its_progress_on_sigusr1_and_ends_after_the_current_metrics() {
    let (cluster, before, _) = misplaced(60);
    cluster.node(1).gate().hold("POST /v1/pull");
    let run = cluster.start_bucky(&["rebalance", "--batch-metrics", "10", "-w", "1"]);
    cluster.node(1).gate().wait_until_held();
    run.signal(Signal::USR1);
    wait::until("it confirms the signal", || run.stderr().contains("Received SIGUSR1, exiting."));
    run.signal(Signal::USR1);
    cluster.node(1).gate().release();
    let ended = run.finish().assert_code(1).assert_stderr_has("Run the same command again");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    let exiting = lines.iter().position(|line| *line == "Received SIGUSR1, exiting.").unwrap();
    assert!(lines[exiting - 1].starts_with("Progress 0 / 60: 0%"), "{}", ended.stderr);
    cluster.wait_until_no_tombstones();
    let moved = cluster.node(1).metrics().len();
    assert!((10..60).contains(&moved), "{moved} were moved: what was under way, and no more");
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

#[test]
fn before_anything_is_moved_sigusr1_means_nothing() {
    let (cluster, before, _) = misplaced(12);
    cluster.node(0).gate().hold("GET /v1/misplaced");
    let run = cluster.start_bucky(&["rebalance"]);
    cluster.node(0).gate().wait_until_held();
    run.signal(Signal::USR1);
    // Run a whole command. By its end the waiting run has received the signal.
    cluster.bucky(&["servers"]);
    cluster.node(0).gate().release();
    let ended = run.finish().assert_code(0);
    assert!(!ended.stderr.contains("SIGUSR1"), "{}", ended.stderr);
    cluster.assert_all_in_place(&before);
}

/// The line is printed even if nothing delays the end.
#[test]
fn a_run_that_waits_for_its_pace_ends_at_once_and_still_reports_its_progress() {
    let (cluster, before, _) = misplaced(40);
    for _ in 0..4 {
        let run = cluster.start_bucky(&["rebalance", "--metrics-per-second", "1"]);
        wait::until("it has its plan", || run.stderr().contains("are misplaced"));
        // The signal has no effect until the run listens. The first one after that counts, and the later ones
        // do not.
        wait::until("it is asked to end", || {
            run.signal(Signal::USR1);
            run.stderr().contains("Received SIGUSR1")
        });
        let ended = run.finish().assert_code(1).assert_stderr_has("Received SIGUSR1, exiting.\n");
        assert_eq!(ended.stderr.matches("SIGUSR1").count(), 1, "{ended}");
        assert_eq!(ended.stderr.matches("Progress ").count(), 1, "{ended}");
    }
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}

/// A pipe without a reader blocks the run before it has begun. It can then be ended like any other program.
#[test]
fn a_run_that_waits_for_a_reader_of_its_failures_can_be_ended() {
    let (cluster, before, _) = misplaced(4);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    for flag in ["--errors", "-metric-err-file"] {
        let run = cluster.start_bucky(&["rebalance", flag, path.to_str().unwrap()]);
        wait::until("it has its plan", || run.stderr().contains("are misplaced"));
        std::thread::sleep(std::time::Duration::from_millis(300));
        run.signal(Signal::TERM);
        assert_eq!(run.finish().code, None);
    }
    cluster.bucky(&["rebalance"]).assert_code(0);
    cluster.assert_all_in_place(&before);
}
