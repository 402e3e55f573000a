//! What a move does with the sources.

use bucky_tests::metrics::{minutes, now, update};

use super::misplaced;

/// D30: with the Go tool, points written between the copy and the delete are lost.
#[test]
fn points_written_between_copy_and_delete_arrive_at_the_owner() {
    let (cluster, _, names) = misplaced(3);
    cluster.node(0).gate().hold("POST /v1/delete");
    let run = cluster.start_bucky(&["rebalance", "-delete"]);
    cluster.node(0).gate().wait_until_held();
    for name in &names {
        update(&cluster.node(0).path(name), &minutes(now() - 600, [4.0, 5.0, 6.0]));
    }
    let before = cluster.ledger();
    cluster.node(0).gate().release();
    run.finish().assert_code(0).assert_stderr_has("3 metrics moved");
    cluster.assert_all_in_place(&before);
}

/// The Go tool's default is the opposite: it deletes only with `-delete`.
#[test]
fn sources_are_deleted_unless_they_are_to_stay() {
    for (flags, stay) in [
        (&[][..], false),
        (&["-delete"], false),
        (&["--no-delete"], true),
        (&["-delete=false"], true),
    ] {
        let (cluster, _, names) = misplaced(3);
        cluster.bucky(&[&["rebalance"], flags].concat()).assert_code(0);
        assert_eq!(cluster.node(1).metrics(), names, "{flags:?}");
        assert_eq!(cluster.node(0).metrics().len(), if stay { 3 } else { 0 }, "{flags:?}");
    }
}
