//! How much moves between nodes that stay, when one ring takes the place of another.

use smallvec::SmallVec;

use crate::Ring;

/// How many made-up names are compared. With this many, a hundredth of them is known to a tenth.
const NAMES: usize = 10_000;

/// The share of copies, 0 to 1, that leave a host which both rings have for another host which both have.
///
/// A node that is added takes copies from others, and one that is removed leaves its copies to others; neither
/// counts. A consistent ring that only gains or loses nodes moves next to nothing else, except where entries
/// collide. Routing rules are left out: each of their rings is compared for all names. A wrong hash, another relay's arithmetic or another order of a jump ring moves nearly all.
pub fn shuffled_share(before: &Ring, after: &Ring) -> f64 {
    let is_host = |ring: &Ring, host: &str| ring.nodes().iter().any(|node| node.host() == host);
    let hosts = |ring: &'_ Ring, name: &str| -> SmallVec<[String; 4]> {
        let mut hosts: SmallVec<[String; 4]> = SmallVec::new();
        for owner in ring.owners_past_routes(name) {
            let host = ring.nodes().get(owner).map(|node| node.host().to_owned());
            hosts.extend(host.filter(|host| !hosts.contains(host)));
        }
        hosts
    };
    let (mut moved, mut copies) = (0_usize, 0_usize);
    for number in 0..NAMES {
        let name = format!("shuffle.{number}.count");
        let (old, new) = (hosts(before, &name), hosts(after, &name));
        let gained = new.iter().filter(|host| !old.contains(host) && is_host(before, host)).count();
        let lost = old.iter().filter(|host| !new.contains(host) && is_host(after, host)).count();
        moved += gained.min(lost);
        copies += new.len();
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of at most some millions")]
    let share = moved as f64 / copies.max(1) as f64;
    share
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, Relay, RingSpec, TaggedNames};

    fn ring(algorithm: Algorithm, relay: Relay, copies: usize, nodes: &[&str]) -> Ring {
        let nodes = nodes.iter().map(|node| node.parse().expect("a node")).collect();
        Ring::new(RingSpec {
            nodes,
            algorithm,
            relay,
            replication_factor: copies,
            diverse_replicas: false,
            tagged_names: TaggedNames::Whole,
            aggregation: None,
            routes: None,
        })
        .expect("a ring")
    }

    const FOUR: [&str; 4] = ["gr-a:1=0", "gr-b:1=1", "gr-c:1=2", "gr-d:1=3"];
    const FIVE: [&str; 5] = ["gr-a:1=0", "gr-b:1=1", "gr-c:1=2", "gr-d:1=3", "gr-e:1=4"];

    #[test]
    fn a_node_that_comes_or_goes_moves_nothing_between_the_others() {
        for copies in [1, 2] {
            for (algorithm, relay) in [
                (Algorithm::Carbon, Relay::Carbon),
                (Algorithm::Fnv1a, Relay::CarbonCRelay),
                (Algorithm::JumpFnv1a, Relay::CarbonCRelay),
            ] {
                let four = ring(algorithm, relay, copies, &FOUR);
                let five = ring(algorithm, relay, copies, &FIVE);
                for (before, after) in [(&four, &five), (&five, &four)] {
                    let share = shuffled_share(before, after);
                    // A jump ring chooses all copies but the first again when the number of nodes changes.
                    let is_drawn_anew = algorithm == Algorithm::JumpFnv1a && copies > 1;
                    assert!(share < 0.01 || is_drawn_anew, "{algorithm} {copies}: {share}");
                }
            }
        }
    }

    #[test]
    fn a_wrong_word_moves_most_of_them() {
        let carbon = ring(Algorithm::Carbon, Relay::Carbon, 1, &FOUR);
        assert_eq!(shuffled_share(&carbon, &carbon), 0.0);
        let fnv = ring(Algorithm::Fnv1a, Relay::Carbon, 1, &FOUR);
        assert!(shuffled_share(&carbon, &fnv) > 0.6);
        let jump = |nodes: &[&str]| ring(Algorithm::JumpFnv1a, Relay::CarbonCRelay, 1, nodes);
        let other_order = ["gr-a:1=3", "gr-b:1=2", "gr-c:1=1", "gr-d:1=0"];
        assert!(shuffled_share(&jump(&FOUR), &jump(&other_order)) > 0.9);
    }
}
