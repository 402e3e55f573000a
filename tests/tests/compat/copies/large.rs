//! A hundred thousand names.

use std::fmt::Write as _;
use std::time::Duration;

use bucky_tests::metrics::{MINUTES, minutes, now};

use super::rescan;
use crate::cluster;

/// The number of names in the map.
const NAMES: usize = 100_000;
/// One of this many names exists.
const RARITY: usize = 50;

#[test]
fn a_map_of_a_hundred_thousand_names_takes_less_than_a_hundred_megabytes() {
    let cluster = cluster(2).lay();
    let now = now();
    let mut map = String::from("{");
    for number in 0..NAMES {
        let name =
            format!("production.shop.servers.web{:03}.requests.count{number:06}", number % 997);
        if number.is_multiple_of(RARITY) {
            cluster.node(number / RARITY % 2).write(&name, &MINUTES, &minutes(now, [1.0]));
        }
        let comma = if number > 0 { "," } else { "" };
        write!(map, "{comma}\n\"{name}\": \"archive.{name}\"").unwrap();
    }
    map.push_str("\n}\n");
    let path = cluster.path("map.json");
    std::fs::write(&path, map).unwrap();
    let mut cluster = cluster;
    cluster.start();
    rescan(&cluster);
    let mut run = cluster.start_bucky(&["backfill", path.to_str().unwrap()]);
    let mut peak = 0;
    while run.is_running() {
        peak = peak.max(run.peak_mib().unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    let created = NAMES / RARITY;
    let ended = run.finish().assert_code(1);
    ended
        .assert_stderr_has("98,000 metrics were not found; 1,000 of them are named")
        .assert_stderr_has(&format!("{},000 metrics created", created / 1000));
    assert!(peak > 0 && peak < 100, "{peak} MiB");
}
