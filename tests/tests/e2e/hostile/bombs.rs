//! Single requests that once ended the daemon, or delayed all others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{assert_serves, exchange, peak_mib, request};
use crate::cluster;

/// The number of concurrent requests whose patterns take long to parse.
const SLOW_ONES: usize = 16;

/// The first one overflowed the stack of the compiling thread and ended the process.
#[test]
fn a_pattern_that_is_too_deep_or_too_large_is_refused_and_the_daemon_continues() {
    let cluster = cluster(1).start();
    let node = cluster.node(0);
    let deep = format!("glob={}{}", "{".repeat(30_000), "}".repeat(30_000));
    let classes = format!("regex={}", "%5CpL".repeat(10_000));
    let nested = "regex=(a{1000}){1000}".to_owned();
    for route in ["/v1/metrics", "/v1/misplaced", "/v1/archive"] {
        for pattern in [&deep, &classes, &nested] {
            let raw = exchange(node, &request(&format!("GET {route}?{pattern}"), &[], b""));
            assert_eq!(raw.status, 400, "{route}: {}", raw.text);
        }
    }
    let raw = exchange(node, &request(&format!("GET /metrics?{classes}"), &[], b""));
    assert_eq!(raw.status, 400, "{}", raw.text);
    assert!(peak_mib(node) < 200, "{} MiB", peak_mib(node));
    assert_serves(node);
}

#[test]
fn patterns_that_take_long_to_read_delay_no_other_client() {
    let cluster = cluster(1).start();
    let node = cluster.node(0);
    let slow = format!("GET /v1/metrics?regex=(?i){}", "%5CpL".repeat(1300));
    let slow = request(&slow, &[], b"");
    let slow_ones_answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..SLOW_ONES {
            scope.spawn(|| {
                let raw = exchange(node, &slow);
                slow_ones_answered.fetch_add(1, Ordering::Relaxed);
                assert!(matches!(raw.status, 400 | 503), "{}", raw.text);
            });
        }
        for _ in 0..5 {
            let began = Instant::now();
            assert_serves(node);
            // On a slow machine it takes longer; but all the others must have their answers first.
            let overtook = slow_ones_answered.load(Ordering::Relaxed) < SLOW_ONES;
            let took = began.elapsed();
            assert!(took < Duration::from_secs(3) || overtook, "it took {took:?}");
        }
    });
}
