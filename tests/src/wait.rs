//! Waiting for a condition, with a limit. Nothing in the tests waits for a time to pass.

use std::time::{Duration, Instant};

/// How long a condition is waited for unless a test says otherwise: generous, machines are slow at times.
pub const LIMIT: Duration = Duration::from_secs(180);
/// How often it is looked at.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `condition` is true.
///
/// # Panics
/// Where it is not within [`LIMIT`]; `what` says what was waited for.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    until_some(what, || condition().then_some(()));
}

/// Waits until `look` gives something.
///
/// # Panics
/// Where it does not within [`LIMIT`].
#[track_caller]
pub fn until_some<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    match within(LIMIT, look) {
        Some(found) => found,
        None => panic!("waited {} s in vain until {what}", LIMIT.as_secs()),
    }
}

/// Waits for at most `limit` until `look` gives something.
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
