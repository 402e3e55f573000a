//! Waiting for a condition, with a limit. The tests never wait for a fixed time.

use std::time::{Duration, Instant};

/// How long to wait for a condition unless a test gives another limit. It is generous, because machines are
/// slow at times and only a failing test waits for that long.
pub const LIMIT: Duration = Duration::from_secs(180);
/// The pause between two checks.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `condition` is true.
///
/// # Panics
/// If it is not true within [`LIMIT`]; `what` describes the condition.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    until_some(what, || condition().then_some(()));
}

/// Waits until `look` returns a value.
///
/// # Panics
/// If it does not within [`LIMIT`].
#[track_caller]
pub fn until_some<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    match within(LIMIT, look) {
        Some(found) => found,
        None => panic!("waited {} s in vain until {what}", LIMIT.as_secs()),
    }
}

/// Waits until `look` returns a value, at most `limit`.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if started.elapsed() > limit {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}
