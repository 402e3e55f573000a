use super::*;
use crate::{Algorithm, Relay, Ring, resolve};

const NODES: [&str; 5] = ["g-4:2003=c", "g-1:2003=a", "g-3:2003=e", "g-2:2003=b", "g-5:2003=d"];

fn nodes(texts: &[&str]) -> Vec<Node> {
    texts.iter().map(|text| text.parse().expect("a node")).collect()
}

fn spec(texts: &[&str], algorithm: Algorithm, relay: Relay, copies: usize) -> RingSpec {
    let (relay, tagged_names) = resolve(algorithm, Some(relay), None).expect("a known ring");
    RingSpec {
        nodes: nodes(texts),
        algorithm,
        relay,
        replication_factor: copies,
        diverse_replicas: false,
        tagged_names,
        aggregation: None,
        routes: None,
    }
}

/// The ranking for disks that `laid_out` filled, of which only the hosts `asked` are known; each seventh name
/// has a misplaced copy as well if there are `strays`.
fn ranking(
    laid_out: &RingSpec,
    present: &RingSpec,
    lists: &[Vec<Node>],
    asked: &[&str],
    strays: bool,
) -> Vec<Explanation> {
    let ring = Ring::new(laid_out.clone()).expect("a ring");
    let fit = Fit::new(std::slice::from_ref(present), lists, 3, asked);
    let mut score = fit.score();
    for number in 0..3_000_u32 {
        let name = format!("app.web{number}.hits");
        let number_of = |host: &str| asked.iter().position(|other| *other == host);
        let owners = ring.owners(&name).filter_map(|owner| number_of(ring.nodes()[owner].host()));
        let mut found: Vec<u16> = owners.map(|owner| u16::try_from(owner).expect("few")).collect();
        found.sort_unstable();
        found.dedup();
        if strays && number % 7 == 0 && !found.contains(&0) {
            found.push(0);
        }
        if !found.is_empty() {
            fit.count(&mut score, &name, &found);
        }
    }
    fit.ranked(&score)
}

const HOSTS: [&str; 5] = ["g-1", "g-2", "g-3", "g-4", "g-5"];

fn every_ring() -> Vec<RingSpec> {
    let relays = Relay::ALL.into_iter();
    let pairs = relays.flat_map(|relay| Algorithm::ALL.map(|algorithm| (relay, algorithm)));
    pairs
        .filter(|(relay, algorithm)| algorithm.is_known_to(*relay))
        .flat_map(|(relay, algorithm)| {
            [1, 2, 3].map(|copies| spec(&NODES, algorithm, relay, copies))
        })
        .filter(|spec| Ring::new(spec.clone()).is_ok())
        .collect()
}

#[test]
fn the_ring_that_laid_out_the_disks_comes_first_whatever_it_is() {
    let present = spec(&NODES, Algorithm::Carbon, Relay::Buckytools, 1);
    for laid_out in every_ring() {
        for strays in [false, true] {
            let ranked = ranking(&laid_out, &present, &[nodes(&NODES)], &HOSTS, strays);
            assert!(ranked[0].rings.contains(&laid_out), "{laid_out:?}");
            assert_eq!(ranked[0].share_found(), 1.0);
            assert_eq!(ranked[0].share_in_place() == 1.0, !strays);
            assert!(ranked[0].compare(&ranked[1]).is_gt(), "{:?}", &ranked[..2]);
        }
    }
}

#[test]
fn a_host_that_does_not_answer_does_not_hide_the_ring() {
    let present = spec(&NODES, Algorithm::Fnv1a, Relay::Carbon, 1);
    for laid_out in every_ring() {
        let ranked = ranking(&laid_out, &present, &[nodes(&NODES)], &HOSTS[1..], false);
        assert!(ranked[0].rings.contains(&laid_out), "{laid_out:?}");
    }
}

#[test]
fn a_jump_ring_in_another_order_is_found_by_sorting() {
    let mut in_order = NODES;
    in_order.sort_unstable();
    let laid_out = spec(&in_order, Algorithm::JumpFnv1a, Relay::Buckytools, 1);
    let strip = |spec: RingSpec| RingSpec {
        nodes: spec
            .nodes
            .iter()
            .map(|node| Node::new(node.host(), 2003, None).expect("a node"))
            .collect(),
        ..spec
    };
    let laid_out = strip(laid_out);
    let present = strip(spec(&NODES, Algorithm::JumpFnv1a, Relay::Buckytools, 1));
    let lists = [present.nodes.clone()];
    let ranked = ranking(&laid_out, &present, &lists, &HOSTS, false);
    assert!(ranked[0].rings.contains(&laid_out), "{:?}", ranked[0]);
    assert!(!ranked[0].rings.contains(&present));
}

#[test]
fn a_new_node_that_is_still_empty_is_named_by_a_ring_without_it() {
    let old = spec(&NODES[..4], Algorithm::Carbon, Relay::Carbon, 1);
    let present = spec(&NODES, Algorithm::Carbon, Relay::Carbon, 1);
    let lists = [nodes(&NODES), nodes(&NODES[..4])];
    let ranked = ranking(&old, &present, &lists, &HOSTS, false);
    assert!(ranked[0].rings.contains(&old));
    // Without the list that lacks the node, the same arithmetic still explains most.
    let ranked = ranking(&old, &present, &lists[..1], &HOSTS, false);
    assert!(ranked[0].rings.iter().any(|ring| ring.algorithm == Algorithm::Carbon));
    assert!(ranked[0].share_in_place() > 0.7);
}

#[test]
fn more_copies_do_not_win_by_allowing_more_places() {
    let laid_out = spec(&NODES, Algorithm::Carbon, Relay::Carbon, 1);
    let present = spec(&NODES, Algorithm::Carbon, Relay::Carbon, 3);
    let ranked = ranking(&laid_out, &present, &[nodes(&NODES)], &HOSTS, false);
    assert!(ranked[0].rings.contains(&laid_out));
    let three = ranked.iter().find(|found| found.rings.contains(&present)).expect("the present");
    assert_eq!(three.share_in_place(), 1.0);
    assert!((three.share_found() - 1.0 / 3.0).abs() < 1e-9);
}

#[test]
fn two_threads_count_what_one_does() {
    let present = spec(&NODES, Algorithm::Carbon, Relay::Carbon, 2);
    let fit = Fit::new(&[present], &[nodes(&NODES)], 3, &HOSTS);
    let (mut one, mut first, mut second) = (fit.score(), fit.score(), fit.score());
    for number in 0..200_u16 {
        let name = format!("a.b{number}");
        let found = [number % 5];
        fit.count(&mut one, &name, &found);
        fit.count(if number < 80 { &mut first } else { &mut second }, &name, &found);
    }
    first.add(&second);
    assert_eq!(first.names(), 200);
    assert_eq!(fit.ranked(&first), fit.ranked(&one));
}
