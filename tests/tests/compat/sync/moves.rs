//! What a move does with the sources.

use bucky_tests::metrics::{minutes, now, update};

use super::strays;

/// D30: with the Go tool points that are written between the copy and the delete are gone.
#[test]
fn points_written_between_copy_and_delete_arrive_at_the_owner() {
    let (cluster, _, names) = strays(3);
    cluster.node(0).gate().hold("POST /v1/delete");
    let run = cluster.start_bucky(&["rebalance", "-delete"]);
    cluster.node(0).gate().wait_until_held();
    for name in &names {
        update(&cluster.node(0).path(name), &minutes(now() - 600, [4.0, 5.0, 6.0]));
    }
    let before = cluster.ledger();
    cluster.node(0).gate().release();
    run.finish().assert_code(0).assert_tells("3 metrics moved");
    cluster.assert_all_in_place(&before);
}

/// What is deleted is the other way round in the Go tool: only with `-delete`.
#[test]
fn sources_are_deleted_unless_they_are_to_stay() {
    for (flags, stay) in [
        (&[][..], false),
        (&["-delete"], false),
        (&["--no-delete"], true),
        (&["-delete=false"], true),
    ] {
        let (cluster, _, names) = strays(3);
        cluster.bucky(&[&["rebalance"], flags].concat()).assert_code(0);
        assert_eq!(cluster.node(1).metrics(), names, "{flags:?}");
        assert_eq!(cluster.node(0).metrics().len(), if stay { 3 } else { 0 }, "{flags:?}");
    }
}
