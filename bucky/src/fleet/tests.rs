//! Which nodes take part in a run, and which are refused.

use super::*;
use crate::cluster::test_cluster::{document, go, member, status, v1};
use crate::cluster::{Absence, Answer, DaemonKind};

fn cluster() -> Cluster {
    let ring = document(&["a:2003=x", "a:2003=y", "b:2003=x"]);
    let members = vec![member("a", v1(&ring, "a", "s1")), member("b", v1(&ring, "b", "s2"))];
    Cluster::from_answers(ring, members)
}

fn of_cluster(drained: &[Member], only: Option<&Member>) -> anyhow::Result<Fleet> {
    let cluster = cluster();
    let ring = cluster.ring().unwrap();
    Fleet::of_cluster(&cluster, &ring, drained, only)
}

#[test]
fn instances_of_a_host_are_one_member() {
    let fleet = of_cluster(&[], None).unwrap();
    assert_eq!(fleet.members.len(), 2);
    assert_eq!(fleet.owners(&[1, 0]), [0]);
    assert_eq!(fleet.owners(&[2, 1]), [0, 1]);
    assert_eq!(fleet.sources[1].method, StrayMethod::Asked { host: Some("b".into()) });
}

/// D29: if a member is drained under another name, the Go tool deletes everything on it and exits 0.
#[test]
fn a_member_under_another_name_is_not_drained() {
    let ring = cluster().document;
    let alias = member("alias", v1(&ring, "a", "s1"));
    let error = of_cluster(&[alias], None).err().unwrap();
    assert_eq!(error.to_string(), "cannot drain alias:4242: it is the same node as a:4242 (s1)");
    assert!(error.downcast_ref::<UsageError>().is_some());
    let twice = [member("old", v1(&ring, "old", "s3")), member("older", v1(&ring, "old", "s3"))];
    assert!(of_cluster(&twice, None).is_err());
}

#[test]
fn a_drained_node_is_asked_where_it_has_our_ring_and_placed_here_where_not() {
    let ours = cluster().document;
    let theirs = document(&["a:2003=x", "a:2003=y", "b:2003=x", "old:2003=x"]);
    let drained = [
        member("new", v1(&ours, "new", "s3")),
        member("old", v1(&theirs, "old", "s4")),
        member("go", go(&theirs, "go")),
    ];
    let fleet = of_cluster(&drained, None).unwrap();
    let methods: Vec<StrayMethod> =
        fleet.sources.iter().skip(2).map(|source| source.method.clone()).collect();
    assert_eq!(
        methods,
        [
            StrayMethod::Asked { host: Some("new:4242".into()) },
            StrayMethod::PlacedHere,
            StrayMethod::GoPlacedHere { host: None }
        ]
    );
    assert!(fleet.node_without(DaemonKind::exchanges_archives).is_some());
}

#[test]
fn a_metric_is_on_the_volume_with_the_longest_path() {
    let ring = cluster().document;
    let mut status = status("a", "s1");
    let volume = |path: &str| VolumeStatus { path: path.into(), disk: DiskStatus::default() };
    status.volumes = vec![volume("stats"), volume("stats/deep/er")];
    let answer = Answer::V1 { document: ring, status: Box::new(status) };
    let node = Node::of(&member("a", answer)).unwrap();
    for (name, volume) in [
        ("stats.x", Some(0)),
        ("stats.deep.er.x", Some(1)),
        ("stats.deep.x", Some(0)),
        ("stats", None),
        ("statsx.y", None),
    ] {
        assert_eq!(node.volume_of(name), volume, "{name}");
    }
}

/// D7: the Go tool ignores `-s`.
#[test]
fn a_single_node_is_the_only_source() {
    let ring = cluster().document;
    let seed = member("localhost", v1(&ring, "b", "s2"));
    let fleet = of_cluster(&[], Some(&seed)).unwrap();
    assert_eq!(fleet.sources.len(), 1);
    assert_eq!(fleet.sources[0].node.addr().host(), "b");
    assert_eq!(fleet.members.len(), 2, "the destinations are all there");
    let stranger = member("x", v1(&ring, "x", "s9"));
    assert!(of_cluster(&[], Some(&stranger)).is_err());
}

#[test]
fn a_drained_node_that_deletes_nothing_is_unhealthy() {
    let ring = cluster().document;
    let mut stopped = status("old", "s3");
    stopped.read_only = "/w is another folder".into();
    let answer = Answer::V1 { document: ring, status: Box::new(stopped) };
    let error = of_cluster(&[member("old", answer)], None).err().unwrap();
    assert!(error.downcast_ref::<UnhealthyError>().is_some(), "{error}");
    assert!(error.to_string().contains("/w is another folder"), "{error}");
}

#[test]
fn a_drained_node_that_is_away_is_unhealthy() {
    let away = member("old", Answer::Away { state: Absence::Down, reason: "refused".into() });
    let error = of_cluster(&[away], None).err().unwrap();
    assert!(error.downcast_ref::<UnhealthyError>().is_some(), "{error}");
}
