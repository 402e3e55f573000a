//! Settings that carbon does not know and that look like one that it knows.

use super::settings::{BOOLEANS, THAT_MATTER};

/// carbonate's word for ROUTER_HASH_TYPE, which people write into carbon.conf.
const CARBONATES_HASH: &str = "hashing_type";
/// Keys near to those that matter, which carbon knows too (`conf.py`).
const KNOWN_NEIGHBOURS: [&str; 4] =
    ["dynamic_router_max_retries", "destination_protocol", "destination_transport", "relay_rules"];

/// The setting that is probably meant by `key`, if carbon does not know it.
pub(super) fn meant(key: &str) -> Option<String> {
    if key == CARBONATES_HASH {
        return Some("ROUTER_HASH_TYPE".to_owned());
    }
    if THAT_MATTER.contains(&key) || BOOLEANS.contains(&key) || KNOWN_NEIGHBOURS.contains(&key) {
        return None;
    }
    let plain = |text: &str| text.replace(['_', '-'], "");
    let near = THAT_MATTER.iter().find(|known| distance(&plain(known), &plain(key)) <= 2);
    near.map(|known| known.to_uppercase())
}

/// How many letters must be changed, added or removed to turn one text into the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, c) in from.chars().enumerate() {
        let mut before = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in to.iter().enumerate() {
            let change = before + usize::from(c != *other);
            before = row[j + 1];
            row[j + 1] = change.min(before + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_carbon_does_not_know_is_told_with_the_one_that_is_meant() {
        let cases = [
            ("destinations_pool_replicas", Some("DESTINATION_POOL_REPLICAS")),
            ("hashing_type", Some("ROUTER_HASH_TYPE")),
            ("router_hashtype", Some("ROUTER_HASH_TYPE")),
            ("replication_facter", Some("REPLICATION_FACTOR")),
            ("relay-method", Some("RELAY_METHOD")),
            ("diverse_replica", Some("DIVERSE_REPLICAS")),
            ("destination", Some("DESTINATIONS")),
            ("destinations", None),
            ("dynamic_router_max_retries", None),
            ("max_queue_size", None),
        ];
        for (key, known) in cases {
            assert_eq!(meant(key).as_deref(), known, "{key}");
        }
    }

    #[test]
    fn the_distance_is_that_of_levenshtein() {
        for (from, to, steps) in [("", "abc", 3), ("kitten", "sitting", 3), ("ab", "ab", 0)] {
            assert_eq!(distance(from, to), steps);
        }
    }
}
