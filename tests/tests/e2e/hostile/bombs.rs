//! Single requests that once ended the daemon, or held up all others.

use std::time::{Duration, Instant};

use super::{assert_serves, exchange, peak_mib, request};
use crate::cluster;

/// The first overflowed the stack of the thread that compiled it, and the process was gone.
#[test]
fn a_pattern_that_is_too_deep_or_too_large_is_refused_and_the_daemon_goes_on() {
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
fn patterns_that_take_long_to_read_hold_up_nobody_else() {
    let cluster = cluster(1).start();
    let node = cluster.node(0);
    let slow = format!("GET /v1/metrics?regex=(?i){}", "%5CpL".repeat(1300));
    let slow = request(&slow, &[], b"");
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let raw = exchange(node, &slow);
                assert!(matches!(raw.status, 400 | 503), "{}", raw.text);
            });
        }
        for _ in 0..5 {
            let began = Instant::now();
            assert_serves(node);
            assert!(began.elapsed() < Duration::from_secs(3), "it took {:?}", began.elapsed());
        }
    });
}
